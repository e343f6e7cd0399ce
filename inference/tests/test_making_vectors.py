"""POST /api/vectors: from sentences of two kinds to a vector set with its files."""

import json
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from django.contrib.auth.models import Permission, User
from rest_framework.test import APIClient
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from inference.engine.reading.reader import Text
from inference.engine.reading.residual_reader import ResidualReader
from inference.engine.reading.vectors import make_vector
from inference.engine.saes.decoder import decoder_rows
from inference.models import LanguageModel
from inference.reading import vectors
from inference.reading.vectors import commit_of
from inference.tests.conftest import Server
from inference.tests.test_contrast_of_texts import sides
from steering.formats import read_config
from steering.models import SAE, FeatureLabel

URL = "/api/vectors"
DEMO = Path(__file__).parent.parent / "demo" / "tiny" / "files" / "model"


@pytest.fixture
def folder(settings: Any, tmp_path: Path) -> Path:
    settings.MILLM_VECTORS_DIR = str(tmp_path / "vectors")
    return tmp_path / "vectors"


@pytest.fixture
def client(server: Server, folder: Path, django_user_model: Any) -> APIClient:
    made = APIClient()
    made.force_authenticate(django_user_model.objects.create_superuser("root", password="x"))
    return made


def post(client: APIClient, body: dict[str, Any], status: int = 201) -> Any:
    answer = client.post(URL, body)
    assert answer.status_code == status, answer.content
    return answer.json()


def texts(sentences: list[str]) -> list[Text]:
    tokenizer = AutoTokenizer.from_pretrained(DEMO)
    ids = [tokenizer(one)["input_ids"] for one in sentences]
    return [Text(one, [token not in tokenizer.all_special_ids for token in one]) for one in ids]


@pytest.mark.parametrize("options", [{"layer": 1}, {"hook_name": "blocks.2.hook_resid_pre", "method": "pca"}])
def test_a_vector_set_is_made_of_texts_and_keeps_what_made_it(
    client: APIClient, folder: Path, options: dict[str, Any]
) -> None:
    body = sides("ocean")
    answer = post(client, {**body, **options, "id": "sea", "label": "the sea"})
    hook_name = options.get("hook_name", "blocks.1.hook_resid_post")
    shape = [answer["sae"][name] for name in ("id", "architecture", "hook_name", "d_sae", "model_name", "status")]
    assert shape == ["sea", "vectors", hook_name, 1, "demo", "ready"]
    made = folder / "sea"
    assert answer["sae"]["source"] == str(made)
    reader = ResidualReader(AutoModelForCausalLM.from_pretrained(DEMO), hook_name, threading.Lock())
    pair = (texts(body[side]) for side in ("positive", "negative"))
    again_by = options.get("method", "difference")
    again = make_vector(reader, *pair, method=again_by)
    assert again is not None
    [vector] = load_file(made / "vectors.safetensors")["vectors"]
    assert torch.allclose(torch.tensor(vector), again.vector, atol=1e-4)
    assert np.array_equal(decoder_rows(read_config(made), [0])[0], vector)
    assert json.loads((made / "texts.json").read_text()) == body
    config = json.loads((made / "cfg.json").read_text())["made"]
    assert (config["model"]["name"], config["method"], config["pool"]) == ("demo", again_by, "mean")
    assert answer["made"] == {name: config[name] for name in ("norm", "residual_norm", "auc", "tokens")}
    assert answer["made"]["norm"] == pytest.approx(float(np.linalg.norm(vector)), rel=1e-5)
    assert answer["made"]["auc"] > 0.9
    row = SAE.objects.get(pk="sea")
    assert row.residual_norm == pytest.approx(again.residual_norm, rel=1e-4)
    assert FeatureLabel.objects.of("sea", [0]) == {0: "the sea"}


def test_of_conversations_the_last_answers_count_unless_all_is_asked_for(client: APIClient, folder: Path) -> None:
    body = sides("ocean", 4)
    asked = {"role": "user", "content": "Tell me about the rocket."}
    chats = {side: [[asked, {"role": "assistant", "content": one}] for one in ones] for side, ones in body.items()}
    made = []
    options: list[dict[str, Any]] = [{}, {"answer_only": False}, {"pool": "last"}]
    for index, more in enumerate(options):
        post(client, {**chats, **more, "layer": 1, "id": f"v{index}"})
        made.append(load_file(folder / f"v{index}" / "vectors.safetensors")["vectors"][0])
    answers, whole, last = made
    assert np.linalg.norm(whole) < np.linalg.norm(answers), "the question is in both sets"
    assert not np.allclose(answers, last)
    saved = json.loads((folder / "v0" / "texts.json").read_text())
    assert saved["positive"][0] == chats["positive"][0]


def test_without_an_id_the_label_names_the_set_and_a_name_is_taken_once(client: APIClient, folder: Path) -> None:
    body = {**sides("ocean", 2), "layer": 1}
    named = [post(client, {**body, "label": "The Sea!"})["sae"]["id"] for _ in range(2)]
    assert [*named, post(client, body)["sae"]["id"]] == ["the-sea", "the-sea-2", "vector-1"]
    assert post(client, {**body, "id": "the-sea"}, 409)["code"] == "sae_exists"
    SAE.objects.get(pk="the-sea").delete()
    again = post(client, {**body, "id": "the-sea"})
    assert again["sae"]["source"] == str(folder / "the-sea-3"), "the folder of a deleted set stays"
    assert sorted(path.name for path in folder.iterdir()) == ["the-sea", "the-sea-2", "the-sea-3", "vector-1"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"positive": ["a"], "negative": ["b"]}, "expected one of layer and hook_name"),
        (
            {"positive": ["a"], "negative": ["b"], "layer": 1, "hook_name": "blocks.1.hook_resid_post"},
            "expected one of",
        ),
        ({"positive": ["a"], "negative": ["b"], "layer": 99}, "got layer 99, expected 0 to"),
        ({"positive": ["a"], "negative": ["b"], "hook_name": "blocks.1.hook_z"}, "hook_z"),
        ({"positive": ["a"], "negative": ["b", "c"], "layer": 1, "method": "pca"}, "got 2 texts for 1"),
        (
            {"positive": ["a"], "negative": ["b"], "layer": 1, "method": "mean"},
            "Got “mean”, expected one of the choices",
        ),
        ({"positive": ["a"], "negative": [], "layer": 1}, "expected one or a list"),
        ({"positive": ["a"], "negative": ["<|end|>"], "layer": 1}, "text 0 has no token that counts"),
        ({"positive": ["The sea."], "negative": ["The sea."], "layer": 1}, "differ in nothing"),
        ({"positive": ["a"], "negative": ["b"], "layer": 1, "id": "a b"}, "Expected letters, digits, - and _ only"),
        ({"positive": ["a"], "negative": ["b"], "layer": 1, "strength": 2}, "unknown"),
    ],
)
def test_what_cannot_be_made_is_refused_in_words(
    client: APIClient, folder: Path, body: dict[str, Any], message: str
) -> None:
    assert message in str(post(client, body, 400))
    assert not folder.exists()
    assert not SAE.objects.filter(architecture="vectors").exists()


def test_a_folder_that_cannot_be_written_leaves_nothing_behind(
    client: APIClient, settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    settings.MILLM_VECTORS_DIR = str(tmp_path / "file" / "vectors")
    answer = post(client, {**sides("ocean", 2), "layer": 1}, 507)
    assert answer["code"] == "vectors_not_stored"
    assert "MILLM_VECTORS_DIR" in answer["detail"]
    assert not SAE.objects.filter(architecture="vectors").exists()


def test_a_set_that_is_not_registered_leaves_no_files(
    client: APIClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no row")

    monkeypatch.setattr(type(SAE.objects), "register", refused)
    with pytest.raises(RuntimeError, match="no row"):
        client.post(URL, {**sides("ocean", 2), "layer": 1})
    assert not list(folder.iterdir())


def test_making_needs_the_permission_to_add_an_sae(server: Server, folder: Path, django_user_model: Any) -> None:
    maker: User = django_user_model.objects.create_user("maker", password="x")
    client = APIClient()
    client.force_authenticate(maker)
    body = {**sides("ocean", 2), "layer": 1}
    post(client, body, 403)
    maker.user_permissions.add(Permission.objects.get(codename="add_sae"))
    client.force_authenticate(django_user_model.objects.get(pk=maker.pk))
    assert post(client, body)["sae"] == {"id": "vector-1", "status": "ready"}


def test_a_web_process_makes_one_too(server: Server, api_key: str) -> None:
    headers = {"Authorization": f"Bearer {api_key}"}
    body = {**sides("ocean", 2), "layer": 1}
    answer = httpx.post(f"{server.url}{URL}", json=body, headers=headers, timeout=60)
    assert answer.status_code == 201, answer.text
    assert (Path(answer.json()["sae"]["source"]) / "cfg.json").is_file()


def test_the_commit_of_a_hubs_model_is_kept_where_its_files_are_here(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = LanguageModel(name="m", source="org/model", revision="v1")
    here = LanguageModel(name="m", source="/models/m")
    assert (commit_of(hub), commit_of(here)) == ("v1", "")
    monkeypatch.setattr(vectors, "model_folder", lambda _model: Path("/cache/snapshots/abc123"))
    assert (commit_of(hub), commit_of(here)) == ("abc123", "")
