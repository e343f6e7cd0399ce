"""Commands with `--wait`, while a worker, played here, brings up what they wait for."""

from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from inference.models import LanguageModel
from inference.tests.conftest import say
from inference.tests.tiny import tiny_model, tiny_sae
from profiles.current import attach_sae
from steering.errors import Refused
from steering.models import SAE

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_redis")]
Plays = Callable[..., None]


@pytest.fixture
def plays(monkeypatch: pytest.MonkeyPatch) -> Plays:
    """Each time somebody waits, the state becomes the next of these; then nobody may wait any more."""

    def play(row: LanguageModel | SAE, *steps: dict[str, Any]) -> None:
        left: Iterator[dict[str, Any]] = iter(steps)

        def become(_s: float) -> None:
            step = next(left)
            if isinstance(row, SAE):
                SAE.objects.filter(pk=row.pk).update(**step)
            elif step["status"] == "registered":
                LanguageModel.objects.get(pk=row.pk).unload()
            else:
                say(LanguageModel.objects.get(pk=row.pk), **step)

        monkeypatch.setattr("inference.management.progress.time.sleep", become)

    return play


@pytest.fixture
def model(tmp_path: Path) -> LanguageModel:
    tiny_model().save_pretrained(tmp_path / "tiny")
    return LanguageModel.objects.register(str(tmp_path / "tiny"), name="tiny", anywhere=True)


def run(*words: str) -> tuple[str, list[str]]:
    out, told = StringIO(), StringIO()
    call_command(*words, stdout=out, stderr=told)
    return out.getvalue().strip(), told.getvalue().splitlines()


def test_a_load_is_followed_to_its_end(model: LanguageModel, plays: Plays) -> None:
    half = {"status": "downloading", "progress": 0.5}
    plays(model, half, half, {"status": "loading", "progress": None}, {"status": "ready"})
    out, told = run("load_model", "tiny", "--wait")
    assert (out, told[1:]) == ("ready", ["queued", "downloading 50%", "loading"])


@pytest.mark.parametrize(
    ("last", "said"),
    [({"status": "error", "error": "too large"}, "too large"), ({"status": "registered"}, "its load was cancelled")],
)
def test_a_load_that_comes_to_nothing_is_an_error(
    model: LanguageModel, plays: Plays, last: dict[str, str], said: str
) -> None:
    plays(model, last)
    with pytest.raises(CommandError, match=said):
        run("load_model", "tiny", "--wait")


def test_a_load_that_is_asked_for_again_goes_on_where_it_is_under_way(model: LanguageModel) -> None:
    model.load()
    say(model, "downloading", 0.5)
    run("load_model", "tiny")
    model.refresh_from_db()
    assert (model.load_count, model.status, model.progress) == (1, "downloading", 0.5)
    for ended in ("ready", "error"):
        say(model, ended)
        before = model.load_count
        model.load()
        assert (model.load_count, model.status) == (before + 1, "queued")


def test_an_sae_is_attached_as_soon_as_it_is_downloaded(model: LanguageModel, plays: Plays, tmp_path: Path) -> None:
    model.make_current()
    tiny_sae(tmp_path / "sae")
    sae = SAE.objects.register(str(tmp_path / "sae"), sae_id="late", anywhere=True)
    SAE.objects.update(status="queued", progress=None)
    with pytest.raises(Refused, match="is queued: expected ready"):
        attach_sae(sae)
    plays(sae, {"status": "downloading", "progress": 0.25}, {"status": "ready", "progress": None})
    assert run("attach_sae", "late", "--wait")[1][:2] == ["queued", "downloading 25%"]
    assert SAE.objects.attached() == sae


def test_an_sae_whose_download_fails_is_not_attached(model: LanguageModel, plays: Plays, tmp_path: Path) -> None:
    model.make_current()
    tiny_sae(tmp_path / "sae")
    sae = SAE.objects.register(str(tmp_path / "sae"), sae_id="late", anywhere=True)
    SAE.objects.update(status="queued", progress=None)
    plays(sae, {"status": "error", "error": "no such file"})
    with pytest.raises(CommandError, match="no such file"):
        run("attach_sae", "late", "--wait")
    assert SAE.objects.attached() is None
