"""Every setting, from the environment; a wrong value stops the start with a sentence."""

import os
import sys
from pathlib import Path
from secrets import token_urlsafe
from tempfile import mkdtemp

import environ
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from webapp.private import keep_database, keep_folder

env = environ.FileAwareEnv()


def kept_private(folder: Path) -> Path:
    try:
        keep_folder(folder)
    except (ValueError, OSError) as error:
        raise ImproperlyConfigured(str(error)) from None
    return folder


ROOT = Path(__file__).resolve().parent.parent
HOME = kept_private(
    Path(env.str("TUNEBENCH_HOME", default=str(ROOT / "var"))).resolve()
)  # what people bring is for nobody else on this machine
VERSION = "0.1.0"


def kept_secret(name: str) -> str:
    """The secret of this instance: from the environment, else made once and kept with mode 0600."""
    if given := env.str(name, default=""):
        return str(given)
    path = HOME / "secret_key"
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(token_urlsafe(64))
    except FileExistsError:
        pass
    return path.read_text().strip()


def redis_socket() -> Path:
    """Where our own Redis listens: below the home, or, where that path does not fit into a socket's address, in a private
    folder that is made once and recorded."""
    path, record = HOME / "redis.sock", HOME / "redis.folder"
    if len(os.fsencode(path)) <= 100:
        return path
    folder = Path(record.read_text()) if record.exists() else None
    if not (folder and folder.is_dir() and folder.stat().st_uid == os.getuid() and folder.stat().st_mode & 0o077 == 0):
        folder = Path(mkdtemp(prefix="tunebench-"))
        record.touch(mode=0o600)
        record.write_text(str(folder))
    return folder / "redis.sock"


# --- What it is and who may reach it --------------------------------------------------------------------------------
DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = kept_secret("SECRET_KEY")
if not DEBUG and len(SECRET_KEY) < 50:
    raise ImproperlyConfigured("SECRET_KEY is shorter than 50 characters: leave it unset and Tunebench makes one.")
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
HOST = env.str("HOST", default="127.0.0.1")
PORT = env.int("PORT", default=8000)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
HTTPS = env.bool("HTTPS", default=False)
FORWARDED_ALLOW_IPS = env.list("FORWARDED_ALLOW_IPS", default=[])  # proxies whose X-Forwarded-* headers are believed; else nobody's
if HTTPS and not FORWARDED_ALLOW_IPS:
    raise ImproperlyConfigured(
        "HTTPS=1 means that a proxy speaks HTTPS for us: name its address with FORWARDED_ALLOW_IPS "
        "(127.0.0.1 if it runs on this machine, 172.16.0.0/12 with Docker Compose)."
    )

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "csp",
    "django_htmx",
    "lucide",
    "ninja",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "webapp.people",
    "webapp.work",
    "webapp.datasets",
    "webapp.catalog",
    "webapp.runs",
    "webapp.playground",
    "webapp.home",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",  # below the headers, so that files carry them too
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "webapp.api.door.ProblemMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "webapp.people.middleware.ActorMiddleware",
]
ROOT_URLCONF = "webapp.urls"
ASGI_APPLICATION = "webapp.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ROOT / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# --- Where things are kept ------------------------------------------------------------------------------------------
DATABASES = {"default": env.db("DATABASE_URL", default=f"sqlite:///{HOME / 'tunebench.sqlite3'}")}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    keep_database(Path(DATABASES["default"]["NAME"]))
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
    }
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 60
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
FILES = kept_private(Path(env.str("TUNEBENCH_FILES", default=str(HOME / "files"))))  # blobs, versions, runs, models
REDIS_URL = env.str("REDIS_URL", default=f"unix://{redis_socket()}")
STARTERS = ROOT / "starters"  # small models of our own that come with the product
WHEELS = Path(sys.prefix) / "wheels"  # packages that set-up fetched for their data
MODEL_DIRS = [Path(p).resolve() for p in env.list("TUNEBENCH_MODEL_DIRS", default=[])]
HUB_TOKEN = env.str("HUB_TOKEN", default="")  # sent to the hub with every editor's fetch; HF_TOKEN never is
HUB_OFFLINE = env.bool("HF_HUB_OFFLINE", default=False)
CACHES = {"default": {"BACKEND": "webapp.cache.Cache", "LOCATION": REDIS_URL}}

# --- Limits, each shown to people before it is hit --------------------------------------------------------------------
UPLOAD_LIMIT = env.int("UPLOAD_LIMIT", default=2 * 1024**3)  # bytes in one dataset file
TEAM_QUOTA = env.int("TEAM_QUOTA", default=100 * 1024**3)  # bytes of dataset files and fetched models that one team may hold
PURGE_DAYS = env.float("PURGE_DAYS", default=30.0)  # so long what was deleted can be restored
PREDICTION_DAYS = env.float("PREDICTION_DAYS", default=180.0)  # so long questions and answers are kept; 0: for ever
UPLOAD_CHUNK = 8 * 1024**2  # bytes in one tus PATCH
FORM_LIMIT = 64 * 1024**2  # bytes in one multipart API upload
BODY_LIMIT = 1024**2  # bytes in any other request body
MODEL_LIMIT = env.int("MODEL_LIMIT", default=10 * 1024**3)  # bytes of a model fetched from the hub
TRAIN_MEMORY = env.int("TRAIN_MEMORY", default=0)  # bytes that one trainer may take; 0: three quarters of the machine's
SERVE_MEMORY = env.int("SERVE_MEMORY", default=2 * 1024**3)  # bytes of weights that one serve worker keeps warm
SERVE_DEVICE = env.str("SERVE_DEVICE", default="cpu")  # cpu | cuda | auto
SERVE_ENGINE = env.str("SERVE_ENGINE", default="auto")  # auto | torch | fp32 | int8: what computes answers on a processor
SERVE_PATIENCE = env.float("SERVE_PATIENCE", default=2.0)  # seconds; who holds up other models for longer is left alone by them
ASK_LIMIT = env.int("ASK_LIMIT", default=200)  # questions that may wait for the serve workers, then 429
DATA_UPLOAD_MAX_MEMORY_SIZE = FORM_LIMIT

# --- Work: leases and clocks (seconds), docs/operations.md explains them ------------------------------------------------
LEASE_TTL = env.float("LEASE_TTL", default=120.0)
LEASE_RENEW = env.float("LEASE_RENEW", default=15.0)
LEASE_GRACE = env.float("LEASE_GRACE", default=15.0)
AGENT_POLL = env.float("AGENT_POLL", default=10.0)
RETRY_BASE = env.float("RETRY_BASE", default=10.0)

# --- People ---------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "people.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "webapp.people.adapter.ClosedAccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_ON_GET = False
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
REGISTRATION_OPEN = env.bool("REGISTRATION_OPEN", default=False)

# --- What the browser may do ------------------------------------------------------------------------------------------
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, NONCE],
        "style-src": [SELF],
        "style-src-attr": ["'unsafe-inline'"],  # uPlot and width of bars set style attributes; no style elements
        "img-src": [SELF, "data:", "blob:"],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^healthz/"]  # asked from inside the machine, without the proxy
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# --- Pages --------------------------------------------------------------------------------------------------------------
STATIC_URL = "static/"
STATICFILES_DIRS = [ROOT / "static"]
STATIC_ROOT = ROOT / "var" / "static"  # made of the code, not of anybody's data: all homes share it
WHITENOISE_SKIP_COMPRESS_EXTENSIONS = ("png", "jpg", "webp", "zip", "gz", "br", "woff", "woff2", "map")  # nobody waits for a map
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English")]  # those with a catalogue of ours: a page half in another language is worse than none
LOCALE_PATHS = [ROOT / "webapp" / "locale"]
USE_I18N = USE_TZ = True
TIME_ZONE = "UTC"

# --- What is written down: JSON lines without secrets ---------------------------------------------------------------------
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "webapp.home.logs.JsonLines"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
    "loggers": {name: {"handlers": [], "propagate": True} for name in ("django", "django.server", "uvicorn")}
    | {
        "uvicorn.error": {"level": "WARNING"},  # below that: who opened which socket
        "uvicorn.access": {"handlers": [], "propagate": False},  # has no reader: nobody's addresses are written down
        "httpx": {"level": "WARNING"},  # below that: each address that a library fetches, signature and all
    },
}
