"""All settings of miLLM. Every environment variable is read here and nowhere else, but for those of where things are.

They are read in embedded.py, which starts the servers that are missing before Django reads its settings.
"""

from datetime import timedelta
from pathlib import Path

import django_stubs_ext
from corsheaders.defaults import default_headers
from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.templatetags.static import static
from django_guid.integrations import CeleryIntegration

from millm_site import embedded, environment, logs
from millm_site.environment import boolean, positive_float, positive_int

django_stubs_ext.monkeypatch()  # so that `ModelAdmin[Profile]` can be written at run time too

VERSION = "0.1.0"
BASE_DIR = Path(__file__).resolve().parent.parent


# --- where things are ---
MILLM_HOME = embedded.home()
DATABASE_URL = embedded.database_url()
REDIS_URL = environment.redis_url("REDIS_URL", embedded.redis_url())
MILLM_REDIS_MAX_BYTES = embedded.redis_max_bytes()
EMBEDDED = embedded.services()
HOST = environment.host("HOST", "127.0.0.1")
PORT = environment.port("PORT", 8000, least=1)
# Files on their way in; None: in the system's folder for them, where MILLM_HOME is not to be written.
FILE_UPLOAD_TEMP_DIR = embedded.uploads()

# --- what the first run creates ---
MILLM_ADMIN_PASSWORD = environment.text("MILLM_ADMIN_PASSWORD")
MILLM_API_KEY = environment.secret("MILLM_API_KEY", least=32)

# --- Django ---
DEBUG = boolean("DEBUG", False)
SECRET_KEY = environment.text("SECRET_KEY") or embedded.secret_key()
ALLOWED_HOSTS = environment.hosts("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = environment.origins("CSRF_TRUSTED_ORIGINS")
CORS_ALLOWED_ORIGINS = environment.origins("CORS_ALLOWED_ORIGINS")
CORS_URLS_REGEX = r"^/(v1|api)/"
CORS_ALLOW_HEADERS = [*default_headers, "x-millm-strict", "x-request-id", "if-match"]
CORS_EXPOSE_HEADERS = ["X-Request-ID", "X-miLLM-Profile", "X-miLLM-Steering", "ETag", "Retry-After"]
HTTPS = boolean("HTTPS", False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz|metrics)$"]  # asked from inside, past the proxy that ends TLS
FORWARDED_ALLOW_IPS = environment.addresses("FORWARDED_ALLOW_IPS")  # proxies that tell scheme and client
SECURE_HSTS_SECONDS = positive_int("HSTS_SECONDS", 31_536_000) * HTTPS  # 0: none
# Whether the other hosts of the domain have HTTPS too is not ours to say.
# The middleware of axes would only replace the login page, on which our form says what is wrong.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021", "axes.W002"]
DATA_UPLOAD_MAX_MEMORY_SIZE = positive_int("MAX_BODY_BYTES", 4 * 2**20)
REQUEST_READ_S = positive_float("REQUEST_READ_S", 30.0)
APPEND_SLASH = False
ROOT_URLCONF = "millm_site.urls"
ASGI_APPLICATION = "millm_site.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
# With STATIC_ROOT, what `collectstatic` wrote there, under hashed names; without it, the files where they lie.
_collected = environment.text("STATIC_ROOT")
STATIC_ROOT = environment.folder("STATIC_ROOT", MILLM_HOME / "static")  # WhiteNoise warns where it is missing
WHITENOISE_USE_FINDERS = not _collected
_static_storage = "whitenoise.storage.CompressedManifestStaticFilesStorage" if _collected else ""
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": _static_storage or "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "corsheaders",
    "csp",
    "axes",
    "django_guid",
    "knox",
    "steering",
    "profiles",
    "inference",
    "millm_site",
    "simple_history",  # after ours, which has commands of the same names
]

MIDDLEWARE = [
    "millm_site.middleware.request_id.request_id",
    "corsheaders.middleware.CorsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "millm_site.middleware.static_files.StaticFilesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "millm_site.middleware.any_host.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "millm_site.middleware.body_limit.refuses_bodies",
    "millm_site.middleware.bad_request.refuses_nul",
    "millm_site.middleware.outages.OutageMiddleware",
    "simple_history.middleware.HistoryRequestMiddleware",
]

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
            ]
        },
    }
]

UNFOLD = {
    "SITE_TITLE": "miLLM",
    "SITE_HEADER": "miLLM",
    "SITE_SYMBOL": "tune",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("millm/favicon.svg")}],
    "SITE_URL": "/admin/",
    "SHOW_VIEW_ON_SITE": False,
    "STYLES": [lambda request: static("millm/admin.css")],
    "SCRIPTS": [lambda request: static("millm/admin.js")],
    "SIDEBAR": {"navigation": "millm_site.pages.navigation.sidebar"},
    "DASHBOARD_CALLBACK": "millm_site.pages.dashboard.dashboard",
    "LOGIN": {"form": "millm_site.accounts.login.LoginForm"},
}
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, UNSAFE_EVAL],  # Unfold is built on Alpine.js, which evaluates expressions in attributes
        "style-src": [SELF, UNSAFE_INLINE],  # Unfold writes its colours into the page
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

_database = environment.database("DATABASE_URL", DATABASE_URL)
DATABASE_POOL_SIZE = positive_int("DATABASE_POOL_SIZE", 16)
# Where PostgreSQL is away the pool gives up soon: else it would try at ever longer intervals, also when it is back.
_pool = {"min_size": 1, "max_size": DATABASE_POOL_SIZE, "timeout": 10, "reconnect_timeout": 2}
# A PostgreSQL that is silent is away, as one that refuses is: libpq would wait for minutes. In s, the last in ms.
_patience = {"connect_timeout": 3, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
_patience["tcp_user_timeout"] = 10_000
_options = {**_patience, **_database.get("OPTIONS", {}), "pool": _pool}
DATABASE_STATEMENT_TIMEOUT_S = positive_int("DATABASE_STATEMENT_TIMEOUT_S", 30, most=86_400)  # of the web: see asgi.py
# The pool's connections are tried when they are taken: after a restart of PostgreSQL each would fail a request.
_host = _database["HOST"] or _options.get("host", "")  # of a socket: `manage.py dbshell` does not look into the options
DATABASES = {"default": {**_database, "HOST": _host, "OPTIONS": _options, "CONN_HEALTH_CHECKS": True}}

# Too many failed logins with one name from one address, or from one address, are refused for a while.
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_HANDLER = "millm_site.accounts.failed_logins.Throttle"
AXES_CLIENT_IP_CALLABLE = "millm_site.accounts.failed_logins.address_of"
LOGIN_FAILURES_PER_ADDRESS = positive_int("LOGIN_FAILURES_PER_ADDRESS", 50)
AXES_FAILURE_LIMIT = positive_int("LOGIN_FAILURES", 5)
AXES_COOLOFF_TIME = timedelta(minutes=positive_int("LOGIN_LOCKOUT_MINUTES", 15, most=525_600))
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = AXES_VERBOSE = False
AXES_SENSITIVE_PARAMETERS = ["username"]  # not in the log, since people type passwords there; the address is
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"  # of who logs in without a page to go on to
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# --- REST ---
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "millm_site.accounts.authentication.KeyAuthentication",  # the first one: /v1 takes it too
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.DjangoModelPermissions"],
    "DEFAULT_PAGINATION_CLASS": "steering.api.pagination.Pages",
    "PAGE_SIZE": 50,
    "EXCEPTION_HANDLER": "steering.errors.exception_handler",
    "STRICT_JSON": True,
    "DEFAULT_PARSER_CLASSES": ["steering.strict_json.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "steering.api.schema.Schema",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "miLLM",
    "DESCRIPTION": "Steering profiles and the live steering. OpenAI's API is beside it, under /v1.",
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.0",
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api",
    "SWAGGER_UI_DIST": "SIDECAR",  # our own host serves it
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
}
MIGRATION_MODULES = {"knox": None}  # its migrations make the table of its own model, for which ours stands
KNOX_TOKEN_MODEL = "millm_site.APIKey"
REST_KNOX = {"AUTH_HEADER_PREFIX": "Bearer", "TOKEN_TTL": None, "TOKEN_MODEL": KNOX_TOKEN_MODEL, "TOKEN_PREFIX": "sk-"}

# --- Celery: the broker takes JSON only; a task belongs to its worker and is not handed out twice ---
CELERY_BROKER_URL = embedded.broker_url(REDIS_URL)
CELERY_BROKER_USE_SSL = embedded.broker_tls(REDIS_URL)
CELERY_TASK_DEFAULT_QUEUE = "millm.none"  # which a worker takes until it has a model, and which stays empty
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_DISABLE_PREFETCH = True  # what a worker cannot start waits in the broker, for any worker
CELERY_WORKER_CONSUMER = "inference.worker.consumer:PatientConsumer"
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # A broker that is silent is away, as one that refuses is.
    "socket_connect_timeout": 3,
    "socket_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 3,
    # A message that was taken and whose task has not begun soon after was taken by a worker that died just then.
    "visibility_timeout": 10,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "unacked_mutex_expire": 10,  # seconds: of a worker that was killed while it looked for such messages
}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_REDIRECT_STDOUTS = False

# --- steering ---
STEERING_MAX_STRENGTH = positive_float("STEERING_MAX_STRENGTH", 1000.0)
STEERING_MAX_FEATURES = positive_int("STEERING_MAX_FEATURES", 4096)
LABELS_MAX_BYTES = positive_int("LABELS_MAX_BYTES", 16 * 2**30)

# --- models and SAEs ---
MODEL_DIRS = environment.words("MILLM_MODEL_DIRS", [str(MILLM_HOME / "models")])
HF_ENDPOINT = environment.optional_url("HF_ENDPOINT")
HF_TOKEN = environment.secret("HF_TOKEN")
HF_HUB_CACHE = environment.text("HF_HUB_CACHE")
HF_HUB_OFFLINE = boolean("HF_HUB_OFFLINE", False)

# --- inference ---
INFERENCE_MODEL = environment.text("INFERENCE_MODEL")
INFERENCE_BATCH_SIZE = positive_int("INFERENCE_BATCH_SIZE", 32)
INFERENCE_BATCH_TOKENS = positive_int("INFERENCE_BATCH_TOKENS", 512)
INFERENCE_CACHE_TOKENS = positive_int("INFERENCE_CACHE_TOKENS", 32_768)
INFERENCE_MAX_QUEUE = positive_int("INFERENCE_MAX_QUEUE", 256)
INFERENCE_KEY_SHARE = positive_float("INFERENCE_KEY_SHARE", 0.75)
INFERENCE_MAX_CHOICES = positive_int("INFERENCE_MAX_CHOICES", 16)
INFERENCE_MAX_EMBEDDINGS = positive_int("INFERENCE_MAX_EMBEDDINGS", 2048)
INFERENCE_MAX_EMBEDDING_REQUESTS = positive_int("INFERENCE_MAX_EMBEDDING_REQUESTS", 16)
INFERENCE_MAX_LISTED_PROFILES = positive_int("INFERENCE_MAX_LISTED_PROFILES", 1000)
INFERENCE_KEEPALIVE_S = positive_float("INFERENCE_KEEPALIVE_S", 10.0)
INFERENCE_REQUEST_TIMEOUT_S = positive_float("INFERENCE_REQUEST_TIMEOUT_S", 600.0)
INFERENCE_MAX_NEW_TOKENS = positive_int("INFERENCE_MAX_NEW_TOKENS", 4096)
INFERENCE_STEP_TIMEOUT_S = positive_float("INFERENCE_STEP_TIMEOUT_S", 300.0)
INFERENCE_DRAIN_S = positive_float("INFERENCE_DRAIN_S", 30.0)
INFERENCE_JOBS = boolean("INFERENCE_JOBS", True)
INFERENCE_HEARTBEAT_S = positive_float("INFERENCE_HEARTBEAT_S", 1.0)

METRICS_TOKEN = environment.secret("METRICS_TOKEN")
METRICS_PORT = environment.port("METRICS_PORT", 0)

# --- logs: no prompts, no answers, no keys ---
LOGGING = logs.configuration(
    level=environment.one_of("LOG_LEVEL", "INFO", logs.LEVELS),
    style=environment.one_of("LOG_FORMAT", "plain" if "DATABASE_URL" in EMBEDDED else "json", logs.STYLES),
)
DJANGO_GUID = {"INTEGRATIONS": [CeleryIntegration()]}  # a request's id goes with its task to the worker
