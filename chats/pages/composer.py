"""The box one writes in, and the models it offers."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

from django.utils import timezone

from accounts.models import User
from chats.catalog.models import AIModel, Price
from chats.knowledge.models import Document
from chats.models import Chat
from chats.pages.library import Shown, own_of_chat
from chats.tools.models import McpServer, Tool

DOCUMENTS_SHOWN: Final = 50
EXAMPLES: Final = (
    ("text", "Explain", "Why is the sky blue? First for a ten-year-old, then for a physicist."),
    ("code", "Write code", "Write a Python function that finds duplicate files in a folder, and a test for it."),
    ("compare", "Compare", "Compare SQLite and PostgreSQL for a team of ten, in a table, with a recommendation."),
)


@dataclass(frozen=True)
class Choice:
    """A model in the picker. `price` is None when unknown, which never means free."""

    model: AIModel
    price: Price | None

    @property
    def is_free(self) -> bool:
        price = self.price
        return price is not None and not any((price.input_per_million, price.output_per_million, price.per_request))


@dataclass(frozen=True)
class DocumentChoice:
    """Whether answers use documents, which may be chosen, and the ids of those that are; none: all are used.

    `own` are the newest of those that are this chat's alone, of `own_count`.
    """

    is_on: bool
    choices: list[Document]
    chosen: set[UUID]
    own: list[Shown]
    own_count: int

    @property
    def is_unfinished(self) -> bool:
        return any(not shown.version.is_finished for shown in self.own)

    @property
    def summary(self) -> str:
        if not self.is_on:
            return "No documents"
        if not self.chosen:
            return "All documents"
        return f"{len(self.chosen)} document{'' if len(self.chosen) == 1 else 's'}"


@dataclass(frozen=True)
class ServerChoice:
    """A server whose tools are offered to models."""

    pk: UUID
    name: str
    count: int
    is_chosen: bool


@dataclass(frozen=True)
class ToolChoice:
    """Whose tools answers may use; with no choice made those of all, also of servers that are added later."""

    servers: list[ServerChoice]

    @property
    def summary(self) -> str:
        chosen = sum(server.is_chosen for server in self.servers)
        if chosen == len(self.servers):
            return "All tools"
        return f"Tools of {chosen} server{'' if chosen == 1 else 's'}" if chosen else "No tools"


@dataclass(frozen=True)
class Composer:
    """`client_id` makes a form that is sent twice have one effect. `chosen` is None when there is no model at all."""

    choices: list[Choice]
    chosen: Choice | None
    text: str
    client_id: str
    is_replaced: bool
    error: str
    documents: DocumentChoice
    tools: ToolChoice


def composer_for(user: User, chat: Chat | None, *, text: str = "", model: str = "", error: str = "") -> Composer:
    """The box as it stands in `chat`, or for a new one. `model` is an id chosen before, if it still can be used."""
    models = AIModel.objects.visible_to(user).with_current_price(timezone.now())
    choices = [Choice(found, next(iter(found.current_prices), None)) for found in models]
    wanted = model or (str(chat.model_id) if chat and chat.model_id else "")
    same = [choice for choice in choices if str(choice.model.pk) == wanted]
    return Composer(
        choices=choices,
        chosen=next(iter(same or choices), None),
        text=text,
        client_id=str(uuid4()),
        is_replaced=bool(wanted and choices and not same),
        error=error,
        documents=documents_for(user, chat),
        tools=tools_for(user, chat),
    )


def documents_for(user: User, chat: Chat | None) -> DocumentChoice:
    use = chat.retrieval if chat else None
    named = {pk for text in use.get("documents", []) if (pk := parse_id(text))} if use else set()
    mine = Document.objects.visible_to(user)
    own, own_count = own_of_chat(user, chat) if chat else ([], 0)
    # Those of other chats are searched there.
    newest = list(mine.filter(chat=None).only("id", "name")[:DOCUMENTS_SHOWN])
    shown = [*(each.document for each in reversed(own)), *newest]
    # What was chosen is shown, however old it is; what was deleted since is no choice any more.
    shown += mine.filter(pk__in=named - {document.pk for document in shown}).only("id", "name")
    return DocumentChoice(use is not None, shown, named & {document.pk for document in shown}, own, own_count)


def tools_for(user: User, chat: Chat | None) -> ToolChoice:
    """The servers that have a tool which this person lets models use."""
    chosen = chat.tools.get("servers") if chat and chat.tools is not None else None
    tools = Tool.objects.visible_to(user).usable().with_choice_of(user).select_related("server")
    offered = tools.only("policy", "is_read_only", "server__name").order_by("server__created_at", "server")
    counts: dict[McpServer, int] = {}
    for tool in offered:
        if tool.policy_chosen != Tool.Policy.DENY:
            counts[tool.server] = counts.get(tool.server, 0) + 1
    return ToolChoice(
        [
            ServerChoice(server.pk, server.name, count, chosen is None or str(server.pk) in chosen)
            for server, count in counts.items()
        ]
    )


def prefilled(text: str) -> str:
    """What a link may put into the box: it is shown, never sent."""
    return text.replace("\0", "")[:2_000]


def parse_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
