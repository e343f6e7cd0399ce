"""The end of vLLM's processes where the worker that started them was killed: vLLM's own do not notice."""

import os
import signal
import socket
import threading

import psutil

OWNER = "MILLM_VLLM_OWNER"
"""The environment variable that names the worker's process; vLLM's processes inherit it."""


def own() -> None:
    """Make this process the owner of vLLM's processes that it starts from now on."""
    os.environ[OWNER] = _name(psutil.Process())


def end_with_owner() -> None:
    """Watch the owner from now on; once it has ended, end this process and the one of vLLM that started it.

    The ranks on other machines, whose processes inherit nothing, are vLLM's to end.
    """
    name = os.environ.get(OWNER, "")
    if name.startswith(f"{socket.gethostname()}:"):
        parent = psutil.Process().parent()
        threading.Thread(target=_watch, args=(name, parent), name="owner", daemon=True).start()


def _name(process: psutil.Process) -> str:
    """A name that no later process with the same id has."""
    return f"{socket.gethostname()}:{process.pid}:{process.create_time()}"


def _watch(name: str, parent: psutil.Process | None) -> None:
    pid = int(name.split(":")[1])
    try:
        owner = psutil.Process(pid)
        if _name(owner) == name:  # otherwise it ended while this process started
            owner.wait()
    except psutil.NoSuchProcess:
        pass
    # vLLM's core would try to answer the owner first, for ever.
    if parent is not None and parent.pid not in {pid, 1} and parent.is_running():
        parent.send_signal(signal.SIGKILL)
    os._exit(1)
