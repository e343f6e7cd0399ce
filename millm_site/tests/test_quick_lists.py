"""Lists of many rows: what is the same in each row is rendered once."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.template import Context, Template
from django.test import Client
from django.utils.safestring import mark_safe

from profiles.models import Profile
from steering.models import SAE, Feature, FeatureLabel

MORE = 12


@pytest.fixture
def sae(db: None) -> SAE:
    return SAE.objects.create(id="s", source="/s", d_in=8, d_sae=100, hook_name="blocks.0.hook_resid_post")


def label(sae: SAE, number: int) -> None:
    FeatureLabel.objects.create(sae=sae, index=number, label="tides", source="s")


def feature(sae: SAE, number: int) -> None:
    Feature.objects.create(sae=sae, index=number, maximum=1.0)


def profile(sae: SAE, number: int) -> None:
    here = {"model_id": "tiny", "sae_id": sae.pk, "layer": sae.layer}
    Profile.objects.create(name=f"p{number}", tags=["calm"], strengths={number: 1.0}, **here)


def another_sae(sae: SAE, number: int) -> None:
    SAE.objects.create(id=f"sae-{number}", source="/s", d_in=sae.d_in, d_sae=sae.d_sae, hook_name=sae.hook_name)


def rendered(client: Client, path: str) -> int:
    """How many templates a page takes."""
    answer: Any = client.get(path)
    assert answer.status_code == 200, answer.headers
    return len(answer.templates)


@pytest.mark.parametrize(
    ("path", "add", "most"),
    [
        ("/admin/steering/featurelabel/", label, 1),  # the template of a menu, which is empty
        ("/admin/steering/feature/", feature, 1),
        ("/admin/profiles/profile/", profile, 4),
        ("/admin/steering/sae/", another_sae, 5),
    ],
)
def test_a_row_takes_few_templates(admin_client: Client, sae: SAE, path: str, add: Any, most: int) -> None:
    add(sae, 1)
    few = rendered(admin_client, path)
    for number in range(2, 2 + MORE):
        add(sae, number)
    assert rendered(admin_client, path) - few <= most * MORE


def test_each_row_has_a_menu_of_its_own(admin_client: Client, sae: SAE) -> None:
    rows = [Profile.objects.create(name=name) for name in ("one & {id}", "two {} <b>")]
    shown = admin_client.get("/admin/profiles/profile/").content.decode()
    for row, name in zip(rows, ("one &amp; {id}", "two {} &lt;b&gt;"), strict=True):
        assert f'aria-label="Actions: {name}"' in shown
        assert shown.count(f'id="actions-{row.pk}"') == 1
        assert shown.count(f'popovertarget="actions-{row.pk}"') == 1
        for action in ("activate", "duplicate", "export"):
            assert shown.count(f'href="/admin/profiles/profile/{row.pk}/{action}/"') == 1


def test_the_id_of_a_row_is_quoted_in_its_links() -> None:
    menu = Template("{% load rows %}{% row_menu cl actions row %}")
    action = {"raw_path": "admin:profiles_profile_export", "title": "Export", "attrs": {}}
    row = SimpleNamespace(pk='a "b" c')
    shown = menu.render(Context({"cl": SimpleNamespace(), "actions": [action], "row": row}))
    assert 'id="actions-a &quot;b&quot; c"' in shown
    assert 'href="/admin/profiles/profile/a%20%22b%22%20c/export/"' in shown


def test_a_label_that_was_shown_before_is_escaped_all_the_same() -> None:
    tag = Template("{% load rows %}{% label text %}")
    assert "<b>" in tag.render(Context({"text": mark_safe("<b>")}))
    assert "<b>" not in tag.render(Context({"text": "<b>"}))
