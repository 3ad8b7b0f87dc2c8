"""What answers look like, for the schema. Rows become JSON without these: see `..._json` of each resource."""

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from chats import models
from chats.knowledge.models import DocumentVersion
from chats.tools import models as tools


class Price(serializers.Serializer[Any]):
    """USD per million tokens."""

    input_per_million = serializers.CharField()
    cached_input_per_million = serializers.CharField(allow_null=True)
    cache_write_per_million = serializers.CharField(allow_null=True)
    output_per_million = serializers.CharField()
    per_request = serializers.CharField()
    currency = serializers.CharField(help_text="Always USD.")


class Abilities(serializers.Serializer[Any]):
    vision = serializers.BooleanField()
    tools = serializers.BooleanField()
    reasoning = serializers.BooleanField()


class Model(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    provider = serializers.CharField()
    model_id = serializers.CharField(help_text="As the provider calls it.")
    description = serializers.CharField()
    context_window = serializers.IntegerField(allow_null=True, help_text="Tokens.")
    max_output_tokens = serializers.IntegerField(allow_null=True)
    abilities = Abilities()
    is_enabled = serializers.BooleanField()
    is_default = serializers.BooleanField(help_text="Answers when no model is named.")
    price = Price(allow_null=True, help_text="null: unknown, which never means free.")
    price_per_million_tokens = serializers.CharField(
        allow_null=True, help_text="USD, when input and output cost the same; else null."
    )


class Citation(serializers.Serializer[Any]):
    numbers = serializers.ListField(child=serializers.IntegerField(), help_text="Of `sources`, counted from 1.")
    is_supported = serializers.BooleanField(help_text="false: the passages do not seem to say what the sentence says.")
    missing = serializers.ListField(child=serializers.CharField(), help_text="Numbers and names that are not there.")


class Message(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    chat = serializers.UUIDField()
    parent = serializers.UUIDField(  # type: ignore[assignment]  # DRF has the word, but a declared field moves aside
        allow_null=True, help_text="The message before it; a chat is a tree."
    )
    reply = serializers.UUIDField(allow_null=True, help_text="The reply that wrote it.")
    role = serializers.ChoiceField(choices=models.Message.Role.values)
    content = serializers.CharField(allow_blank=True)
    reasoning = serializers.CharField(allow_blank=True)
    tool_calls = serializers.ListField(child=serializers.DictField())
    tool_results = serializers.ListField(child=serializers.DictField())
    sources = serializers.ListField(child=serializers.DictField())
    citations = Citation(many=True, help_text="The markers in `content` that refer to `sources`, in their order.")
    attachments = serializers.ListField(child=serializers.DictField())
    extra_data = serializers.DictField()
    model = serializers.UUIDField(allow_null=True, help_text="The one that wrote it.")
    notice = serializers.CharField(
        allow_blank=True, help_text="A sentence for people on how it came about, such as that another model answered."
    )
    is_imported = serializers.BooleanField(help_text="Written through the API; no model was asked.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    sibling_ids = serializers.ListField(
        child=serializers.UUIDField(),
        required=False,
        help_text="Only with `?branch=current`: the messages with the same parent, oldest first, this one included.",
    )


class ReplyError(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField()


class Tokens(serializers.Serializer[Any]):
    input_tokens = serializers.IntegerField(help_text="Cached ones included.")
    cached_input_tokens = serializers.IntegerField()
    cache_write_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField(help_text="Reasoning included.")
    reasoning_tokens = serializers.IntegerField()
    is_estimated = serializers.BooleanField(help_text="The provider sent no usage; tokens were counted here.")


class Call(serializers.Serializer[Any]):
    call = serializers.UUIDField(help_text="Its id, for approvals.")
    tool_call_id = serializers.CharField(help_text="As in `tool_calls` of its message.")
    step = serializers.IntegerField(help_text="Which round of calls, from 1.")
    message = serializers.UUIDField(allow_null=True, help_text="The step that asked for it.")
    result_message = serializers.UUIDField(allow_null=True)
    tool = serializers.UUIDField(allow_null=True)
    name = serializers.CharField(help_text="As the model called it.")
    title = serializers.CharField(allow_blank=True)
    server = serializers.CharField(allow_blank=True)
    arguments = serializers.JSONField(help_text="As the model wrote them.")
    is_read_only = serializers.BooleanField()
    status = serializers.ChoiceField(choices=models.ToolCall.Status.values)
    because = serializers.CharField(allow_blank=True, help_text="Why you are asked.")
    decision = serializers.CharField(allow_blank=True, help_text="What let it run, or that it was denied.")
    decided_at = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField(allow_blank=True)
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class CallOutput(Call):
    output = serializers.DictField(help_text="What it answered: parts (text, image, link), structured, is_cut.")


class Reply(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    chat = serializers.UUIDField()
    prompt = serializers.UUIDField(allow_null=True, help_text="The message it answers.")
    message = serializers.UUIDField(allow_null=True, help_text="The message being written.")
    continues = serializers.UUIDField(allow_null=True, help_text="The unfinished reply from whose text it goes on.")
    model = serializers.UUIDField(allow_null=True, help_text="The one that answers.")
    fallback_from = serializers.UUIDField(
        allow_null=True, help_text="The model that was asked first and did not answer, when another one does."
    )
    status = serializers.ChoiceField(choices=models.Reply.Status.values)
    steps = serializers.IntegerField(help_text="Rounds of tool calls so far.")
    calls = Call(many=True)
    error = ReplyError(allow_null=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    usage = Tokens(allow_null=True)
    cost = serializers.CharField(allow_null=True, help_text="USD, exact; null while unknown.")


class StartedReply(serializers.Serializer[Any]):
    message = Message(help_text="The person's message.")
    reply = Reply(allow_null=True)


class Answered(serializers.Serializer[Any]):
    chat = serializers.UUIDField()
    reply = Reply()
    message = Message(help_text="The model's message.")


class Retrieval(serializers.Serializer[Any]):
    limit = serializers.IntegerField(help_text="Most passages.")
    documents = serializers.ListField(child=serializers.UUIDField(), help_text="Only these; empty: all.")


class ToolUse(serializers.Serializer[Any]):
    servers = serializers.ListField(child=serializers.UUIDField(), help_text="Only tools of these; empty: none at all.")


class Chat(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    title = serializers.CharField(allow_blank=True)
    space = serializers.CharField()
    tags = serializers.ListField(child=serializers.CharField())
    notebooks = serializers.ListField(child=serializers.CharField())
    system_prompt = serializers.CharField(allow_blank=True)
    model = serializers.UUIDField(allow_null=True)
    extra_data = serializers.DictField()
    retrieval = Retrieval(allow_null=True, help_text="How its answers use documents; null: not at all.")
    tools = ToolUse(allow_null=True, help_text="Whose tools its answers may use; null: those of all your servers.")
    pinned = serializers.BooleanField()
    archived = serializers.BooleanField()
    current_leaf = serializers.UUIDField(allow_null=True, help_text="The last message of the branch in view.")
    forked_from = serializers.UUIDField(allow_null=True, help_text="The chat its first messages were copied from.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField(help_text="When it last got a message.")


def list_of(shape: type[serializers.Serializer[Any]]) -> type[serializers.Serializer[Any]]:
    """One page of a list of `shape`."""
    members = {
        "count": serializers.IntegerField(allow_null=True, help_text="Always null: large tables are not counted."),
        "next": serializers.URLField(allow_null=True),
        "previous": serializers.URLField(allow_null=True),
        "results": shape(many=True),
        "__doc__": "One page.",
    }
    # The action is called `list`, but its answer is one page and no array.
    return extend_schema_serializer(many=False)(type(f"{shape.__name__}List", (serializers.Serializer,), members))


class Progress(serializers.Serializer[Any]):
    done = serializers.IntegerField(help_text="Pages while it is read, then parts of its text.")
    total = serializers.IntegerField(help_text="0 until it is known.")


class Document(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    space = serializers.CharField(allow_blank=True, help_text="Searched in chats of this space; empty: in all.")
    chat = serializers.UUIDField(allow_null=True, help_text="Searched in this chat only.")
    status = serializers.ChoiceField(choices=DocumentVersion.Status.values, help_text="Of the newest version.")
    error = ReplyError(allow_null=True, help_text="Why it could not be read, and what to do.")
    progress = Progress()
    is_searchable = serializers.BooleanField(help_text="A version of it is found by searches.")
    version = serializers.IntegerField(help_text="The number of the newest.")
    kind = serializers.CharField(allow_blank=True, help_text="What its content is, such as `pdf`; empty until read.")
    size = serializers.IntegerField(help_text="Bytes.")
    pages = serializers.IntegerField(allow_null=True)
    characters = serializers.IntegerField(allow_null=True)
    chunks = serializers.IntegerField(help_text="The parts that searches find.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    indexed_at = serializers.DateTimeField(allow_null=True, help_text="When the newest version could be found.")


class DocumentText(serializers.Serializer[Any]):
    version = serializers.IntegerField()
    start = serializers.IntegerField()
    text = serializers.CharField(allow_blank=True)
    next = serializers.IntegerField(allow_null=True, help_text="`start` of the rest.")


class Passage(serializers.Serializer[Any]):
    document = serializers.UUIDField()
    version = serializers.IntegerField(help_text="Its number.")
    name = serializers.CharField()
    page = serializers.IntegerField(allow_null=True, help_text="From 1; null where a document has no pages.")
    heading = serializers.CharField(allow_blank=True, help_text="The headings above it.")
    start = serializers.IntegerField(help_text="Characters into the text of the version.")
    end = serializers.IntegerField()
    text = serializers.CharField()
    score = serializers.FloatField(help_text="From 0 to 1.")


class PassageList(serializers.Serializer[Any]):
    results = Passage(many=True)


ChatList, MessageList, ModelList, DocumentList = list_of(Chat), list_of(Message), list_of(Model), list_of(Document)


class ChatDetail(Chat):
    messages = MessageList(help_text="The first page; `next` leads on.")


class Me(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    email = serializers.EmailField()
    name = serializers.CharField(allow_blank=True)
    is_staff = serializers.BooleanField()
    preferences = serializers.DictField()
    created_at = serializers.DateTimeField()


class Key(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    hint = serializers.CharField(help_text="The first characters, to recognise it by.")
    created_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)


class NewKey(Key):
    secret = serializers.CharField(allow_blank=True, help_text="Shown here and never again.")


class Usage(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    chat = serializers.UUIDField(allow_null=True)
    message = serializers.UUIDField(allow_null=True)
    reply = serializers.UUIDField(allow_null=True)
    purpose = serializers.CharField()
    provider_name = serializers.CharField()
    model_name = serializers.CharField()
    input_tokens = serializers.IntegerField(help_text="Cached ones included.")
    cached_input_tokens = serializers.IntegerField()
    cache_write_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField(help_text="Reasoning included.")
    reasoning_tokens = serializers.IntegerField()
    cost = serializers.CharField(allow_null=True, help_text="USD, exact; null: the price was unknown.")
    is_estimated = serializers.BooleanField()
    created_at = serializers.DateTimeField()


KeyList, UsageList = list_of(Key), list_of(Usage)


class McpConfig(serializers.Serializer[Any]):
    url = serializers.CharField()
    headers = serializers.DictField(child=serializers.CharField(), help_text="Names; the values are never shown.")


class SignInStarted(serializers.Serializer[Any]):
    authorization_url = serializers.CharField(help_text="Where the person says yes or no. For them and nobody else.")


class SignInState(serializers.Serializer[Any]):
    is_needed = serializers.BooleanField(help_text="You have to sign in to it before you can use its tools.")
    is_signed_in = serializers.BooleanField()


class McpServer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    config = McpConfig(allow_null=True, help_text="null: the operator's.")
    enabled = serializers.BooleanField()
    is_shared = serializers.BooleanField(help_text="It is the operator's, and can't be changed here.")
    transport = serializers.ChoiceField(choices=tools.McpServer.Transport.values)
    status = serializers.ChoiceField(choices=tools.McpServer.Status.values)
    error = ReplyError(allow_null=True)
    sign_in = SignInState()
    notices = serializers.ListField(child=serializers.CharField(), help_text="What was left out, and why.")
    about = serializers.DictField(help_text="What it says of itself.")
    checked_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class ToolDifference(serializers.Serializer[Any]):
    what = serializers.CharField()
    before = serializers.CharField(allow_blank=True)
    now = serializers.CharField(allow_blank=True)


class Tool(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    server = serializers.UUIDField()
    server_name = serializers.CharField()
    name = serializers.CharField(help_text="As its server calls it.")
    called = serializers.CharField(help_text="As models call it.")
    title = serializers.CharField(allow_blank=True)
    description = serializers.CharField(allow_blank=True)
    input_schema = serializers.DictField()
    annotations = serializers.DictField(help_text="What its server says of it.")
    is_read_only = serializers.BooleanField(help_text="It changes nothing, as far as its server tells.")
    policy = serializers.ChoiceField(choices=tools.Tool.Policy.values)
    is_usable = serializers.BooleanField()
    is_suspended = serializers.BooleanField(help_text="It is another by now: see `differences`, then accept it.")
    mark = serializers.CharField(allow_blank=True, help_text="Of what it has become; for `accept`.")
    is_listed = serializers.BooleanField(help_text="Its server still offers it.")
    problem = serializers.CharField(allow_blank=True, help_text="Why it can't be offered.")
    differences = ToolDifference(many=True)


McpServerList, ToolList = list_of(McpServer), list_of(Tool)


class Health(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=["ok"])
    timestamp = serializers.DateTimeField()
    version = serializers.CharField()
    uptime = serializers.FloatField(help_text="Seconds since this process started.")
