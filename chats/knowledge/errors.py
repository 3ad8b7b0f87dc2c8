"""What can go wrong with documents, said once."""

from accounts.errors import Conflict, StorageFailed, TooLarge

__all__ = ["DocumentTooLarge", "DocumentUnfinished", "QuotaExceeded", "StorageFailed"]


class DocumentTooLarge(TooLarge):
    message = "This file is larger than allowed. Split it, or leave out what need not be found."


class QuotaExceeded(TooLarge):
    code = "quota_exceeded"
    message = "There is no room for this document. Delete some that you no longer need, then upload it again."


class DocumentUnfinished(Conflict):
    code = "document_unfinished"
    message = "This document is still being read. Wait until it is ready."
