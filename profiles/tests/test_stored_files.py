"""Files that earlier versions wrote come back byte for byte."""

import json
from pathlib import Path

import pytest
from django.conf import settings
from rest_framework.test import APIClient

from profiles.models import Profile
from steering.models import SAE

FILES = Path(__file__).parent / "files"
DEMO = sorted((settings.BASE_DIR / "inference" / "demo" / "tiny" / "files" / "profiles").glob("*.json"))


def with_stamp_of(exported: bytes, stored: str) -> str:
    """`exported`, with the time and the program of `stored`."""
    text = exported.decode()
    for field in ("exported_at", "exported_from"):
        text = text.replace(json.loads(exported)[field], json.loads(stored)[field])
    return text


@pytest.mark.parametrize("name", ["profile.json", "bundle.json"])
def test_a_file_of_the_version_before_is_exported_as_it_was(client: APIClient, sae: SAE, name: str) -> None:
    stored = (FILES / name).read_text(encoding="utf-8")
    answer = client.post("/api/profiles/import", stored.encode(), content_type="application/json")
    assert answer.status_code == 201, answer.content
    assert answer.json()["notes"] == []
    single = "" if name == "bundle.json" else f"/{answer.json()['id']}"
    exported = client.get(f"/api/profiles{single}/export").content
    assert with_stamp_of(exported, stored) == stored


@pytest.mark.parametrize("path", DEMO, ids=lambda path: path.stem)
def test_a_profile_of_the_demo_keeps_its_content(client: APIClient, path: Path) -> None:
    answer = client.post("/api/profiles/import", path.read_bytes(), content_type="application/json").json()
    exported = json.loads(client.get(f"/api/profiles/{answer['id']}/export").content)
    assert exported["profile"] == {**json.loads(path.read_text())["profile"], "sae_fingerprint": ""}
    assert Profile.objects.get().document.is_plain
