"""Files of a Hugging Face hub, in huggingface_hub's standard cache. No code of a repository is ever downloaded.

Reads the settings HF_ENDPOINT, HF_TOKEN, HF_HUB_CACHE, HF_HUB_OFFLINE. Empty: huggingface_hub's own default.
The protocol: https://huggingface.co/docs/hub/api. The cache: https://huggingface.co/docs/huggingface_hub/guides/manage-cache.
"""

import json
import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path, PurePosixPath
from typing import Any

from django.conf import settings
from huggingface_hub import HfApi, constants, get_cached_repo_tree, snapshot_download
from huggingface_hub.errors import CachedRepoTreeNotFoundError, LocalEntryNotFoundError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, tqdm  # type: ignore[attr-defined]

from steering import json_files
from steering.hub.errors import (
    BrokenDownload,
    DiskFull,
    DownloadCancelled,
    HubUnreachable,
    NoSuchFile,
    UnreadableFile,
    explained,
    offline_message,
)
from steering.hub.names import CONFIG_FILES, MODEL_FILES, check_names, check_path, looks_like_hub_id, matching
from steering.hub.transfer import READ_TIMEOUT_S, RemoteFile, Transfer, in_background

__all__ = [
    "CONFIG_FILES",
    "MODEL_FILES",
    "download",
    "file_sizes",
    "is_cached",
    "looks_like_hub_id",
    "read_json",
]
MAX_JSON_BYTES = json_files.MAX_BYTES
WEIGHTS = frozenset({".safetensors", ".npz", ".pt", ".gguf"})


@dataclass(frozen=True)
class Listing:
    """The files of a repository at one commit."""

    repo_id: str
    commit: str
    files: tuple[RemoteFile, ...]


def endpoint() -> str:
    """The hub's address, without a slash at the end."""
    return str(getattr(settings, "HF_ENDPOINT", "") or constants.ENDPOINT).rstrip("/")


def cache_folder() -> Path:
    return Path(getattr(settings, "HF_HUB_CACHE", "") or constants.HF_HUB_CACHE).expanduser().resolve()


def is_offline() -> bool:
    return bool(getattr(settings, "HF_HUB_OFFLINE", False)) or constants.is_offline_mode()


def file_sizes(repo_id: str, revision: str) -> dict[str, int]:
    """{path: size in bytes} of every file of the repository; offline, as listed at the last download."""
    if is_offline():
        return {file.path: file.size for file in _cached_tree(repo_id, revision)}
    return {file.path: file.size for file in _list(repo_id, revision).files}


def read_json(repo_id: str, filename: str, revision: str) -> dict[str, Any]:
    """A JSON object of a repository, of at most MAX_JSON_BYTES. It is read through the cache, so offline too."""
    try:
        size = file_sizes(repo_id, revision).get(filename, 0)
    except HubUnreachable:
        size = 0  # the file may be in the cache; if not, download() raises the reason
    if size > MAX_JSON_BYTES:
        raise UnreadableFile(f"{repo_id}: {filename} has {size:,} bytes: expected at most {MAX_JSON_BYTES:,}")
    folder = download(repo_id, revision, [filename], progress=lambda done, total: None, cancelled=lambda: False)
    try:
        return json_files.read_json(folder / filename, MAX_JSON_BYTES)
    except json_files.UnreadableJSON as error:
        raise UnreadableFile(f"{repo_id}: {error}") from error


def is_cached(repo_id: str, revision: str, patterns: Iterable[str]) -> Path | None:
    """The snapshot folder if the cache has all files of the patterns, else None. It uses no network.

    A snapshot that another program left without a listing of the repository may be incomplete: it counts only offline.
    """
    check_names(repo_id, revision)
    return _cached(repo_id, revision, tuple(patterns), unlisted=is_offline())


def _cached(repo_id: str, revision: str, patterns: Sequence[str], *, unlisted: bool) -> Path | None:
    cache = cache_folder()
    try:
        # No pattern: this call only finds the folder, since huggingface_hub's patterns differ from ours.
        found = snapshot_download(repo_id, revision=revision, allow_patterns=[], local_files_only=True, cache_dir=cache)
        paths = [file.path for file in get_cached_repo_tree(repo_id, revision=revision, cache_dir=cache)]
    except LocalEntryNotFoundError:
        return None
    except CachedRepoTreeNotFoundError:
        paths = _files_in(Path(found)) if unlisted and _has_weights(Path(found), patterns) else []
    wanted = matching(paths, patterns)
    return Path(found) if wanted and all(Path(found, path).is_file() for path in wanted) else None


def _has_weights(folder: Path, patterns: Sequence[str]) -> bool:
    """True if the folder has weights or the patterns ask for none. A configuration alone is mostly from a preview."""
    wanted = any(PurePosixPath(pattern).suffix in WEIGHTS for pattern in patterns)
    return not wanted or any(PurePosixPath(path).suffix in WEIGHTS for path in matching(_files_in(folder), patterns))


def _files_in(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


class _Caller:
    """The callbacks of one `download`; their contract is in its docstring. `stop` ends the transfer's thread."""

    def __init__(self, repo_id: str, progress: Callable[[int, int], None], cancelled: Callable[[], bool]) -> None:
        self._repo_id, self._progress, self._cancelled = repo_id, progress, cancelled
        self._reported = -1
        self.stop = threading.Event()

    def check(self) -> None:
        """Raises DownloadCancelled."""
        if self._cancelled():
            raise DownloadCancelled(f"the download of {self._repo_id} was cancelled: download it again, it continues")

    def report(self, done: int, total: int) -> None:
        if done > self._reported:
            self._reported = done
            self._progress(done, total)


def download(
    repo_id: str,
    revision: str,
    patterns: Sequence[str],
    *,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
) -> Path:
    """Download the matching files into the cache and return their snapshot folder.

    `progress(done, total)`, in bytes, is called in this thread: once before the first byte, then at most 5 times
    a second, at last with done == total; done never falls. `cancelled()` is asked as often, and true raises
    DownloadCancelled. A download that broke or was cancelled continues where it ended. If the hub cannot be
    reached, a cache that has all the files is enough. `revision` is a branch, a tag or a commit.
    """
    caller = _Caller(repo_id, progress, cancelled)
    caller.check()
    try:
        listing = in_background(lambda: _list(repo_id, revision), caller.check, caller.stop)
    except HubUnreachable:
        folder = _cached(repo_id, revision, patterns, unlisted=True)
        if folder is None:
            raise
        total = sum((folder / path).stat().st_size for path in matching(_files_in(folder), patterns))
        caller.report(total, total)
        return folder
    return _transfer(listing, patterns, revision, caller)


def _transfer(listing: Listing, patterns: Sequence[str], revision: str, caller: _Caller) -> Path:
    repo_id, files = listing.repo_id, _choose(listing, patterns)
    transfer = Transfer(repo_id, listing.commit, files, _storage(repo_id), endpoint(), _headers(), caller.stop)
    _check_disk_space(repo_id, transfer.total - transfer.done)

    def poll() -> None:
        caller.check()
        caller.report(transfer.done, transfer.total)

    caller.report(transfer.done, transfer.total)
    folder = in_background(lambda: _snapshot(transfer, files, revision), poll, caller.stop)
    caller.report(transfer.total, transfer.total)
    return folder


def _snapshot(transfer: Transfer, files: Sequence[RemoteFile], revision: str) -> Path:
    """Transfer the bytes, then let huggingface_hub make the snapshot: it finds the bytes and downloads nothing."""
    with explained(transfer.repo_id, revision, transfer.endpoint):
        transfer.run()
        folder = Path(
            snapshot_download(
                transfer.repo_id,
                revision=transfer.commit,
                allow_patterns=[escape(file.path) for file in files],
                cache_dir=cache_folder(),
                endpoint=transfer.endpoint,
                token=_token(),
                etag_timeout=READ_TIMEOUT_S,
                max_workers=4,
                tqdm_class=_Silent,
            )
        )
        missing = [file.path for file in files if not (folder / file.path).is_file()]
        if missing:  # huggingface_hub returns an incomplete folder if the hub becomes unavailable meanwhile
            raise HubUnreachable(f"{transfer.repo_id}: the hub was lost before {missing[0]}: download it again")
        _remember(transfer.repo_id, revision, transfer.commit)
    return folder


class _Silent(tqdm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]


def _remember(repo_id: str, revision: str, commit: str) -> None:
    """Write the commit of a branch or tag for offline use; after the download, so that the snapshot is complete."""
    if revision == commit:
        return
    ref = _storage(repo_id) / "refs" / revision
    ref.parent.mkdir(parents=True, exist_ok=True)
    new = ref.with_name(f".{uuid.uuid4().hex}")  # replaced in one step, since another process may read `ref` now
    new.write_text(commit)
    os.replace(new, ref)


def _list(repo_id: str, revision: str) -> Listing:
    """List all files at a revision, by one request."""
    check_names(repo_id, revision)
    if is_offline():
        raise HubUnreachable(offline_message(repo_id, revision))
    api = HfApi(endpoint=endpoint(), token=_token())
    with explained(repo_id, revision, endpoint()):
        try:
            info = api.model_info(repo_id, revision=revision, files_metadata=True, timeout=READ_TIMEOUT_S)
        except (json.JSONDecodeError, TypeError, KeyError, AttributeError) as error:
            raise HubUnreachable(f"{endpoint()} does not answer as a hub does ({error}): check HF_ENDPOINT") from error
    files = []
    for sibling in info.siblings or ():
        content_id = sibling.lfs.sha256 if sibling.lfs is not None else sibling.blob_id
        check_path(repo_id, sibling.rfilename)
        files.append(RemoteFile(sibling.rfilename, sibling.size or 0, content_id or ""))
    return Listing(repo_id, _checked_commit(repo_id, info.sha), tuple(files))


def _cached_tree(repo_id: str, revision: str) -> list[RepoFile]:
    check_names(repo_id, revision)
    try:
        return get_cached_repo_tree(repo_id, revision=revision, cache_dir=cache_folder())
    except CachedRepoTreeNotFoundError as error:
        raise HubUnreachable(offline_message(repo_id, revision)) from error


def _choose(listing: Listing, patterns: Sequence[str]) -> list[RemoteFile]:
    wanted = set(matching((file.path for file in listing.files), patterns))
    if not wanted:
        raise NoSuchFile(f"{listing.repo_id} has none of the files that miLLM reads: expected {', '.join(patterns)}")
    return [file for file in listing.files if file.path in wanted]


def _checked_commit(repo_id: str, sha: str | None) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}", sha or ""):
        raise BrokenDownload(f"the hub says that {repo_id} is at {sha!r}: expected a commit of 40 hex digits")
    return str(sha)


def _check_disk_space(repo_id: str, needed: int) -> None:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DiskFull(
            f"{repo_id} needs {needed:,} more bytes in {folder}, {free:,} are free:"
            f" free {needed - free:,} bytes, or set HF_HUB_CACHE to a folder on a larger disk",
            needed=needed,
            free=free,
        )


def _storage(repo_id: str) -> Path:
    return cache_folder() / repo_folder_name(repo_id=repo_id, repo_type="model")


def _token() -> str | None:
    return str(getattr(settings, "HF_TOKEN", "") or "") or None


def _headers() -> dict[str, str]:
    return build_hf_headers(token=_token(), library_name="millm")
