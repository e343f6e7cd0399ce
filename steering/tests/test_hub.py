"""A hub on this machine (hub_server.py): its repositories, what may be read, the cache, and its errors."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import hf_hub_download, scan_cache_dir
from pytest_django import Settings

from steering.errors import Refused
from steering.hub import client
from steering.hub.errors import (
    BrokenDownload,
    DiskFull,
    DownloadCancelled,
    GatedRepository,
    HubUnreachable,
    NoSuchFile,
    RepositoryNotFound,
    RevisionNotFound,
    UnreadableFile,
)
from steering.tests.hub_server import CONFIG, REPO, TOKEN, WEIGHTS, Hub, Watcher, download, git_id, small_model


@pytest.fixture
def server(tmp_path: Path, settings: Settings) -> Iterator[Hub]:
    with small_model(tmp_path, settings) as server:
        yield server


def test_the_files_arrive_in_the_standard_cache(server: Hub, tmp_path: Path) -> None:
    folder = download()
    assert folder == tmp_path / "cache/models--owner--model/snapshots" / server.commit(REPO)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert (folder / "config.json").read_bytes() == CONFIG
    asked = len(server.log)
    found = hf_hub_download(REPO, "model.safetensors", revision=server.commit(REPO), cache_dir=tmp_path / "cache")
    assert Path(found) == folder / "model.safetensors"
    assert len(server.log) == asked
    assert not scan_cache_dir(tmp_path / "cache").warnings
    assert not scan_cache_dir(tmp_path / "cache").incomplete_files


def test_a_gated_repository_names_itself_and_what_to_do(server: Hub, settings: Settings) -> None:
    server.gated.add(REPO)
    for token in ("", "hf_wrong"):
        settings.HF_TOKEN = token
        with pytest.raises(GatedRepository, match=r"owner/model.*accept its terms.*HF_TOKEN") as refused:
            download()
        assert (refused.value.code, refused.value.status) == ("gated_repository", 403)


def test_a_gated_repository_opens_with_the_token_which_stays_with_the_hub(server: Hub, settings: Settings) -> None:
    server.gated.add(REPO)
    settings.HF_TOKEN = TOKEN
    assert (download() / "model.safetensors").read_bytes() == WEIGHTS
    assert {asked.token for asked in server.log if asked.host == "localhost"} == {""}


def test_an_unknown_repository_is_not_found(server: Hub) -> None:
    with pytest.raises(RepositoryNotFound, match="owner/nothing is not on"):
        client.file_sizes("owner/nothing", "main")


@pytest.mark.parametrize("revision", ["nope", "../../etc", "a//b", "", "-x"])
def test_an_unknown_revision_is_not_found(server: Hub, revision: str) -> None:
    with pytest.raises(RevisionNotFound) as refused:
        download(revision=revision)
    assert refused.value.status == 404


def test_a_tag_a_pull_request_and_a_commit_are_revisions(server: Hub) -> None:
    folders = {download(revision=revision) for revision in ("main", "v1", "refs/pr/1", server.commit(REPO))}
    assert len(folders) == 1
    assert client.is_cached(REPO, "refs/pr/1", client.MODEL_FILES) == folders.pop()


def test_a_hub_that_is_down_is_unreachable_and_what_is_cached_still_works(server: Hub, settings: Settings) -> None:
    folder = download()
    settings.HF_ENDPOINT = "http://127.0.0.1:9"
    watcher = Watcher()
    assert download(watcher) == folder
    assert watcher.seen == [(3_000_024, 3_000_024)]
    assert client.read_json(REPO, "config.json", "main") == {"model_type": "gpt2"}
    with pytest.raises(HubUnreachable, match=r"127.0.0.1:9 cannot be reached for owner/model.*HF_ENDPOINT"):
        download(patterns=("README.md",))


def test_a_web_page_instead_of_a_hub_is_unreachable(server: Hub) -> None:
    server.nonsense = True
    with pytest.raises(HubUnreachable, match="does not answer as a hub does"):
        client.file_sizes(REPO, "main")


def test_offline_the_cache_works_and_no_request_is_sent(server: Hub, settings: Settings) -> None:
    settings.HF_HUB_OFFLINE = True
    with pytest.raises(HubUnreachable, match=r"owner/model at main is not complete in the cache.*HF_HUB_OFFLINE"):
        download()
    with pytest.raises(HubUnreachable, match="HF_HUB_OFFLINE"):
        client.file_sizes(REPO, "main")
    assert server.log == []
    settings.HF_HUB_OFFLINE = False
    folder = download()
    server.log.clear()
    settings.HF_HUB_OFFLINE = True
    assert download() == folder
    assert client.read_json(REPO, "config.json", "main") == {"model_type": "gpt2"}
    assert client.file_sizes(REPO, "main")["model.safetensors"] == len(WEIGHTS)
    assert server.log == []


def test_the_environment_switches_offline_too(server: Hub, tmp_path: Path) -> None:
    script = (
        "from django.conf import settings;"
        f"settings.configure(HF_ENDPOINT={server.url!r}, HF_HUB_CACHE={str(tmp_path / 'cache')!r});"
        "from steering.hub import client, errors\n"
        "try: client.read_json('owner/model', 'config.json', 'main')\n"
        "except errors.HubUnreachable: print('refused')"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"
    assert server.log == []


def test_half_a_snapshot_is_not_in_the_cache(server: Hub) -> None:
    assert client.is_cached(REPO, "main", client.MODEL_FILES) is None
    folder = download(patterns=("config.json",))
    assert client.is_cached(REPO, "main", ["config.json"]) == folder
    assert client.is_cached(REPO, "main", client.MODEL_FILES) is None
    assert client.is_cached(REPO, "v1", ["config.json"]) is None


def test_a_cancelled_update_leaves_the_old_snapshot_in_use(server: Hub, tmp_path: Path) -> None:
    old = download()
    (tmp_path / "hub" / REPO / "model.safetensors").write_bytes(os.urandom(3_000_000))
    server.bytes_per_s = 500_000
    with pytest.raises(DownloadCancelled):
        download(Watcher(cancel_at=100_000))
    assert client.is_cached(REPO, "main", client.MODEL_FILES) == old


def test_what_another_program_left_in_the_cache_counts_offline_only(
    server: Hub, tmp_path: Path, settings: Settings
) -> None:
    for name in ("config.json", "model.safetensors"):
        settings.HF_HUB_OFFLINE = True
        assert client.is_cached(REPO, "main", client.MODEL_FILES) is None
        settings.HF_HUB_OFFLINE = False
        hf_hub_download(REPO, name, endpoint=server.url, cache_dir=tmp_path / "cache")
        assert client.is_cached(REPO, "main", client.MODEL_FILES) is None
    settings.HF_HUB_OFFLINE = True
    assert client.is_cached(REPO, "main", client.MODEL_FILES) == download()
    assert (download() / "model.safetensors").read_bytes() == WEIGHTS
    assert client.is_cached(REPO, "main", ["tokenizer.json"]) is None


def test_only_what_the_patterns_ask_for_is_fetched_and_never_a_pickle_or_code(server: Hub, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / REPO
    for name in ("pytorch_model.bin", "tokenizer.pkl", "tokenizer.py", "modeling.py", "chat_template.jinja"):
        (repository / name).write_bytes(b"x")
    (repository / "onnx").mkdir()
    (repository / "onnx" / "config.json").write_bytes(b"{}")
    folder = download()
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "chat_template.jinja",
    }
    for name in ("pytorch_model.bin", "tokenizer.pkl", "tokenizer.py", "modeling.py", "README.md", "onnx/config.json"):
        assert server.fetched(name) == []


def test_a_pickle_comes_only_by_its_full_name_and_code_never(server: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "hub" / REPO / "trainer_0"
    folder.mkdir()
    for name in ("ae.pt", "config.json", "run.py"):
        (folder / name).write_bytes(b"{}")
    snapshot = download(patterns=("trainer_0/*",))
    assert [path.name for path in (snapshot / "trainer_0").iterdir()] == ["config.json"]
    snapshot = download(patterns=("trainer_0/ae.pt", "trainer_0/run.py"))
    assert sorted(path.name for path in (snapshot / "trainer_0").iterdir()) == ["ae.pt", "config.json"]


def test_nothing_to_download_is_an_error(server: Hub) -> None:
    with pytest.raises(NoSuchFile, match=r"expected \*\.npz"):
        download(patterns=("*.npz",))


@pytest.mark.parametrize(
    "path", ["../evil.json", "/etc/evil.json", "a/../../evil.json", "a\\evil.json", "C:/evil.json"]
)
def test_a_path_that_leaves_the_repository_is_refused(server: Hub, tmp_path: Path, path: str) -> None:
    server.also_listed.append(path)
    with pytest.raises(BrokenDownload, match="expected a path inside the repository"):
        download()
    assert not (tmp_path / "cache").exists()


def test_the_sizes_of_all_files_are_listed_without_a_download(server: Hub) -> None:
    sizes = client.file_sizes(REPO, "main")
    assert sizes == {"README.md": 7, "config.json": 22, "model.safetensors": 3_000_000, "tokenizer.json": 2}
    assert len(server.log) == 1


def test_read_json_reads_an_object_and_nothing_else(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.read_json(REPO, "config.json", "main") == {"model_type": "gpt2"}
    repository = tmp_path / "hub" / REPO
    (repository / "list.json").write_bytes(b"[1]")
    (repository / "broken.json").write_bytes(b"{")
    (repository / "deep.json").write_bytes(b"[" * 200_000)
    for name in ("list.json", "broken.json", "deep.json"):
        with pytest.raises(UnreadableFile, match=name):
            client.read_json(REPO, name, "main")
    with pytest.raises(NoSuchFile):
        client.read_json(REPO, "absent.json", "main")
    monkeypatch.setattr(client, "MAX_JSON_BYTES", 10)
    with pytest.raises(UnreadableFile, match="has 22 bytes: expected at most 10"):
        client.read_json(REPO, "config.json", "main")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("google/gemma-2-2b", True),
        ("gpt2", True),
        ("/models/gpt2", False),
        ("./gpt2", False),
        ("../gpt2", False),
        ("~/gpt2", False),
        ("a/b/c", False),
        ("a\\b", False),
        ("", False),
        ("owner/na me", False),
        ("owner/x..y", False),
    ],
)
def test_a_hub_id_is_told_from_a_path(source: str, expected: bool) -> None:
    assert client.looks_like_hub_id(source) is expected


def test_a_path_for_a_repository_is_refused_without_a_request(server: Hub) -> None:
    with pytest.raises(RepositoryNotFound, match="is not a hub id"):
        client.file_sizes("../secret", "main")
    assert server.log == []


def test_each_error_has_a_code_and_a_status() -> None:
    errors = (BrokenDownload, DiskFull, DownloadCancelled, GatedRepository, HubUnreachable, RepositoryNotFound)
    assert all(issubclass(error, Refused) for error in errors)
    assert [error.status for error in errors] == [502, 507, 409, 403, 503, 404]
    assert len({error.code for error in errors}) == len(errors)


def test_the_small_hub_counts_ids_as_git_does() -> None:
    assert git_id(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"  # echo hello | git hash-object --stdin


def test_neither_hub_nor_catalogue_imports_torch() -> None:
    modules = "sys, steering.hub.client, steering.hub.catalogue"
    script = f"import {modules}; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
