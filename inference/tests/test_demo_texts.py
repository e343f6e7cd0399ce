"""The texts of Debian's packages as documents, and as rows of a chat's tokens."""

import gzip
import random
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from inference.demo.smollm2 import texts
from inference.demo.smollm2.activations import Rows, mixture
from inference.demo.smollm2.texts import Document, MissingTexts, Source
from inference.demo.tiny import FILES

WORDNET = """00-database-info
    This file was converted from the original database.
adjacent
    adj 1: nearest in space or position; "had adjacent rooms" [syn:
           {adjacent}, {next}]
    2: having a common boundary or edge; abutting; touching;
       "Rhode Island has two bordering states"
whale
    n 1: a very large person; impressive in size or qualities
    2: any of the larger cetacean mammals having a streamlined
       body [ant: {minnow}]
"""


@pytest.fixture
def wordnet(tmp_path: Path) -> Path:
    path = tmp_path / "wn.dict.dz"
    path.write_bytes(gzip.compress(WORDNET.encode()))
    return path


def test_an_entry_of_wordnet_answers_a_question_about_its_word(wordnet: Path) -> None:
    adjacent, whale = list(texts.definitions(wordnet))[-2:]
    assert adjacent.question == "What does the word adjacent mean?"
    assert adjacent.text == (
        'adjacent: Nearest in space or position; "had adjacent rooms". having a common boundary or edge; abutting; '
        'touching; "Rhode Island has two bordering states".'
    )
    assert whale.text.endswith("any of the larger cetacean mammals having a streamlined body.")


def test_the_nouns_of_wordnet_are_those_that_begin_as_nouns(wordnet: Path) -> None:
    assert texts.words(wordnet) == ["whale"]


def test_paragraphs_of_a_dictionary_lose_their_marks(tmp_path: Path) -> None:
    path = tmp_path / "gcide.dict.dz"
    body = 'Acrook \\A*crook"\\, adv.\n   Crookedly. [R.] --Udall.\n   [1913 Webster]\n\nAcrid {bitter} in taste.\n'
    path.write_bytes(gzip.compress(body.encode()))
    assert [one.text for one in texts.entries(path)] == ["Acrook adv. Crookedly. --Udall.", "Acrid bitter in taste."]


def test_sayings_and_paragraphs_are_read_from_folders(tmp_path: Path) -> None:
    (tmp_path / "food").write_text("A day without\nsunshine.\n%\nIs night.\n%\n")
    (tmp_path / "food.dat").write_bytes(b"\0\1")
    assert [one.text for one in texts.sayings(tmp_path) if one.text] == ["A day without sunshine.", "Is night."]
    (tmp_path / "a.md.gz").write_bytes(gzip.compress(("# Title\n\n" + "See [this](http://x). " * 40).encode()))
    [one] = texts.paragraphs(tmp_path)
    assert one.text.startswith("Title See this. See this.")


def test_a_package_that_is_missing_is_named(tmp_path: Path) -> None:
    source = Source("dict-wn", tmp_path / "none", 1.0, texts.definitions)
    with pytest.raises(MissingTexts, match="run `apt-get install dict-wn`"):
        source.documents(random.Random(0))


def test_sources_are_mixed_by_their_shares_and_begin_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [
        Source("a", FILES, 0.75, lambda path: [Document("a" * 100)] * 2),
        Source("b", FILES, 0.25, lambda path: [Document("b" * 100)] * 2),
    ]
    monkeypatch.setattr("inference.demo.smollm2.activations.SOURCES", sources)
    endless = mixture([Document("o" * 100)], seed=0)
    letters = [next(endless).text[0] for _ in range(100)]
    assert {letter: letters.count(letter) for letter in "abo"} == {"a": 60, "b": 20, "o": 20}


def test_documents_that_are_held_out_are_in_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source("a", FILES, 1.0, lambda path: [Document(f"{number} " * 60) for number in range(100)])
    monkeypatch.setattr("inference.demo.smollm2.activations.SOURCES", [source])
    own = [Document("own " * 60)]
    trained = {next(one).text for one in [mixture(own, seed=3)] for _ in range(300)}
    held = {next(one).text for one in [mixture(own, seed=0, held_out=True)] for _ in range(20)}
    assert held & trained == {own[0].text}
    assert {text.split()[0] for text in held} == {"0", "40", "80", "own"}


def test_the_activations_of_a_chat_begin_where_its_question_does() -> None:
    tokenizer = AutoTokenizer.from_pretrained(FILES / "model")
    rows = Rows(tokenizer)
    plain, begin = rows.of(Document("The whale dives."))
    assert (tokenizer.decode(plain), begin) == ("The whale dives.", 1)
    ids, begin = rows.of(Document("The whale dives.", "Tell me something."))
    assert tokenizer.decode(ids[begin:]).startswith("Tell me something.")
    ids, begin = rows.answer(Document("The whale dives.", "Tell me something."))
    assert tokenizer.decode(ids[begin:]) == "The whale dives."
