"""Management commands in a pipe: data on stdout, messages on stderr, exit codes."""

import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.conf import settings
from django.core.management import execute_from_command_line
from django.db import connection

from profiles.models import Profile
from steering.models import SteeringState


def manage(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """`manage.py` in this process: the start of one of its own would take longer than its test."""
    out, told, code = StringIO(), StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(told):
        patch.setattr(sys, "stdin", TextIOWrapper(BytesIO(stdin.encode())))
        try:
            execute_from_command_line(["manage.py", *arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), told.getvalue())


def pipe(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """`manage.py` as a process of its own, on the test database."""
    name = str(connection.settings_dict["NAME"])
    url = urlunsplit(urlsplit(settings.DATABASE_URL)._replace(path=f"/{name}"))
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), *arguments]
    env = os.environ | {"DATABASE_URL": url}
    return subprocess.run(command, input=stdin, capture_output=True, text=True, env=env, timeout=60)


@pytest.fixture
def profiles(transactional_db: None) -> list[Profile]:
    steering = {3: 4.0, 7: -1.5}
    return [Profile.objects.create(name=name, model_id="m", strengths=steering) for name in ("ocean", "space")]


def test_a_profile_goes_through_a_pipe_and_comes_back(profiles: list[Profile]) -> None:
    exported = pipe("export_profiles", "ocean")
    assert (exported.returncode, exported.stderr) == (0, "")
    assert json.loads(exported.stdout)["profile"]["name"] == "ocean"
    dry = pipe("import_profiles", "--on-conflict", "rename", "--dry-run", stdin=exported.stdout)
    assert (dry.returncode, Profile.objects.count()) == (0, 2)
    assert dry.stdout == "renamed\tocean (2)\t\n"  # it has no id yet
    assert dry.stderr == "1 profile would be imported.\n"
    imported = pipe("import_profiles", "-", "--on-conflict", "rename", stdin=exported.stdout)
    assert imported.stdout.split("\t")[:2] == ["renamed", "ocean (2)"]
    assert Profile.objects.get(name="ocean (2)").strengths == {3: 4.0, 7: -1.5}


def test_several_files_are_imported_all_or_none(profiles: list[Profile], tmp_path: Path) -> None:
    assert manage("export_profiles", "--all", "--output", str(tmp_path / "all.json")).stdout == ""
    Profile.objects.filter(name="space").delete()
    (tmp_path / "new.json").write_text('{"version": "1.0", "name": "new", "steering": {}}')
    refused = manage("import_profiles", str(tmp_path / "new.json"), str(tmp_path / "all.json"))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "all.json: profiles.0.name" in refused.stderr.replace("profiles.0: name", "profiles.0.name")
    assert list(Profile.objects.values_list("name", flat=True)) == ["ocean"]
    taken = manage("import_profiles", str(tmp_path / "new.json"), str(tmp_path / "all.json"), "--on-conflict=replace")
    assert [line.split("\t")[0] for line in taken.stdout.splitlines()] == ["created", "unchanged", "created"]
    assert taken.stderr == "2 profiles imported, 1 unchanged.\n"


def test_what_is_there_already_is_left_unchanged(profiles: list[Profile]) -> None:
    ocean, versions = profiles[0], Profile.history.count()
    exported = manage("export_profiles", "ocean", "ocean")
    assert json.loads(exported.stdout)["type"] == "millm_profile"  # once
    for dry in ([], ["--dry-run"]):
        again = manage("import_profiles", "--on-conflict", "replace", *dry, stdin=exported.stdout)
        assert again.stdout == f"unchanged\tocean\t{ocean.pk}\n"
        assert Profile.history.count() == versions
    other = json.loads(exported.stdout)
    other["profile"]["steering"] = {"3": 1.0}
    replaced = manage("import_profiles", "--on-conflict", "replace", stdin=json.dumps(other))
    assert replaced.stdout == f"replaced\tocean\t{ocean.pk}\n"
    assert Profile.history.count() == versions + 1


def test_how_many_profiles_are_in_a_file_is_told(profiles: list[Profile], tmp_path: Path) -> None:
    file = str(tmp_path / "file.json")
    assert manage("export_profiles", "ocean", "--output", file).stderr == f"1 profile is in {file}.\n"
    assert manage("export_profiles", "--all", "--output", file).stderr == f"2 profiles are in {file}.\n"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["export_profiles"], 2, "--all"),
        (["export_profiles", "nobody"], 1, "there is no profile 'nobody'"),
        (["import_profiles", "/nowhere.json"], 1, "/nowhere.json cannot be read"),
        (["import_profiles", "--on-conflict", "maybe"], 2, "invalid choice"),
        (["import_profiles"], 1, "is not JSON"),
        (["activate_profile", "nobody"], 1, "there is no profile 'nobody'"),
        (["activate_profile", "ocean"], 1, "does not fit"),
        (["activate_profile"], 2, "NAME"),
    ],
)
def test_what_cannot_be_done_is_told_on_stderr_with_an_exit_code(
    profiles: list[Profile], arguments: list[str], code: int, told: str
) -> None:
    done = manage(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_profiles_are_activated_listed_and_deactivated(profiles: list[Profile]) -> None:
    from inference.models import LanguageModel
    from steering.models import SAE

    model = LanguageModel.objects.create(name="m", source="/t", d_model=16, num_layers=4, context_length=512)
    model.make_current()
    sae = SAE.objects.create(
        id="s", source="/s", status="ready", d_in=16, d_sae=100, layer=2, hook_name="blocks.2.hook_resid_post"
    )
    model.attach(sae)
    Profile.objects.filter(name="ocean").update(sae_id="s", layer=2)
    assert manage("activate_profile", "ocean").returncode == 0
    assert SteeringState.objects.load().strengths == {3: 4.0, 7: -1.5}
    listed = manage("list_profiles").stdout.splitlines()
    assert listed[0].split("\t") == ["ocean", "True", "2", "m", "s", "2", profiles[0].pk]
    assert [json.loads(line)["name"] for line in manage("list_profiles", "--active", "--json").stdout.splitlines()] == [
        "ocean"
    ]
    assert "ocean is no longer active" in manage("deactivate_profile").stderr
    assert SteeringState.objects.load().enabled is False
    assert "No profile was active" in manage("deactivate_profile").stderr
