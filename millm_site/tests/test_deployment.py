"""The files of a deployment are true: real linters take them, and what they name is there.

No image is built here, which needs a Docker engine: its stages are gone through by hand, on what it would copy.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pathspec
import pytest
import yaml
from cloudcoil.models.keda import v1alpha1 as keda
from django.conf import settings
from django.core.management import get_commands, load_command_class
from django.urls import resolve

from inference.models import LanguageModel
from millm_site.tests.variables import ROOT, read_variables

BIN = Path(sys.executable).parent
KUBERNETES = ROOT / "deploy/kubernetes"
SECRETS = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "SECRET_KEY", "MILLM_ADMIN_PASSWORD")
# Read by Python, by the programs in the images, by KEDA.
FOREIGN = {"PATH", "HOME", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "CUDA_VISIBLE_DEVICES"}
FOREIGN |= {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD", "REDIS_PASSWORD", "REDIS_ADDRESS"}
FOREIGN |= {"REDISCLI_AUTH", "VALKEYCLI_AUTH", "PUBLISH"}


def tool(*words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    plain = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": os.environ.get("HOME", "/")}
    command = [str(BIN / words[0]), *words[1:]]
    return subprocess.run(command, cwd=ROOT, env=plain | env, capture_output=True, text=True, timeout=60)


def check_command(words: list[str]) -> None:
    """That `python manage.py …` is one of our commands, and that it takes these arguments."""
    assert words[:2] == ["python", "manage.py"], words
    name = words[2]
    command = load_command_class(get_commands()[name], name)
    command.create_parser("manage.py", name).parse_args(words[3:])  # exits with 2 where it does not


def check_variables(names: Iterator[str] | set[str]) -> None:
    assert set(names) - read_variables().keys() - FOREIGN == set()


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
    check_variables(set(variables_of_the_image()))


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """What `COPY . .` would bring into the image."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    # Docker's patterns are of the top folder unless they begin with **/.
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    ignored = pathspec.GitIgnoreSpec.from_lines(line if line.startswith("**/") else f"/{line}" for line in patterns)
    for name in filter(None, listed.stdout.split("\0")):
        if not ignored.match_file(name) and (ROOT / name).is_file():
            (tmp_path / "app" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / "app" / name)
    return tmp_path / "app"


def test_the_image_has_what_it_runs_and_no_more(app: Path) -> None:
    assert {path.name for path in app.iterdir()} == {
        *("LICENSE", "manage.py", "requirements.txt", "static", "templates"),
        *("inference", "millm_site", "profiles", "steering"),
    }
    assert not list(app.rglob("tests"))
    pinned = (app / "requirements.txt").read_text()
    assert "pgserver" not in pinned, "the image has its PostgreSQL and Redis beside it"


def test_the_image_collects_its_static_files(app: Path, tmp_path: Path) -> None:
    [run] = [rest for name, rest in instructions() if name == "RUN" and "collectstatic" in rest]
    words = shlex.split(run)
    env = dict(word.split("=", 1) for word in words if "=" in word)
    command = [word for word in words if "=" not in word]
    check_command(command)
    env |= {"STATIC_ROOT": str(tmp_path / "static"), "MILLM_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, *command[1:]], cwd=app, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "static/staticfiles.json").read_text())
    assert re.fullmatch(r"millm/admin\.\w{12}\.css", manifest["paths"]["millm/admin.css"])


def test_the_torch_of_the_image_is_pytorchs() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"https?://[^/]+", text) == ["https://download.pytorch.org"]


# --- compose ---


def compose(*files: str, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    named = [word for file in files for word in ("--file", file)]
    return tool("docker-compose", "--env-file", os.devnull, *named, "config", "--format", "json", **env)


def services(*files: str) -> dict[str, Any]:
    done = compose(*files, env=dict.fromkeys(SECRETS, "secret"))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["services"]
    return found


def test_compose_takes_the_files_and_their_commands_are_ours() -> None:
    found = services("compose.yaml")
    assert set(found) == {"postgres", "redis", "prepare", "web", "worker"}
    for name in ("prepare", "web", "worker"):
        check_command(found[name]["command"])
        check_variables(set(found[name]["environment"]))
        assert found[name]["read_only"]
    check_command(found["worker"]["healthcheck"]["test"][1:])
    assert found["web"]["depends_on"]["prepare"]["condition"] == "service_completed_successfully"


@pytest.mark.parametrize("missing", SECRETS)
def test_compose_refuses_to_start_without_a_secret(missing: str) -> None:
    done = compose("compose.yaml", env={name: "secret" for name in SECRETS if name != missing})
    assert done.returncode != 0
    assert f"required variable {missing} is missing" in done.stderr


def test_a_gpu_is_the_workers_alone() -> None:
    found = services("compose.yaml", "compose.gpu.yaml")
    with_gpu = [name for name, service in found.items() if "devices" in json.dumps(service.get("deploy", {}))]
    assert with_gpu == ["worker"]
    assert found["worker"]["build"]["args"]["TORCH"].startswith("cu")
    assert found["worker"]["image"] != found["web"]["image"]


def test_the_example_of_the_environment_names_what_is_read() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    named = [(match[1], match[2]) for line in lines if (match := re.fullmatch(r"#?([A-Z_]+)=(.*)", line))]
    check_variables({name for name, _value in named})
    assert {name for name, value in named if name in SECRETS and not value} == set(SECRETS)


# --- Kubernetes ---


def rendered(folder: str) -> list[dict[str, Any]]:
    done = tool("kubectl", "kustomize", str(KUBERNETES / folder))
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


EVERYTHING = rendered("base") + rendered("overlays/example")
EVERYTHING += list(yaml.safe_load_all((KUBERNETES / "secrets.example.yaml").read_text()))


def title(document: dict[str, Any]) -> str:
    return f"{document['kind']}/{document['metadata']['name']}"


@pytest.mark.parametrize("document", EVERYTHING, ids=title)
@pytest.mark.parametrize("version", ["1.33", "1.37"])
def test_kubernetes_takes_every_manifest(document: dict[str, Any], version: str) -> None:
    if document["apiVersion"].startswith("keda.sh/"):
        # Its models ignore what they do not know.
        model = getattr(keda, document["kind"]).model_validate(document)
        assert model.model_dump(by_alias=True, exclude_none=True, mode="json") == document
    else:
        kubernetes_validate.validate(document, version, strict=True)


def pods() -> list[tuple[str, dict[str, Any]]]:
    templates = [(title(one), one["spec"].get("template")) for one in EVERYTHING if "spec" in one]
    return [(name, template["spec"]) for name, template in templates if template]


def test_every_pod_is_run_by_who_is_not_root_on_a_file_system_that_it_cannot_change() -> None:
    assert len(pods()) == 6
    for name, pod in pods():
        security = pod["securityContext"]
        assert (security["runAsNonRoot"], security["runAsUser"]) == (True, 10001), name
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert container["securityContext"]["readOnlyRootFilesystem"], name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name
            check_command(container["command"])


def probes(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for container in pod["containers"]:
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            if kind in container:
                yield container[kind]


def test_every_probe_asks_for_what_is_there() -> None:
    for name, pod in pods():
        assert name.startswith("Job/") or len(list(probes(pod))) == 3, name
        for probe in probes(pod):
            if "exec" in probe:
                check_command(probe["exec"]["command"])
            else:
                resolve(probe["httpGet"]["path"].partition("?")[0])
                [host] = probe["httpGet"]["httpHeaders"]
                assert host == {"name": "Host", "value": "localhost"}


def test_a_pod_is_given_the_time_that_it_takes_to_finish_what_is_under_way() -> None:
    for one in EVERYTHING:
        if one["kind"] == "ConfigMap":
            assert float(one["data"]["INFERENCE_DRAIN_S"]) == settings.INFERENCE_DRAIN_S
    for name, pod in pods():
        if name.startswith("Deployment/"):
            before = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            assert pod["terminationGracePeriodSeconds"] >= settings.INFERENCE_DRAIN_S + before + 10, name


def test_what_the_manifests_set_and_refer_to_is_known() -> None:
    for one in EVERYTHING:
        if one["kind"] in {"ConfigMap", "Secret"}:
            values = one.get("data") or one["stringData"]
            check_variables(set(values))
            assert "localhost" in values.get("ALLOWED_HOSTS", "localhost").split(","), "the probes ask for it"
    names = {title(one) for one in EVERYTHING}
    for one in EVERYTHING:
        if target := one.get("spec", {}).get("scaleTargetRef"):
            assert f"Deployment/{target['name']}" in names
    secret = next(one for one in EVERYTHING if one["kind"] == "Secret")
    [authentication] = [one for one in EVERYTHING if one["kind"] == "TriggerAuthentication"]
    for reference in authentication["spec"]["secretTargetRef"]:
        assert reference["name"] == secret["metadata"]["name"]
        assert reference["key"] in secret["stringData"]


def test_workers_are_scaled_by_the_list_in_which_redis_keeps_the_queue() -> None:
    """The manifest has the demo's queue; what no worker takes is counted by LLEN on the queue's name."""
    from inference import stream
    from inference.tasks import generate

    [scaled] = [one for one in EVERYTHING if one["kind"] == "ScaledObject"]
    [trigger] = scaled["spec"]["triggers"]
    assert trigger["metadata"]["listName"] == LanguageModel(name="demo").queue
    queue = LanguageModel(name="which no worker has").queue
    sent = [generate.apply_async(args=({"request_id": str(number)},), queue=queue) for number in range(3)]
    assert stream.connection.llen(queue) == len(sent)
    stream.connection.delete(queue)


# --- systemd ---


def test_the_units_run_our_commands() -> None:
    for unit in (ROOT / "deploy/systemd").glob("*.service"):
        text = unit.read_text()
        for line in re.findall(r"^Exec\w+=/opt/millm/\.venv/bin/(.*)$", text, re.MULTILINE):
            check_command(line.split())
        [words] = re.findall(r"^Environment=(.*)$", text, re.MULTILINE)
        check_variables({word.split("=")[0] for word in words.split()})
