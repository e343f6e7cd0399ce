"""Text grows in final pieces: no half characters, nothing of a stop string."""

import pytest

from inference.engine.detokenizer import AnswerText, TokenTexts
from inference.tests.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer().backend_tokenizer
TEXTS = TokenTexts(TOKENIZER)


def pieces(text: str, stop: tuple[str, ...] = ()) -> tuple[list[str], AnswerText]:
    answer = AnswerText(TEXTS, stop)
    parts = [answer.push([token_id]) for token_id in TOKENIZER.encode(text).ids]
    return [*parts, answer.flush()], answer


@pytest.mark.parametrize("text", ["plain words", "日本語 🌊🚀 é ß", "zero‍width 👩‍🚀", "  spaces  \n\n"])
def test_pieces_add_up_to_the_text_without_replacement_characters(text: str) -> None:
    parts, _ = pieces(text)
    assert "".join(parts) == text
    assert not any("�" in part for part in parts)


def test_a_stop_string_over_several_tokens_is_never_shown() -> None:
    parts, answer = pieces("the fox jumps<|end|> and more", ("<|end|>",))
    assert "".join(parts) == "the fox jumps"
    assert answer.stopped


def test_the_start_of_a_stop_string_is_shown_once_it_turns_out_to_be_none() -> None:
    parts, answer = pieces("a <|e of b", ("<|end|>",))
    assert "".join(parts) == "a <|e of b"
    assert not answer.stopped


def test_the_earliest_of_several_stop_strings_ends_the_answer() -> None:
    parts, _ = pieces("one two three four", ("four", "two", "three"))
    assert "".join(parts) == "one "


def test_half_a_character_at_the_end_is_dropped() -> None:
    answer = AnswerText(TEXTS)
    text = answer.push(TOKENIZER.encode("ab🚀").ids[:-1]) + answer.flush()
    assert text == "ab"
