"""The model servers of a worker: the one it takes requests for, and at times one that comes or one that goes."""

import threading
import weakref
from collections.abc import Iterator

from inference.broker import counters
from inference.worker.memory import free_memory_of
from inference.worker.model_server import ModelServer


class Servers:
    """At most one server is `open`, one is `coming` (loaded, not yet open) and one is `leaving` (its jobs finish).

    The thread that follows the rows changes them; the threads of tasks and of the heartbeat read them.
    """

    def __init__(self) -> None:
        self.open: ModelServer | None = None
        self.coming: ModelServer | None = None
        self.leaving: ModelServer | None = None
        self._counted: weakref.WeakKeyDictionary[ModelServer, int] = weakref.WeakKeyDictionary()
        self._counting = threading.Lock()

    def __iter__(self) -> Iterator[ModelServer]:
        """All that are in memory, the newest first."""
        return iter([server for server in (self.coming, self.open, self.leaving) if server is not None])

    @property
    def newest(self) -> ModelServer | None:
        """The coming server, else the open one. A caller that keeps it keeps its model in memory."""
        return self.coming or self.open

    @property
    def load_id(self) -> str:
        """The load of the newest server; empty where there is none."""
        return self.newest.model.load_id if self.newest else ""

    @property
    def load_id_of_coming(self) -> str:
        return self.coming.model.load_id if self.coming else ""

    def of(self, version: str) -> ModelServer | None:
        """The server of this version of a model, the open one where two are of the same; None where there is none."""
        candidates = (self.open, self.coming, self.leaving)
        return next((server for server in candidates if server and server.model.version == version), None)

    def has_other(self, server: ModelServer) -> bool:
        """True where another server than `server` takes the tasks of the same queue."""
        return any(other is not server and other.model.queue == server.model.queue for other in self)

    def take_over(self) -> None:
        """Make the coming server the open one; the one before is leaving then."""
        assert self.leaving is None
        if self.coming is not None:
            self.leaving, self.open, self.coming = self.open, self.coming, None

    def end_all(self) -> None:
        """Let the jobs of all servers finish, and free their memory."""
        self.end_leaving()
        self.leaving, self.open = self.open, None
        self.end_leaving()
        self.end_coming()

    def end_coming(self) -> None:
        """End the coming server, which is not to be opened."""
        assert self.leaving is None
        self.leaving, self.coming = self.coming, None
        self.end_leaving()

    def end_leaving(self) -> None:
        """Let the jobs of the leaving server finish, and free its memory."""
        server = self.leaving
        if server is None:
            return
        server.close()
        self.count_tokens()
        loaded = weakref.ref(server.loaded) if server.loaded is not None else None
        self.leaving = None
        del server
        if loaded:
            free_memory_of(loaded)

    def count_tokens(self) -> None:
        """Count the tokens that each server has generated since the last time."""
        with self._counting:
            for server in self:
                total = server.engine.statistics().generated_tokens
                new = total - self._counted.get(server, 0)
                if not new or counters.tokens_generated(new):
                    self._counted[server] = total
