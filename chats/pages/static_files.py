"""Static files under names that change with their content, so that browsers may keep them for ever."""

from django.contrib.staticfiles.storage import HashedFilesMixin
from servestatic.storage import CompressedManifestStaticFilesStorage

# `from "./x.js"`, `import "./x.js"` and `import("./x.js")`.
IMPORT = r"""(?P<matched>(?P<head>\b(?:from|import)\s*\(?\s*)["'](?P<url>\.[^"']+)["'])"""


class StaticFiles(CompressedManifestStaticFilesStorage):
    # Our modules import each other: a new version of one must not meet an old version of another. Only ours: what looks
    # like an import in the files of others may not be one.
    patterns = (
        *HashedFilesMixin.patterns,
        *((ours, ((IMPORT, '%(head)s"%(url)s"'),)) for ours in ("chats/js/*.js", "chats/api/*.js")),
    )
