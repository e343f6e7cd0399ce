"""The form field of feature strengths, and what its table is given."""

import json
from html import escape
from typing import Any

import pytest
from django import forms
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from steering.admin.widgets import FeatureStrengthsFormField, FeatureTable
from steering.fields import FeatureStrengthsField
from steering.models import SAE, FeatureLabel


class StrengthsForm(forms.Form):
    steering = FeatureStrengthsFormField(required=False)

    def table(self) -> dict[str, Any]:
        """What the page of this form tells its table."""
        html = str(self["steering"])
        [_, rest] = html.split('<script id="id_steering-options" type="application/json">')
        options: dict[str, Any] = json.loads(rest.split("</script>")[0])
        return options


@pytest.fixture
def sae(db: None) -> SAE:
    made = SAE.objects.create(id="sae", source="/sae", d_sae=100)
    FeatureLabel.objects.create(sae=made, index=3, label="whales", source="s")
    return made


def test_the_model_field_makes_this_form_field() -> None:
    assert isinstance(FeatureStrengthsField().formfield(), FeatureStrengthsFormField)


@pytest.mark.parametrize(("posted", "kept"), [('{"3": 2, "07": -1.5}', {3: 2.0, 7: -1.5}), ("", {}), ('{"3": 0}', {})])
def test_a_plain_post_of_json_is_strengths(posted: str, kept: dict[int, float]) -> None:
    form = StrengthsForm({"steering": posted})
    assert form.is_valid()
    assert form.cleaned_data["steering"] == kept


@pytest.mark.parametrize("posted", ["[]", "0", '"3"', "{", '{"a": 1}', '{"3": NaN}', '{"3": true}', '{"3": 1, "3": 2}'])
def test_what_is_no_strengths_is_refused_and_stays_in_the_textarea(posted: str, db: None) -> None:
    form = StrengthsForm({"steering": posted})
    assert not form.is_valid()
    assert f">{escape(posted)}</textarea>" in str(form["steering"])


@pytest.mark.parametrize(("strength", "told"), [('"5%"', "got '5%'"), ("5000", "got 5000, expected a finite number")])
def test_an_error_is_told_beside_the_row_of_its_feature(strength: str, told: str, db: None) -> None:
    form = StrengthsForm({"steering": f'{{"3": 1, "12": {strength}}}'})
    assert told in form.errors["steering"][0]
    assert form.table()["errors"].keys() == {"12"}
    assert form.table()["errors"]["12"].startswith(told)


def test_an_error_of_the_whole_is_beside_no_row(db: None) -> None:
    assert StrengthsForm({"steering": "[1]"}).table()["errors"] == {}


def test_the_labels_of_known_features_are_there_also_beside_a_bad_strength(sae: SAE) -> None:
    form = StrengthsForm({"steering": '{"3": "x", "4": 1, "y": 2}'})
    form.fields["steering"].widget.table = FeatureTable(sae)
    assert form.table()["labels"] == {"3": "whales"}
    assert form.table()["d_sae"] == 100


def test_the_table_knows_the_norm_that_its_sliders_reach_by(sae: SAE) -> None:
    """Of an SAE that was not measured, and of an unknown one, there is none."""
    norms = [FeatureTable(shown).context({})["options"]["norm"] for shown in (sae, None)]
    assert norms == [None, None]
    sae.residual_norm = 63.3
    assert FeatureTable(sae).context({})["options"]["norm"] == 63.3


def test_order_and_notation_are_no_change() -> None:
    field = FeatureStrengthsFormField()
    assert not field.has_changed({3: 4.0, 20: 1.0}, '{"20": 1, "3": 4}')
    assert field.has_changed({3: 4.0}, '{"3": 5}')
    assert field.has_changed({3: 4.0}, "{")


def test_only_who_may_read_labels_searches_them(sae: SAE) -> None:
    nobody = get_user_model().objects.create_user("nobody")
    root = get_user_model().objects.create_superuser("root", password="x")
    searches = [FeatureTable(sae, user).context({})["options"]["search"] for user in (nobody, root, None)]
    assert searches == [False, True, False]


def test_a_table_that_is_read_has_no_controls(sae: SAE) -> None:
    html = FeatureTable(sae, read_only=True).render({3: 4.0})
    assert "<input" not in html
    assert "Paste a list" not in html
    assert "whales" in html


def test_the_model_field_names_the_feature_in_its_refusal() -> None:
    with pytest.raises(ValidationError, match=r"steering\.3: got 'a'"):
        FeatureStrengthsFormField().clean('{"3": "a"}')
