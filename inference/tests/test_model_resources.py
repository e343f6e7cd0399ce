"""Models and SAEs by REST, by command and in the admin: the same rules behind every door."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client
from rest_framework.test import APIClient

from inference.models import LanguageModel
from inference.tests.tiny import D_MODEL, tiny_model, tiny_sae
from profiles.models import Profile
from steering.models import SAE

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that may be registered from: `tiny`, with SAEs for layer 1 in `saes/a` and layer 9 in `saes/b`."""
    root = tmp_path_factory.mktemp("models")
    tiny_model().save_pretrained(root / "tiny")
    tiny_sae(root / "saes" / "a")
    tiny_sae(root / "saes" / "b", layer=9)
    return root


@pytest.fixture(autouse=True)
def allowed(folders: Path, settings: Any) -> None:
    settings.MODEL_DIRS = [str(folders)]


def user(*permissions: str) -> APIClient:
    made = get_user_model().objects.create_user("u" + "".join(permissions)[:20])
    made.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = APIClient()
    client.force_authenticate(made)
    return client


@pytest.fixture
def api() -> APIClient:
    client = APIClient()
    client.force_authenticate(User.objects.create_superuser("root"))
    return client


def test_a_model_is_registered_loaded_and_deleted(api: APIClient, folders: Path) -> None:
    made = api.post("/api/models", {"source": str(folders / "tiny"), "dtype": "float32"})
    assert made.status_code == 201, made.data
    row = made.data
    assert (row["name"], row["model_type"], row["d_model"], row["status"]) == ("tiny", "llama", D_MODEL, "registered")
    assert api.post(f"/api/models/{row['id']}/load").data["status"] == "queued"
    assert api.get("/api/models").data["results"][0]["is_current"]
    changed = api.patch(f"/api/models/{row['id']}", {"dtype": "auto", "device": "cpu"}).data
    assert (changed["dtype"], changed["device"], changed["name"]) == ("auto", "cpu", "tiny")
    assert api.patch(f"/api/models/{row['id']}", {"device": "tpu"}).status_code == 400
    assert api.patch(f"/api/models/{row['id']}", {"name": "other"}).status_code == 400
    refused = api.delete(f"/api/models/{row['id']}")
    assert (refused.status_code, refused.data["code"]) == (409, "model_in_use")
    assert api.post(f"/api/models/{row['id']}/unload").data["status"] == "registered"
    assert api.delete(f"/api/models/{row['id']}").status_code == 204
    assert api.get(f"/api/models/{row['id']}").status_code == 404


def test_a_model_says_how_many_tokens_a_request_may_have(api: APIClient, folders: Path, settings: Any) -> None:
    row = api.post("/api/models", {"source": str(folders / "tiny")}).data
    assert row["request_tokens"] == row["context_length"] == 2048
    settings.INFERENCE_CACHE_TOKENS = 1000  # the KV cache holds less than the model has positions
    assert api.get(f"/api/models/{row['id']}").data["request_tokens"] == 1000


def test_an_sae_is_registered_attached_and_detached_with_its_profile(api: APIClient, folders: Path) -> None:
    model = LanguageModel.objects.register(str(folders / "tiny"))
    made = api.post("/api/saes", {"source": str(folders / "saes"), "path": "a", "id": "mine"})
    assert made.status_code == 201, made.data
    assert (made.data["layer"], made.data["hook_name"], made.data["status"]) == (1, "blocks.1.hook_resid_post", "ready")
    assert api.post("/api/saes/mine/attach").data["code"] == "no_current_model"
    model.load()
    assert api.post("/api/saes/mine/attach").data["is_attached"]
    profile = Profile.objects.create_from(name="p", strengths={1: 2.0})
    profile.activate()
    assert api.delete("/api/saes/mine").data["code"] == "sae_in_use"
    assert not api.post("/api/saes/mine/detach").data["is_attached"]
    profile.refresh_from_db()
    assert not profile.is_active
    assert api.delete("/api/saes/mine").status_code == 204


def test_detaching_an_sae_that_is_not_attached_leaves_the_other_one(api: APIClient, folders: Path) -> None:
    LanguageModel.objects.register(str(folders / "tiny")).load()
    for name in ("one", "two"):
        api.post("/api/saes", {"source": str(folders / "saes" / "a"), "id": name})
    api.post("/api/saes/one/attach")
    api.post("/api/saes/two/detach")
    assert SAE.objects.get(pk="one").is_attached


def test_what_does_not_fit_is_not_attached(api: APIClient, folders: Path) -> None:
    LanguageModel.objects.register(str(folders / "tiny")).load()
    api.post("/api/saes", {"source": str(folders / "saes"), "path": "b", "id": "deep"})
    refused = api.post("/api/saes/deep/attach")
    assert (refused.status_code, refused.data["code"]) == (409, "sae_incompatible")
    assert "layers 0 to 2" in refused.data["detail"]
    SAE.objects.filter(pk="deep").update(status="error", error="gone", layer=1)
    refused = api.post("/api/saes/deep/attach")
    assert (refused.status_code, refused.data["code"]) == (409, "sae_not_ready")
    assert "gone" in refused.data["detail"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 400, "required"),
        ({"source": "/etc"}, 400, "outside the model folders"),
        ({"source": "{root}/../elsewhere"}, 400, "outside the model folders"),
        ({"source": "{root}/link"}, 400, "outside the model folders"),
        ({"source": "{root}/nothing"}, 400, "not a folder"),
        ({"source": "{root}/saes"}, 400, "has no config.json"),
        ({"source": "{root}/odd"}, 400, "architecture 'bert' is not supported"),
        ({"source": "{root}/pickled"}, 400, "has neither model.safetensors nor"),
        ({"source": "{root}/linked"}, 400, "link out of the model folders"),
        ({"source": "{root}/tiny", "dtype": "int4"}, 400, "int4"),
        ({"source": "{root}/tiny", "device": "tpu"}, 400, "device: expected auto, cpu"),
        ({"source": "{root}/tiny", "made_up": 1}, 400, "unknown"),
        ({"source": "{root}/tiny", "name": "taken"}, 409, "already exists"),
        ({"source": "{root}/tiny", "name": "a\0b"}, 400, "ull"),
    ],
)
def test_a_model_that_cannot_be_is_refused(
    api: APIClient, folders: Path, body: dict[str, Any], status: int, said: str
) -> None:
    LanguageModel.objects.register(str(folders / "tiny"), name="taken")
    if not (folders / "odd").exists():
        (folders / "link").symlink_to("/etc")
        for name, model_type in (("odd", "bert"), ("pickled", "llama"), ("linked", "llama")):
            (folders / name).mkdir()
            config = json.loads((folders / "tiny" / "config.json").read_text()) | {"model_type": model_type}
            (folders / name / "config.json").write_text(json.dumps(config))
        for name in ("odd", "linked"):
            (folders / name / "model.safetensors").write_bytes(b"")
        (folders / "linked" / "more.safetensors").symlink_to("/etc/hostname")
        (folders / "pickled" / "pytorch_model.bin").write_bytes(b"")
    answer = api.post("/api/models", {name: str(value).replace("{root}", str(folders)) for name, value in body.items()})
    assert answer.status_code == status, answer.data
    assert said in json.dumps(answer.data)
    assert LanguageModel.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"source": "nope/"}, 404, "'nope/' is not a hub id: expected owner/name, or a folder that begins with /"),
        ({"source": "a/b/c"}, 404, "is not a hub id"),
        ({"source": "owner/x..y"}, 404, "is not a hub id"),
        ({"source": "owner/saes", "revision": "a//b"}, 404, "is not a revision of owner/saes"),
        ({"source": "{root}/nothing"}, 400, "is not a folder on this machine"),
        ({"source": "{root}/saes", "path": "nothing"}, 400, "is not a folder on this machine"),
    ],
)
def test_an_sae_whose_source_cannot_be_is_refused_at_once(
    api: APIClient, folders: Path, body: dict[str, Any], status: int, said: str
) -> None:
    sent = {name: str(value).replace("{root}", str(folders)) for name, value in body.items()}
    answer = api.post("/api/saes", {**sent, "id": "x"})
    assert answer.status_code == status, answer.data
    assert said in answer.data["detail"]
    assert not SAE.objects.exists()


def test_the_catalogue_lists_what_a_folder_holds(api: APIClient, folders: Path) -> None:
    found = api.get("/api/saes/catalogue", {"source": str(folders / "saes")})
    assert [one["path"] for one in found.data] == ["a", "b"]
    assert {one["format"] for one in found.data} == {"saelens"}
    assert api.get("/api/saes/catalogue", {"source": "/etc"}).status_code == 400
    assert api.get("/api/saes/catalogue").status_code == 400


def test_each_permission_allows_what_it_says(folders: Path) -> None:
    model = LanguageModel.objects.register(str(folders / "tiny"))
    viewer = user("view_languagemodel", "view_sae")
    assert viewer.get("/api/models").status_code == viewer.get("/api/saes").status_code == 200
    assert viewer.get("/api/saes/catalogue", {"source": str(folders / "saes")}).status_code == 403
    assert user("add_sae").get("/api/saes/catalogue", {"source": str(folders / "saes")}).status_code == 200
    assert viewer.post(f"/api/models/{model.pk}/load").status_code == 403
    assert viewer.post("/api/models", {"source": str(folders / "tiny"), "name": "x"}).status_code == 403
    manager = user("view_languagemodel", "change_languagemodel")
    assert manager.post(f"/api/models/{model.pk}/load").status_code == 200
    assert manager.delete(f"/api/models/{model.pk}").status_code == 403
    assert user().get("/api/models").status_code == 403
    assert APIClient().get("/api/models").status_code == 401


def run(*words: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out, stderr=StringIO())
    return out.getvalue().strip()


def test_commands_do_the_same_and_may_read_any_folder(folders: Path, settings: Any) -> None:
    settings.MODEL_DIRS = []
    assert run("add_model", str(folders / "tiny"), "--name", "t") == "t"
    assert run("load_model", "t") == "queued"
    listed = run("add_sae", str(folders / "saes"), "--list").splitlines()
    assert [line.split("\t")[0] for line in listed] == ["a", "b"]
    sae_id = run("add_sae", str(folders / "saes"), "--path", "a")
    run("attach_sae", sae_id)
    attached = SAE.objects.attached()
    assert attached is not None
    assert attached.pk == sae_id == "saes-a"
    for words, said in (
        (("load_model", "nobody"), "known are t"),
        (("attach_sae", "nobody"), "known are saes-a"),
        (("add_model", str(folders)), "no config.json"),
        (("add_sae", str(folders / "saes"), "--path", "a"), "already exists"),
    ):
        with pytest.raises(CommandError, match=said):
            run(*words)


def test_the_admin_registers_loads_and_attaches(folders: Path) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    bad = client.post("/admin/inference/languagemodel/add/", {"source": "/etc", "dtype": "auto", "device": "auto"})
    assert "outside the model folders" in bad.content.decode()
    form = {"source": str(folders / "tiny"), "name": "", "revision": "", "dtype": "auto", "device": "auto"}
    assert client.post("/admin/inference/languagemodel/add/", form).status_code == 302
    model = LanguageModel.objects.get(name="tiny")
    act(client, "inference/languagemodel", "load", model.pk)
    model.refresh_from_db()
    assert model.is_current
    assert client.get(f"/admin/inference/languagemodel/{model.pk}/change/").status_code == 200
    form = {"source": str(folders / "saes"), "path": "a", "id": "", "revision": ""}
    assert client.post("/admin/steering/sae/add/", form).status_code == 302
    act(client, "steering/sae", "attach", "saes-a")
    assert SAE.objects.get().is_attached
    assert client.get("/admin/steering/sae/saes-a/change/").status_code == 200
    chosen = {"action": "delete_selected", "_selected_action": ["saes-a"], "post": "yes"}
    assert "Detach it first" in client.post("/admin/steering/sae/", chosen).content.decode()
    assert SAE.objects.exists()
    act(client, "steering/sae", "detach", "saes-a")
    assert not SAE.objects.get().is_attached


def act(client: Client, page: str, action: str, row: object) -> None:
    assert client.post(f"/admin/{page}/{row}/{action}/", follow=True).status_code == 200
