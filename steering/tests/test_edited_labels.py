"""Labels that users write: over REST, before the labels of other sources, with their history."""

import io
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.test import Client
from rest_framework.test import APIClient

from millm_site.models import APIKey
from steering.labels.files import InvalidLabelFile, LabelFile
from steering.labels.models import InvalidLabel
from steering.models import SAE, EditedLabel, FeatureLabel

URL = "/api/saes/s/features/3/label"


@pytest.fixture
def sae(db: None) -> SAE:
    made = SAE.objects.create(id="s", source="/s", d_sae=100)
    FeatureLabel.objects.create(sae=made, index=3, label="mentions of whales", source="n")
    return made


@pytest.fixture
def client(db: None) -> APIClient:
    client = APIClient()
    owner = get_user_model().objects.create_superuser("root", password="x")
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {APIKey.objects.create(owner, name='laptop')[1]}")
    return client


def history(client: APIClient) -> list[tuple[str, str]]:
    return [(one["type"], one["label"]) for one in client.get(f"{URL}/history").json()["results"]]


def test_a_label_is_written_changed_and_deleted_with_its_history(sae: SAE, client: APIClient) -> None:
    written = client.put(URL, {"label": " whales\nand  ships "})
    assert (written.status_code, written.json()) == (200, {"index": 3, "label": "whales and ships", "source": "edited"})
    for label in ("the sea", "the sea"):  # the second changes nothing
        assert client.put(URL, {"label": label}).json()["label"] == "the sea"
    assert client.delete(URL).status_code == 204
    assert history(client) == [("Deleted", "the sea"), ("Changed", "the sea"), ("Created", "whales and ships")]
    latest = client.get(f"{URL}/history").json()["results"][0]
    assert (latest["by"], latest["door"]) == (f"root, key {APIKey.objects.get()}", "api")
    assert list(FeatureLabel.objects.values_list("label", "source")) == [("mentions of whales", "n")]


def test_it_is_shown_before_labels_that_came_later(sae: SAE, client: APIClient) -> None:
    client.put(URL, {"label": "mine"})
    file = LabelFile(io.BytesIO(b"index,label\n3,theirs\n4,other\n"), source="later")
    FeatureLabel.objects.import_files("s", [file])
    assert FeatureLabel.objects.of("s", [3, 4]) == {3: "mine", 4: "other"}


def test_it_is_found_by_its_words(sae: SAE, client: APIClient) -> None:
    client.put(URL, {"label": "lighthouses"})
    client.put(URL, {"label": "submarines"})
    assert client.get("/api/saes/s/labels?search=lighthouse").json()["count"] == 0
    [found] = client.get("/api/saes/s/labels?search=submar").json()["results"]
    assert found == {"index": 3, "label": "submarines", "source": "edited"}


@pytest.mark.parametrize(
    ("body", "field"),
    [({"label": " \n"}, "label"), ({}, "label"), ({"label": "x" * 10_001}, "label"), ({"label": "a", "by": 1}, "by")],
)
def test_a_bad_body_is_refused(sae: SAE, client: APIClient, body: dict[str, Any], field: str) -> None:
    answer = client.put(URL, body, format="json")
    assert (answer.status_code, list(answer.json())) == (400, [field])
    assert not EditedLabel.objects.exists()


def test_a_label_of_control_characters_is_refused(sae: SAE) -> None:
    with pytest.raises(InvalidLabel, match="got no text, expected a label"):
        EditedLabel.objects.write("s", 3, "\x01\x02")


@pytest.mark.parametrize("method", ["put", "delete", "get"])
@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("none/features/3", 404, "sae_not_found"),
        ("s/features/100", 404, "feature_not_found"),
        ("s/features/99999999999999999999", 404, "feature_not_found"),
        ("new/features/3", 409, "sae_not_ready"),
    ],
)
def test_a_feature_that_does_not_exist_is_refused(
    sae: SAE, client: APIClient, method: str, path: str, status: int, code: str
) -> None:
    SAE.objects.create(id="new", source="/new")
    url = f"/api/saes/{path}/label"
    answer = client.get(f"{url}/history") if method == "get" else getattr(client, method)(url, {"label": "x"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_deleting_a_label_that_does_not_exist_is_refused(sae: SAE, client: APIClient) -> None:
    answer = client.delete(URL)
    assert (answer.status_code, answer.json()["code"]) == (404, "label_not_found")
    assert FeatureLabel.objects.count() == 1


def test_writing_needs_add_and_change_deleting_needs_delete(sae: SAE) -> None:
    user = get_user_model().objects.create_user("u")
    client = APIClient()

    def statuses(*permissions: str) -> tuple[int, int, int]:
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_authenticate(get_user_model().objects.get(pk=user.pk))
        seen = client.get(f"{URL}/history").status_code
        return client.put(URL, {"label": "x"}).status_code, client.delete(URL).status_code, seen

    assert statuses("view_featurelabel") == (403, 403, 200)
    assert statuses("change_featurelabel", "view_featurelabel") == (403, 403, 200)
    assert statuses("add_featurelabel", "change_featurelabel") == (200, 403, 403)
    assert statuses("delete_featurelabel") == (403, 204, 403)


def test_a_file_cannot_have_their_source(sae: SAE) -> None:
    for file in (
        LabelFile(io.BytesIO(b"index,label,source\n3,x,edited\n")),
        LabelFile(io.BytesIO(b"index,label\n3,x\n"), source="edited"),
    ):
        with pytest.raises(InvalidLabelFile, match="row 2: the source 'edited' is that of labels written in miLLM"):
            FeatureLabel.objects.import_files("s", [file])


def test_an_import_writes_no_history_and_a_deletion_of_many_writes_that_of_edited_ones(
    sae: SAE, client: APIClient, admin_client: Client
) -> None:
    client.put(URL, {"label": "mine"})
    rows = "".join(f"{index},label {index}\n" for index in range(100))
    FeatureLabel.objects.import_files("s", [LabelFile(io.BytesIO(f"index,label\n{rows}".encode()))], replace=True)
    assert EditedLabel.history.count() == 1
    assert client.delete("/api/saes/s/labels").json() == {"deleted": 102}
    assert history(client) == [("Deleted", "mine"), ("Created", "mine")]


def test_deleting_an_sae_keeps_the_history(sae: SAE, client: APIClient) -> None:
    client.put(URL, {"label": "mine"})
    assert client.delete("/api/saes/s").status_code == 204
    assert not FeatureLabel.objects.exists()
    assert EditedLabel.history.get().label == "mine"


def test_old_versions_are_cleaned_but_the_newest(sae: SAE, client: APIClient) -> None:
    for label in ("one", "two"):
        client.put(URL, {"label": label})
    call_command("clean_old_history", "--auto", "--days", "0")
    assert history(client) == [("Changed", "two")]


def test_the_list_of_labels_adds_one(sae: SAE, admin_client: Client) -> None:
    page = "/admin/steering/featurelabel/add/"
    assert page in admin_client.get("/admin/steering/featurelabel/").content.decode()
    assert 'name="source"' not in admin_client.get(page).content.decode()
    added = admin_client.post(page, {"sae": "s", "index": 3, "label": " whales\nand ships "}, follow=True)
    assert added.redirect_chain[-1][0] == "/admin/steering/featurelabel/"
    written = EditedLabel.objects.get()
    assert (written.index, written.label, written.source) == (3, "whales and ships", "edited")
    assert [one.history_type for one in EditedLabel.objects.versions("s", 3)] == ["+"]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"index": 100}, "feature 100 is out of range"),
        ({"label": "\x01"}, "expected a label"),
        ({"label": "x" * 20_000}, "shorten it"),
        ({"index": 4}, "change it on the page of the feature"),
        ({"sae": "other"}, "Expected one of the offered choices"),
    ],
)
def test_a_label_that_cannot_be_added_is_refused_with_the_reason(
    sae: SAE, admin_client: Client, fields: dict[str, Any], error: str
) -> None:
    EditedLabel.objects.write("s", 4, "here before")
    page = "/admin/steering/featurelabel/add/"
    refused = admin_client.post(page, {"sae": "s", "index": 3, "label": "sea"} | fields)
    assert refused.status_code == 200
    [errors] = refused.context["adminform"].errors.values()
    assert error in str(errors)
    assert EditedLabel.objects.get().label == "here before"


def test_only_those_add_a_label_who_may_change_one(sae: SAE, client: APIClient) -> None:
    user = get_user_model().objects.create_user("adder", password="x", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="add_featurelabel"))
    browser = Client()
    browser.force_login(user)
    assert browser.get("/admin/steering/featurelabel/add/").status_code == 403
