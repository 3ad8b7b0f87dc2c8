"""Who: people, the credentials they show, and the pages where they sign up, in and out."""
