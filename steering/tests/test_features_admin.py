"""Features in the admin: their list by SAE, and the import."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils.html import strip_tags

from steering.models import SAE, Feature, FeatureExample, FeatureLabel
from steering.tests.feature_rows import activation, as_lines, feature

LIST, IMPORT = "/admin/steering/feature/", "/admin/steering/feature/import/"


@pytest.fixture
def sae(db: None) -> SAE:
    sae = SAE.objects.create(id="s", source="/s", d_sae=100)
    for index, maximum, density in ((1, 1.0, 0.5), (2, 30.0, None), (3, None, None), (4, 12.34567, 0.0012345)):
        Feature.objects.create(sae=sae, index=index, maximum=maximum, density=density)
    Feature.objects.create(sae=SAE.objects.create(id="other", source="/o", d_sae=100), index=5, maximum=9.0)
    FeatureLabel.objects.create(sae=sae, index=4, label="whales", source="n")
    return sae


def listed(client: Client, query: str = "") -> list[str]:
    """The SAE and the index of each row."""
    answer = client.get(f"{LIST}{query}")
    assert answer.status_code == 200
    return [f"{row.sae_id} {row.index}" for row in answer.context["cl"].result_list]


def client_with(*permissions: str) -> Client:
    user = get_user_model().objects.create_user("someone", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def test_the_list_shows_statistics_and_labels_and_links_to_the_pages(admin_client: Client, sae: SAE) -> None:
    page = admin_client.get(f"{LIST}?sae__id__exact=s").content.decode()
    start = page.index('href="/admin/steering/sae/s/features/4/"')
    shown = strip_tags(page[start : page.index("</tr>", start)]).split()
    assert [one for one in shown if one in {"whales", "12.35", "0.1234", "s"}] == ["whales", "12.35", "0.1234", "s"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["other 5", "s 1", "s 2", "s 3", "s 4"]),
        ("?sae__id__exact=s", ["s 1", "s 2", "s 3", "s 4"]),
        ("?sae__id__exact=s&o=2", ["s 2", "s 4", "s 1", "s 3"]),
        ("?sae__id__exact=s&o=-2", ["s 3", "s 1", "s 4", "s 2"]),
        ("?sae__id__exact=s&o=3.2", ["s 1", "s 4", "s 2", "s 3"]),
        ("?o=2", ["other 5", "s 1", "s 2", "s 3", "s 4"]),
    ],
)
def test_the_list_is_in_the_order_of_a_column_for_one_sae(
    admin_client: Client, sae: SAE, query: str, expected: list[str]
) -> None:
    assert listed(admin_client, query) == expected


def test_a_page_takes_a_fixed_number_of_queries(admin_client: Client, sae: SAE, django_assert_num_queries: Any) -> None:
    Feature.objects.bulk_create(Feature(sae=sae, index=index) for index in range(10, 60))
    admin_client.get(LIST)
    with django_assert_num_queries(7):
        assert len(listed(admin_client, "?sae__id__exact=s")) == 25


def test_a_file_is_imported(admin_client: Client, sae: SAE) -> None:
    assert 'type="file"' in admin_client.get(f"{IMPORT}?sae=s").content.decode()
    bad = {"sae": "s", "file": SimpleUploadedFile("a.jsonl", as_lines([feature(700)]))}
    assert "feature 700 is out of range" in admin_client.post(IMPORT, bad).content.decode()
    rows = as_lines([feature(7), activation(7, [0.0, 1.0])])
    good = {"sae": "s", "file": SimpleUploadedFile("a.jsonl", rows)}
    answer = admin_client.post(IMPORT, good, follow=True)
    assert answer.redirect_chain == [(f"{LIST}?sae__id__exact=s", 302)]
    assert "Features imported for s: 1; examples: 1." in answer.content.decode()
    assert Feature.objects.get(sae=sae, index=7).maximum == 12.5
    assert FeatureExample.objects.get(sae=sae, index=7).maximum == 1.0


def test_viewers_of_labels_see_the_list_and_cannot_import(sae: SAE) -> None:
    client = client_with("view_featurelabel")
    page = client.get(LIST).content.decode()
    assert "Import features" not in page
    assert f'href="{LIST}"' in page  # the sidebar's
    assert client.get(IMPORT).status_code == 403
    assert client.get(f"{LIST}add/").status_code == 403


def test_others_see_nothing(sae: SAE) -> None:
    client = client_with("view_sae", "view_profile")
    assert client.get(LIST).status_code == 403
    assert LIST not in client.get("/admin/").content.decode()
