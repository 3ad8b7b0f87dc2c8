"""Static files under names that change with their content, so that browsers may keep them for ever."""

from servestatic.storage import CompressedManifestStaticFilesStorage


class StaticFiles(CompressedManifestStaticFilesStorage):
    # Our modules import each other: a new version of one must not meet an old version of another.
    support_js_module_import_aggregation = True
