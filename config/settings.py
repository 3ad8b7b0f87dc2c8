"""All settings of Parley, read from the environment and `.env` (see `.env.example`).

Every limit is a setting with its unit in the name, so that an operator, or a test, can change it.
"""

import logging
import os
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

from csp.constants import NONE, SELF

from config import local_secrets, logs
from config.environment import NO_DATABASE, Environment

BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment()
env.read_env(env("ENV_FILE", default=str(BASE_DIR / ".env")))
UNREADABLE = env.unreadable  # what `config.checks` refuses
# Before numpy is loaded. Its threads wait for each other on busy cores: a vector took 167 ms with two, 15 ms with one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# ---------------------------------------------------------------- where and how it runs
ENVIRONMENT = env("ENVIRONMENT", default="local")  # local | production
IS_PRODUCTION = ENVIRONMENT == "production"
DEBUG = env.bool("DEBUG", default=False)
DATA_DIR = Path(env("DATA_DIR", default=str(BASE_DIR / "var"))).expanduser().resolve()
VERSION = "0.1.0"

# A production node gets its secrets from the environment; `config.checks` refuses weak ones.
_local = {} if IS_PRODUCTION else local_secrets.read_or_create(DATA_DIR / "secrets.json")
SECRET_KEY = env("SECRET_KEY", default=_local.get("SECRET_KEY", "insecure-not-set"))
# Encrypts provider keys at rest. Several, comma separated, while keys are rotated: the first one encrypts.
ENCRYPTION_KEYS = env.list("ENCRYPTION_KEYS", default=[k for k in [_local.get("ENCRYPTION_KEY")] if k])

FRONTEND_HOST = env("FRONTEND_HOST", default="").rstrip("/")  # https://chat.example.org, the address people type
BACKEND_CORS_ORIGINS = [o.rstrip("/") for o in env.list("BACKEND_CORS_ORIGINS", default=[])]
_frontend_origins = [o for o in [FRONTEND_HOST, *BACKEND_CORS_ORIGINS] if o]
_local_hosts = ["localhost", ".localhost", "127.0.0.1", "[::1]", socket.gethostname().lower()]
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[] if IS_PRODUCTION else _local_hosts)
if FRONTEND_HOST and (_name := urlsplit(FRONTEND_HOST).hostname) and _name not in ALLOWED_HOSTS:
    ALLOWED_HOSTS.append(_name)
TRUSTED_PROXY_COUNT = env.int("TRUSTED_PROXY_COUNT", default=0)  # reverse proxies whose X-Forwarded-For is believed

# ---------------------------------------------------------------- applications
INSTALLED_APPS = [
    "config.apps.WiringConfig",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "corsheaders",
    "csp",
    "django_htmx",
    "allauth",
    "allauth.account",
    "accounts",
    "chats",
    "chats.catalog",
    "chats.knowledge",
    "chats.tools",
    "chats.usage",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "csp.middleware.CSPMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
ROOT_URLCONF = "config.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
            "builtins": ["chats.pages.tags"],
        },
    },
]

# ---------------------------------------------------------------- database, cache
REDIS_URL = env("REDIS_URL", default="")
# A pool's smallest and greatest number of connections a process, and how long a request waits for one.
DATABASE_POOL_MIN_SIZE = env.int("DATABASE_POOL_MIN_SIZE", default=5)
DATABASE_POOL_MAX_SIZE = env.int("DATABASE_POOL_MAX_SIZE", default=20)
DATABASE_POOL_WAIT_SECONDS = env.float("DATABASE_POOL_WAIT_SECONDS", default=30)
DATABASE_POOL_ASK_SECONDS = 2.0
DATABASE_POOL_RECONNECT_SECONDS = 2.0
DATABASE_POOL_IDLE_SECONDS = 2.0
DATABASE_STATEMENT_TIMEOUT_SECONDS = env.int("DATABASE_STATEMENT_TIMEOUT_SECONDS", default=15)
# Off behind a pooler that gives each transaction another connection, and keeps no statements (PgBouncer before 1.21).
DATABASE_PREPARED_STATEMENTS = env.bool("DATABASE_PREPARED_STATEMENTS", default=True)
# A server that has not even refused by then is gone, or no longer knows of the connection.
DATABASE_SILENCE_SECONDS = env.float("DATABASE_SILENCE_SECONDS", default=DATABASE_STATEMENT_TIMEOUT_SECONDS + 5)
SQLITE_WAIT_SECONDS = env.float("SQLITE_WAIT_SECONDS", default=10)
# FULL survives a power cut, NORMAL only the death of the process; FULL costs one fsync a commit.
SQLITE_SYNCHRONOUS = env("SQLITE_SYNCHRONOUS", default="FULL")

_database = env.database("DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'parley.sqlite3'}")
IS_SQLITE = _database["ENGINE"].endswith("sqlite3")
if IS_SQLITE:
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": SQLITE_WAIT_SECONDS,
        "init_command": f"PRAGMA journal_mode=WAL; PRAGMA synchronous={SQLITE_SYNCHRONOUS}; PRAGMA foreign_keys=ON",
    }
    # Database work runs on a fixed set of threads (config.handler, replies.database): each keeps its connection.
    _database["CONN_MAX_AGE"] = None
    # A file, not memory: tests use the same journal, locks and threads as the product.
    _database["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
elif _database != NO_DATABASE:
    _options = _database.setdefault("OPTIONS", {})
    _options.setdefault("connect_timeout", 5)
    # The same for whoever only waits, and for the connections of the queue; the kernel asks.
    for _name, _value in (("idle", 10), ("interval", 3), ("count", 3)):
        _options.setdefault(f"keepalives_{_name}", _value)
    _options.setdefault("tcp_user_timeout", 20_000)  # milliseconds
    _options["pool"] = {
        "min_size": DATABASE_POOL_MIN_SIZE,
        "max_size": DATABASE_POOL_MAX_SIZE,
        "timeout": min(DATABASE_POOL_ASK_SECONDS, DATABASE_POOL_WAIT_SECONDS),
        # A failed attempt to connect is given up soon, not repeated after ever longer pauses: the next request begins
        # anew, so that all is well the moment the server is back.
        "reconnect_timeout": DATABASE_POOL_RECONNECT_SECONDS,
        # What a burst has opened is closed again.
        "max_idle": DATABASE_POOL_IDLE_SECONDS,
    }
    if DATABASE_PREPARED_STATEMENTS:
        # What a connection is asked a third time it need not read and plan again, which costs it more than to answer.
        _options.update(server_side_binding=True, prepare_threshold=2)
    _options["options"] = " ".join(
        o for o in [_options.get("options"), f"-c statement_timeout={DATABASE_STATEMENT_TIMEOUT_SECONDS}s"] if o
    )
    _database["ENGINE"] = "config.postgresql"  # which checks connections itself as they are taken
    _database["CONN_MAX_AGE"] = 0
DATABASES = {"default": _database}
if not IS_SQLITE:
    # Its migrations speak PostgreSQL only. Before our own apps, which take its tables out of the admin.
    INSTALLED_APPS.insert(INSTALLED_APPS.index("accounts"), "procrastinate.contrib.django")
    PROCRASTINATE_IMPORT_PATHS = ["chats.replies.jobs"]
# Several nodes may share one PostgreSQL and one Redis: they queue, follow and stop each other's replies.
IS_CLUSTER = bool(REDIS_URL) and not IS_SQLITE
# Off: this process serves pages and API, and leaves replies to others (`manage.py worker`).
RUNS_REPLIES = env.bool("RUNS_REPLIES", default=True)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {
    "default": {"BACKEND": "accounts.cache.RedisOrMemory", "LOCATION": REDIS_URL}
    if REDIS_URL
    else {"BACKEND": "accounts.cache.Memory", "OPTIONS": {"MAX_ENTRIES": 20_000}}
}
WEB_THREADS = env.int("WEB_THREADS", default=4)  # threads that answer ordinary requests
ENGINE_THREADS = env.int("ENGINE_THREADS", default=1 if IS_SQLITE else 2)  # that read and write rows for async code

# ---------------------------------------------------------------- people
AUTH_USER_MODEL = "accounts.User"
# The email is unique by a constraint on its lower case, which this check does not see.
SILENCED_SYSTEM_CHECKS = ["auth.W004"]
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 8}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "account_login"
SIGNUP_ENABLED = env.bool("SIGNUP_ENABLED", default=True)
FIRST_USER_IS_SUPERUSER = env.bool("FIRST_USER_IS_SUPERUSER", default=True)
PASSWORD_RESET_TIMEOUT = env.int("PASSWORD_RESET_SECONDS", default=3600)  # how long a mailed link works
# Failed logins: of one account from one peer, and of one peer, in this time; beyond the hourly number over all peers
# a failure makes everyone unknown to the account wait, longer each time up to the greatest delay.
LOGIN_FAILURES_SECONDS = env.int("LOGIN_FAILURES_SECONDS", default=900)
LOGIN_FAILURES_PER_ACCOUNT_AND_PEER = env.int("LOGIN_FAILURES_PER_ACCOUNT_AND_PEER", default=5)
LOGIN_FAILURES_PER_PEER = env.int("LOGIN_FAILURES_PER_PEER", default=50)
LOGIN_FAILURES_PER_HOUR_BEFORE_DELAY = env.int("LOGIN_FAILURES_PER_HOUR_BEFORE_DELAY", default=20)
LOGIN_DELAY_MAX_SECONDS = env.int("LOGIN_DELAY_MAX_SECONDS", default=60)
SIGNUPS_PER_HOUR_PER_PEER = env.int("SIGNUPS_PER_HOUR_PER_PEER", default=5)
RESET_MAILS_PER_HOUR_PER_ADDRESS = env.int("RESET_MAILS_PER_HOUR_PER_ADDRESS", default=2)
RESET_MAILS_PER_DAY_PER_ADDRESS = env.int("RESET_MAILS_PER_DAY_PER_ADDRESS", default=5)
RESET_MAILS_PER_DAY_PER_PEER = env.int("RESET_MAILS_PER_DAY_PER_PEER", default=5)
KEY_CHANGES_PER_HOUR = env.int("KEY_CHANGES_PER_HOUR", default=20)

# Mail goes where EMAIL_URL says (smtp+tls://user:password@host:587); without it, to the console of a local server.
IS_MAIL_CONFIGURED = bool(env("EMAIL_URL", default=""))
_mail = env.mail("EMAIL_URL", default="dummymail://" if IS_PRODUCTION else "consolemail://")
EMAIL_BACKEND, EMAIL_FILE_PATH = _mail["EMAIL_BACKEND"], _mail["EMAIL_FILE_PATH"]
EMAIL_HOST, EMAIL_PORT = _mail["EMAIL_HOST"] or "localhost", _mail["EMAIL_PORT"] or 25
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail["EMAIL_HOST_USER"] or "", _mail["EMAIL_HOST_PASSWORD"] or ""
EMAIL_USE_TLS, EMAIL_USE_SSL = _mail.get("EMAIL_USE_TLS", False), _mail.get("EMAIL_USE_SSL", False)
EMAIL_TIMEOUT = env.int("EMAIL_TIMEOUT_SECONDS", default=10)
DEFAULT_FROM_EMAIL = env("DEFAULT_FROM_EMAIL", default="Parley <parley@localhost>")
# Whether an address must be confirmed by a mailed link before it opens the door: mandatory | optional | none
EMAIL_VERIFICATION = env("EMAIL_VERIFICATION", default="mandatory" if IS_MAIL_CONFIGURED else "none")

ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = EMAIL_VERIFICATION
ACCOUNT_EMAIL_SUBJECT_PREFIX = "Parley: "
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = False  # whoever opens the mail still has to know the password
ACCOUNT_LOGIN_ON_PASSWORD_RESET = True
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_FORMS = {
    "login": "accounts.forms.LoginForm",
    "signup": "accounts.forms.SignupForm",
    "change_password": "accounts.forms.ChangePasswordForm",
    "reset_password": "accounts.forms.ResetPasswordForm",
    "reset_password_from_key": "accounts.forms.ResetPasswordKeyForm",
}
# These doors have limits of their own (accounts.entrance); the rest keep the defaults of django-allauth.
ACCOUNT_RATE_LIMITS = {"login": None, "login_failed": None, "signup": None, "reset_password": None}

# Bearer tokens of an OIDC issuer, e.g. https://cognito-idp.eu-west-1.amazonaws.com/<pool>; empty: none are accepted.
OIDC_ISSUER = env("OIDC_ISSUER", default="")
OIDC_CLIENT_IDS = env.list("OIDC_CLIENT_ID", default=[])  # whose tokens are accepted: `client_id` or `azp`
OIDC_AUDIENCE = env.list("OIDC_AUDIENCE", default=[])  # `aud`, for issuers that set it in access tokens
OIDC_TOKEN_USE = env("OIDC_TOKEN_USE", default="access")  # `token_use`, as Cognito says it; empty: not looked at
OIDC_JWKS_URL = env("OIDC_JWKS_URL", default="")  # empty: found from the issuer
OIDC_ALGORITHMS = env.list("OIDC_ALGORITHMS", default=["RS256"])
OIDC_CREATE_USERS = env.bool("OIDC_CREATE_USERS", default=True)  # an unknown subject becomes a new person
OIDC_LEEWAY_SECONDS = env.int("OIDC_LEEWAY_SECONDS", default=30)
OIDC_KEYS_CACHE_SECONDS = env.int("OIDC_KEYS_CACHE_SECONDS", default=3600)
OIDC_KEYS_REFRESH_SECONDS = env.int("OIDC_KEYS_REFRESH_SECONDS", default=60)  # at most one fetch in this time
OIDC_KEYS_TIMEOUT_SECONDS = env.float("OIDC_KEYS_TIMEOUT_SECONDS", default=5)
OIDC_KEYS_MAX_BYTES = env.int("OIDC_KEYS_MAX_BYTES", default=262_144)

# ---------------------------------------------------------------- browser safety
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = env.bool("SESSION_COOKIE_SECURE", default=IS_PRODUCTION)
CSRF_COOKIE_SECURE = env.bool("CSRF_COOKIE_SECURE", default=IS_PRODUCTION)
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_TRUSTED_ORIGINS = _frontend_origins
CSRF_FAILURE_VIEW = "chats.pages.errors.csrf_failure"
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=IS_PRODUCTION)
SECURE_REDIRECT_EXEMPT = [r"^api/v1/health(/|$)"]  # load balancers ask without TLS
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31_536_000 if IS_PRODUCTION else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=IS_PRODUCTION)
SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", default=IS_PRODUCTION)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXY_COUNT else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CORS_ALLOWED_ORIGINS = _frontend_origins
CORS_URLS_REGEX = r"^/(api/v1|v1)/.*$"
CORS_ALLOW_CREDENTIALS = False  # other origins identify themselves with a key, never with this site's cookie
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:", "blob:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

# ---------------------------------------------------------------- files
STATIC_URL = "/static/"
STATIC_ROOT = Path(env("STATIC_ROOT", default=str(BASE_DIR / "build" / "static")))
# What people upload. Several nodes need the same: a directory they share.
MEDIA_ROOT = Path(env("MEDIA_ROOT", default=str(DATA_DIR / "media")))
MEDIA_URL = "/media/"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    # While developing, files are served as they are: nothing to collect after a change.
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "chats.pages.static_files.StaticFiles"
    },
}

# ---------------------------------------------------------------- language and time
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

# ---------------------------------------------------------------- limits of what comes in and goes out
DATA_UPLOAD_MAX_MEMORY_SIZE = env.int("REQUEST_MAX_BYTES", default=1_000_000)
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1_000
# The addresses that take files, and so bodies of UPLOAD_MAX_BYTES and what a form puts around them.
UPLOAD_PATHS = re.compile(
    r"/(?:api/v1/)?documents/(?:[0-9a-f-]{36}/(?:versions/)?)?|/chats/(?:new|[0-9a-f-]{36})/documents/"
)
MESSAGE_MAX_BYTES = env.int("MESSAGE_MAX_BYTES", default=100_000)
SOCKET_MESSAGE_MAX_BYTES = env.int("SOCKET_MESSAGE_MAX_BYTES", default=262_144)
EVENT_MAX_BYTES = env.int("EVENT_MAX_BYTES", default=65_536)  # of one event to viewers; longer ones are cut, or refer
SOCKETS_PER_USER = env.int("SOCKETS_PER_USER", default=60)  # with event streams and calls that wait for an answer
SOCKET_RECHECK_SECONDS = env.float("SOCKET_RECHECK_SECONDS", default=3)  # all of these end with their credential
SOCKET_MESSAGES_PER_SECOND = env.int("SOCKET_MESSAGES_PER_SECOND", default=20)
SOCKET_MESSAGES_BURST = env.int("SOCKET_MESSAGES_BURST", default=60)
API_REQUESTS_PER_MINUTE_PER_USER = env.int("API_REQUESTS_PER_MINUTE_PER_USER", default=600)
API_REQUESTS_PER_MINUTE_PER_PEER = env.int("API_REQUESTS_PER_MINUTE_PER_PEER", default=100)
SENDS_PER_MINUTE_PER_USER = env.int("SENDS_PER_MINUTE_PER_USER", default=120)
RUNNING_REPLIES_PER_USER = env.int("RUNNING_REPLIES_PER_USER", default=60)
CLIENT_ID_MEMORY_SECONDS = env.int("CLIENT_ID_MEMORY_SECONDS", default=172_800)  # the same id has no second effect
API_KEYS_PER_USER = env.int("API_KEYS_PER_USER", default=20)
CHAT_UNDO_SECONDS = env.int("CHAT_UNDO_SECONDS", default=3600)  # how long a deleted chat can be brought back
PAGE_SIZE_DEFAULT = 30
PAGE_SIZE_MAX = 100

# ---------------------------------------------------------------- replies and providers
# Where providers may be: host or host:port, comma separated. Empty: wherever staff say.
PROVIDER_ALLOWED_HOSTS = env.list("PROVIDER_ALLOWED_HOSTS", default=[])
PROVIDER_TEST_SECONDS = env.float("PROVIDER_TEST_SECONDS", default=15)  # for «test connection» and «import models»
# Of a chat, the last messages that have so many are sent to the model; fewer where its context window is smaller.
PROMPT_MAX_CHARACTERS = env.int("PROMPT_MAX_CHARACTERS", default=4_000_000)
REPLY_MAX_BYTES = env.int("REPLY_MAX_BYTES", default=1_000_000)
REPLY_MAX_ATTEMPTS = env.int("REPLY_MAX_ATTEMPTS", default=2)
REPLY_TOTAL_SECONDS = env.float("REPLY_TOTAL_SECONDS", default=1200)
REPLY_HEARTBEAT_SECONDS = env.float("REPLY_HEARTBEAT_SECONDS", default=5)
REPLY_STALE_SECONDS = env.float("REPLY_STALE_SECONDS", default=20)
REPLY_SNAPSHOT_SECONDS = env.float("REPLY_SNAPSHOT_SECONDS", default=0.8)
REPLY_WINDOW_SECONDS = env.float("REPLY_WINDOW_SECONDS", default=0.05)  # later deltas are gathered this long
REPLY_REPLAY_SECONDS = env.float("REPLY_REPLAY_SECONDS", default=10)  # how long a finished log stays in memory
SHUTDOWN_GRACE_SECONDS = env.float("SHUTDOWN_GRACE_SECONDS", default=25)
PROVIDER_CONNECT_SECONDS = env.float("PROVIDER_CONNECT_SECONDS", default=10)
PROVIDER_FIRST_TOKEN_SECONDS = env.float("PROVIDER_FIRST_TOKEN_SECONDS", default=180)
PROVIDER_SILENCE_SECONDS = env.float("PROVIDER_SILENCE_SECONDS", default=300)  # no content for so long: given up
PROVIDER_RETRIES = env.int("PROVIDER_RETRIES", default=2)  # before the first token only
PROVIDER_RETRY_AFTER_MAX_SECONDS = env.float("PROVIDER_RETRY_AFTER_MAX_SECONDS", default=30)

# ---------------------------------------------------------------- documents
UPLOAD_MAX_BYTES = env.int("UPLOAD_MAX_BYTES", default=20_000_000)  # of one file
UPLOADS_PER_HOUR = env.int("UPLOADS_PER_HOUR", default=60)  # of one person
DOCUMENTS_PER_USER = env.int("DOCUMENTS_PER_USER", default=5_000)
DOCUMENT_BYTES_PER_USER = env.int("DOCUMENT_BYTES_PER_USER", default=1_000_000_000)
DOCUMENT_MAX_PAGES = env.int("DOCUMENT_MAX_PAGES", default=2_000)
DOCUMENT_MAX_CHARACTERS = env.int("DOCUMENT_MAX_CHARACTERS", default=10_000_000)
# What the process that reads a document may take: CPU and wall clock, memory, what a packed file may unpack to.
DOCUMENT_CPU_SECONDS = env.int("DOCUMENT_CPU_SECONDS", default=60)
DOCUMENT_TOTAL_SECONDS = env.float("DOCUMENT_TOTAL_SECONDS", default=90)
DOCUMENT_MEMORY_BYTES = env.int("DOCUMENT_MEMORY_BYTES", default=536_870_912)
DOCUMENT_EXPANDED_MAX_BYTES = env.int("DOCUMENT_EXPANDED_MAX_BYTES", default=200_000_000)
FILE_SWEEP_SECONDS = env.float("FILE_SWEEP_SECONDS", default=21_600)  # between two looks for files of no document
DOCUMENT_MAX_ATTEMPTS = env.int("DOCUMENT_MAX_ATTEMPTS", default=3)  # of servers that died while they read it
# Embeddings by a provider: of a document, at once from one process, and of a question, else looked for by words alone.
EMBEDDING_SECONDS = env.float("EMBEDDING_SECONDS", default=60)
EMBEDDING_CALLS = env.int("EMBEDDING_CALLS", default=4)
EMBEDDING_PAUSE_SECONDS = env.float("EMBEDDING_PAUSE_SECONDS", default=5)  # after a failure; then twice as long
EMBEDDING_QUERY_SECONDS = env.float("EMBEDDING_QUERY_SECONDS", default=5)
SEARCHES_PER_MINUTE = env.int("SEARCHES_PER_MINUTE", default=30)  # of one person, in documents
PASSAGES_DEFAULT = env.int("PASSAGES_DEFAULT", default=8)  # of documents, given to a model with a question
PASSAGES_MAX = env.int("PASSAGES_MAX", default=10)
SEARCH_RESULTS_MAX = 50

# ---------------------------------------------------------------- tools
# Hosts of the operator's networks that servers of tools which people enter may be at: host or host:port.
OUTBOUND_ALLOWED_HOSTS = [name.strip().strip("[]").lower() for name in env.list("OUTBOUND_ALLOWED_HOSTS", default=[])]
MCP_SERVERS_PER_USER = env.int("MCP_SERVERS_PER_USER", default=20)
MCP_CHANGES_PER_HOUR = env.int("MCP_CHANGES_PER_HOUR", default=60)  # of one person: added, changed, tried
MCP_CONNECT_SECONDS = env.float("MCP_CONNECT_SECONDS", default=10)  # how long a turn waits for a server's first word
MCP_TEST_SECONDS = env.float("MCP_TEST_SECONDS", default=30)  # for a look at a server when somebody asks for it
TOOLS_PER_SERVER = env.int("TOOLS_PER_SERVER", default=128)
TOOLS_OFFERED_MAX = env.int("TOOLS_OFFERED_MAX", default=128)  # to a model at once; more than this no provider takes
TOOL_DESCRIPTION_MAX_BYTES = env.int("TOOL_DESCRIPTION_MAX_BYTES", default=4_096)
TOOL_SCHEMA_MAX_BYTES = env.int("TOOL_SCHEMA_MAX_BYTES", default=32_768)
TOOL_ARGUMENTS_MAX_BYTES = env.int("TOOL_ARGUMENTS_MAX_BYTES", default=100_000)
TOOL_ANSWER_MAX_BYTES = env.int("TOOL_ANSWER_MAX_BYTES", default=4_000_000)  # of one answer as it comes; more: given up
TOOL_ANSWER_MAX_LINES = env.int("TOOL_ANSWER_MAX_LINES", default=10_000)  # of one stream of notifications
TOOL_RESULT_MAX_BYTES = env.int("TOOL_RESULT_MAX_BYTES", default=1_048_576)  # kept, and shown to people
TOOL_RESULT_MODEL_MAX_BYTES = env.int("TOOL_RESULT_MODEL_MAX_BYTES", default=100_000)  # given to the model
TOOL_CALL_SECONDS = env.float("TOOL_CALL_SECONDS", default=60)  # where the server has no limit of its own
TOOL_CALL_MAX_SECONDS = env.float("TOOL_CALL_MAX_SECONDS", default=600)  # the most that a server may be given
TOOL_CALLS_AT_ONCE = env.int("TOOL_CALLS_AT_ONCE", default=8)  # of one reply
TOOL_CALLS_PER_STEP = env.int("TOOL_CALLS_PER_STEP", default=32)  # what a model asks for beyond is refused
REPLY_TOOL_STEPS_MAX = env.int("REPLY_TOOL_STEPS_MAX", default=10)  # rounds of calls in one answer
REPLY_TOOL_COST_MAX_USD = env("REPLY_TOOL_COST_MAX_USD", default="5")  # an answer that cost more begins no other round

# ---------------------------------------------------------------- Parley as a server of tools (/mcp)
MCP_SEARCH_CHATS = env.int("MCP_SEARCH_CHATS", default=50)  # the newest of a person, searched by what was said in them
MCP_SEARCH_MESSAGES = env.int("MCP_SEARCH_MESSAGES", default=100)  # the newest of each
MCP_RESULT_MAX_CHARACTERS = env.int("MCP_RESULT_MAX_CHARACTERS", default=100_000)  # of the messages of a chat

# ---------------------------------------------------------------- API
API_DOCS_ENABLED = env.bool("API_DOCS_ENABLED", default=not IS_PRODUCTION)
REST_FRAMEWORK = {
    # The first one says how to come in, so a stranger gets 401 and not 403.
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.api_authentication.BearerAuthentication",
        "accounts.api_authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["chats.api.wire.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["chats.api.wire.JSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "chats.api.wire.AlwaysJSON",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "chats.api.errors.handle_exception",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "TEST_REQUEST_RENDERER_CLASSES": ["chats.api.wire.JSONRenderer", "rest_framework.renderers.MultiPartRenderer"],
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Parley",
    "VERSION": VERSION,
    "DESCRIPTION": Path(BASE_DIR / "chats/api/description.md").read_text(),
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "TAGS": [
        {"name": "chats", "description": "Conversations."},
        {"name": "messages", "description": "What is said in them: send, edit, have answered again, fork."},
        {"name": "replies", "description": "Answers of models: ask in one call, follow, stop, retry, continue."},
        {"name": "documents", "description": "What answers may rest on: upload, search, read."},
        {"name": "tools", "description": "What models may call: servers of tools (MCP), and what each tool may do."},
        {"name": "models", "description": "Whom one may ask."},
        {"name": "account", "description": "Who is asking: profile, API keys, what was used."},
        {"name": "health", "description": "For load balancers."},
    ],
    "PREPROCESSING_HOOKS": ["chats.api.schema.without_twins"],
    "POSTPROCESSING_HOOKS": [
        "chats.api.schema.add_failures",
        "chats.api.schema.add_summaries",
        "chats.api.schema.group_operations",
    ],
}

# ---------------------------------------------------------------- logs
LOG_LEVEL = env("LOG_LEVEL", default="INFO").upper()  # DEBUG | INFO | WARNING | ERROR | CRITICAL
LOG_FORMAT = env("LOG_FORMAT", default="json" if IS_PRODUCTION else "console")  # console | json
LOG_FILE = env("LOG_FILE", default="")  # also there, as JSON; a new file every 10 MB, three old ones kept
LOGGING = logs.logging_config(level=LOG_LEVEL, log_format=LOG_FORMAT, file=Path(LOG_FILE) if LOG_FILE else None)
logs.configure_structlog()
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = logging.DEBUG  # one line a request, when it is over
DJANGO_STRUCTLOG_STATUS_4XX_LOG_LEVEL = logging.INFO  # the client's mistake, not ours
DJANGO_STRUCTLOG_REQUEST_CANCELLED_LOG_LEVEL = logging.INFO  # a viewer of a stream who leaves is no fault
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False  # it would believe any X-Forwarded-For
