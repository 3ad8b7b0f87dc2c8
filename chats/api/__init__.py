"""REST under /api/v1/, one module a resource. It reads rows through `visible_to` and changes them through verbs."""
