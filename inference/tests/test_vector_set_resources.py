"""Vector sets are registered, downloaded, labelled and attached as SAEs are; what needs an encoder refuses them."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from huggingface_hub import close_session
from rest_framework.test import APIClient

from inference.engine.saes.fingerprint import decoder_fingerprint
from inference.models import LanguageModel
from inference.tests.conftest import Server, say
from inference.worker.reading.encoder_cache import EncoderCache
from inference.worker.saes.preparation import config_at, prepare
from profiles.models import Profile
from steering.formats import UnreadableSAE, read_config
from steering.models import SAE, FeatureLabel
from steering.tests.hub_server import Hub, hub_server
from steering.tests.vector_files import directions, write_control_vector, write_model_gguf, write_vectors

WIDTH = 16
VALUES = np.random.default_rng(0).standard_normal((3, WIDTH), dtype=np.float32)
REPO = "owner/vectors"


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    """A folder that may be registered from, with a control vector `joy.gguf` and a set `set`."""
    write_control_vector(tmp_path / "sources" / "joy.gguf", directions(1, 2, 3, width=WIDTH), "llama")
    write_vectors(tmp_path / "sources" / "set", VALUES, labels=["sea", "", "sun"])
    settings.MODEL_DIRS = [str(tmp_path / "sources")]
    return tmp_path / "sources"


@pytest.fixture
def model(db: None) -> LanguageModel:
    made = LanguageModel.objects.create(name="t", source="/t", d_model=WIDTH, num_layers=4, context_length=64)
    made.make_current()
    return made


@pytest.fixture
def api(db: None) -> APIClient:
    client = APIClient()
    client.force_authenticate(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def hub(tmp_path: Path, settings: Any) -> Iterator[Hub]:
    with hub_server(tmp_path / "hub") as server:
        settings.HF_ENDPOINT, settings.HF_HUB_CACHE = server.url, str(tmp_path / "cache")
        yield server
        close_session()


def test_a_control_vector_is_registered_attached_and_steers_by_its_index(
    api: APIClient, folder: Path, model: LanguageModel
) -> None:
    found = api.get("/api/saes/catalogue", {"source": str(folder)}).data
    assert {one["path"]: one["format"] for one in found} == {"joy.gguf": "control_vector", "set": "vectors"}
    made = api.post("/api/saes", {"source": str(folder), "path": "joy.gguf", "id": "joy"})
    assert made.status_code == 201, made.data
    row = made.data
    assert (row["format"], row["architecture"], row["d_in"], row["d_sae"]) == ("control_vector", "vectors", WIDTH, 1)
    assert (row["layer"], row["layers"], row["hook_name"]) == (1, [1, 2, 3], "blocks.1.hook_resid_post")
    assert (row["model_name"], row["status"]) == ("llama", "ready")
    assert api.post("/api/saes/joy/attach").data["is_attached"]
    profile = Profile.objects.create_from(name="joy", strengths={0: 2.0})
    profile.activate()
    assert api.get("/api/steering").json()["values"] == {"0": 2.0}
    assert api.patch("/api/steering", {"values": {"1": 2.0}}).status_code == 400


def test_the_width_and_every_layer_must_be_the_models(api: APIClient, folder: Path, model: LanguageModel) -> None:
    SAE.objects.register(str(folder), path="joy.gguf", sae_id="joy")
    for size, said in (({"num_layers": 3}, "is for layer 3"), ({"d_model": 8}, "has d_in 16: expected d_model 8")):
        LanguageModel.objects.filter(pk=model.pk).update(**{"num_layers": 4, "d_model": WIDTH, **size})
        for body in ({}, {"also": True}):
            refused = api.post("/api/saes/joy/attach", body)
            assert (refused.status_code, refused.data["code"]) == (409, "sae_incompatible")
            assert said in refused.data["detail"]


@pytest.mark.django_db(transaction=True)
def test_the_labels_of_the_file_are_feature_labels(api: APIClient, folder: Path) -> None:
    api.post("/api/saes", {"source": str(folder / "set"), "id": "set"})
    labels = FeatureLabel.objects.filter(sae="set").values_list("index", "label", "source")
    assert list(labels) == [(0, "sea", "file"), (2, "sun", "file")]
    FeatureLabel.objects.create(sae_id="set", index=0, label="ocean", source="mine")
    write_vectors(folder / "set", VALUES, labels=["", "moon", ""])
    prepare(SAE.objects.get(pk="set"))  # as a worker does when the files may have changed
    assert FeatureLabel.objects.of("set", range(3)) == {0: "ocean", 1: "moon"}


@pytest.mark.django_db(transaction=True)
def test_a_worker_computes_the_fingerprint(folder: Path) -> None:
    sae = SAE.objects.register(str(folder), path="joy.gguf", sae_id="joy")
    prepare(sae)
    sae.refresh_from_db()
    assert sae.fingerprint == decoder_fingerprint(read_config(folder / "joy.gguf"))
    assert (sae.status, sae.layers) == ("ready", [1, 2, 3])


@pytest.mark.django_db(transaction=True)
def test_one_file_of_a_repository_is_downloaded_and_no_other(hub: Hub, tmp_path: Path) -> None:
    root = tmp_path / "hub" / REPO
    write_control_vector(root / "a" / "joy.gguf", directions(2, width=WIDTH))
    write_control_vector(root / "a" / "anger.gguf", directions(1, width=WIDTH))
    write_model_gguf(root / "a" / "model.gguf")
    sae = SAE.objects.register(REPO, path="a/joy.gguf", sae_id="joy")
    prepare(sae)
    sae.refresh_from_db()
    assert (sae.status, sae.error, sae.layers, sae.d_in) == ("ready", "", [2], WIDTH)
    assert hub.fetched("a/joy.gguf")
    assert not hub.fetched("a/anger.gguf")
    assert config_at(sae.place).layers == (2,)


@pytest.mark.django_db(transaction=True)
def test_a_folder_of_a_repository_is_downloaded_with_its_labels(hub: Hub, tmp_path: Path) -> None:
    write_vectors(tmp_path / "hub" / REPO / "set", VALUES, labels=["a", "b", "c"])
    write_control_vector(tmp_path / "hub" / REPO / "joy.gguf", directions(2, width=WIDTH))
    for path, layers in (("set", [3]), ("", [2])):
        sae = SAE.objects.register(REPO, path=path)
        prepare(sae)
        sae.refresh_from_db()
        assert (sae.status, sae.error, sae.layers) == ("ready", "", layers)
    assert FeatureLabel.objects.of("vectors-set", range(3)) == {0: "a", 1: "b", 2: "c"}


def test_links_out_of_the_model_folders_are_not_followed(api: APIClient, folder: Path, tmp_path: Path) -> None:
    write_control_vector(tmp_path / "secret.gguf", directions(1))
    (folder / "out").mkdir()
    (folder / "out" / "x.gguf").symlink_to(tmp_path / "secret.gguf")
    refused = api.post("/api/saes", {"source": str(folder / "out"), "path": "x.gguf"})
    assert (refused.status_code, refused.data["code"]) == (400, "bad_source")
    assert api.post("/api/saes", {"source": str(folder), "path": "../secret.gguf"}).status_code == 400
    (folder / "out" / "x.gguf").unlink()
    missing = api.post("/api/saes", {"source": str(folder), "path": "none.gguf"})
    assert (missing.status_code, missing.data["code"]) == (409, "sae_unavailable")


def test_what_needs_an_encoder_refuses_a_vector_set_by_name(
    api: APIClient, admin_client: Client, folder: Path, model: LanguageModel, tmp_path: Path
) -> None:
    sae = SAE.objects.register(str(folder / "set"), sae_id="set")
    model.attach(sae)
    (tmp_path / "texts.txt").write_text("a text\n")
    contrast = {"positive": ["a"], "negative": ["b"]}
    for answer in (
        api.post("/api/activations", {"texts": ["a text"], "sae": "set"}),
        api.post("/api/activations", {"texts": ["a text"]}),
        api.post("/api/features/contrast", contrast),
        api.generic("POST", "/api/saes/set/measure", "a text\n", content_type="text/plain"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "no_encoder"), answer.content
        assert "set is a vector set, which has no encoder" in answer.json()["detail"]
    with pytest.raises(CommandError, match="set is a vector set"):
        call_command("measure_features", "set", str(tmp_path / "texts.txt"), stdout=StringIO(), stderr=StringIO())
    with pytest.raises(UnreadableSAE, match="is of a vector set, which has no encoder"):
        EncoderCache(torch.device("cpu")).get(sae.place)


def test_a_chat_that_asks_for_activations_through_it_is_refused(
    server: Server, api_key: str, folder: Path, demo: LanguageModel
) -> None:
    write_vectors(folder / "wide", np.ones((2, demo.d_model), np.float32), hook_name="blocks.1.hook_resid_post")
    SAE.objects.register(str(folder / "wide"), sae_id="wide")
    answer = httpx.post(
        f"{server.url}/v1/chat/completions",
        headers={"Authorization": f"Bearer {api_key}"},
        json={"model": "demo", "messages": [{"role": "user", "content": "Hi"}], "activations": {"sae": "wide"}},
        timeout=60,
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "no_encoder")


def test_a_vector_has_promoted_tokens_and_neighbours(
    server: Server, api_key: str, folder: Path, demo: LanguageModel
) -> None:
    values = np.random.default_rng(1).standard_normal((2, demo.d_model), dtype=np.float32)
    write_vectors(folder / "wide", values, hook_name="blocks.1.hook_resid_post", labels=["sea", "sun"])
    write_control_vector(folder / "long.gguf", directions(1, 2, width=demo.d_model))
    SAE.objects.register(str(folder / "wide"), sae_id="wide")
    SAE.objects.register(str(folder), path="long.gguf", sae_id="long")
    found = {
        path: httpx.get(
            f"{server.url}/api/saes/{path}", headers={"Authorization": f"Bearer {api_key}"}, timeout=60
        ).json()
        for path in ("wide/features/0", "long/features/0")
    }
    assert [one["unavailable"] for one in found.values()] == ["", ""]
    assert [(one["index"], one["label"]) for one in found["wide/features/0"]["nearest"]] == [(1, "sun")]
    assert found["long/features/0"]["nearest"] == []
    assert all(len(one["promoted"]) == 10 for one in found.values())


def test_the_admin_shows_and_attaches_it(admin_client: Client, folder: Path, model: LanguageModel) -> None:
    SAE.objects.register(str(folder), path="joy.gguf", sae_id="joy")
    SAE.objects.register(str(folder / "set"), sae_id="set")
    model.attach(SAE.objects.get(pk="set"))
    page = admin_client.get("/admin/steering/sae/joy/change/").content.decode()
    for shown in ("Vectors", "1, 2, 3", "Also attach", "control_vector"):
        assert shown in page
    assert "Measure</a>" not in page
    admin_client.post("/admin/steering/sae/joy/attach_also/")
    assert [sae.pk for sae in SAE.objects.all_attached()] == ["set", "joy"]
    listed = admin_client.get("/admin/steering/sae/").content.decode()
    assert "also attached" in listed
    assert "Attach as main" in listed
    dashboard = admin_client.get("/admin/").content.decode()
    assert "also attached at" in dashboard
    assert "Detach joy?" not in admin_client.post("/admin/steering/sae/joy/detach/").content.decode()
    assert [sae.pk for sae in SAE.objects.all_attached()] == ["set"]
    vector = admin_client.get("/admin/steering/sae/set/features/0/").content.decode()
    assert "Vector 0 of set" in vector
    assert "/api/saes/set/features/0/vector.gguf" in vector
    say(model, "ready")
    assert "is a vector set, which reads no texts" in admin_client.get("/admin/explore/now").json()["problem"]["told"]


def test_commands_attach_list_and_detach_it(folder: Path, model: LanguageModel) -> None:
    SAE.objects.register(str(folder), path="joy.gguf", sae_id="joy")
    SAE.objects.register(str(folder / "set"), sae_id="set")

    def run(*words: str) -> str:
        out = StringIO()
        call_command(*words, stdout=out, stderr=out)
        return out.getvalue()

    run("attach_sae", "set")
    assert "joy is also attached to t at blocks.1" in run("attach_sae", "joy", "--also")
    assert [line.split("\t")[:2] for line in run("list_saes").splitlines()] == [["joy", "also"], ["set", "True"]]
    assert "joy is detached." in run("detach_sae", "joy")
    assert [line.split("\t")[:2] for line in run("list_saes").splitlines()] == [["joy", "False"], ["set", "True"]]
