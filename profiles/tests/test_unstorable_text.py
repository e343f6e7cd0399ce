"""Half of a surrogate pair is no character: wherever a client sends one, it is told so, and nothing fails on it."""

from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from profiles.errors import InvalidProfileFile
from profiles.files.transfer import ProfileFile
from profiles.models import Profile

HALF = "\\ud800"
BODY = '{"name": "a", "steering": {"1": 1}, "description": "b", "model_id": "m"}'


@pytest.mark.parametrize(
    "body",
    [
        BODY.replace('"a"', f'"{HALF}"'),
        BODY.replace('"b"', f'"{HALF}"'),
        BODY.replace('"1": 1', f'"{HALF}": 1'),
        BODY.replace('"1": 1', f'"1": "{HALF}"'),
        BODY.replace('"model_id"', f'"{HALF}"'),
        f'["{HALF}"]',
        f'"{HALF}"',
    ],
)
@pytest.mark.parametrize(("method", "path"), [("post", "profiles"), ("post", "profiles/import"), ("put", "steering")])
def test_a_rest_body_with_it_is_refused(client: APIClient, method: str, path: str, body: str) -> None:
    answer = getattr(client, method)(f"/api/{path}", body, content_type="application/json")
    assert answer.status_code == 400
    assert "half of a surrogate pair" in answer.json()["detail"]
    assert not Profile.objects.exists()


def test_a_file_with_it_is_refused() -> None:
    with pytest.raises(InvalidProfileFile, match="half of a surrogate pair"):
        ProfileFile.loads(BODY.replace('"b"', f'"{HALF}"'))


@pytest.mark.parametrize("given", ["%ED%A0%80", "%FF"])
def test_in_a_path_a_query_or_a_form_it_is_a_replacement_character(
    client: APIClient, admin_client: Client, given: str
) -> None:
    assert client.get(f"/api/profiles?search={given}").json()["count"] == 0
    assert client.get(f"/api/profiles?model_id={given}").json()["count"] == 0
    for path in (f"/api/profiles/{given}", f"/api/saes/{given}/labels", f"/api/{given}"):
        assert client.get(path).status_code == 404
    form = f"name={given}&description={given}&steering=%7B%7D&model_id=&sae_id=&layer=&sae_fingerprint="
    answer: Any = admin_client.post(
        "/admin/profiles/profile/add/", form, content_type="application/x-www-form-urlencoded"
    )
    assert answer.status_code == 302
    assert "\ufffd" in Profile.objects.get().name
    assert admin_client.get("/admin/profiles/profile/", {"q": "\ufffd"}).status_code == 200


def test_headers_with_other_bytes_than_ascii_are_answered(client: APIClient, profile: Profile) -> None:
    for name in ("If-Match", "X-Request-ID", "Accept-Language", "Cookie"):
        answer = client.delete(f"/api/profiles/{profile.pk}x", headers={name: "\xed\xa0\x80"})
        assert answer.status_code == 404
        assert answer["X-Request-ID"].isascii()
    answer = client.delete(f"/api/profiles/{profile.pk}", headers={"If-Match": "\xed\xa0\x80"})
    assert answer.status_code == 400
