"""How a run ends: the status, the code of an error, and one sentence of cause and next step. Pure."""

from chats.models import Reply
from chats.replies import endings

Cause = tuple[Reply.Status, str, str]

STOPPED: Cause = (Reply.Status.STOPPED, "", "")
SUPERSEDED: Cause = (Reply.Status.STOPPED, *endings.SUPERSEDED)
COMPLETED: Cause = (Reply.Status.COMPLETED, "", "")
TOO_LONG: Cause = (
    Reply.Status.INCOMPLETE,
    "length",
    "The answer met the size limit. Ask for the rest in a new message.",
)
OUT_OF_TIME: Cause = (
    Reply.Status.INCOMPLETE,
    "time",
    "The answer took longer than allowed. The text so far is kept; try again.",
)
OUT_OF_TOKENS: Cause = (
    Reply.Status.INCOMPLETE,
    "length",
    "The model met its limit of tokens. Press Continue for the rest.",
)
WITHHELD: Cause = (
    Reply.Status.INCOMPLETE,
    "content_filter",
    "The provider withheld the rest of this answer. Say it differently, or choose another model.",
)
NO_FINISH: Cause = (
    Reply.Status.INCOMPLETE,
    "stream_cut",
    "The provider ended without saying that it was done. The text so far is kept; try again.",
)
OUT_OF_STEPS: Cause = (
    Reply.Status.INCOMPLETE,
    "steps",
    "The model went on calling tools after all the rounds it may have. Ask it to go on in a new message.",
)
TOO_DEAR: Cause = (
    Reply.Status.INCOMPLETE,
    "cost",
    "This answer has cost as much as one may. What it found is kept; ask it to go on in a new message.",
)
OUR_FAULT: Cause = (Reply.Status.FAILED, *endings.INTERNAL)
# No end: calls wait for their person, and the row says so.
AT_REST: Cause = (Reply.Status.WAITING, "", "")
