"""The files of a deployment are true: real linters take them, and what they name is there.

No image is built here, which needs a Docker engine: its stages are gone through by hand, on what it would copy.
Kubernetes is in test_kubernetes.py.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pathspec
import pytest
from django.conf import settings

from millm_site.tests.deployment_files import check_command, check_variables, tool
from millm_site.tests.variables import ROOT

SECRETS = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "SECRET_KEY", "MILLM_ADMIN_PASSWORD")
Services = dict[str, dict[str, Any]]


# --- the image ---


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def variables_of_the_image() -> dict[str, str]:
    return dict(word.split("=", 1) for name, rest in instructions() if name == "ENV" for word in shlex.split(rest))


def test_the_image_runs_our_commands_as_a_user_who_is_not_root() -> None:
    users = [rest for name, rest in instructions() if name == "USER"]
    assert users == ["10001:10001"]
    for name, rest in instructions():
        if name in {"CMD", "HEALTHCHECK"}:
            check_command(json.loads(rest[rest.index("[") :]))
    check_variables(variables_of_the_image())


def is_copied(name: str) -> bool:
    # Docker's patterns are of the top folder unless they begin with **/.
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] != "#"]
    anchored = [line if "**/" in line else re.sub(r"^!?", r"\g<0>/", line) for line in lines]
    return not pathspec.GitIgnoreSpec.from_lines(anchored).match_file(name)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """What `COPY . .` would bring into the image."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if is_copied(name) and (ROOT / name).is_file():
            (tmp_path / "app" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / "app" / name)
    return tmp_path / "app"


def test_the_image_has_what_it_runs_and_no_more(app: Path) -> None:
    assert {path.name for path in app.iterdir()} == {
        *("LICENSE", "NOTICE", "manage.py", "requirements.txt", "requirements-web.txt", "static", "templates"),
        *("inference", "millm_site", "profiles", "steering"),
    }
    assert not list(app.rglob("tests"))
    pinned = [path.read_text() for path in app.glob("requirements*.txt")]
    assert not any("pgserver" in text for text in pinned), "the image has its PostgreSQL and Redis beside it"
    for lying_about in ("millm.dump", "secrets.yaml", ".env", "static/.env", "data/weights.safetensors"):
        assert not is_copied(lying_about)


def test_the_image_collects_its_static_files(app: Path, tmp_path: Path) -> None:
    [run] = [rest for name, rest in instructions() if name == "RUN" and "collectstatic" in rest]
    words = shlex.split(run)
    env = dict(word.split("=", 1) for word in words if "=" in word)
    command = [word for word in words if "=" not in word]
    check_command(command)
    assert env["MILLM_HOME"] != variables_of_the_image()["MILLM_HOME"], "root would own what is made there"
    env |= {"STATIC_ROOT": str(tmp_path / "static"), "MILLM_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, *command[1:]], cwd=app, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "static/staticfiles.json").read_text())
    assert re.fullmatch(r"millm/admin\.\w{12}\.css", manifest["paths"]["millm/admin.css"])


@pytest.mark.parametrize("build", ["cpu", "cu130"])
def test_the_torch_of_the_image_is_the_pinned_one_in_pytorchs_build_or_none(build: str, tmp_path: Path) -> None:
    """PyPI has no local versions: with one, pip takes nothing from there."""
    text = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"https?://[^/]+", text) == ["https://download.pytorch.org"]
    [change] = re.findall(r"sed -i .*?(?= /requirements.txt)", text)
    shutil.copy(ROOT / "requirements.txt", tmp_path)
    subprocess.run(f"{change} requirements.txt", shell=True, cwd=tmp_path, env={"TORCH": build}, check=True)
    before = (ROOT / "requirements.txt").read_text().splitlines()
    after = (tmp_path / "requirements.txt").read_text().splitlines()
    [torch] = [line for line in before if line.startswith("torch==")]
    assert after == [f"{line}+{build}" if line == torch else line for line in before]


def test_what_is_large_is_not_written_to_the_small_tmp() -> None:
    """Django spools the bodies of requests in the folder for temporary files."""
    env = variables_of_the_image()
    assert {env["TMPDIR"], env["HOME"], env["MILLM_HOME"]} == {"/data"}


# --- compose ---


def example(*changes: tuple[str, str]) -> str:
    """The example of `.env`, as somebody fills it in."""
    text = (ROOT / ".env.example").read_text()
    for name in SECRETS:
        text = text.replace(f"\n{name}=\n", f"\n{name}=the{name}\n")
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


WITH_GPU = ("#COMPOSE_FILE=", "COMPOSE_FILE=")


def config(folder: Path, env: str) -> "subprocess.CompletedProcess[str]":
    """What Compose says of its files, with this `.env` beside them."""
    for name in ("compose.yaml", "compose.gpu.yaml"):
        shutil.copy(ROOT / name, folder)
    (folder / ".env").write_text(env)
    return tool("docker-compose", "config", "--format", "json", folder=folder)


@pytest.fixture
def services(tmp_path: Path) -> Callable[[str], Services]:
    def read(env: str) -> Services:
        done = config(tmp_path, env)
        assert done.returncode == 0, done.stderr
        found: Services = json.loads(done.stdout)["services"]
        return found

    return read


OURS = ("prepare", "web", "worker")


def test_compose_takes_the_files_and_their_commands_are_ours(services: Callable[[str], Services]) -> None:
    found = services(example())
    assert set(found) == {"postgres", "redis", *OURS}
    for name in OURS:
        check_command(found[name]["command"])
        check_variables(found[name]["environment"])
        assert found[name]["read_only"]
        [tmp] = found[name]["tmpfs"]
        assert re.fullmatch(r"/tmp:size=\d+m", tmp), "a tmpfs without a size takes half of the memory"
    check_command(found["worker"]["healthcheck"]["test"][1:])
    assert found["web"]["depends_on"]["prepare"]["condition"] == "service_completed_successfully"


@pytest.mark.parametrize("missing", SECRETS)
def test_compose_refuses_to_start_without_a_secret(missing: str, tmp_path: Path) -> None:
    done = config(tmp_path, example((f"{missing}=the{missing}", f"{missing}=")))
    assert done.returncode != 0
    assert f"required variable {missing} is missing" in done.stderr


@pytest.mark.parametrize("changes", [(), (WITH_GPU,)], ids=["cpu", "gpu"])
def test_every_image_of_ours_is_built_once(
    services: Callable[[str], Services], changes: tuple[tuple[str, str], ...]
) -> None:
    """Two services that build one image export it at the same time: the second fails, `already exists`."""
    found = services(example(*changes))
    built = [service["image"] for service in found.values() if "build" in service]
    assert len(built) == len(set(built))
    for name in OURS:
        assert found[name]["image"] in built
        # An image that another service builds is not asked of a registry.
        assert "build" in found[name] or found[name]["pull_policy"] == "never"


def test_a_password_reaches_only_who_needs_it(services: Callable[[str], Services]) -> None:
    found = services(example(("#HF_TOKEN=", "HF_TOKEN=theHF_TOKEN\nMILLM_API_KEY=theMILLM_API_KEY")))
    for name in OURS:
        given = {value for value in found[name]["environment"].values() if value.startswith("the")}
        first = {"theMILLM_ADMIN_PASSWORD", "theMILLM_API_KEY"} if name == "prepare" else set()
        assert given == {"theSECRET_KEY", "theHF_TOKEN"} | first


def test_no_setting_leads_the_web_away_from_its_port(services: Callable[[str], Services]) -> None:
    found = services(example() + "HOST=127.0.0.1\nPORT=9000\n")
    for name in OURS:
        assert (found[name]["environment"]["HOST"], found[name]["environment"]["PORT"]) == ("0.0.0.0", "8000")
    [port] = found["web"]["ports"]
    assert port["target"] == 8000


def test_a_stopping_service_is_given_the_time_to_finish_its_requests(services: Callable[[str], Services]) -> None:
    assert settings.INFERENCE_DRAIN_S + 10 <= 60
    for changes, expected in [((), "1m0s"), ((("#STOP_GRACE_PERIOD=60s", "STOP_GRACE_PERIOD=150s"),), "2m30s")]:
        found = services(example(*changes))
        assert {found[name]["stop_grace_period"] for name in OURS} == {expected}


def devices(service: dict[str, Any]) -> Any:
    return service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices")


def test_a_gpu_is_the_workers_alone(services: Callable[[str], Services]) -> None:
    found = services(example(WITH_GPU))
    assert [name for name, service in found.items() if devices(service)] == ["worker"]
    assert found["worker"]["build"]["args"]["TORCH"].startswith("cu")
    assert found["worker"]["image"] != found["web"]["image"]


def test_every_further_gpu_has_a_worker_of_its_own(services: Callable[[str], Services], tmp_path: Path) -> None:
    lines = re.findall(r"^# ( .*)$", (ROOT / "compose.gpu.yaml").read_text(), re.MULTILINE)
    (tmp_path / "more.yaml").write_text("\n".join(["services:", *lines]))
    found = services(example(("#COMPOSE_FILE=", "COMPOSE_FILE=more.yaml:")))
    first, second = found["worker"], found["worker-1"]
    assert (devices(first)[0]["device_ids"], devices(second)[0]["device_ids"]) == (["0"], ["1"])
    for key in ("image", "command", "environment", "depends_on", "volumes"):
        assert first[key] == second[key]
    assert "build" not in second


def test_the_example_of_the_environment_names_what_is_read() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    named = [(match[1], match[2]) for line in lines if (match := re.fullmatch(r"#?([A-Z_]+)=(.*)", line))]
    check_variables({name for name, _value in named})
    assert {name for name, value in named if name in SECRETS and not value} == set(SECRETS)


def test_every_documented_line_of_compose_is_right_with_a_gpu_too() -> None:
    """The files are named in `.env`: a line that named them would replace the other lines' worker."""
    for page in ROOT.glob("docs/*.md"):
        for line in re.findall(r"docker compose (.*)", page.read_text()):
            assert not re.match(r".*(-f|--file) \S*\.yaml", line), line


# --- systemd ---


@pytest.mark.parametrize("unit", sorted((ROOT / "deploy/systemd").glob("*.service")), ids=lambda unit: unit.stem)
def test_the_units_run_our_commands(unit: Path) -> None:
    text = unit.read_text()
    for line in re.findall(r"^Exec\w+=/opt/millm/\.venv/bin/(.*)$", text, re.MULTILINE):
        check_command(line.split())
    [words] = re.findall(r"^Environment=(.*)$", text, re.MULTILINE)
    env = dict(word.split("=") for word in words.split())
    check_variables(env)
    # What is in a home folder cannot be read, such as a token of huggingface_hub: it would stop a download.
    assert "ProtectHome=true" in text
    assert env["HOME"] == env["MILLM_HOME"] == "/var/lib/millm"
    assert "Restart=always" in text, "also after an end without an error that nobody asked for"
    [grace] = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert int(grace) >= settings.INFERENCE_DRAIN_S + 10


def test_the_database_is_prepared_with_the_variables_of_the_units() -> None:
    told = (ROOT / "docs/operating.md").read_text()
    [line] = re.findall(r"^    systemd-run (.*?prepare)$", told, re.MULTILINE | re.DOTALL)
    words = shlex.split(line.replace("\\\n", " "))
    assert {"--setenv=HOME=/var/lib/millm", "--setenv=MILLM_HOME=/var/lib/millm", "--uid=millm"} <= set(words)
    check_command(["python", *words[words.index("/opt/millm/.venv/bin/python") + 1 :]])
    assert "install --mode=0600 /dev/null /etc/millm.env" in told
