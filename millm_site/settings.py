"""All settings of miLLM. Every environment variable is read here, except those that addresses.py reads.

Those are needed earlier: embedded.py starts missing servers before Django reads its settings.
"""

from datetime import timedelta
from pathlib import Path

import django_stubs_ext
from corsheaders.defaults import default_headers
from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django_guid.integrations import CeleryIntegration

from millm_site import addresses, environment, logs
from millm_site.environment import boolean, positive_float, positive_int
from millm_site.pages.unfold import UNFOLD as UNFOLD

django_stubs_ext.monkeypatch()  # makes `ModelAdmin[Profile]` work at run time

VERSION = "0.1.0"
BASE_DIR = Path(__file__).resolve().parent.parent


# --- addresses ---
MILLM_HOME = addresses.home()
DATABASE_URL = addresses.database_url()
REDIS_URL = environment.redis_url("REDIS_URL", addresses.redis_url())
MILLM_REDIS_MAX_BYTES = addresses.redis_max_bytes()
EMBEDDED = addresses.embedded_services()
HOST = environment.host("HOST", "127.0.0.1")
PORT = environment.port("PORT", 8000, least=1)
# The folder of uploaded files while they arrive; None: the system's temporary folder, if MILLM_HOME is read-only.
FILE_UPLOAD_TEMP_DIR = addresses.uploads()

# --- created by the first run ---
MILLM_ADMIN_PASSWORD = environment.text("MILLM_ADMIN_PASSWORD")
MILLM_API_KEY = environment.secret("MILLM_API_KEY", least=32)
MILLM_DEMO = environment.one_of("MILLM_DEMO", "auto", ("auto", "smollm2", "tiny"))

# --- Django ---
DEBUG = boolean("DEBUG", False)
SECRET_KEY = environment.text("SECRET_KEY") or addresses.secret_key()
ALLOWED_HOSTS = environment.hosts("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = environment.origins("CSRF_TRUSTED_ORIGINS")
CORS_ALLOWED_ORIGINS = environment.origins("CORS_ALLOWED_ORIGINS")
CORS_URLS_REGEX = r"^/(v1|api)/"
CORS_ALLOW_HEADERS = [*default_headers, "x-millm-strict", "x-request-id", "if-match"]
CORS_EXPOSE_HEADERS = ["X-Request-ID", "X-miLLM-Profile", "X-miLLM-Steering", "ETag", "Retry-After"]
HTTPS = boolean("HTTPS", False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz|metrics)$"]  # requested inside the network, without the proxy's TLS
FORWARDED_ALLOW_IPS = environment.addresses("FORWARDED_ALLOW_IPS")  # proxies whose X-Forwarded headers are trusted
SECURE_HSTS_SECONDS = positive_int("HSTS_SECONDS", 31_536_000) * HTTPS  # 0: none
# W005, W021: HSTS for subdomains and preloading are not decided here, since other hosts of the domain may lack HTTPS.
# W002: the middleware of axes would only replace the login page, whose form already shows the error.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021", "axes.W002"]
DATA_UPLOAD_MAX_MEMORY_SIZE = positive_int("MAX_BODY_BYTES", 4 * 2**20)
REQUEST_READ_S = positive_float("REQUEST_READ_S", 30.0)
APPEND_SLASH = False
ROOT_URLCONF = "millm_site.urls"
ASGI_APPLICATION = "millm_site.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
FORMAT_MODULE_PATH = "millm_site.formats"
LOCALE_PATHS = [BASE_DIR / "millm_site" / "locale"]  # our words for some of Django's and Unfold's
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
# With STATIC_ROOT, the files that `collectstatic` wrote there under hashed names; without it, the source files.
_collected = environment.text("STATIC_ROOT")
STATIC_ROOT = environment.folder("STATIC_ROOT", MILLM_HOME / "static")  # WhiteNoise warns if it is missing
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
# If PostgreSQL is unavailable, the pool gives up after 2 s: else it retries at ever longer intervals.
_pool = {"min_size": 1, "max_size": DATABASE_POOL_SIZE, "timeout": 10, "reconnect_timeout": 2}
# A silent PostgreSQL counts as unavailable within seconds; libpq's default is minutes. In s, the last in ms.
_patience = {"connect_timeout": 3, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
_patience["tcp_user_timeout"] = 10_000
_options = {**_patience, **_database.get("OPTIONS", {}), "pool": _pool}
DATABASE_STATEMENT_TIMEOUT_S = positive_int("DATABASE_STATEMENT_TIMEOUT_S", 30, most=86_400)  # of the web: see asgi.py
# Health checks: after a restart of PostgreSQL, each connection of the pool would fail one request.
DATABASES = {"default": {**_database, "OPTIONS": _options, "CONN_HEALTH_CHECKS": True}}

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
AXES_SENSITIVE_PARAMETERS = ["username"]  # not in the log, since people type passwords there
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"  # after a login without a `next` page
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# --- REST ---
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "millm_site.accounts.authentication.KeyAuthentication",  # must be the first: /v1 uses the first class
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
    "DESCRIPTION": "Profiles, the live steering, models and SAEs. OpenAI's API is under /v1.",
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.0",
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api",
    "SWAGGER_UI_DIST": "SIDECAR",  # served by this host
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {"SweepStatusEnum": "inference.sweeps.models.Sweep.Status"},
}
MIGRATION_MODULES = {"knox": None}  # its migrations create the table of its own model, which APIKey replaces
KNOX_TOKEN_MODEL = "millm_site.APIKey"
REST_KNOX = {"AUTH_HEADER_PREFIX": "Bearer", "TOKEN_TTL": None, "TOKEN_MODEL": KNOX_TOKEN_MODEL, "TOKEN_PREFIX": "sk-"}

# --- Celery: JSON messages only; a task belongs to one worker and is not delivered twice ---
CELERY_BROKER_URL = addresses.broker_url(REDIS_URL)
CELERY_BROKER_USE_SSL = addresses.broker_tls(REDIS_URL)
CELERY_TASK_DEFAULT_QUEUE = "millm.none"  # workers without a model consume this queue, which stays empty
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_DISABLE_PREFETCH = True  # a task that a worker cannot start yet waits in the broker for any worker
CELERY_WORKER_CONSUMER = "inference.worker.consumer:PatientConsumer"
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # A silent broker counts as unavailable within seconds.
    "socket_connect_timeout": 3,
    "socket_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 3,
    # A message that is not acknowledged in 10 s was received by a worker that died: it is delivered again.
    "visibility_timeout": 10,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "unacked_mutex_expire": 10,  # seconds until the lock of a worker killed during this search expires
}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_REDIRECT_STDOUTS = False

# --- steering ---
STEERING_MAX_STRENGTH = positive_float("STEERING_MAX_STRENGTH", 1000.0)
STEERING_MAX_FEATURES = positive_int("STEERING_MAX_FEATURES", 4096)
LABELS_MAX_BYTES = positive_int("LABELS_MAX_BYTES", 16 * 2**30)

# --- models and SAEs ---
MODEL_DIRS = environment.words("MILLM_MODEL_DIRS", [str(MILLM_HOME / "models")])
MILLM_VECTORS_DIR = environment.text("MILLM_VECTORS_DIR", str(MILLM_HOME / "vectors"))  # made with the first vector
HF_ENDPOINT = environment.optional_url("HF_ENDPOINT")
HF_TOKEN = environment.secret("HF_TOKEN")
HF_HUB_CACHE = environment.text("HF_HUB_CACHE")
HF_HUB_OFFLINE = boolean("HF_HUB_OFFLINE", False)

# --- inference ---
INFERENCE_MODEL = environment.text("INFERENCE_MODEL")
INFERENCE_ENGINE = environment.one_of("INFERENCE_ENGINE", "transformers", ("transformers", "vllm"))
INFERENCE_COMPILE = boolean("INFERENCE_COMPILE", True)
INFERENCE_TENSOR_PARALLEL = positive_int("INFERENCE_TENSOR_PARALLEL", 1)
INFERENCE_PIPELINE_PARALLEL = positive_int("INFERENCE_PIPELINE_PARALLEL", 1)
INFERENCE_BATCH_SIZE = positive_int("INFERENCE_BATCH_SIZE", 32)
INFERENCE_BATCH_TOKENS = positive_int("INFERENCE_BATCH_TOKENS", 512)
INFERENCE_CACHE_TOKENS = positive_int("INFERENCE_CACHE_TOKENS", 32_768)
INFERENCE_MAX_QUEUE = positive_int("INFERENCE_MAX_QUEUE", 256)
INFERENCE_KEY_SHARE = positive_float("INFERENCE_KEY_SHARE", 0.75)
INFERENCE_MAX_CHOICES = positive_int("INFERENCE_MAX_CHOICES", 16)
INFERENCE_MAX_EMBEDDINGS = positive_int("INFERENCE_MAX_EMBEDDINGS", 2048)
INFERENCE_MAX_EMBEDDING_REQUESTS = positive_int("INFERENCE_MAX_EMBEDDING_REQUESTS", 16)
INFERENCE_MAX_READING_TEXTS = positive_int("INFERENCE_MAX_READING_TEXTS", 1024)
INFERENCE_MAX_READING_TOKENS = positive_int("INFERENCE_MAX_READING_TOKENS", 32_768)
INFERENCE_MAX_READING_REQUESTS = positive_int("INFERENCE_MAX_READING_REQUESTS", 16)
MEASURE_MAX_BYTES = positive_int("MEASURE_MAX_BYTES", 2**30)
INFERENCE_MAX_LISTED_PROFILES = positive_int("INFERENCE_MAX_LISTED_PROFILES", 1000)
INFERENCE_RESPONSES_KEPT_DAYS = positive_int("INFERENCE_RESPONSES_KEPT_DAYS", 30, most=36_500)
INFERENCE_RESPONSES_MAX_BYTES = positive_int("INFERENCE_RESPONSES_MAX_BYTES", 2**28)
INFERENCE_KEEPALIVE_S = positive_float("INFERENCE_KEEPALIVE_S", 10.0)
INFERENCE_REQUEST_TIMEOUT_S = positive_float("INFERENCE_REQUEST_TIMEOUT_S", 600.0)
INFERENCE_MAX_NEW_TOKENS = positive_int("INFERENCE_MAX_NEW_TOKENS", 4096)
INFERENCE_STEP_TIMEOUT_S = positive_float("INFERENCE_STEP_TIMEOUT_S", 300.0)
INFERENCE_DRAIN_S = positive_float("INFERENCE_DRAIN_S", 30.0)
INFERENCE_JOBS = boolean("INFERENCE_JOBS", True)
INFERENCE_HEARTBEAT_S = positive_float("INFERENCE_HEARTBEAT_S", 1.0)

METRICS_TOKEN = environment.secret("METRICS_TOKEN")
METRICS_PORT = environment.port("METRICS_PORT", 0)

# --- logs: they contain no prompts, answers or keys ---
LOGGING = logs.configuration(
    level=environment.one_of("LOG_LEVEL", "INFO", logs.LEVELS),
    style=environment.one_of("LOG_FORMAT", "plain" if "DATABASE_URL" in EMBEDDED else "json", logs.STYLES),
)
DJANGO_GUID = {"INTEGRATIONS": [CeleryIntegration()]}  # passes the id of a request to the worker with its task
