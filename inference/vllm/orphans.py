"""The end of vLLM's processes where the worker that started them was killed: vLLM's own do not notice."""

import os
import signal
import threading

import psutil

OWNER = "MILLM_VLLM_OWNER"
"""The environment variable with the id of the worker's process; vLLM's processes inherit it."""


def own() -> None:
    """Make this process the owner of vLLM's processes that it starts from now on."""
    os.environ[OWNER] = str(os.getpid())


def end_with_owner() -> None:
    """Watch the owner from now on; once it has ended, end this process and the one of vLLM that started it."""
    try:
        owner = psutil.Process(int(os.environ[OWNER]))
    except (KeyError, psutil.NoSuchProcess):
        return  # a rank on another machine, which vLLM ends with its connection
    parent = psutil.Process().parent()
    threading.Thread(target=_watch, args=(owner, parent), name="owner", daemon=True).start()


def _watch(owner: psutil.Process, parent: psutil.Process | None) -> None:
    try:
        owner.wait()
    finally:
        # vLLM's core would try to answer the owner first, for ever.
        if parent is not None and parent.pid != owner.pid and parent.is_running():
            parent.send_signal(signal.SIGKILL)
        os._exit(1)
