"""Commands that list models and SAEs, and end what is served."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from inference.models import LanguageModel
from inference.tests.conftest import say
from profiles.models import Profile
from steering.models import SAE

pytestmark = pytest.mark.django_db


def run(*words: str) -> tuple[str, str]:
    """stdout and stderr."""
    out, told = StringIO(), StringIO()
    call_command(*words, stdout=out, stderr=told)
    return out.getvalue(), told.getvalue()


@pytest.fixture
def model(own_redis: Any) -> LanguageModel:
    """Current and ready, with the SAE `s` attached and a profile active, beside another model."""
    LanguageModel.objects.create(name="other", source="owner/other", d_model=8, num_layers=2, context_length=64)
    made = LanguageModel.objects.create(name="tiny", source="/tiny", d_model=16, num_layers=4, context_length=512)
    made.load()
    say(made, "ready")
    hook = {"d_in": 16, "d_sae": 100, "layer": 2, "hook_name": "blocks.2.hook_resid_post"}
    made.attach(SAE.objects.create(id="s", source="/sae", status="ready", **hook))
    SAE.objects.create(id="t", source="owner/t", path="layer_1", status="error", error="gone\naway")
    Profile.objects.create_from(name="ocean", strengths={3: 4.0}).activate()
    return made


def test_models_are_listed_a_line_each(model: LanguageModel) -> None:
    out, _ = run("list_models")
    assert [line.split("\t") for line in out.splitlines()] == [
        ["other", "False", "registered", "auto", "auto", "owner/other", ""],
        ["tiny", "True", "ready", "auto", "auto", "/tiny", ""],
    ]
    rows = [json.loads(line) for line in run("list_models", "--json")[0].splitlines()]
    assert [(row["name"], row["is_current"], row["d_model"]) for row in rows] == [
        ("other", False, 8),
        ("tiny", True, 16),
    ]


def test_saes_are_listed_a_line_each(model: LanguageModel) -> None:
    out, _ = run("list_saes")
    assert [line.split("\t") for line in out.splitlines()] == [
        ["s", "True", "ready", "2", "100", "/sae", "", ""],
        ["t", "False", "error", "", "", "owner/t", "layer_1", "gone away"],
    ]
    rows = [json.loads(line) for line in run("list_saes", "--json")[0].splitlines()]
    assert [(row["id"], row["is_attached"], row["error"]) for row in rows] == [
        ("s", True, ""),
        ("t", False, "gone\naway"),
    ]


def test_the_current_model_is_unloaded_with_all_that_hangs_on_it(model: LanguageModel) -> None:
    told = run("unload_model")[1]
    assert told.startswith("tiny is unloaded.")
    assert "SAE s is detached. Profile ocean is deactivated. The live steering of 1 feature is cleared." in told
    assert LanguageModel.objects.current() is None
    assert SAE.objects.attached() is None
    assert Profile.objects.active() is None
    assert "No model is current" in run("unload_model")[1]


def test_a_model_is_unloaded_by_its_name(model: LanguageModel) -> None:
    run("unload_model", "other")
    assert LanguageModel.objects.current() == model
    run("unload_model", "tiny")
    assert LanguageModel.objects.current() is None
    with pytest.raises(CommandError, match="there is no model 'nobody': known are other, tiny"):
        run("unload_model", "nobody")


def test_the_attached_sae_is_detached_with_its_profile(model: LanguageModel) -> None:
    assert "t is not attached: nothing was changed." in run("detach_sae", "t")[1]
    assert SAE.objects.attached() is not None
    assert "s is detached. Profile ocean is deactivated." in run("detach_sae")[1]
    assert SAE.objects.attached() is None
    assert "No SAE is attached" in run("detach_sae")[1]
    with pytest.raises(CommandError, match="there is no SAE 'nobody': known are s, t"):
        run("detach_sae", "nobody")


COMMANDS = [
    "add_model",
    "load_model",
    "unload_model",
    "list_models",
    "add_sae",
    "attach_sae",
    "detach_sae",
    "list_saes",
]
COMMANDS += ["list_profiles", "export_profiles", "import_profiles", "activate_profile", "deactivate_profile"]


@pytest.mark.parametrize("name", [*COMMANDS, "import_labels"])
def test_every_argument_of_a_command_is_explained(name: str) -> None:
    from django.core.management import get_commands, load_command_class

    parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
    assert parser.description
    assert [action.dest for action in parser._actions if not action.help] == []
