"""Features without a label are labelled by the words on which they fire and the tokens that they promote."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from steering.features.models import Feature, FeatureExample
from steering.features.suggestions import suggestion, word_at
from steering.models import SAE, FeatureLabel

SEA = (["The", " wh", "ale", " dives", "."], [0.0, 0.5, 4.0, 1.0, 0.0])
REEF = (["near", " the", " reef"], [0.0, 0.0, 2.0])


def test_a_label_names_the_words_that_fire_and_the_tokens_that_are_promoted() -> None:
    promoted = [(" deep", 2.0), (" Whale", 1.5), ("Deep", 1.0), (" salty", 0.5), ("no", -1.0)]
    assert suggestion(promoted, [SEA, REEF, SEA]) == "whale, reef (promotes deep, salty)"
    assert suggestion([], [REEF]) == "reef"
    assert suggestion(promoted[:1], []) == "promotes deep"
    assert suggestion([("no", -1.0)], [(["a"], [0.0])]) == suggestion([], [([], [])]) == ""


def test_no_more_words_are_named_than_one_reads_at_a_glance() -> None:
    examples = [([word], [value]) for word, value in [("a", 1.0), ("b", 4.0), ("c", 3.0), ("d", 2.0)]]
    promoted = [(word, 1.0) for word in "vwxyz"]
    assert suggestion(promoted, examples) == "b, c, d (promotes v, w, x)"


@pytest.mark.parametrize(
    ("tokens", "place", "word"),
    [
        (["The", " l", "ight", "house", "!"], 2, "lighthouse"),
        (["<|user|>", "Hello", "!"], 1, "hello"),
        ([" a", ",\n", " b"], 1, ","),
        (["海" * 10, "海" * 10, "波", "海" * 10], 2, "波"),
        ([" "], 0, ""),
    ],
)
def test_a_token_is_completed_to_its_word(tokens: list[str], place: int, word: str) -> None:
    assert word_at(tokens, place) == word


@pytest.fixture
def sae() -> SAE:
    """With facts about four of its features, of which one has a label."""
    made = SAE.objects.create(id="s", source="/s", d_sae=10, d_in=4, status="ready")
    for index in (1, 2, 5, 7):
        Feature.objects.create(sae=made, index=index, promoted=[["deep", 1.0]] if index == 5 else None)
    for index in (0, 2, 5):  # of feature 0 nothing but an example is known
        tokens, values = SEA
        FeatureExample.objects.create(
            sae=made, index=index, source="measured", rank=0, tokens=tokens, values=values, maximum=4
        )
    FeatureLabel.objects.create(sae=made, index=2, label="by hand", source="me")
    return made


def run(*words: str) -> str:
    """stderr."""
    told = StringIO()
    call_command("label_features", *words, stderr=told)
    return told.getvalue()


def labels() -> list[tuple[int, str, str]]:
    return list(FeatureLabel.objects.order_by("index").values_list("index", "label", "source"))


@pytest.mark.django_db
def test_features_without_a_label_get_one(sae: SAE) -> None:
    assert run("s") == "1 features of SAE s are labelled by their tokens.\n"
    assert labels() == [(2, "by hand", "me"), (5, "whale (promotes deep)", "tokens")]
    assert [label.index for label in FeatureLabel.objects.search("whale")] == [5]
    Feature.objects.filter(index=5).update(promoted=[["blue", 1.0]])
    run("s")
    assert labels()[1][1] == "whale (promotes deep)"
    run("s", "--replace")
    assert labels() == [(2, "by hand", "me"), (5, "whale (promotes blue)", "tokens")]


@pytest.mark.django_db
def test_without_facts_nothing_is_labelled(sae: SAE) -> None:
    Feature.objects.all().delete()
    with pytest.raises(CommandError, match="nothing is known of the features of SAE s: measure it"):
        run("s")
    with pytest.raises(CommandError, match="there is no SAE t; the registered SAEs are: s"):
        run("t")
    assert labels() == [(2, "by hand", "me")]
