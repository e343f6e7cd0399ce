"""What was measured is stored whole, or not at all, and survives a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from inference.demo import FEATURES
from inference.demo.register import register_demo
from inference.demo.tiny import FILES
from inference.measuring.results import Measured, MeasuredExample, MeasuredFeature, read_file, store, write_file
from steering.features.models import Feature, FeatureExample
from steering.models import SAE
from steering.saes import NoSuchSAE

pytestmark = pytest.mark.django_db

ODD = ['a"b', "c\\d", "{e,f}", "", "NULL", "\n\t", "\x00", "日本 🌊", "\\u0000", "\u2028"]
HISTOGRAM = {"edges": [0.5, 1.0, 2.0], "counts": [3, 4]}


def measured() -> Measured:
    example = MeasuredExample(ODD, [1e-30, 2.5, 3.0, 0.0, 1e20, 6.0, 7.0, 8.0, 0.1, 2.0], 1e20)
    return Measured(
        100,
        12.5,
        [
            MeasuredFeature(0, 1e20, 0.25, 2.5, HISTOGRAM, [(token, 1.5) for token in ODD], [("x", -2.0)], [example]),
            MeasuredFeature(3, 0.0, 0.0, None, None, [], []),
        ],
    )


@pytest.fixture
def sae() -> SAE:
    return SAE.objects.create(id="s", source="/s", d_sae=10, d_in=4, status="ready")


def test_tokens_of_any_characters_are_stored(sae: SAE) -> None:
    store("s", measured())
    fires, never = Feature.objects.filter(sae=sae)
    storable = [token.replace("\x00", "\ufffd") for token in ODD]
    assert (fires.maximum, fires.density, fires.mean, fires.histogram) == (1e20, 0.25, 2.5, HISTOGRAM)
    assert fires.promoted == [[token, 1.5] for token in storable]
    assert fires.suppressed == [["x", -2.0]]
    example = FeatureExample.objects.get()
    assert (example.tokens, example.rank, example.maximum) == (storable, 0, 1e20)
    assert example.values == [1e-30, 2.5, 3.0, 0.0, 1e20, 6.0, 7.0, 8.0, 0.1, 2.0]
    assert (never.index, never.maximum, never.mean, never.histogram, never.promoted) == (3, 0.0, None, None, [])
    sae.refresh_from_db()
    assert (sae.measured_tokens, sae.residual_norm) == (100, 12.5)


def test_an_error_at_the_end_leaves_what_was_there(sae: SAE) -> None:
    store("s", measured())

    @contextmanager
    def cancelled() -> Iterator[None]:
        raise RuntimeError("cancelled")
        yield

    with pytest.raises(RuntimeError, match="cancelled"):
        store("s", Measured(5, 1.0, [MeasuredFeature(1, 1.0, 0.5, 1.0, None, [], [])]), cancelled())
    assert list(Feature.objects.values_list("index", flat=True)) == [0, 3]
    assert FeatureExample.objects.count() == 1
    with pytest.raises(NoSuchSAE):
        store("other", measured())


def test_a_file_has_all_of_it(sae: SAE, tmp_path: Path) -> None:
    write_file(tmp_path / "features.jsonl.gz", measured())
    write_file(tmp_path / "again.jsonl.gz", measured())
    found = read_file(tmp_path / "features.jsonl.gz")
    store("s", found)
    assert (found.tokens, found.residual_norm) == (100, 12.5)
    assert Feature.objects.count() == 2
    assert FeatureExample.objects.get().tokens[:3] == ODD[:3]
    assert (tmp_path / "features.jsonl.gz").read_bytes() == (tmp_path / "again.jsonl.gz").read_bytes()


def test_the_demo_comes_measured() -> None:
    register_demo()
    features = Feature.objects.filter(sae_id="demo-sae", statistics_source="measured")
    assert features.count() == SAE.objects.get(pk="demo-sae").d_sae
    assert SAE.objects.get(pk="demo-sae").measured_tokens
    assert all(len(one.promoted or []) == 5 for one in features)
    assert features.filter(maximum__gt=0).count() > 500
    for example in FeatureExample.objects.filter(sae_id="demo-sae", rank=0)[:20]:
        assert max(example.values) == pytest.approx(example.maximum, rel=1e-2)
    assert (FILES / FEATURES).stat().st_size < 200_000
