"""A web and an import that are killed in the middle of a change: nothing is half done, and all goes on."""

import itertools
import json
import random
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import transaction

from inference.models import LanguageModel
from inference.tests.test_load import wait_for
from millm_site.tests.test_processes import MANAGE, Web, environment
from profiles.models import Profile
from steering.models import SteeringState

ROUNDS = 2
CLIENTS = 4
MANY = 400
FREE_S = 5
"""A lock that a killed process held is free by then: PostgreSQL sees that its connection is closed."""


def lock_is_free() -> bool:
    with transaction.atomic():
        return SteeringState.objects.select_for_update(skip_locked=True).filter(pk=1).exists()


def has_more(found: list[int], than: int) -> bool:
    return len(found) > than


def assert_what_steers_is_whole() -> None:
    """One or no profile is active; the live steering is its; the last versions say the same as the rows."""
    active, state = Profile.objects.filter(is_active=True), SteeringState.objects.load()
    assert len(active) <= 1
    if active:
        assert (state.enabled, state.strengths, state.sae_id) == (True, active[0].strengths, active[0].sae_id)
    kept = SteeringState.history.order_by("-version").first()
    assert (kept.version, kept.strengths, kept.enabled) == (state.version, state.strengths, state.enabled)
    versions = SteeringState.history.order_by("version").values_list("version", flat=True)
    assert [*versions] == [*range(versions[0], state.version + 1)], "no version is missing, and none is there twice"
    for profile in Profile.objects.all():
        last = profile.history.order_by("-history_id").first()
        assert (last.is_active, last.strengths) == (profile.is_active, profile.strengths)
    ups = Profile.history.filter(history_change_reason="activated").count()
    downs = Profile.history.filter(history_change_reason__startswith="deactivated").count()
    assert ups - downs == len(active)


@pytest.fixture
def webs(transactional_db: None, tmp_path: Path) -> Iterator[Any]:
    started: list[Web] = []

    def start(**env: str) -> Web:
        started.append(Web(env, tmp_path / f"web{len(started)}.log"))
        return started[-1].wait()

    yield start
    for web in started:
        web.process.kill()
        web.process.wait()


def test_a_web_that_is_killed_while_it_activates_leaves_no_activation_by_halves(
    demo: LanguageModel, api_key: str, webs: Any
) -> None:
    profiles = [*Profile.objects.values_list("pk", flat=True)]
    auth, moments = {"Authorization": f"Bearer {api_key}"}, random.Random(1)
    for _round in range(ROUNDS):
        web, answered = webs(), list[int]()

        def activate(start: int, web: Web = web, answered: list[int] = answered) -> None:
            with httpx.Client(base_url=web.url, headers=auth, timeout=10) as client:
                for profile in itertools.islice(itertools.cycle(profiles), start, 10_000):
                    try:
                        answered.append(client.post(f"/api/profiles/{profile}/activate").status_code)
                    except httpx.TransportError:
                        return  # the web is gone

        with ThreadPoolExecutor(CLIENTS) as clients:
            asked = [clients.submit(activate, i) for i in range(CLIENTS)]
            wait_for(partial(has_more, answered, CLIENTS), 20)
            time.sleep(moments.uniform(0, 0.3))
            web.process.kill()
        assert [one.result() for one in asked] == [None] * CLIENTS
        assert set(answered) == {200}
        wait_for(lock_is_free, FREE_S)
        assert_what_steers_is_whole()
    web = webs()
    for profile in profiles:
        assert httpx.post(f"{web.url}/api/profiles/{profile}/activate", headers=auth, timeout=10).status_code == 200
        assert Profile.objects.active() == Profile.objects.get(pk=profile)
    assert_what_steers_is_whole()


def bundle(path: Path, names: list[str]) -> str:
    one = {"description": "x" * 1000, "steering": {str(i): 1.5 for i in range(30)}}
    profiles = [one | {"name": name} for name in names]
    path.write_text(json.dumps({"version": "1.0", "type": "millm_profile_bundle", "profiles": profiles}))
    return str(path)


def test_a_killed_import_has_imported_all_of_its_files_or_nothing(transactional_db: None, tmp_path: Path) -> None:
    SteeringState.objects.load()
    names = [f"imported {i}" for i in range(MANY)]
    files = [bundle(tmp_path / "a.json", names[: MANY // 2]), bundle(tmp_path / "b.json", names[MANY // 2 :])]
    for waited_s in (0.05, 0.5):
        importing = subprocess.Popen([*MANAGE, "import_profiles", *files], env=environment(), stdout=subprocess.DEVNULL)
        wait_for(lambda: not lock_is_free(), 30)
        time.sleep(waited_s)
        assert importing.poll() is None, "it was over before it was killed: the test proves nothing"
        importing.kill()
        importing.wait()
        wait_for(lock_is_free, FREE_S)
        assert (Profile.objects.count(), Profile.history.count()) == (0, 0)
    again = subprocess.run([*MANAGE, "import_profiles", *files], env=environment(), capture_output=True, timeout=60)
    assert again.returncode == 0, again.stderr
    assert (Profile.objects.count(), Profile.history.count()) == (MANY, MANY)
