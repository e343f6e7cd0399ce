"""A small hub on this machine: what huggingface_hub asks of the real one, and the ways in which that goes wrong.

    with hub_server(folder) as hub:  # folder/<owner>/<name>/<files>
        hub.url, hub.log, hub.commit("owner/name")

Large files (LARGE) are answered as the real hub does: a redirect to another host (`localhost`), where the bytes
are, with their SHA-256 in X-Linked-ETag; the others directly, with git's SHA-1 as ETag.
"""

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from huggingface_hub import close_session
from pytest_django import Settings

from steering.hub import client

LARGE = {".safetensors", ".npz", ".bin", ".pt"}
TOKEN = "hf_right"
API = re.compile(r"^/api/models/(?P<repo>[^/]+/[^/]+)(?:/(?P<what>revision|tree)/(?P<revision>[^/]+))?$")
FILE = re.compile(r"^/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)$")
BYTES = re.compile(r"^/bytes/(?P<repo>[^/]+/[^/]+)/(?P<path>.+)$")


@dataclass(frozen=True)
class Asked:
    """One request: its range as it was sent ("" for none), and the token it carried."""

    method: str
    path: str
    range: str
    token: str
    host: str


@dataclass
class Hub:
    folder: Path
    url: str = ""
    log: list[Asked] = field(default_factory=list)
    gated: set[str] = field(default_factory=set)
    also_listed: list[str] = field(default_factory=list)  # paths that are listed, and are nowhere
    break_after: int | None = None  # bytes of a file, after which every connection breaks
    bytes_per_s: int | None = None
    holds_after: int | None = None  # bytes of a large file, after which no more are sent until this is None again
    silent: str = ""  # requests whose path starts so get no answer
    nonsense: bool = False  # the API answers as a web page of a hotel does
    ignores_ranges: bool = False
    spoils: bool = False  # the right number of wrong bytes
    tags: set[str] = field(default_factory=lambda: {"main", "v1", "refs/pr/1"})
    stopping: threading.Event = field(default_factory=threading.Event)

    def commit(self, repo: str) -> str:
        digest = hashlib.sha1(repo.encode())
        for path in self.paths(repo):
            digest.update(path.encode() + (self.folder / repo / path).read_bytes())
        return digest.hexdigest()

    def paths(self, repo: str) -> list[str]:
        root = self.folder / repo
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())

    def fetched(self, path: str) -> list[str]:
        """The ranges of the requests for a file's bytes, in order."""
        return [asked.range for asked in self.log if asked.method == "GET" and asked.path.endswith(f"/{path}")]


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        path = path if "%2F" in path else unquote(path)  # a revision with a slash is one part: unquoted by _route
        headers = self.headers
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        self.hub.log.append(Asked(self.command, path, headers.get("Range", ""), token, headers["Host"].split(":")[0]))
        if self.hub.silent and path.startswith(self.hub.silent):
            self.hub.stopping.wait()
            self.close_connection = True
            return
        with suppress(ConnectionError):  # the client went away: that is what some tests are about
            self._route(path, token)

    def _route(self, path: str, token: str) -> None:
        for pattern, answer in ((BYTES, self._bytes), (FILE, self._file), (API, self._api)):
            if match := pattern.match(path):
                parts = {name: unquote(value or "") for name, value in match.groupdict().items()}
                return answer(token=token, **parts)
        return self._error(404, "EntryNotFound")

    def _api(self, repo: str, what: str, revision: str, token: str) -> None:
        if not self._exists(repo, revision):
            return None
        if what == "tree":
            return self._json([self._entry(repo, path) for path in self.hub.paths(repo)])
        siblings = [self._sibling(self._entry(repo, path)) for path in self.hub.paths(repo)]
        siblings += [{"rfilename": path, "size": 1, "blobId": "0" * 40} for path in self.hub.also_listed]
        commit = self.hub.commit(repo)
        return self._json({"id": repo, "sha": commit, "gated": repo in self.hub.gated, "siblings": siblings})

    def _exists(self, repo: str, revision: str) -> bool:
        if not (self.hub.folder / repo).is_dir():
            self._error(401, "RepoNotFound")  # as the hub does, which does not tell what is private
        elif revision and revision not in self.hub.tags | {self.hub.commit(repo)}:
            self._error(404, "RevisionNotFound")
        else:
            return True
        return False

    def _entry(self, repo: str, path: str) -> dict[str, Any]:
        data = (self.hub.folder / repo / path).read_bytes()
        entry = {"type": "file", "path": path, "size": len(data), "oid": git_id(data)}
        if Path(path).suffix in LARGE:
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return entry

    @staticmethod
    def _sibling(entry: dict[str, Any]) -> dict[str, Any]:
        sibling = {"rfilename": entry["path"], "size": entry["size"], "blobId": entry["oid"]}
        if lfs := entry.get("lfs"):
            sibling["lfs"] = {"sha256": lfs["oid"], "size": lfs["size"], "pointerSize": lfs["pointerSize"]}
        return sibling

    def _file(self, repo: str, revision: str, path: str, token: str) -> None:
        if repo in self.hub.gated and token != TOKEN:
            return self._error(403 if token else 401, "GatedRepo")
        if not self._exists(repo, revision):
            return None
        if path not in self.hub.paths(repo):
            return self._error(404, "EntryNotFound")
        entry = self._entry(repo, path)
        headers = {"X-Repo-Commit": self.hub.commit(repo)}
        if "lfs" not in entry:
            return self._send_file(repo, path, {**headers, "ETag": f'"{entry["oid"]}"'})
        address = f"http://localhost:{self.hub.url.rsplit(':', 1)[1]}/bytes/{repo}/{quote(path)}"
        headers |= {"X-Linked-Size": str(entry["size"]), "X-Linked-ETag": f'"{entry["lfs"]["oid"]}"'}
        return self._answer(302, b"", {**headers, "Location": address})

    def _bytes(self, repo: str, path: str, token: str) -> None:
        self._send_file(repo, path, {}, holds=True)

    def _send_file(self, repo: str, path: str, headers: dict[str, str], holds: bool = False) -> None:
        data = (self.hub.folder / repo / path).read_bytes()
        data = bytes(len(data)) if self.hub.spoils else data
        match = None if self.hub.ignores_ranges else re.match(r"bytes=(\d+)-$", self.headers.get("Range", ""))
        start = int(match[1]) if match else 0
        if start and start >= len(data):
            return self._error(416, "")
        if match:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self._answer(206 if match else 200, data[start:], headers, held=self._held(start) if holds else None)

    def _json(self, answer: Any) -> None:
        body = b"<html>Welcome</html>" if self.hub.nonsense else json.dumps(answer).encode()
        self._answer(200, body, {"Content-Type": "application/json"}, plain=True)

    def _error(self, status: int, code: str) -> None:
        self._answer(status, b"", {"X-Error-Code": code, "X-Error-Message": code}, plain=True)

    def _held(self, start: int) -> int | None:
        """The bytes after `start` that are sent before the hub holds on."""
        return None if self.hub.holds_after is None else max(0, self.hub.holds_after - start)

    def _answer(
        self, status: int, body: bytes, headers: dict[str, str], plain: bool = False, held: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if held is not None:
            self.wfile.write(body[:held])
            body = body[held:]
            while self.hub.holds_after is not None:
                if self.hub.stopping.wait(0.02):
                    return
        limit = None if plain else self.hub.break_after
        self._write(body[:limit], None if plain else self.hub.bytes_per_s)
        if limit is not None and len(body) > limit:
            self.close_connection = True

    def _write(self, body: bytes, bytes_per_s: int | None) -> None:
        if bytes_per_s is None:
            self.wfile.write(body)
            return
        step = max(1, bytes_per_s // 20)
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            if self.hub.stopping.wait(0.05):
                return


def git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def hub_server(folder: Path) -> Iterator[Hub]:
    """Serve `folder` on a free port until the block ends."""
    hub = Hub(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    server.daemon_threads = True  # a client keeps its connections: their threads end with the process
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


REPO = "owner/model"
WEIGHTS = os.urandom(3_000_000)
CONFIG = b'{"model_type": "gpt2"}'


@contextmanager
def small_model(folder: Path, settings: Settings) -> Iterator[Hub]:
    """A hub with the small model REPO, and the settings for it; the cache is `folder/cache`."""
    repository = folder / "hub" / REPO
    repository.mkdir(parents=True)
    files = {"model.safetensors": WEIGHTS, "config.json": CONFIG, "tokenizer.json": b"{}", "README.md": b"# Hello"}
    for name, data in files.items():
        (repository / name).write_bytes(data)
    with hub_server(folder / "hub") as server:
        settings.HF_ENDPOINT, settings.HF_HUB_CACHE, settings.HF_TOKEN = server.url, folder / "cache", ""
        yield server
    close_session()  # huggingface_hub's connections to this server


class Watcher:
    """Keeps what `progress` was told; cancels once `cancel_at` bytes are there."""

    def __init__(self, cancel_at: int | None = None) -> None:
        self.seen: list[tuple[int, int]] = []
        self.cancel_at, self.cancelled_at_s = cancel_at, 0.0

    def progress(self, done: int, total: int) -> None:
        self.seen.append((done, total))

    def cancelled(self) -> bool:
        if self.cancel_at is None or not self.seen or self.seen[-1][0] < self.cancel_at:
            return False
        self.cancelled_at_s = self.cancelled_at_s or time.monotonic()
        return True


def download(
    watcher: Watcher | None = None, revision: str = "main", patterns: tuple[str, ...] = client.MODEL_FILES
) -> Path:
    watcher = watcher or Watcher()
    return client.download(REPO, revision, patterns, progress=watcher.progress, cancelled=watcher.cancelled)
