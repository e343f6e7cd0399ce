"""Models, SAEs and labels in the admin, as the server answers: who may what, what is told, what it costs."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from inference.models import LanguageModel
from inference.tests.conftest import say
from inference.tests.tiny import tiny_model, tiny_sae
from profiles.models import Profile
from steering.models import SAE, FeatureLabel, SteeringState
from steering.tests.hub_server import REPO, small_model

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_redis")]

MODELS = "/admin/inference/languagemodel/"
SAES = "/admin/steering/sae/"
MODEL = {"d_model": 16, "num_layers": 4, "context_length": 512}
READY = {"status": "ready", "d_in": 16, "d_sae": 100, "layer": 2, "hook_name": "blocks.2.hook_resid_post"}


@pytest.fixture
def model() -> LanguageModel:
    """Current and ready."""
    made = LanguageModel.objects.create(name="tiny", source="/tiny", **MODEL)
    made.make_current()
    say(made, "ready")
    made.refresh_from_db()
    return made


@pytest.fixture
def sae(model: LanguageModel) -> SAE:
    """Attached, with a profile that is active."""
    made = SAE.objects.create(id="s", source="/sae", fingerprint="a" * 64, **READY)
    model.attach(made)
    Profile.objects.create_from(name="ocean", strengths={3: 4.0}).activate()
    return made


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    tiny_model().save_pretrained(root / "tiny")
    tiny_sae(root / "saes" / "a")
    return root


def staff(*permissions: str) -> Client:
    user = get_user_model().objects.create_user("u" + "-".join(permissions)[:100], is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def text(answer: Any) -> str:
    return str(answer.content.decode())


# --- who may what ---


def test_a_viewer_sees_and_can_do_nothing(sae: SAE, model: LanguageModel) -> None:
    viewer = staff("view_languagemodel", "view_sae")
    for page in (MODELS, SAES, f"{MODELS}{model.pk}/change/", f"{SAES}s/change/"):
        shown = viewer.get(page)
        assert shown.status_code == 200
        assert "formaction" not in text(shown)
    assert viewer.get(f"{MODELS}add/").status_code == viewer.get(f"{SAES}add/").status_code == 403
    for page in (
        *(f"{MODELS}{model.pk}/{action}/" for action in ("load", "unload", "cancel")),
        *(f"{SAES}s/{action}/" for action in ("attach", "detach", "download", "cancel")),
    ):
        assert viewer.post(page, {"confirmed": "yes"}).status_code == 403, page
    assert viewer.post(f"{MODELS}{model.pk}/change/", {"dtype": "float32", "device": "cpu"}).status_code == 403
    sae.refresh_from_db()
    assert sae.is_attached


def test_the_progress_of_rows_is_for_those_who_may_see_them(sae: SAE, model: LanguageModel) -> None:
    for page in (MODELS, SAES):
        assert staff().get(f"{page}progress/").status_code == 403
        get_user_model().objects.filter(username="u").delete()
    shown = text(staff("view_sae").get(f"{SAES}progress/", {"id": ["s", "nobody"]}))
    assert 'data-live="status-s"' in shown
    assert "formaction" not in shown


def test_who_may_change_may_not_register_or_delete(model: LanguageModel) -> None:
    manager = staff("view_languagemodel", "change_languagemodel", "change_sae")
    assert manager.post(f"{MODELS}{model.pk}/unload/", {"confirmed": "yes"}).status_code == 302
    model.refresh_from_db()
    assert not model.is_current
    assert manager.get(f"{MODELS}add/").status_code == 403
    assert manager.post(f"{MODELS}{model.pk}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("action", ["load", "unload", "cancel"])
def test_an_action_is_posted(admin_client: Client, model: LanguageModel, action: str) -> None:
    assert admin_client.get(f"{MODELS}{model.pk}/{action}/").status_code == 405
    model.refresh_from_db()
    assert model.is_current


# --- what ends is confirmed ---


@pytest.mark.parametrize("action", ["unload", "load another"])
def test_what_ends_with_a_model_is_told_before_and_after(
    admin_client: Client, sae: SAE, model: LanguageModel, action: str
) -> None:
    other = LanguageModel.objects.create(name="other", source="/other", **MODEL)
    page = f"{MODELS}{model.pk}/unload/" if action == "unload" else f"{MODELS}{other.pk}/load/"
    served = "Model tiny is no longer served" if action == "unload" else "Model tiny answers, unsteered, until other is"
    ends = [served, "SAE s is detached", "Profile ocean is deactivated", "of 1 feature is"]
    asked = text(admin_client.post(page))
    assert all(one in asked for one in ends)
    model.refresh_from_db()
    assert model.is_current
    told = text(admin_client.post(page, {"confirmed": "yes"}, follow=True))
    assert all(one in told for one in ends)
    model.refresh_from_db()
    assert not model.is_current
    assert Profile.objects.active() is None


def test_what_ends_with_an_sae_is_told_before_and_after(admin_client: Client, sae: SAE) -> None:
    asked = text(admin_client.post(f"{SAES}s/detach/"))
    assert "Profile ocean is deactivated" in asked
    assert SAE.objects.attached() == sae
    told = text(admin_client.post(f"{SAES}s/detach/", {"confirmed": "yes"}, follow=True))
    assert "s is detached. Profile ocean is deactivated. The live steering of 1 feature is cleared." in told
    assert not SteeringState.objects.load().strengths


def test_attaching_another_sae_ends_the_profile_and_says_so(admin_client: Client, sae: SAE) -> None:
    SAE.objects.create(id="other", source="/sae", **READY)
    assert "Profile ocean is deactivated" in text(admin_client.post(f"{SAES}other/attach/"))
    told = text(admin_client.post(f"{SAES}other/attach/", {"confirmed": "yes"}, follow=True))
    assert "other is attached. SAE s is detached. Profile ocean is deactivated." in told


def test_an_sae_that_does_not_fit_is_refused_at_once_and_ends_nothing(admin_client: Client, sae: SAE) -> None:
    SAE.objects.create(id="wide", source="/sae", **{**READY, "d_in": 32})
    told = text(admin_client.post(f"{SAES}wide/attach/", follow=True))
    assert "SAE wide has d_in 32: expected d_model 16 of tiny" in told
    assert Profile.objects.active() is not None


def test_detaching_where_nothing_steers_needs_no_confirmation(admin_client: Client, sae: SAE) -> None:
    Profile.objects.deactivate_active(clear_steering=True)
    assert "s is detached." in text(admin_client.post(f"{SAES}s/detach/", follow=True))


def test_the_answer_leads_back_to_our_page_only(admin_client: Client, model: LanguageModel) -> None:
    page = f"{MODELS}{model.pk}/unload/"
    for came_from, leads in ((f"{MODELS}?q=tiny", f"{MODELS}?q=tiny"), ("https://evil.example/", MODELS)):
        assert admin_client.post(page, {"confirmed": "yes", "next": came_from}).headers["Location"] == leads


# --- what is under way ---


def test_what_is_under_way_can_be_cancelled_and_only_then(admin_client: Client) -> None:
    model = LanguageModel.objects.create(name="m", source="owner/m", **MODEL)
    sae = SAE.objects.create(id="s", source="owner/s", status="downloading", progress=0.25)
    model.load()
    for page, row in ((MODELS, model), (SAES, sae)):
        shown = text(admin_client.get(page))
        assert f"{page}{row.pk}/cancel/" in shown
        assert f'data-in-progress="{row.pk}"' in shown
        assert "is cancelled; what" in text(admin_client.post(f"{page}{row.pk}/cancel/", follow=True))
        row.refresh_from_db()
        assert row.status == "registered"
        assert "data-in-progress" not in text(admin_client.get(page))
        if isinstance(row, LanguageModel):
            row.load()
            say(row, "ready")
        else:
            SAE.objects.update(status="ready")
        late = text(admin_client.post(f"{page}{row.pk}/cancel/", follow=True))
        assert "is ready already: nothing was cancelled" in late


def test_how_far_a_download_is_comes_in_a_small_answer(admin_client: Client) -> None:
    SAE.objects.create(id="s", source="owner/s", status="downloading", progress=0.25)
    SAE.objects.create(id="t", source="owner/t", status="downloading", progress=0.5)
    shown = text(admin_client.get(f"{SAES}progress/", {"id": "s"}))
    assert 'aria-valuenow="25"' in shown
    assert "owner/t" not in shown
    assert "<html" not in shown
    panel = text(admin_client.get(f"{SAES}progress/", {"id": "s", "part": "panel"}))
    assert 'data-live="panel-s"' in panel
    assert admin_client.get(f"{MODELS}progress/", {"id": "x"}).status_code == 400


def test_an_error_is_told_with_what_to_do(admin_client: Client) -> None:
    model = LanguageModel.objects.create(name="m", source="/m", **MODEL)
    model.load()
    say(model, "error", error="m needs about 9.1 GiB on cpu, and 2.0 GiB are free")
    for page in (MODELS, f"{MODELS}{model.pk}/change/"):
        shown = text(admin_client.get(page))
        assert "9.1 GiB on cpu" in shown
        assert "Fix this and load it again" in shown
        assert "Load again" in shown


def test_what_failed_can_be_tried_again_from_the_beginning(admin_client: Client, folders: Path, settings: Any) -> None:
    SAE.objects.create(id="s", source=str(folders / "saes" / "a"), **{**READY, "status": "error", "error": "broken"})
    assert "Try again" in text(admin_client.get(SAES))
    admin_client.post(f"{SAES}s/download/")
    sae = SAE.objects.get()
    assert (sae.status, sae.error, sae.is_under_way) == ("queued", "", True)


def test_the_options_of_a_model_are_changed_and_the_current_one_is_loaded_anew(
    admin_client: Client, model: LanguageModel
) -> None:
    page = f"{MODELS}{model.pk}/change/"
    refused = admin_client.post(page, {"dtype": "float32", "device": "tpu"})
    assert "expected auto, cpu, cuda, cuda:N or mps" in text(refused)
    assert "loaded again" in text(admin_client.post(page, {"dtype": "float32", "device": "cpu"}, follow=True))
    model.refresh_from_db()
    assert (model.dtype, model.device, model.status, model.name) == ("float32", "cpu", "queued", "tiny")


def test_new_options_lock_the_live_steering_before_the_model(admin_client: Client, model: LanguageModel) -> None:
    with CaptureQueriesContext(connection) as asked:
        admin_client.post(f"{MODELS}{model.pk}/change/", {"dtype": "float32", "device": "cpu"})
    told = [query["sql"] for query in asked]
    lock = next(i for i, sql in enumerate(told) if "FOR UPDATE" in sql and "steeringstate" in sql)
    assert lock < next(i for i, sql in enumerate(told) if sql.startswith('UPDATE "steering_languagemodel"'))


# --- registering ---


def test_a_model_is_registered_and_its_page_offers_to_load_it(
    admin_client: Client, folders: Path, settings: Any
) -> None:
    settings.MODEL_DIRS = [str(folders)]
    assert str(folders) in text(admin_client.get(f"{MODELS}add/"))
    form = {"source": str(folders / "tiny"), "name": "mine", "revision": "", "dtype": "auto", "device": "auto"}
    page = admin_client.post(f"{MODELS}add/", form, follow=True)
    model = LanguageModel.objects.get()
    assert page.redirect_chain[-1][0] == f"{MODELS}{model.pk}/change/"
    assert "Load it to serve it." in text(page)
    assert f"{MODELS}{model.pk}/load/" in text(page)
    assert "on disk; needs at least that much memory" in text(page)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"source": "/etc"}, "/etc is outside the model folders"),
        ({"source": "owner/../x"}, "is not a hub id"),
        ({"device": "tpu"}, "expected auto, cpu"),
        ({"name": "taken"}, "a model &#x27;taken&#x27; already exists"),
    ],
)
def test_a_refused_registration_keeps_what_was_typed(
    admin_client: Client, folders: Path, settings: Any, changes: dict[str, str], told: str
) -> None:
    settings.MODEL_DIRS = [str(folders)]
    LanguageModel.objects.create(name="taken", source="/x", **MODEL)
    form = {"source": str(folders / "tiny"), "name": "mine", "revision": "v7", "dtype": "float16", "device": "auto"}
    refused = admin_client.post(f"{MODELS}add/", form | changes)
    assert told in text(refused)
    assert 'value="v7"' in text(refused)
    [field] = refused.context["adminform"].form.errors
    assert field == next(iter(changes))
    assert LanguageModel.objects.count() == 1


@pytest.mark.parametrize(("source", "told"), [(REPO, "set HF_TOKEN"), ("owner/nobody", "is not on")])
def test_what_the_hub_refuses_is_told_beside_the_source(
    admin_client: Client, tmp_path: Path, settings: Any, source: str, told: str
) -> None:
    with small_model(tmp_path, settings) as hub:
        hub.gated.add(REPO)
        form = {"source": source, "name": "mine", "revision": "", "dtype": "auto", "device": "auto"}
        refused = admin_client.post(f"{MODELS}add/", form)
    assert told in str(refused.context["adminform"].form.errors["source"])
    assert 'value="mine"' in text(refused)


def test_an_sae_that_cannot_be_read_is_told_beside_the_source(
    admin_client: Client, folders: Path, settings: Any
) -> None:
    settings.MODEL_DIRS = [str(folders)]
    form = {"source": str(folders / "saes"), "path": "nothing", "id": "", "revision": ""}
    refused = admin_client.post(f"{SAES}add/", form)
    assert "source" in refused.context["adminform"].form.errors
    assert 'value="nothing"' in text(refused)
    page = admin_client.post(f"{SAES}add/", form | {"path": "a"}, follow=True)
    assert "is registered and ready: attach it" in text(page)
    assert SAE.objects.get().pk == "saes-a"


# --- deleting ---


def test_what_is_in_use_is_not_deleted_and_the_page_says_why(
    admin_client: Client, sae: SAE, model: LanguageModel
) -> None:
    SAE.objects.create(id="free", source="/sae", **READY)
    for page, row, told in ((SAES, "s", "Detach it first"), (MODELS, model.pk, "Unload it first")):
        assert told in text(admin_client.post(f"{page}{row}/delete/", {"post": "yes"}))
        ids = [row, "free"] if page == SAES else [row]
        data = {"action": "delete_selected", "_selected_action": ids, "post": "yes"}
        assert told in text(admin_client.post(page, data))
    assert (SAE.objects.count(), LanguageModel.objects.count()) == (2, 1)


def test_a_deletion_tells_what_goes_and_what_stays(admin_client: Client, sae: SAE) -> None:
    FeatureLabel.objects.bulk_create(FeatureLabel(sae=sae, index=i, label="x", source="me") for i in range(34))
    SAE.objects.update(is_attached=False)
    data = {"action": "delete_selected", "_selected_action": ["s"]}
    for asked in (admin_client.get(f"{SAES}s/delete/"), admin_client.post(SAES, data)):
        assert "SAE s, with its 34 labels" in text(asked)
        assert "The files, in their folder" in text(asked)
        assert "profiles (1)" in text(asked)
    assert "Deleted 1 SAE" in text(admin_client.post(SAES, {**data, "post": "yes"}, follow=True))
    assert not SAE.objects.exists()
    assert not FeatureLabel.objects.exists()


def test_what_comes_into_use_while_it_is_deleted_stays(
    admin_client: Client, sae: SAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = SAE.objects.create(id="a-free-one", source="/sae", **READY)
    monkeypatch.setattr("inference.admin.deletion._refusal", lambda row: "")  # as if it was attached after this
    data = {"action": "delete_selected", "_selected_action": ["s", free.pk], "post": "yes"}
    assert "Nothing was deleted: SAE s cannot be deleted while it is attached" in text(
        admin_client.post(SAES, data, follow=True)
    )
    assert SAE.objects.count() == 2


# --- labels ---


def test_the_page_of_an_sae_leads_to_its_labels(admin_client: Client, sae: SAE) -> None:
    FeatureLabel.objects.create(sae=sae, index=3, label="whales", source="me")
    shown = text(admin_client.get(f"{SAES}s/change/"))
    assert "/admin/steering/featurelabel/?sae__id__exact=s" in shown
    assert "/admin/steering/featurelabel/import/?sae=s" in shown
    shown = text(admin_client.get("/admin/steering/featurelabel/import/?sae=s"))
    assert '<option value="s" selected' in shown
    viewer = text(staff("view_sae").get(f"{SAES}s/change/"))
    assert "/admin/steering/featurelabel/" not in viewer


# --- what it costs ---


@pytest.mark.parametrize("page", [MODELS, SAES])
def test_a_list_costs_the_same_for_one_row_and_for_many(
    admin_client: Client, sae: SAE, page: str, django_assert_max_num_queries: Any
) -> None:
    LanguageModel.objects.bulk_create(LanguageModel(name=f"m{i}", source="/m", **MODEL) for i in range(40))
    for model in LanguageModel.objects.exclude(name="tiny"):
        say(model, "loading", worker=model.name)
    SAE.objects.bulk_create(SAE(id=f"s{i}", source="/s", **{**READY, "status": "downloading"}) for i in range(40))
    with django_assert_max_num_queries(14):
        assert admin_client.get(page).status_code == 200
    rows: Any = SAE.objects.all() if page == SAES else LanguageModel.objects.all()
    ids = [row.pk for row in rows if row.status != "ready"]
    with django_assert_max_num_queries(6):
        assert text(admin_client.get(f"{page}progress/", {"id": ids})).count("data-in-progress") == 40
