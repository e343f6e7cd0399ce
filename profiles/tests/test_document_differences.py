"""Differences of documents: settings and the features of parts."""

import pytest
from rest_framework.test import APIClient

from profiles.diff import COMPARED, diff, differences
from profiles.tests.documents import CLAMP, DOCUMENT, made

pytestmark = pytest.mark.usefixtures("other")


def test_a_difference_has_settings_and_the_features_of_parts(client: APIClient) -> None:
    plain, full = made(name="plain", more={}), made()
    found = diff(plain, full)
    assert found["changed"][1:] == [
        {"field": "intensity", "before": 1.0, "after": 0.5},
        {"field": "positions", "before": "all", "after": {"of": "answer", "first": 10}},
        {"field": "special_tokens", "before": True, "after": False},
        {"field": "tools", "before": True, "after": False},
        {"field": "also.other.layer", "before": None, "after": 1},
        {"field": "also.other.when", "before": None, "after": {"feature": 5, "above": 1.0}},
    ]
    assert found["features"] == [{"index": 7, "before": None, "after": 2.0, "sae": "other"}]
    assert client.get(f"/api/profiles/{plain.pk}/diff?against={full.pk}").json() == found
    full.strengths, full.more = {3: 5.0, 8: {"mode": "ablate"}}, {**DOCUMENT, "also": []}
    assert diff(made(name="again"), full)["features"] == [
        {"index": 3, "before": 4.0, "after": 5.0},
        {"index": 8, "before": CLAMP, "after": {"mode": "ablate"}},
        {"index": 7, "before": 2.0, "after": None, "sae": "other"},
    ]


def test_a_difference_is_shown_in_words() -> None:
    [shown] = differences([(made(name="plain", strengths={8: CLAMP}, more={}), made())], dict.fromkeys(COMPARED, "x"))
    assert [(one.name, one.before, one.after) for one in shown.fields[1:]] == [
        ("intensity", "1", "0.5"),
        ("positions", "all", "first 10 of answer"),
        ("special tokens", "on", "off"),
        ("tool calls", "on", "off"),
        ("layer of other", "", "1"),
        ("condition of other", "", "feature 5 above 1"),
    ]
    assert [(one.name, one.before, one.after) for one in shown.features] == [
        ("3", "", "4"),
        ("7 of other", "", "2"),
    ]
