"""Has files swept that no document has any more, a few times a day."""

import asyncio

import structlog
from django.conf import settings

from chats.knowledge.sweeping import sweep_files
from chats.replies.database import in_database_of_documents

logger = structlog.get_logger(__name__)

# Of all files. A server that was started with another database than theirs must not take them away.
SHARE_MAX = 0.5


async def keep_sweeping() -> None:
    """What the storage or the database refuses is tried again the next time: see `background`."""
    while True:
        await asyncio.sleep(settings.FILE_SWEEP_SECONDS)
        swept = await in_database_of_documents(sweep_files, share_max=SHARE_MAX)
        if not swept.is_done:
            hint = "Is this the database of these files? Then run `manage.py sweep_files`."
            logger.warning("file_sweep_refused", files=swept.files, unnamed=swept.unnamed, hint=hint)
        elif swept.unnamed:
            logger.info("files_swept", files=swept.files, deleted=swept.unnamed)
