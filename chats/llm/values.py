"""What goes to a model and what comes back, whatever the provider calls it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Role = Literal["system", "user", "assistant", "tool"]
# "stop": it said all it wanted; "length": it met a limit of tokens; "tool_calls": it waits for results;
# "content_filter": the provider withheld the rest.
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]

# What a model is asked after its own unfinished words; the demo knows it by these.
GO_ON = (
    "Your last message broke off. Go on exactly where it stopped, in the middle of a word if need be: "
    "repeat nothing of it, and say nothing about the interruption."
)


@dataclass(frozen=True, slots=True)
class ChatMessage:
    role: Role
    content: str
    tool_calls: Sequence[
        Mapping[str, Any]
    ] = ()  # as OpenAI has them: {"id", "type", "function": {"name", "arguments"}}
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a model lives. `api_key` may be empty: local servers need none."""

    kind: str
    base_url: str
    api_key: str = field(repr=False)
    model_id: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document that may hold the answer. `title` says which document, and where in it."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """`passages` are to be answered from, and are numbered from 1; none were asked for when it is None.

    `is_without_calls`: the tools are there so that what was called can be read, and are not to be called any more.
    """

    messages: Sequence[ChatMessage]
    settings: Mapping[str, Any] = field(default_factory=dict)  # temperature and the like, sent as they are
    max_output_tokens: int | None = None
    tools: Sequence[Mapping[str, Any]] = ()
    is_without_calls: bool = False
    passages: Sequence[Passage] | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds a provider may take, and bytes one line of its answer may have."""

    connect_seconds: float = 10
    first_token_seconds: float = 180
    silence_seconds: float = 300
    window_seconds: float = 0  # the first delta comes at once; later ones are gathered for so long
    line_max_bytes: int = 4_000_000


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. `input_tokens` includes the cached, `output_tokens` the reasoning ones."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    raw: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors, one a row, all of them finite. `usage` is None if the provider did not tell."""

    vectors: "NDArray[np.float32]"
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of tool call number `index`; `id` and `name` come once, `arguments` is JSON text in pieces."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class UsageReported:
    usage: Usage


@dataclass(frozen=True, slots=True)
class Finished:
    """The provider's own word that the answer is over. A stream without it is incomplete."""

    reason: FinishReason


StreamEvent = TextDelta | ReasoningDelta | ToolCallDelta | UsageReported | Finished
