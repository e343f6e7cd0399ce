"""Models and SAEs from a hub: a worker downloads them, the rows tell the progress, cancelling loses nothing."""

import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import close_session
from rest_framework.test import APIClient

from inference.engine.saes.fingerprint import decoder_fingerprint
from inference.model_files import weights_size
from inference.models import LanguageModel
from inference.tests.conftest import Server
from inference.tests.test_loading import ask, eventually, in_shards, served, status, tiny  # noqa: F401  (a fixture)
from steering.errors import Refused
from steering.formats import read_config
from steering.models import SAE
from steering.tests.hub_server import Hub, hub_server

REPO = "owner/tiny"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of the module's hub (`hub`) and of what workers download from it (`cache`)."""
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def module_hub(folder: Path) -> Iterator[Hub]:
    with hub_server(folder / "hub") as server:
        yield server


@pytest.fixture
def hub(module_hub: Hub, folder: Path, tiny: Path, settings: Any) -> Iterator[Hub]:  # noqa: F811
    """A hub with the tiny model, and an SAE for it in `layer-1`; nothing of them has been downloaded."""
    for name in ("hub", "cache"):
        shutil.rmtree(folder / name, ignore_errors=True)
    shutil.copytree(tiny, folder / "hub" / REPO)
    (folder / "hub" / REPO / "sae").rename(folder / "hub" / REPO / "layer-1")
    module_hub.log.clear()
    module_hub.gated.clear()
    module_hub.holds_after = None
    settings.HF_ENDPOINT, settings.HF_HUB_CACHE = module_hub.url, str(folder / "cache")
    yield module_hub
    close_session()


class Workers:
    """The workers that download from the module's hub, one at a time."""

    def __init__(self, start: Callable[[], "subprocess.Popen[bytes]"]) -> None:
        self._start = start
        self._worker: subprocess.Popen[bytes] | None = None

    def get(self) -> "subprocess.Popen[bytes]":
        """The one that runs, once it has left the model of the test before; a new one where none does.

        The model of this test has the same name and the same count of loads: to the worker it is the same load.
        """
        if self._worker is None:
            self._worker = self._start()
        else:
            eventually(lambda: served() == [("demo", "ready")] * 2)
        return self._worker

    def kill(self) -> None:
        assert self._worker is not None
        self._worker.kill()
        self._worker.wait(timeout=90)
        self._worker = None

    def end(self) -> None:
        if self._worker is not None:
            self._worker.send_signal(signal.SIGTERM)
            assert self._worker.wait(timeout=60) == 0


@pytest.fixture(scope="module")
def workers(processes: Server, module_hub: Hub, folder: Path) -> Iterator[Workers]:
    own = {"INFERENCE_MODEL": "", "HF_ENDPOINT": module_hub.url, "HF_HUB_CACHE": str(folder / "cache")}
    made = Workers(lambda: processes.start_worker(**own))
    yield made
    made.end()


@pytest.fixture
def worker(server: Server, hub: Hub, workers: Workers) -> Any:
    return workers.get()


def test_a_model_is_downloaded_cancelled_and_continued(server: Server, api_key: str, hub: Hub, worker: Any) -> None:
    model = LanguageModel.objects.register(REPO)
    assert (model.name, model.model_type) == ("tiny", "llama")
    assert not hub.fetched("model.safetensors")
    hub.holds_after = 60_000
    model.load()
    eventually(lambda: status(model) == "downloading" and (model.progress or 0) > 0.2)
    model.unload()
    assert status(model) == "registered"
    eventually(worker_is_idle, 10)
    assert status(model) == "registered"
    hub.holds_after = None
    model.load()
    eventually(lambda: status(model) == "ready")
    assert any(asked for asked in hub.fetched("model.safetensors")[1:]), (
        "the second download begins where the first ended"
    )
    assert ask(server, api_key, "tiny").status_code == 200


def test_a_download_whose_worker_was_killed_is_continued_by_the_next_one(
    server: Server, api_key: str, hub: Hub, workers: Workers
) -> None:
    workers.get()
    model = LanguageModel.objects.register(REPO)
    hub.holds_after = 60_000
    model.load()
    eventually(lambda: status(model) == "downloading" and (model.progress or 0) > 0.2)
    workers.kill()
    hub.holds_after = None
    workers.get()
    eventually(lambda: status(model) == "ready")
    assert any(hub.fetched("model.safetensors")[1:]), "the second download begins where the first ended"
    assert ask(server, api_key, "tiny").status_code == 200


def test_only_what_would_be_loaded_is_downloaded(server: Server, api_key: str, hub: Hub, worker: Any) -> None:
    folder = hub.folder / REPO
    whole = (folder / "model.safetensors").read_bytes()
    shards = in_shards(folder)  # as mistralai's repositories have them, with the same weights beside them
    for name in ("consolidated.safetensors", "adapter_model.safetensors", "model-00001-of-00009.safetensors"):
        (folder / name).write_bytes(whole)
    model = LanguageModel.objects.register(REPO)
    model.load()
    eventually(lambda: status(model) == "ready")
    fetched = {asked.path.rpartition("/")[2] for asked in hub.log if asked.path.endswith(".safetensors")}
    assert fetched == {shard.name for shard in shards}
    assert ask(server, api_key, "tiny").status_code == 200
    assert weights_size(model) == sum(shard.stat().st_size for shard in shards)


def test_a_repository_without_weights_that_are_loaded_is_refused(server: Server, hub: Hub) -> None:
    folder = hub.folder / REPO
    shards = in_shards(folder)
    shards[2].unlink()
    with pytest.raises(Refused, match=r"lacks model-00003-of-00003\.safetensors, which .* names"):
        LanguageModel.objects.register(REPO)
    (folder / "model.safetensors.index.json").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(Refused, match=r"has neither model\.safetensors nor"):
        LanguageModel.objects.register(REPO)


def test_downloads_of_a_killed_worker_are_continued_by_another(
    server: Server,
    hub: Hub,
    workers: Workers,
    tiny: Path,  # noqa: F811
) -> None:
    def now() -> SAE:
        sae.refresh_from_db()
        return sae

    workers.get()
    hub.holds_after = 6_000
    model = LanguageModel.objects.register(REPO)
    model.load()
    eventually(lambda: status(model) == "downloading" and (model.progress or 0) > 0.02)
    sae = SAE.objects.register(REPO, path="layer-1")
    eventually(lambda: now().status == "downloading" and (sae.progress or 0) > 0.1)
    workers.kill()
    eventually(lambda: status(model) == "queued", 10)
    eventually(lambda: now().waits, 15)
    hub.holds_after = None
    workers.get()
    eventually(lambda: status(model) == "ready")
    eventually(lambda: now().status == "ready" and bool(sae.fingerprint))
    assert any(hub.fetched("model.safetensors")[1:]), "it goes on where the first worker was killed"
    assert sae.fingerprint == decoder_fingerprint(read_config(tiny / "sae"))


@pytest.fixture
def small_disk(hub: Hub, folder: Path) -> Iterator[Path]:
    """A file system of 8 MB for the downloads."""
    disk = folder / "cache"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_disk_that_fills_up_is_told_and_the_download_goes_on_when_there_is_room(
    server: Server, hub: Hub, small_disk: Path, worker: Any
) -> None:
    model = LanguageModel.objects.register(REPO)
    hub.holds_after = 60_000
    model.load()
    eventually(lambda: status(model) == "downloading" and (model.progress or 0) > 0.2)
    filler = small_disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:  # "No space left on device", after at most 8 MB
        for _ in range(4096):
            file.write(bytes(4096))
    hub.holds_after = None
    eventually(lambda: status(model) == "error")
    model.refresh_from_db()
    assert "the disk of the cache became full" in model.error
    assert worker.poll() is None
    filler.unlink()
    model.load()
    eventually(lambda: status(model) == "ready")


def worker_is_idle() -> bool:
    from inference.broker import heartbeats

    return any(beat.status == "idle" for beat in heartbeats.live_workers())


def test_an_sae_is_downloaded_cancelled_and_continued(server: Server, hub: Hub, worker: Any, tiny: Path) -> None:  # noqa: F811
    api = APIClient()
    from django.contrib.auth.models import User

    api.force_authenticate(User.objects.create_superuser("root"))
    found = api.get("/api/saes/catalogue", {"source": REPO}).data
    assert [one["path"] for one in found] == ["layer-1"]
    hub.holds_after = 6_000
    made = api.post("/api/saes", {"source": REPO, "path": "layer-1"}).data
    sae = SAE.objects.get(pk=made["id"])
    assert sae.status == "queued"

    def now() -> SAE:
        sae.refresh_from_db()
        return sae

    eventually(lambda: now().status == "downloading" and (sae.progress or 0) > 0.1)
    assert api.post(f"/api/saes/{sae.pk}/attach").status_code == 409
    assert api.post(f"/api/saes/{sae.pk}/cancel").data["status"] == "registered"
    hub.holds_after = None
    assert api.post(f"/api/saes/{sae.pk}/download").data["status"] == "queued"
    eventually(lambda: now().status == "ready" and bool(sae.fingerprint))
    assert (sae.layer, sae.hook_name, sae.d_sae) == (1, "blocks.1.hook_resid_post", 64)
    assert sae.fingerprint == decoder_fingerprint(read_config(tiny / "sae"))
    model = LanguageModel.objects.register(REPO)
    model.load()
    model.attach(sae)
    assert sae.is_attached


def test_what_the_hub_refuses_is_said(server: Server, hub: Hub, worker: Any) -> None:
    api = APIClient()
    from django.contrib.auth.models import User

    api.force_authenticate(User.objects.create_superuser("root"))
    hub.gated.add(REPO)
    refused = api.post("/api/models", {"source": REPO})
    assert (refused.status_code, refused.data["code"]) == (403, "gated_repository")
    assert "HF_TOKEN" in refused.data["detail"]
    sae = SAE.objects.register(REPO, path="layer-1")
    eventually(lambda: SAE.objects.get(pk=sae.pk).status == "error")
    assert "HF_TOKEN" in SAE.objects.get(pk=sae.pk).error
    missing = api.post("/api/models", {"source": "owner/nobody"})
    assert (missing.status_code, missing.data["code"]) == (404, "repository_not_found")
