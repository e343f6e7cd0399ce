"""POST /api/features/contrast: from sentences of a kind to the features that make them so."""

import random
from typing import Any

import httpx
import pytest

from inference.demo.tiny.grammar import TOPICS, sentence
from inference.tests.conftest import Server
from profiles.models import Profile
from steering.models import Feature, FeatureLabel


def post(server: Server, key: str, body: dict[str, Any], status: int = 200) -> Any:
    answer = httpx.post(
        f"{server.url}/api/features/contrast", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=60
    )
    assert answer.status_code == status, answer.text
    return answer.json()


def sides(topic: str, count: int = 10) -> dict[str, Any]:
    rng = random.Random(0)
    others = [*TOPICS.keys() - {topic}]
    others.sort()
    return {
        "positive": [sentence(topic, rng) for _ in range(count)],
        "negative": [sentence(rng.choice(others), rng) for _ in range(count)],
    }


def test_ten_sentences_a_side_find_the_features_by_which_profiles_steer_to_their_topic(
    server: Server, api_key: str
) -> None:
    found = 0
    labels = dict(FeatureLabel.objects.filter(sae="demo-sae").values_list("index", "label"))
    for topic in TOPICS:
        answer = post(server, api_key, sides(topic))
        assert (answer["positive"], answer["negative"], answer["pool"]) == (10, 10, "mean")
        first = answer["features"][:5]
        assert all(one["label"] == labels.get(one["index"], "") for one in first)
        assert answer["residual_auc"] > 0.9
        found += bool({one["index"] for one in first} & set(Profile.objects.get(name=topic).strengths))
    assert found >= 6


def test_the_largest_activation_of_a_feature_is_named_where_it_is_known(server: Server, api_key: str) -> None:
    Feature.objects.filter(sae="demo-sae").delete()
    first, second = post(server, api_key, sides("ocean"))["features"][:2]
    assert (first["maximum"], second["maximum"]) == (None, None)
    Feature.objects.create(sae_id="demo-sae", index=first["index"], maximum=12.5)
    again = {one["index"]: one["maximum"] for one in post(server, api_key, sides("ocean"))["features"]}
    assert (again[first["index"]], again[second["index"]]) == (12.5, None)


def test_the_sides_exchanged_oppose_each_other(server: Server, api_key: str) -> None:
    body = sides("space")
    one = post(server, api_key, body)
    other = post(server, api_key, {"positive": body["negative"], "negative": body["positive"]})
    assert [feature["index"] for feature in one["features"]] == [feature["index"] for feature in other["opposed"]]
    assert one["features"][0]["difference"] == pytest.approx(-other["opposed"][0]["difference"], abs=1e-5)


def test_of_conversations_the_last_answers_are_compared(server: Server, api_key: str) -> None:
    """The question is of the other topic, and does not count."""
    asked = {"role": "user", "content": "Tell me about the rocket."}
    body = sides("ocean")
    chats = {side: [[asked, {"role": "assistant", "content": text}] for text in texts] for side, texts in body.items()}
    features = set(Profile.objects.get(name="ocean").strengths)
    answer = post(server, api_key, chats)
    assert features & {one["index"] for one in answer["features"][:5]}
    same = post(server, api_key, {"positive": body["positive"], "negative": chats["negative"]})
    assert features & {one["index"] for one in same["features"][:5]}


def test_the_options_change_the_ranking(server: Server, api_key: str) -> None:
    body = sides("ocean")
    top = post(server, api_key, body | {"top": 3})
    assert len(top["features"]) == 3
    greatest = post(server, api_key, body | {"pool": "max", "top": 3})
    assert greatest["features"][0]["difference"] > top["features"][0]["difference"]
    rare = post(server, api_key, body | {"max_density": 0.05})
    assert all(one["density"] <= 0.05 for one in [*rare["features"], *rare["opposed"]])


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"positive": ["a"]}, "required"),
        ({"positive": ["a"], "negative": []}, "expected one or a list"),
        ({"positive": "a", "negative": ["b"]}, "expected one or a list"),
        ({"positive": ["a", " "], "negative": ["b"]}, "1: got ' ', expected a text"),
        ({"positive": ["a"], "negative": [[{"role": "user", "content": "b"}]]}, "no answer"),
        ({"positive": ["a"] * 600, "negative": ["b"] * 600}, "1,200 texts in all"),
        ({"positive": ["a"], "negative": ["b"], "pool": "sum"}, "Got “sum”, expected one of the choices"),
        ({"positive": ["a"], "negative": ["b"], "max_density": 2}, "Expected at most 1.0."),
        ({"positive": ["a"], "negative": ["<|end|>"]}, "text 0 has no token that counts"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_words(
    server: Server, api_key: str, body: dict[str, Any], told: str
) -> None:
    assert told in str(post(server, api_key, body, 400))
