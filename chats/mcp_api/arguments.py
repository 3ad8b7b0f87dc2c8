"""What the tools take and what they answer, as models and types of pydantic: their schemas are what clients see."""

from typing import Annotated, Any
from uuid import UUID

from django.conf import settings
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool
from typing_extensions import TypedDict

from chats import cleaning
from chats.cleaning import clean_text
from chats.knowledge.search import QUERY_MAX_CHARACTERS

Text = Annotated[str, AfterValidator(clean_text)]

CHATS_MAX = 20
MESSAGES_MAX = 100


class Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SearchChats(Arguments):
    query: Annotated[Text, Field(min_length=1, max_length=200, description="Words that the chat has; all of them.")]
    limit: Annotated[int, Field(ge=1, le=CHATS_MAX, description="Most chats.")] = 10
    space: Annotated[
        Text | None, Field(max_length=cleaning.SPACE_MAX_LENGTH, description="Only chats of this space.")
    ] = None
    tag: Annotated[Text | None, Field(max_length=cleaning.TAG_MAX_LENGTH, description="Only chats with this tag.")] = (
        None
    )


class GetChat(Arguments):
    chat: Annotated[UUID, Field(description="Id of a chat, as search_chats and ask_model give it.")]
    last: Annotated[int, Field(ge=1, le=MESSAGES_MAX, description="How many messages, counted from the end.")] = 20


class SearchDocuments(Arguments):
    query: Annotated[
        Text, Field(min_length=1, max_length=QUERY_MAX_CHARACTERS, description="A question, or words to look for.")
    ]
    limit: Annotated[int, Field(ge=1, le=settings.SEARCH_RESULTS_MAX, description="Most passages.")] = (
        settings.PASSAGES_DEFAULT
    )


class ListModels(Arguments):
    pass


class AskModel(Arguments):
    message: Annotated[Text, Field(min_length=1, description="What to say to the model.")]
    model: Annotated[
        Text | None,
        Field(max_length=200, description="Id or name of one of list_models. Left out: the chat's, or the first one."),
    ] = None
    chat: Annotated[UUID | None, Field(description="Id of a chat to go on in. Left out: a new chat is made.")] = None
    use_documents: Annotated[
        StrictBool | None,
        Field(description="true: answer from the person's documents, and cite them. Left out: as the chat does."),
    ] = None
    system: Annotated[Text | None, Field(description="Instructions for the model, in a new chat only.")] = None


# ---------------------------------------------------------------- answers
class ChatHit(TypedDict):
    id: str
    title: str
    space: str
    updated_at: str
    excerpt: str


class ChatHits(TypedDict):
    chats: list[ChatHit]
    text_searched_in: Annotated[int, Field(description="How many of the newest chats were searched by their text.")]
    has_older_chats: Annotated[bool, Field(description="Older ones were searched by their title only.")]


class ReadMessage(TypedDict):
    id: str
    role: str
    text: str
    is_cut: Annotated[bool, Field(description="Its end is left out here.")]
    created_at: str


class LastReply(TypedDict):
    id: str
    status: Annotated[str, Field(description="queued, running and waiting (for a person) are not over yet.")]


class ReadChat(TypedDict):
    id: str
    title: str
    space: str
    model: str | None
    updated_at: str
    messages_in_all: int
    messages: Annotated[list[ReadMessage], Field(description="The last ones, oldest first.")]
    last_reply: LastReply | None


class FoundPassage(TypedDict):
    document: str
    name: str
    page: int | None
    heading: str
    text: str
    score: float


class FoundPassages(TypedDict):
    passages: Annotated[list[FoundPassage], Field(description="Best first.")]


class ListedModel(TypedDict):
    id: str
    name: str
    provider: str
    description: str
    context_window: int | None
    is_default: bool
    price_usd: Annotated[dict[str, str | None] | None, Field(description="Per million tokens; null: unknown.")]


class ListedModels(TypedDict):
    models: list[ListedModel]


class Source(TypedDict):
    number: int
    document: str
    title: str
    excerpt: str


class WaitingCall(TypedDict):
    call: str
    name: str
    server: str
    arguments: Any
    because: str


class Answer(TypedDict):
    chat: Annotated[str, Field(description="To go on in.")]
    reply: str
    status: Annotated[str, Field(description="completed, or how else it ended; waiting: a person has to allow a tool.")]
    model: str | None
    text: str
    sources: Annotated[list[Source], Field(description="What the numbers in the text, like [1], refer to.")]
    usage: dict[str, Any] | None
    cost_usd: Annotated[str | None, Field(description="null: unknown.")]
    error: dict[str, Any] | None
    waiting_for: list[WaitingCall]
    notice: str
    page: Annotated[str, Field(description="Address of the chat's page, or its path on this server.")]
