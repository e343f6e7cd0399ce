"""The measures of the demo's profiles: words of a theme, perplexity, repeats, and the judge's rule."""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from inference.demo.smollm2.answers import Answer
from inference.demo.smollm2.judge import Judged
from inference.demo.smollm2.measure import Measured, perplexity, repeats
from inference.demo.smollm2.themes import EVERYDAY, JUDGE_PROMPTS, SEARCH_PROMPTS, THEMES
from inference.demo.smollm2.words import ThemeWords
from inference.demo.tiny import FILES


def test_the_words_of_a_theme_are_those_that_other_texts_have_seldom() -> None:
    texts = [f"The whale swims in the salty sea number {number}." for number in range(10)]
    others = [f"The bread is baked in the oven number {number}." for number in range(30)]
    words = ThemeWords.of(texts, others, [])
    assert words.words == {"whale", "swims", "salty", "sea"}
    assert words.is_on("A WHALE in the sea!")
    assert not words.is_on("A whale, a whale."), "one word of the list is no theme"
    assert words.share(["whale sea", "oven", "salty bread"]) == pytest.approx(1 / 3)


def test_a_word_that_came_three_times_is_of_no_list() -> None:
    texts = ["whale sea", "whale sea", "whale sea", "sea"]
    assert ThemeWords.of(texts, ["oven"] * 30, []).words == {"sea"}


def test_a_word_that_plain_texts_have_often_is_of_no_list() -> None:
    texts, plain = ["today the whale"] * 5, ["today the oven"] * 5
    assert ThemeWords.of(texts, [*["oven"] * 95, *plain], plain).words == {"whale"}


def test_more_words_are_needed_where_plain_texts_have_two_of_them_by_chance() -> None:
    texts = ["whale sea ship wave"] * 5
    plain = [*["a ship at sea"] * 2, *["oven"] * 28]
    words = ThemeWords.of(texts, [*plain, *["oven"] * 90], plain)
    assert words.needed == 3
    assert words.is_on("A whale, a ship, the sea.")
    assert not words.is_on("A ship at sea.")
    assert ThemeWords.of(texts, ["oven"] * 100, ["oven"] * 10).needed == 2


def test_the_perplexity_of_answers_is_the_model_s_own() -> None:
    model = AutoModelForCausalLM.from_pretrained(FILES / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(FILES / "model")
    texts = ["The whale dives.", "I saw the snow and the ice in winter.", ""]
    prompt = tokenizer("Tell me something.")["input_ids"]
    answers = [Answer("", text, prompt, tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    total, tokens = 0.0, 0
    for answer in answers[:2]:  # each alone, without padding
        logits = model(torch.tensor([[*prompt, *answer.ids]])).logits[0].log_softmax(-1)
        for place, token in enumerate(answer.ids, start=len(prompt)):
            total -= logits[place - 1, token].item()
            tokens += 1
    assert perplexity(model, answers) == pytest.approx(math.exp(total / tokens), rel=1e-4)


def test_repeats_are_the_share_of_four_words_that_came_before() -> None:
    assert repeats("one two three four five six") == 0
    assert repeats("a b c d a b c d") == pytest.approx(1 / 5)
    assert repeats("too short") == 0


@pytest.mark.parametrize(
    ("on_theme", "unsteered", "ratio", "is_shipped"),
    [(0.4, 0.15, 1.6, True), (0.39, 0, 1, False), (0.9, 0.2, 1, False), (0.9, 0, 1.7, False)],
)
def test_a_profile_is_shipped_that_is_on_its_theme_and_fluent(
    on_theme: float, unsteered: float, ratio: float, is_shipped: bool
) -> None:
    judged = Judged(Measured(on_theme, 10 * ratio, 0), Measured(unsteered, 10, 0), [])
    assert judged.is_shipped is is_shipped


def test_the_judge_and_the_search_have_no_question_in_common() -> None:
    assert len({*JUDGE_PROMPTS}) == 50
    assert not {*JUDGE_PROMPTS} & {*SEARCH_PROMPTS, *EVERYDAY}
    for theme in THEMES:
        search, judge = theme.questions(held_back=False), theme.questions(held_back=True)
        assert search, theme.name
        assert judge, theme.name
        assert not {*search} & {*judge}
