"""Transfer of a repository's files into huggingface_hub's cache; a broken download continues where it ended.

huggingface_hub 2 deletes a partial file when its process ends, and reports progress every 10 MiB only. So this module
downloads the bytes to the paths where huggingface_hub looks for them (`blobs/<id of the content>`, and `.incomplete`
beside it, which `hf cache prune` knows). huggingface_hub keeps the rest of the cache.
"""

import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import filelock
import httpx2
from huggingface_hub import hf_hub_url
from huggingface_hub.utils import WeakFileLock, hf_raise_for_status  # type: ignore[attr-defined]

from steering.hub.errors import BrokenDownload, DownloadCancelled

T = TypeVar("T")
ATTEMPTS = 5  # consecutive requests without a single byte
RETRY_WAIT_S = 1.0
POLL_S = 0.2
READ_TIMEOUT_S = 10.0
CONTENT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository: its size in bytes, and the SHA-256 (or git's SHA-1) of its content."""

    path: str
    size: int
    content_id: str

    def __post_init__(self) -> None:
        if not CONTENT_ID.fullmatch(self.content_id):  # the id becomes a file name
            raise BrokenDownload(f"{self.path}: {self.content_id!r} is neither a SHA-1 nor a SHA-256")


class Partial:
    """A partial file on disk and the hash of its bytes. Opening an existing one reads it completely."""

    def __init__(self, path: Path, file: RemoteFile, check: Callable[[], None]) -> None:
        self.path, self.file = path, file
        self.out = path.open("a+b")
        self.restart(keep=path.stat().st_size <= file.size)
        self.out.seek(0)
        while chunk := self.out.read(2**20):
            check()
            self._count(chunk)

    def restart(self, *, keep: bool = False) -> None:
        """Reset size and hash, and delete the bytes unless `keep`."""
        if not keep:
            self.out.truncate(0)
        self.size = 0
        # git hashes a header before the content: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
        self._hash = hashlib.sha256() if len(self.file.content_id) == 64 else hashlib.sha1(usedforsecurity=False)
        if len(self.file.content_id) == 40:
            self._hash.update(b"blob %d\0" % self.file.size)

    def append(self, chunk: bytes) -> None:
        if self.size + len(chunk) > self.file.size:
            raise BrokenDownload(f"{self.file.path} brings more than the {self.file.size} bytes that the hub lists")
        self.out.write(chunk)
        self._count(chunk)

    def is_right(self) -> bool:
        return self._hash.hexdigest() == self.file.content_id

    def _count(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._hash.update(chunk)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.out.close()


class Transfer:
    """Transfers files of one commit, one after the other, into `storage`, the repository's folder in the cache.

    `done` counts their bytes on disk; other threads may read it. Setting `stop` ends `run` with DownloadCancelled.
    """

    def __init__(
        self,
        repo_id: str,
        commit: str,
        files: Iterable[RemoteFile],
        storage: Path,
        endpoint: str,
        headers: dict[str, str],
        stop: threading.Event,
    ) -> None:
        self.repo_id, self.commit, self.endpoint = repo_id, commit, endpoint
        self.files = tuple({file.content_id: file for file in files}.values())  # files of equal content share a blob
        self.blobs = storage / "blobs"
        self.locks = storage.parent / ".locks" / storage.name
        # Ranges of a compressed answer would not be ranges of the file.
        self.headers = {**headers, "Accept-Encoding": "identity"}
        self.stop = stop
        self._on_disk = {file.content_id: self._present(file) for file in self.files}

    @property
    def total(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def done(self) -> int:
        return sum(self._on_disk.values())

    def run(self) -> None:
        self.blobs.mkdir(parents=True, exist_ok=True)
        self.locks.mkdir(parents=True, exist_ok=True)
        # huggingface_hub's shared client is not used: it is closed when any of its requests cannot connect.
        with httpx2.Client(timeout=READ_TIMEOUT_S, follow_redirects=True) as self.client:
            for file in self.files:
                blob = self.blobs / file.content_id
                if not blob.exists():
                    with self._locked(file):
                        if not blob.exists():  # another process may have downloaded it
                            self._fetch(file, blob)
                self._on_disk[file.content_id] = file.size

    def _partial_path(self, file: RemoteFile) -> Path:
        return self.blobs / f"{file.content_id}.incomplete"

    def _present(self, file: RemoteFile) -> int:
        for path in (self.blobs / file.content_id, self._partial_path(file)):
            if path.exists():
                return min(path.stat().st_size, file.size)
        return 0

    @contextmanager
    def _locked(self, file: RemoteFile) -> Iterator[None]:
        """Hold the file's lock: one process writes a file, the others wait and can be cancelled meanwhile."""
        while True:
            self._check()
            try:
                with WeakFileLock(self.locks / f"{file.content_id}.transfer.lock", timeout=POLL_S):
                    yield
                    return
            except filelock.Timeout:
                self._on_disk[file.content_id] = self._present(file)

    def _fetch(self, file: RemoteFile, blob: Path) -> None:
        path = self._partial_path(file)
        with Partial(path, file, self._check) as partial:
            self._fill(partial)
        if not partial.is_right():
            path.unlink()
            raise BrokenDownload(f"{self.repo_id}: {file.path} came with other bytes than listed: download it again")
        os.replace(path, blob)

    def _fill(self, partial: Partial) -> None:
        failures = 0
        while partial.size < partial.file.size:
            before, reason = partial.size, "the connection was closed"
            try:
                reason = self._stream(partial) or reason
            except httpx2.TransportError as error:
                reason = f"{type(error).__name__}: {error}"
            failures = 0 if partial.size > before else failures + 1
            if partial.size < partial.file.size:
                self._wait_before_retry(partial, failures, reason)

    def _wait_before_retry(self, partial: Partial, failures: int, reason: str) -> None:
        if failures >= ATTEMPTS:
            raise BrokenDownload(
                f"{self.repo_id}: {partial.file.path} stopped at {partial.size:,} of {partial.file.size:,} bytes"
                f" ({reason}): download it again, the download continues there"
            )
        self.stop.wait(RETRY_WAIT_S)
        self._check()

    def _stream(self, partial: Partial) -> str | None:
        """Make one request for the missing bytes. Returns the reason of a failure that a retry may cure, else None."""
        start = partial.size
        url = hf_hub_url(self.repo_id, partial.file.path, revision=self.commit, endpoint=self.endpoint)
        headers = {**self.headers, "Range": f"bytes={start}-"} if start else self.headers
        # The client follows the redirect to the storage's host and does not send the token there.
        with self.client.stream("GET", url, headers=headers) as response:
            if response.status_code == 416:
                partial.restart()
                return "the hub has no such range"
            if response.status_code in (408, 429) or response.status_code >= 500:
                return f"the hub answered {response.status_code}"
            hf_raise_for_status(response)
            if start and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                partial.restart()
            for chunk in response.iter_bytes():
                self._check()
                partial.append(chunk)
                self._on_disk[partial.file.content_id] = partial.size
        return None

    def _check(self) -> None:
        if self.stop.is_set():
            raise DownloadCancelled(f"the download of {self.repo_id} was cancelled: download it again, it continues")


def in_background(work: Callable[[], T], poll: Callable[[], None], stop: threading.Event) -> T:
    """Run `work()` in a new thread and `poll()` in this thread meanwhile. An error of `poll` sets `stop` and is raised.

    So a silent network does not delay a cancellation, and callbacks use the database connection of their own thread.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # the waiting thread raises the error
            outcome.set_exception(error)

    threading.Thread(target=run, name="hub", daemon=True).start()
    try:
        while not wait([outcome], timeout=POLL_S).done:
            poll()
    except BaseException:
        stop.set()
        wait([outcome], timeout=2 * POLL_S)  # mostly the thread ends at its next chunk and closes its file
        raise
    return outcome.result()
