"""Addresses of this installation: MILLM_HOME, PostgreSQL and Redis, and the secret key. Settings read them.

Without DATABASE_URL or REDIS_URL these are the addresses of the embedded servers, which `embedded.provide` starts.
"""

import hashlib
import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from django.core.exceptions import ImproperlyConfigured

from millm_site import environment

CHECKOUT = Path(__file__).resolve().parent.parent
SOCKET_PATH_MAX = 100  # bytes; the kernel's limit is 107
SERVERS = {"DATABASE_URL": "PostgreSQL", "REDIS_URL": "Redis"}
MARK = "MILLM_EMBEDDED"  # tells child processes which of the inherited addresses are of embedded servers


def home() -> Path:
    """MILLM_HOME, else `.millm` in the checkout; created if it is missing."""
    return environment.folder("MILLM_HOME", CHECKOUT / ".millm", 0o700)


def uploads() -> Path | None:
    """The folder of uploaded files while they arrive, since /tmp may be in memory; None if it cannot be written."""
    folder = home() / "uploads"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK | os.X_OK) else None


def database_url() -> str:
    """DATABASE_URL, else the last address of the embedded PostgreSQL."""
    recorded = home() / "database_url"
    default = (
        recorded.read_text() if recorded.exists() else f"postgresql://postgres@/postgres?host={home() / 'postgres'}"
    )
    return environment.text("DATABASE_URL") or default


def redis_url() -> str:
    """REDIS_URL, else the socket of the embedded Redis."""
    return environment.text("REDIS_URL") or f"unix://{redis_socket()}"


def redis_max_bytes() -> int:
    """The memory limit of the embedded Redis, in bytes."""
    return environment.positive_int("MILLM_REDIS_MAX_BYTES", 2**28)


def broker_tls(url: str) -> dict[str, Any] | None:
    """Celery's TLS options for a `rediss://` URL, else None. The certificate is verified, as the web does."""
    parts = urlsplit(url)
    if parts.scheme != "rediss":
        return None
    given = {name: value for name, value in parse_qsl(parts.query) if name.startswith("ssl_")}
    return given | {"ssl_cert_reqs": "required", "ssl_check_hostname": True}


def broker_url(url: str) -> str:
    """The URL as Celery writes it, which differs for a socket. The TLS options are in `broker_tls`."""
    if url.startswith("rediss://"):
        parts = urlsplit(url)
        kept = [(name, value) for name, value in parse_qsl(parts.query) if not name.startswith("ssl_")]
        return parts._replace(query=urlencode(kept)).geturl()
    if not url.startswith("unix://"):
        return url
    path, _, query = url.removeprefix("unix://").partition("?")
    database = dict(part.split("=", 1) for part in query.split("&") if "=" in part).get("db", "0")
    return f"redis+socket://{path}?virtual_host={database}"


def embedded_services() -> list[str]:
    """The variables (of SERVERS) whose server is embedded."""
    inherited = os.environ.get(MARK, "").split()
    return [name for name in SERVERS if name in inherited or not environment.text(name)]


def secret_key() -> str:
    """Django's secret key, created once in MILLM_HOME and readable only by its owner.

    Raises ImproperlyConfigured if the database is not embedded, since several machines then need the same key.
    """
    if "DATABASE_URL" not in embedded_services():
        raise ImproperlyConfigured(
            "SECRET_KEY is not set: expected a long random text, the same for web and workers, such as the output of "
            "`python -c 'import secrets; print(secrets.token_urlsafe(50))'`"
        )
    path = home() / "secret_key"
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(50))
    except FileExistsError:
        pass  # created before
    return path.read_text()


def redis_socket() -> Path:
    """The socket of the embedded Redis: in MILLM_HOME, or in a temporary folder if that path is too long."""
    socket = home() / "redis" / "redis.sock"
    if len(os.fsencode(socket)) <= SOCKET_PATH_MAX:
        return socket
    digest = hashlib.sha256(os.fsencode(home())).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"millm-{digest}"
    check_ours(folder)
    return folder / "redis.sock"


def check_ours(folder: Path, mode: int = 0o700) -> None:
    """Raise ImproperlyConfigured if a folder in the system's temporary folder was created by another user."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & ~mode:
        got = f"{folder} is {stat.filemode(found.st_mode)} of user {found.st_uid}"
        remedy = "remove it, or set MILLM_HOME to a folder with a shorter path"
        raise ImproperlyConfigured(f"{got}: expected a folder of user {os.geteuid()} with mode {mode:o}: {remedy}")
