"""The sampling of requests that name none: the model's own, from its `generation_config.json`."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from inference.demo.tiny import FILES
from inference.models import LanguageModel
from inference.openai.requests import ChatRequest
from inference.tests.conftest import Server
from steering.hub.sources import BadSource

MESSAGES: Any = [{"role": "user", "content": "Tell me something."}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of a model of its own."""
    return Path(shutil.copytree(FILES / "model", tmp_path / "own"))


def recommend(folder: Path, **sampling: object) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": True, "eos_token_id": 2, **sampling}))


@pytest.mark.django_db
def test_a_model_is_registered_with_the_sampling_that_its_files_recommend(folder: Path) -> None:
    recommend(folder, temperature=0.6, top_p=0.9, top_k=None, max_length=20)
    model = LanguageModel.objects.register(str(folder), anywhere=True)
    model.refresh_from_db()
    assert model.sampling_defaults == {"temperature": 0.6, "top_p": 0.9}


@pytest.mark.django_db
def test_a_model_without_the_file_has_openais_sampling(folder: Path) -> None:
    (folder / "generation_config.json").unlink()
    assert LanguageModel.objects.register(str(folder), anywhere=True).sampling_defaults == {}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "value"), [("temperature", "hot"), ("temperature", 3), ("top_p", -0.1), ("top_k", 1.5), ("min_p", True)]
)
def test_a_wrong_value_in_the_file_is_refused_by_name(folder: Path, name: str, value: object) -> None:
    recommend(folder, **{name: value})
    with pytest.raises(BadSource, match=rf"generation_config\.json has {name} .*expected a number from"):
        LanguageModel.objects.register(str(folder), anywhere=True)
    assert not LanguageModel.objects.filter(name="own").exists()


@pytest.mark.django_db
def test_a_file_that_is_no_json_is_refused(folder: Path) -> None:
    (folder / "generation_config.json").write_text("{")
    with pytest.raises(BadSource, match="is not JSON"):
        LanguageModel.objects.register(str(folder), anywhere=True)


def test_what_a_request_names_goes_before_what_the_model_recommends() -> None:
    recommended = {"temperature": 0.6, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "repetition_penalty": 1.2}
    own = ChatRequest.model_validate({"model": "m", "messages": MESSAGES, "temperature": 0, "top_k": -1})
    sampling = own.sampling(recommended)
    assert (sampling.temperature, sampling.top_k) == (0, 0)
    assert (sampling.top_p, sampling.min_p, sampling.repetition_penalty) == (0.9, 0.1, 1.2)


@pytest.fixture
def greedy(server: Server) -> Iterator[None]:
    """The demo, as if its files recommended temperature 0."""
    demo = LanguageModel.objects.filter(name="demo")
    demo.update(sampling_defaults={"temperature": 0})
    yield
    demo.update(sampling_defaults={})


@pytest.mark.usefixtures("greedy")
def test_chats_and_completions_are_sampled_as_the_model_recommends(server: Server, api_key: str) -> None:
    client = server.openai(api_key)

    def chat(**own: Any) -> Any:
        return client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=20, **own)

    assert len({chat(seed=seed).choices[0].message.content for seed in range(5)}) == 1
    assert len({chat(seed=seed, temperature=1).choices[0].message.content for seed in range(5)}) > 1
    texts = [client.completions.create(model="demo", prompt="The", seed=seed, max_tokens=8) for seed in range(3)]
    assert len({answer.choices[0].text for answer in texts}) == 1


@pytest.mark.usefixtures("greedy")
def test_the_playground_begins_with_it_and_the_pages_show_it(server: Server, admin_client: Client) -> None:
    page = admin_client.get("/admin/playground/")
    assert page.context["page"]["settings"]["temperature"] == 0
    model = LanguageModel.objects.get(name="demo")
    assert "temperature 0" in admin_client.get(f"/admin/inference/languagemodel/{model.pk}/change/").content.decode()
    [listed] = admin_client.get("/api/models").json()["results"]
    assert listed["sampling_defaults"] == {"temperature": 0}
