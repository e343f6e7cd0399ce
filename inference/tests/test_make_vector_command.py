"""`manage.py make_vector`: two files of texts, and a vector set."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from inference.tests.conftest import Server
from inference.tests.test_contrast_of_texts import sides
from steering.models import SAE, FeatureLabel


@pytest.fixture
def files(tmp_path: Path, settings: Any) -> list[str]:
    settings.MILLM_VECTORS_DIR = str(tmp_path / "vectors")
    for side, texts in sides("ocean", 4).items():
        (tmp_path / f"{side}.txt").write_text("\n".join([*texts, ""]))
    return ["--positive", str(tmp_path / "positive.txt"), "--negative", str(tmp_path / "negative.txt")]


def run(*words: str) -> tuple[str, str]:
    """stdout and stderr."""
    out, err = StringIO(), StringIO()
    call_command("make_vector", *words, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_a_vector_set_is_made_and_named(server: Server, files: list[str]) -> None:
    out, err = run(*files, "--layer", "1", "--method", "pca", "--pool", "last", "--id", "sea", "--label", "the sea")
    assert out == "sea\n"
    assert "sea is at blocks.1.hook_resid_post" in err
    assert "an AUC of" in err
    assert SAE.objects.get(pk="sea").d_sae == 1
    assert FeatureLabel.objects.of("sea", [0]) == {0: "the sea"}


def test_what_cannot_be_made_is_refused(server: Server, files: list[str], tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("One.\n")
    pairs = [*files[:3], str(tmp_path / "more.txt")]
    for words, message in (
        ([*files, "--layer", "99"], "got layer 99"),
        ([*files, "--layer", "1", "--id", "demo-sae"], "already exists"),
        ([*pairs, "--layer", "1", "--method", "pca"], "got 1 texts for 4"),
        ([*files[:3], str(tmp_path / "none.txt"), "--layer", "1"], "none.txt"),
        (files, "--layer"),
    ):
        with pytest.raises(CommandError, match=message):
            run(*words)
    assert not SAE.objects.filter(architecture="vectors").exists()
