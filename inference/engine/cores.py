"""The threads of a worker that compute with all cores: that of the batch, and those of long jobs.

torch's wheels compute with GNU OpenMP. A thread that computes in parallel gets helper threads, which live as long as it
does. Where a process has more of them than cores, busy or not, they no longer spin for the next operator but sleep, and
each operator waits for them to wake (https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html): a step of one
request of a small model takes 1.7 times as long then. So a thread that outlives its work computes alone, unless it is
the batch's.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

R = TypeVar("R")

_cores = 0  # until `compute_alone` is called, every thread has all cores, as torch has it
_lock = threading.Lock()
_own = threading.local()


def compute_alone() -> None:
    """Have each thread of this process compute alone, but for those of `use_all` and `with_all`.

    Called before anything is computed.
    """
    global _cores
    _cores = _cores or torch.get_num_threads()
    torch.set_num_threads(1)


def use_all() -> None:
    """Let the calling thread compute with all cores until it ends."""
    if not _cores or getattr(_own, "has_all", False):
        return
    _own.has_all = True
    with _lock:
        torch.get_num_threads()  # a thread takes the process's number once, when it is first asked: not later, then
        torch.set_num_threads(_cores)
        # This was also the number for threads to come; theirs is 1 again. A thread keeps its own.
        others = threading.Thread(target=torch.set_num_threads, args=[1])
        others.start()
        others.join()


def with_all(work: Callable[[], R]) -> R:
    """Return `work()`, called in a thread that computes with all cores and ends with it. Raises what `work` raises."""
    with ThreadPoolExecutor(1, thread_name_prefix=threading.current_thread().name, initializer=use_all) as thread:
        return thread.submit(work).result()
