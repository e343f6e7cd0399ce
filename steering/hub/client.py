"""Files from a Hugging Face hub, in huggingface_hub's standard cache. No torch, no code of a repository, ever.

Settings read: HF_ENDPOINT, HF_TOKEN, HF_HUB_CACHE, HF_HUB_OFFLINE; empty, what huggingface_hub itself takes.
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
WEIGHTS = frozenset({".safetensors", ".npz", ".pt"})


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
    """Every file of the repository with its size in bytes; offline, as it was listed at the last download."""
    if is_offline():
        return {file.path: file.size for file in _cached_tree(repo_id, revision)}
    return {file.path: file.size for file in _list(repo_id, revision).files}


def read_json(repo_id: str, filename: str, revision: str) -> dict[str, Any]:
    """A JSON object of a repository, of at most MAX_JSON_BYTES; through the cache, so that it works offline too."""
    try:
        size = file_sizes(repo_id, revision).get(filename, 0)
    except HubUnreachable:
        size = 0  # of a file that is in the cache already, or download() says why not
    if size > MAX_JSON_BYTES:
        raise UnreadableFile(f"{repo_id}: {filename} has {size:,} bytes: expected at most {MAX_JSON_BYTES:,}")
    folder = download(repo_id, revision, [filename], progress=lambda done, total: None, cancelled=lambda: False)
    try:
        return json_files.read_json(folder / filename, MAX_JSON_BYTES)
    except json_files.UnreadableJSON as error:
        raise UnreadableFile(f"{repo_id}: {error}") from error


def is_cached(repo_id: str, revision: str, patterns: Iterable[str]) -> Path | None:
    """The snapshot folder, if all that the patterns ask for is in the cache; asks no network.

    What another program left there without a listing of the repository may be half of it: it counts offline only.
    """
    check_names(repo_id, revision)
    return _cached(repo_id, revision, tuple(patterns), unlisted=is_offline())


def _cached(repo_id: str, revision: str, patterns: Sequence[str], *, unlisted: bool) -> Path | None:
    cache = cache_folder()
    try:
        # An empty choice: only to find the folder, since huggingface_hub's patterns are not quite ours.
        found = snapshot_download(repo_id, revision=revision, allow_patterns=[], local_files_only=True, cache_dir=cache)
        paths = [file.path for file in get_cached_repo_tree(repo_id, revision=revision, cache_dir=cache)]
    except LocalEntryNotFoundError:
        return None
    except CachedRepoTreeNotFoundError:
        paths = _files_in(Path(found)) if unlisted and _has_weights(Path(found), patterns) else []
    wanted = matching(paths, patterns)
    return Path(found) if wanted and all(Path(found, path).is_file() for path in wanted) else None


def _has_weights(folder: Path, patterns: Sequence[str]) -> bool:
    """Whether there are weights, if they are asked for: a configuration alone is mostly from a look at the model."""
    asked = any(PurePosixPath(pattern).suffix in WEIGHTS for pattern in patterns)
    return not asked or any(PurePosixPath(path).suffix in WEIGHTS for path in matching(_files_in(folder), patterns))


def _files_in(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def download(
    repo_id: str,
    revision: str,
    patterns: Sequence[str],
    *,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
) -> Path:
    """Bring the matching files into the cache and return their snapshot folder.

    `progress(done, total)`, in bytes, is called in this thread: once before the first byte, then at most 5 times
    a second, at last with done == total; done never falls. `cancelled()` is asked as often, and true raises
    DownloadCancelled. A download that broke or was cancelled continues where it ended. Where the hub cannot be
    reached, files that are all in the cache do. `revision` is a branch, a tag or a commit.
    """
    stop = threading.Event()
    seen = -1

    def stop_if_cancelled() -> None:
        if cancelled():
            raise DownloadCancelled(f"the download of {repo_id} was cancelled: download it again, it continues")

    def report(done: int, total: int) -> None:
        nonlocal seen
        if done > seen:
            seen = done
            progress(done, total)

    def poll() -> None:
        stop_if_cancelled()
        report(transfer.done, transfer.total)

    stop_if_cancelled()
    try:
        listing = in_background(lambda: _list(repo_id, revision), stop_if_cancelled, stop)
    except HubUnreachable:
        folder = _cached(repo_id, revision, patterns, unlisted=True)
        if folder is None:
            raise
        return _report_whole(folder, patterns, progress)
    files = _choose(listing, patterns)
    transfer = Transfer(repo_id, listing.commit, files, _storage(repo_id), endpoint(), _headers(), stop)
    _check_disk_space(repo_id, transfer.total - transfer.done)
    report(transfer.done, transfer.total)
    folder = in_background(lambda: _bring(transfer, files, revision), poll, stop)
    report(transfer.total, transfer.total)
    return folder


def _report_whole(folder: Path, patterns: Sequence[str], progress: Callable[[int, int], None]) -> Path:
    total = sum((folder / path).stat().st_size for path in matching(_files_in(folder), patterns))
    progress(total, total)
    return folder


def _bring(transfer: Transfer, files: Sequence[RemoteFile], revision: str) -> Path:
    """The files' bytes, then huggingface_hub's own bookkeeping, which finds them there and downloads nothing."""
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
        if missing:  # huggingface_hub returns the folder as it is where the hub went away meanwhile
            raise HubUnreachable(f"{transfer.repo_id}: the hub went away before {missing[0]}: download it again")
        _remember(transfer.repo_id, revision, transfer.commit)
    return folder


class _Silent(tqdm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]


def _remember(repo_id: str, revision: str, commit: str) -> None:
    """Which commit a branch or tag was, for offline use: only now, so that it never names half a snapshot."""
    if revision == commit:
        return
    ref = _storage(repo_id) / "refs" / revision
    ref.parent.mkdir(parents=True, exist_ok=True)
    new = ref.with_name(f".{uuid.uuid4().hex}")  # another process may read it now
    new.write_text(commit)
    os.replace(new, ref)


def _list(repo_id: str, revision: str) -> Listing:
    """All files at a revision, in one request."""
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
        raise NoSuchFile(f"{listing.repo_id} has no file that we read there: expected {', '.join(patterns)}")
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
