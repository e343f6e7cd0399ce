"""The bytes of real downloads from a hub on this machine (hub_server.py), with all that goes wrong on the way."""

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from steering.hub import client, transfer
from steering.hub.errors import BrokenDownload, DiskFull, DownloadCancelled
from steering.tests.hub_server import CONFIG, REPO, WEIGHTS, Hub, Watcher, download, small_model


@pytest.fixture
def server(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(transfer, "RETRY_WAIT_S", 0.01)
    with small_model(tmp_path, settings) as server:
        yield server


def test_progress_starts_with_the_total_reaches_it_and_never_goes_back(server: Hub) -> None:
    server.bytes_per_s = 3_000_000
    watcher = Watcher()
    download(watcher)
    total = len(WEIGHTS) + len(CONFIG) + len(b"{}")
    done = [at for at, of in watcher.seen]
    assert {of for at, of in watcher.seen} == {total}
    assert done[0] == 0
    assert done[-1] == total
    assert done == sorted(set(done))
    assert len(done) > 2


def test_callbacks_come_in_the_thread_of_the_caller(server: Hub) -> None:
    threads = set()

    def cancelled() -> bool:
        threads.add(threading.current_thread())
        return False

    def progress(done: int, total: int) -> None:
        threads.add(threading.current_thread())

    client.download(REPO, "main", client.MODEL_FILES, progress=progress, cancelled=cancelled)
    assert threads == {threading.current_thread()}


def test_a_second_download_brings_no_byte_again(server: Hub) -> None:
    download()
    server.log.clear()
    watcher = Watcher()
    download(watcher)
    assert server.fetched("model.safetensors") == []
    assert {at == of for at, of in watcher.seen} == {True}


def test_a_connection_that_breaks_is_taken_up_where_it_broke(server: Hub) -> None:
    server.break_after = 1_000_000
    folder = download()
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    ranges = [asked.range for asked in server.log if asked.path.startswith("/bytes/")]
    assert ranges == ["", "bytes=1000000-", "bytes=2000000-"]


def test_a_download_that_gave_up_continues_at_the_next_try(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "ATTEMPTS", 0)
    server.break_after = 1_200_000
    with pytest.raises(BrokenDownload, match=r"model.safetensors stopped at 1,200,000 of 3,000,000 bytes.*continues"):
        download()
    server.break_after = None
    server.log.clear()
    watcher = Watcher()
    folder = download(watcher)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert [asked.range for asked in server.log if asked.path.startswith("/bytes/")] == ["bytes=1200000-"]
    assert watcher.seen[0][0] >= 1_200_000


def test_a_hub_that_breaks_every_connection_at_once_is_given_up(server: Hub) -> None:
    server.break_after = 0
    with pytest.raises(BrokenDownload, match="stopped at 0 of"):
        download()
    assert max(len(server.fetched(path)) for path in server.paths(REPO)) == transfer.ATTEMPTS


def test_a_process_that_was_killed_leaves_a_download_that_continues(server: Hub, tmp_path: Path) -> None:
    blobs = tmp_path / "cache/models--owner--model/blobs"
    server.holds_after = 250_000
    script = (
        "import django; from django.conf import settings;"
        f"settings.configure(HF_ENDPOINT={server.url!r}, HF_HUB_CACHE={str(tmp_path / 'cache')!r});"
        "from steering.hub import client;"
        f"client.download({REPO!r}, 'main', ['*.safetensors'], progress=lambda *_: None, cancelled=lambda: False)"
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 20
    while not any(path.stat().st_size > 200_000 for path in blobs.glob("*.incomplete")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    server.holds_after = None
    server.log.clear()
    assert (download(patterns=("*.safetensors",)) / "model.safetensors").read_bytes() == WEIGHTS
    [(start)] = [asked.range for asked in server.log if asked.path.startswith("/bytes/")]
    assert int(start.removeprefix("bytes=").removesuffix("-")) >= 200_000


def test_a_hub_without_ranges_still_gives_the_right_bytes_and_progress_never_goes_back(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "ATTEMPTS", 0)
    server.break_after = 1_200_000
    with pytest.raises(BrokenDownload):
        download()
    server.break_after, server.ignores_ranges, server.bytes_per_s = None, True, 4_000_000
    watcher = Watcher()
    assert (download(watcher) / "model.safetensors").read_bytes() == WEIGHTS
    done = [at for at, of in watcher.seen]
    assert done == sorted(set(done))  # though it began anew


@pytest.mark.parametrize("left", [WEIGHTS + b"more", WEIGHTS[:1000] + bytes(1000)], ids=["too long", "spoilt"])
def test_a_partial_file_that_is_not_of_this_one_never_becomes_it(server: Hub, tmp_path: Path, left: bytes) -> None:
    server.break_after = 0
    with pytest.raises(BrokenDownload):
        download(patterns=("*.safetensors",))
    server.break_after = None
    [partial] = (tmp_path / "cache/models--owner--model/blobs").glob("*.incomplete")
    partial.write_bytes(left)
    try:
        folder = download(patterns=("*.safetensors",))
    except BrokenDownload:
        folder = download(patterns=("*.safetensors",))
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_wrong_bytes_are_refused_and_thrown_away(server: Hub, tmp_path: Path) -> None:
    server.spoils = True
    with pytest.raises(BrokenDownload, match="other bytes than listed"):
        download(patterns=("*.safetensors",))
    assert not list((tmp_path / "cache/models--owner--model/blobs").iterdir())


def test_cancelling_a_slow_download_ends_it_within_a_second_and_it_continues_later(server: Hub) -> None:
    server.bytes_per_s = 500_000
    watcher = Watcher(cancel_at=100_000)
    with pytest.raises(DownloadCancelled, match="continues"):
        download(watcher)
    assert time.monotonic() - watcher.cancelled_at_s < 1
    server.bytes_per_s = None
    server.log.clear()
    assert (download() / "model.safetensors").read_bytes() == WEIGHTS
    [start] = [asked.range for asked in server.log if asked.path.startswith("/bytes/")]
    assert int(start.removeprefix("bytes=").removesuffix("-")) >= 100_000


@pytest.mark.parametrize("silent", ["/api/", "/bytes/"])
def test_cancelling_does_not_wait_for_a_hub_that_says_nothing(server: Hub, silent: str) -> None:
    server.silent = silent
    asked: list[float] = []

    def cancelled() -> bool:
        asked.append(time.monotonic())
        return len(asked) > 4

    with pytest.raises(DownloadCancelled):
        client.download(REPO, "main", ["*.safetensors"], progress=lambda *_: None, cancelled=cancelled)
    assert any(request.path.startswith(silent) for request in server.log)
    assert time.monotonic() - asked[-1] < 1


def test_two_downloads_at_once_share_the_bytes(server: Hub) -> None:
    server.bytes_per_s = 4_000_000
    folders: list[Path] = []
    threads = [threading.Thread(target=lambda: folders.append(download())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(folders)) == 1
    assert (folders[0] / "model.safetensors").read_bytes() == WEIGHTS
    assert len([asked for asked in server.log if asked.path.startswith("/bytes/")]) == 1


def test_a_full_disk_is_told_with_figures_before_the_first_byte(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 1_000_000, 1_000_000))
    with pytest.raises(DiskFull, match=r"needs 3,000,024 more bytes in .*, 1,000,000 are free") as refused:
        download()
    assert refused.value.status == 507
    assert server.fetched("model.safetensors") == []


def test_what_has_come_already_needs_no_space(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "ATTEMPTS", 0)
    server.break_after = 2_500_000
    with pytest.raises(BrokenDownload):
        download()
    server.break_after = None
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 1_000_000, 1_000_000))
    assert (download() / "model.safetensors").read_bytes() == WEIGHTS


def test_a_disk_that_becomes_full_midway_is_told(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(partial: transfer.Partial, chunk: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(transfer.Partial, "append", full)
    with pytest.raises(DiskFull, match=r"became full while owner/model was downloaded.*continues"):
        download()


def test_files_with_the_same_content_are_one_download(server: Hub, tmp_path: Path) -> None:
    (tmp_path / "hub" / REPO / "copy.safetensors").write_bytes(WEIGHTS)
    (tmp_path / "hub" / REPO / "empty [1].json").write_bytes(b"")
    folder = download()
    assert (folder / "copy.safetensors").read_bytes() == WEIGHTS
    assert (folder / "empty [1].json").read_bytes() == b""
    assert len([asked for asked in server.log if asked.path.startswith("/bytes/")]) == 1
