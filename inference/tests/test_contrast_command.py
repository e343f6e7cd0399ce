"""`manage.py contrast_features`: two files of texts, and the features that tell them apart."""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from inference.tests.conftest import Server
from inference.tests.test_contrast_of_texts import sides
from profiles.models import Profile
from steering.models import SAE


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    for side, texts in sides("ocean").items():
        (tmp_path / f"{side}.txt").write_text("\n".join([*texts, ""]))
        chats = [[{"role": "user", "content": "Go on."}, {"role": "assistant", "content": text}] for text in texts]
        (tmp_path / f"{side}.jsonl").write_text("\n".join(map(json.dumps, chats)))
    return [str(tmp_path / f"{side}.txt") for side in ("positive", "negative")]


def run(*words: str) -> tuple[list[str], str]:
    """Lines of stdout, and stderr."""
    out, err = StringIO(), StringIO()
    call_command("contrast_features", *words, stdout=out, stderr=err)
    return out.getvalue().splitlines(), err.getvalue()


def test_the_features_of_a_topic_come_first(server: Server, files: list[str]) -> None:
    lines, told = run(*files, "--top", "5")
    rows = [line.split("\t") for line in lines]
    assert rows[0][0] == "index"
    assert set(Profile.objects.get(name="ocean").strengths) & {int(row[0]) for row in rows[1:6]}
    assert "has an AUC of" in told


def test_conversations_are_read_too(server: Server, files: list[str]) -> None:
    chats = [path.replace(".txt", ".jsonl") for path in files]
    [line], _ = run(*chats, "--json")
    found = json.loads(line)
    assert (found["positive"], found["negative"]) == (10, 10)
    assert set(Profile.objects.get(name="ocean").strengths) & {one["index"] for one in found["features"][:5]}


@pytest.mark.parametrize(
    ("line", "told"), [("{", "line 1"), ("3", "expected a list of messages"), ('[{"role": "x"}]', "role")]
)
def test_a_bad_line_is_named(server: Server, files: list[str], tmp_path: Path, line: str, told: str) -> None:
    (tmp_path / "bad.jsonl").write_text(line)
    with pytest.raises(CommandError, match=told):
        run(str(tmp_path / "bad.jsonl"), files[1])


def test_what_cannot_be_read_is_told(server: Server, files: list[str], tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    for words, told in (
        ([str(tmp_path / "none.txt"), files[1]], "none.txt"),
        ([str(tmp_path / "empty.txt"), files[1]], "got no text"),
        ([*files, "--top", "0"], "--top: got 0"),
        ([*files, "--max-density", "2"], "--max-density: got 2.0"),
        ([*files, "--sae", "no-such"], "there is no SAE no-such"),
    ):
        with pytest.raises(CommandError, match=told):
            run(*words)
    SAE.objects.update(is_attached=False)
    with pytest.raises(CommandError, match="no SAE is attached"):
        run(*files)
