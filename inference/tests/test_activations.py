"""POST /api/activations, beside transformers and the encoder run by hand."""

import re
from typing import Any

import httpx
import pytest
import torch
from django.contrib.auth.models import Permission, User
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from inference.demo.tiny import FILES
from inference.engine.saes.directions import steering_vector
from inference.engine.saes.encoders import load_encoder
from inference.tests.conftest import Server
from millm_site.models import APIKey
from profiles.models import Profile
from steering.formats import read_config
from steering.models import SAE, FeatureLabel

TEXT = "The whale dives in the sea."
ANSWER = "A fox howls in the woods."
CHAT = [
    {"role": "user", "content": "Tell me something."},
    {"role": "assistant", "content": ANSWER},
]
CONFIG = read_config(FILES / "sae")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(FILES / "model")


def activations(ids: list[int], vector: Tensor | None = None) -> Tensor:
    """(tokens, d_sae), with `vector` added at the hook point before the SAE reads."""
    model = AutoModelForCausalLM.from_pretrained(FILES / "model", dtype=torch.float32).eval()
    with torch.no_grad():
        stream = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[CONFIG.layer + 1][0]
    return load_encoder(CONFIG, "cpu", torch.float32).encode(stream if vector is None else stream + vector)


def post(server: Server, key: str, body: dict[str, Any], status: int = 200) -> Any:
    answer = httpx.post(
        f"{server.url}/api/activations", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=60
    )
    assert answer.status_code == status, answer.text
    return answer.json()


def test_the_features_of_each_token_are_those_of_a_plain_pass(server: Server, api_key: str, tokenizer: Any) -> None:
    answer = post(server, api_key, {"texts": [TEXT, "snow"], "top_k": 3, "skip_special": False})
    assert (answer["model"], answer["sae"], answer["hook_name"]) == ("demo", "demo-sae", CONFIG.hook_name)
    assert (answer["steering"], answer["stage"]) == ("none", None)
    labels = dict(FeatureLabel.objects.filter(sae="demo-sae").values_list("index", "label"))
    for text, found in zip([TEXT, "snow"], answer["texts"], strict=True):
        ids = tokenizer(text)["input_ids"]
        expected = activations(ids)
        assert [one["id"] for one in found["tokens"]] == ids
        assert "".join(one["text"] for one in found["tokens"] if not one["special"]) == text
        for token, row in zip(found["tokens"], expected, strict=True):
            values, indices = row.topk(3)
            fired = [
                (index, value) for index, value in zip(indices.tolist(), values.tolist(), strict=True) if value > 0
            ]
            assert [one["index"] for one in token["features"]] == [index for index, _ in fired]
            assert [one["activation"] for one in token["features"]] == pytest.approx([v for _, v in fired], abs=1e-4)
            assert all(one["label"] == labels.get(one["index"], "") for one in token["features"])
        for one in found["features"]:
            column = expected[:, one["index"]]
            assert one["maximum"] == pytest.approx(float(column.max()), abs=1e-4)
            assert one["position"] == int(column.argmax())
            assert one["sum"] == pytest.approx(float(column.sum()), abs=1e-3)


def test_special_tokens_are_shown_and_do_not_count(server: Server, api_key: str) -> None:
    [text] = post(server, api_key, {"messages": CHAT})["texts"]
    special = [one for one in text["tokens"] if one["special"]]
    assert [one["text"] for one in special][:2] == ["<|begin|>", "<|user|>"]
    assert all(one["features"] == [] for one in special)
    assert all(one["features"] for one in text["tokens"] if not one["special"])
    [every] = post(server, api_key, {"messages": CHAT, "skip_special": False})["texts"]
    assert any(one["features"] for one in every["tokens"] if one["special"])


def test_of_a_chat_the_last_answer_alone_can_count(server: Server, api_key: str) -> None:
    [text] = post(server, api_key, {"messages": [CHAT], "positions": "answer"})["texts"]
    counted = "".join(one["text"] for one in text["tokens"] if one["features"])
    assert counted == ANSWER


def test_token_ids_are_read_as_they_are(server: Server, api_key: str, tokenizer: Any) -> None:
    ids = tokenizer(TEXT)["input_ids"][1:]
    [text] = post(server, api_key, {"tokens": ids, "features": [3], "skip_special": False})["texts"]
    assert [one["id"] for one in text["tokens"]] == ids
    column = activations(ids)[:, 3]
    assert text["features"][0]["maximum"] == pytest.approx(float(column.max()), abs=1e-4)


def test_features_that_are_asked_for_come_in_their_order_also_where_they_never_fire(
    server: Server, api_key: str, tokenizer: Any
) -> None:
    totals = activations(tokenizer(TEXT)["input_ids"]).sum(dim=0)
    silent, loud = int(totals.argmin()), int(totals.argmax())
    [text] = post(server, api_key, {"texts": TEXT, "features": [silent, loud], "skip_special": False})["texts"]
    assert [(one["index"], one["maximum"] > 0) for one in text["features"]] == [(silent, False), (loud, True)]
    assert {one["index"] for token in text["tokens"] for one in token["features"]} == {loud}


def test_before_and_after_a_steering_differ_by_what_the_decoder_says(
    server: Server, api_key: str, tokenizer: Any
) -> None:
    ids, strengths = tokenizer(TEXT)["input_ids"], {5: 4.0, 9: -2.0}
    body = {"texts": TEXT, "top_k": 5, "skip_special": False, "steering": {"features": {"5": 4.0, "9": -2.0}}}
    for stage, vector in (("before", None), ("after", steering_vector(CONFIG, [*strengths.items()]))):
        answer = post(server, api_key, body | {"stage": stage})
        assert answer["stage"] == stage
        assert answer["steering"] != "none"
        for token, row in zip(answer["texts"][0]["tokens"], activations(ids, vector), strict=True):
            values = [one["activation"] for one in token["features"]]
            assert values == pytest.approx(row.topk(len(values)).values.tolist(), abs=1e-3)


def test_a_profile_steers_a_reading_and_is_not_activated(server: Server, api_key: str) -> None:
    profile = Profile.objects.get(name="ocean")
    spec = profile.spec()
    assert spec is not None
    answer = post(server, api_key, {"texts": TEXT, "profile": "ocean"})
    assert answer["steering"] == spec.fingerprint
    assert Profile.objects.active() is None


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({}, 400, "expected one of texts, messages and tokens"),
        ({"texts": "a", "tokens": [1]}, 400, "Got texts and tokens"),
        ({"texts": []}, 400, "expected one or a list"),
        ({"texts": ["a", 3]}, 400, "1: got 3, expected a text"),
        ({"texts": ["x"] * 1025}, 400, "Got 1,025 texts"),
        ({"texts": "whale " * 4097}, 400, "maximum context length is 4096"),
        ({"texts": ["whale " * 3000] * 12}, 400, "32,768 tokens"),
        ({"texts": ["whale " * 3000] * 10, "top_k": 100}, 400, "features in all"),
        ({"tokens": [1, 1024]}, 400, "out of range"),
        ({"tokens": [1, True]}, 400, "expected token ids"),
        ({"texts": "a", "features": [100_000]}, 400, "out of range"),
        ({"texts": "a", "features": [1, 1]}, 400, "twice"),
        ({"texts": "a", "positions": "answer"}, 400, "only messages"),
        ({"messages": CHAT[:1], "positions": "answer"}, 400, "no answer"),
        ({"messages": [{"role": "user"}]}, 400, "content"),
        ({"texts": "a", "sae": "no-such"}, 404, "no SAE no-such"),
        ({"texts": "a", "profile": "no-such"}, 404, "no-such"),
        ({"texts": "a", "profile": "ocean", "steering": {"features": {}}}, 400, "one of them"),
        ({"texts": "a", "steering": {"features": {"1": "x"}}}, 400, "steering.features.1"),
        ({"texts": "a", "top": 3}, 400, "unknown"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(
    server: Server, api_key: str, body: dict[str, Any], status: int, told: str
) -> None:
    assert told in str(post(server, api_key, body, status))


def test_without_an_sae_or_a_model_nothing_is_read(server: Server, api_key: str) -> None:
    SAE.objects.update(is_attached=False)
    assert post(server, api_key, {"texts": "a"}, 409)["code"] == "no_sae_attached"
    assert post(server, api_key, {"texts": "a", "sae": "demo-sae"})["sae"] == "demo-sae"


def test_an_sae_whose_files_are_gone_is_named(server: Server, api_key: str) -> None:
    SAE.objects.create(
        id="lost", source="/no/such/folder", d_in=160, d_sae=8, hook_name=CONFIG.hook_name, status="ready"
    )
    answer = post(server, api_key, {"texts": "a", "sae": "lost"}, 409)
    assert answer["code"] == "sae_unavailable"
    assert "/no/such/folder" in answer["detail"]


def test_reading_needs_the_permission_to_view_labels(server: Server, demo: Any) -> None:
    user = User.objects.create_user("reader")
    key = str(APIKey.objects.create(user, name="test")[1])
    post(server, key, {"texts": "a"}, 403)
    user.user_permissions.add(Permission.objects.get(codename="view_featurelabel"))
    assert post(server, key, {"texts": "a"})["texts"]


def test_readings_are_counted_by_how_they_end(server: Server, api_key: str) -> None:
    def counted(outcome: str) -> float:
        shown = httpx.get(f"{server.url}/metrics").text
        found = re.search(rf'millm_readings_total{{kind="activations",outcome="{outcome}"}} ([\d.]+)', shown)
        return float(found[1]) if found else 0.0

    before = counted("answered"), counted("refused")
    post(server, api_key, {"texts": "a"})
    post(server, api_key, {"tokens": [1024]}, 400)
    assert (counted("answered"), counted("refused")) == (before[0] + 1, before[1] + 1)
