"""The manifests of deploy/kubernetes are true: Kubernetes would take them, and what they name is there."""

import ipaddress
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda import v1alpha1 as keda
from django.conf import settings
from django.urls import resolve

from inference.models import LanguageModel
from millm_site.middleware.any_host import PATHS
from millm_site.tests.deployment_files import check_command, check_variables, tool
from millm_site.tests.variables import ROOT

KUBERNETES = ROOT / "deploy/kubernetes"


def rendered(folder: str) -> list[dict[str, Any]]:
    done = tool("kubectl", "kustomize", str(KUBERNETES / folder))
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


BASE, EXAMPLE = rendered("base"), rendered("overlays/example")
SECRETS = list(yaml.safe_load_all((KUBERNETES / "secrets.example.yaml").read_text()))
EVERYTHING = BASE + EXAMPLE + SECRETS


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


def the(kind: str, documents: list[dict[str, Any]] = EXAMPLE) -> dict[str, Any]:
    [found] = [one for one in documents if one["kind"] == kind]
    return found


def pods(documents: list[dict[str, Any]] = EVERYTHING) -> list[tuple[str, dict[str, Any]]]:
    templates = [(title(one), one["spec"].get("template")) for one in documents if "spec" in one]
    return [(name, template["spec"]) for name, template in templates if template]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def test_every_pod_is_run_by_who_is_not_root_on_a_file_system_that_it_cannot_change() -> None:
    assert len(pods()) == 6
    for name, pod in pods():
        security = pod["securityContext"]
        assert (security["runAsNonRoot"], security["runAsUser"]) == (True, 10001), name
        for container in containers(pod):
            assert container["securityContext"]["readOnlyRootFilesystem"], name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name
            check_command(container["command"])
        [tmp] = [volume for volume in pod["volumes"] if volume["name"] == "tmp"]
        # On the node's disk, a full one would have the pod evicted.
        assert tmp["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Mi"}, name


def test_what_is_scaled_out_stays_within_the_connections_of_postgresql() -> None:
    webs, workers = (
        the("HorizontalPodAutoscaler")["spec"]["maxReplicas"],
        the("ScaledObject")["spec"]["maxReplicaCount"],
    )
    each = int(the("ConfigMap")["data"]["DATABASE_POOL_SIZE"])
    assert (webs + 1 + workers + 1) * each + 5 <= 100, "with one more of each in an upgrade, and commands"


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
                path = probe["httpGet"]["path"].partition("?")[0]
                resolve(path)
                assert path in PATHS, "they are asked by the address of the pod"


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
            check_variables(one.get("data") or one["stringData"])
    names = {title(one) for one in EVERYTHING}
    for one in EVERYTHING:
        if target := one.get("spec", {}).get("scaleTargetRef"):
            assert f"Deployment/{target['name']}" in names


def test_a_password_reaches_only_who_needs_it() -> None:
    secrets = {one["metadata"]["name"]: set(one["stringData"]) for one in SECRETS}
    for name, pod in pods():
        for container in containers(pod):
            named = [one["secretRef"]["name"] for one in container["envFrom"] if "secretRef" in one]
            given = {key for one in named for key in secrets[one]}
            first = {"MILLM_ADMIN_PASSWORD"} if name.startswith("Job/") else set()
            assert given == {"SECRET_KEY", "DATABASE_URL", "REDIS_URL", "METRICS_TOKEN"} | first, name
    for reference in the("TriggerAuthentication")["spec"]["secretTargetRef"]:
        assert reference["key"] in secrets[reference["name"]]


def test_no_proxy_is_believed_that_the_overlay_does_not_name() -> None:
    """Who is in a network that is believed names any address as its own: the private ones would be everybody."""
    assert "FORWARDED_ALLOW_IPS" not in the("ConfigMap", BASE)["data"]
    [believed] = the("ConfigMap")["data"]["FORWARDED_ALLOW_IPS"].split(",")
    assert ipaddress.ip_network(believed) == ipaddress.ip_network("192.0.2.0/24"), "of no real machine: RFC 5737"


# --- upgrades ---


def images(documents: list[dict[str, Any]]) -> dict[str, set[str]]:
    return {name: {container["image"] for container in containers(pod)} for name, pod in pods(documents)}


def test_prepare_and_workers_are_raised_before_the_web(tmp_path: Path) -> None:
    """The web has a tag of its own: one apply replaces all pods at once, and a new web is ready before a new worker."""
    shutil.copytree(KUBERNETES, tmp_path, dirs_exist_ok=True)
    overlay = tmp_path / "overlays/example/kustomization.yaml"
    documented = [("millm", "millm-cuda"), ("millm-web",)]
    for step in documented:
        changed = yaml.safe_load(overlay.read_text())
        for image in changed["images"]:
            if image["name"] in step:
                image["newTag"] = image["newTag"].replace("0.1.0", "0.2.0")
        overlay.write_text(yaml.safe_dump(changed))
        found = images(rendered(str(overlay.parent)))
        told = {name: {image.rpartition(":")[2].rpartition("-")[0] for image in each} for name, each in found.items()}
        web = "0.1.0" if step == documented[0] else "0.2.0"
        assert told == {
            "Job/millm-prepare": {"0.2.0"},
            "Deployment/millm-worker": {"0.2.0"},
            "Deployment/millm-web": {web},
        }
    assert not {image for each in found.values() for image in each if not image.startswith("registry.example.org/")}


def test_the_documented_upgrade_waits_for_the_workers_before_the_web_is_raised() -> None:
    told = (ROOT / "docs/operating.md").read_text().partition("## Upgrades")[2]
    steps = re.findall(r"^    kubectl (delete|apply|rollout).*?(?:(millm-\w+)|$)", told, re.MULTILINE)
    assert steps[:5] == [
        *(("delete", "millm-prepare"), ("apply", ""), ("rollout", "millm-worker")),
        *(("apply", "millm-web"), ("rollout", "millm-web")),
    ]


@pytest.mark.parametrize("name", ["millm-web", "millm-worker"])
def test_a_pod_waits_until_the_database_is_migrated_and_says_so(name: str, tmp_path: Path) -> None:
    """A failing container would be started again at ever longer intervals."""
    [pod] = [pod for title, pod in pods(BASE) if title == f"Deployment/{name}"]
    [waiting] = pod["initContainers"]
    for program, line in {"python": 'echo "$@" >> asked; [ $(wc -l < asked) -gt 2 ]', "sleep": "exit 0"}.items():
        (tmp_path / program).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / program).chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(waiting["command"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0
    assert (tmp_path / "asked").read_text().splitlines() == ["manage.py migrate --check --skip-checks"] * 3
    assert done.stderr.count("waiting for the job millm-prepare") == 2


# --- workers by the length of the queue ---


def test_workers_are_scaled_by_the_list_in_which_redis_keeps_the_queue() -> None:
    """The example has the demo's queue; what no worker takes is counted by LLEN on the queue's name."""
    from inference.broker import connections
    from inference.tasks import generate

    [trigger] = the("ScaledObject")["spec"]["triggers"]
    [redis] = [one["stringData"]["REDIS_URL"] for one in SECRETS if "REDIS_URL" in one["stringData"]]
    assert trigger["metadata"]["enableTLS"] == str(redis.startswith("rediss://")).lower()
    assert trigger["metadata"]["listName"] == LanguageModel(name="demo").queue
    queue = LanguageModel(name="which no worker has").queue
    sent = [generate.apply_async(args=({"request_id": str(number)},), queue=queue) for number in range(3)]
    assert connections.connection.llen(queue) == len(sent)
    connections.connection.delete(queue)
