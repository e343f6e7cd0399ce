"""Tokens become the text that their tokenizer decodes, piece by piece: spaces, wrong bytes, special tokens."""

import random
from itertools import groupby
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from inference.engine.detokenizer import AnswerText, GrowingText, TokenRecord, TokenTexts
from inference.interface import SamplingParams
from inference.tests.scripted import BYTES, after, byte_level, ids_of, scripted_engine, sentencepiece

SENTENCEPIECE, BYTE_LEVEL = sentencepiece(), byte_level()


def text_of(tokenizer: PreTrainedTokenizerFast, ids: list[int], stop: tuple[str, ...] = (), **options: Any) -> str:
    answer = AnswerText(TokenTexts(tokenizer.backend_tokenizer), stop, **options)
    return "".join([*(answer.push([one]) for one in ids), answer.flush()])


def random_answers(tokenizer: PreTrainedTokenizerFast, count: int = 300) -> list[list[int]]:
    """Half of their tokens are bytes."""
    rng, pieces = random.Random(0), sorted(tokenizer.get_vocab().items())
    single = [one for piece, one in pieces if len(piece) == 1 or piece in BYTES]
    every = [one for _, one in pieces]
    return [[rng.choice(rng.choice([single, every])) for _ in range(rng.randrange(1, 30))] for _ in range(count)]


def as_sentencepiece_decodes(ids: list[int]) -> str:
    """By `tokenizers`, with the good characters among wrong bytes kept, as SentencePiece does: they have been said."""
    pieces = [(one, SENTENCEPIECE.convert_ids_to_tokens(one)) for one in ids]
    shown = [pair for pair in pieces if pair[0] not in SENTENCEPIECE.all_special_ids]
    text: list[int] = []
    marks: list[bytes] = []
    for is_bytes, run in groupby(shown, lambda pair: pair[1] in BYTES):
        run_ids, run_pieces = zip(*run, strict=True)
        raw = bytes(int(piece[3:5], 16) for piece in run_pieces) if is_bytes else b""
        try:
            raw.decode()
        except UnicodeDecodeError:
            marks.append(raw)
            run_ids = tuple(ids_of(SENTENCEPIECE, ".", "▁yes", "."))  # holds the place of the run
        text += run_ids
    decoded = str(SENTENCEPIECE.decode(text))
    for raw in marks:
        kept = "".join(_or_replaced(raw))
        kept = kept.removeprefix(" ") if decoded.startswith(". yes.") else kept  # as any text loses its first space
        decoded = decoded.replace(". yes.", kept, 1)
    return decoded


def _or_replaced(raw: bytes) -> list[str]:
    """Characters, and a replacement for each byte that is a part of none."""
    found, at = [], 0
    while at < len(raw):
        for width in (1, 2, 3, 4):
            try:
                found.append(raw[at : at + width].decode())
                at += width
                break
            except UnicodeDecodeError:
                continue
        else:
            found.append("�")
            at += 1
    return found


def test_random_bytes_are_what_a_byte_level_tokenizer_decodes() -> None:
    for ids in random_answers(BYTE_LEVEL):
        whole = BYTE_LEVEL.decode(ids, skip_special_tokens=True)
        text = text_of(BYTE_LEVEL, ids)
        assert whole.startswith(text)
        assert set(whole[len(text) :]) <= {"�"}  # half a character at the end is dropped


def test_random_bytes_are_what_a_sentencepiece_tokenizer_decodes() -> None:
    wrong = 0
    for ids in random_answers(SENTENCEPIECE):
        whole, text = as_sentencepiece_decodes(ids), text_of(SENTENCEPIECE, ids)
        assert whole.startswith(text), ids
        assert set(whole[len(text) :]) <= {"�"}
        wrong += "�" in text
        if "�" not in whole:
            assert whole == SENTENCEPIECE.decode(ids, skip_special_tokens=True)
    assert wrong > 100


def test_what_was_said_before_a_wrong_byte_stays() -> None:
    """`tokenizers` itself takes the newline back when the byte of an emoji comes after it."""
    ids = ids_of(SENTENCEPIECE, "▁one", "<0x0A>", "<0xF0>", "▁yes", "▁two")
    assert text_of(SENTENCEPIECE, ids) == "one\n� yes two"


@pytest.mark.parametrize("tokenizer", [SENTENCEPIECE, BYTE_LEVEL])
def test_an_answer_of_random_bytes_goes_on_to_its_end(tokenizer: PreTrainedTokenizerFast) -> None:
    single = [one for piece, one in tokenizer.get_vocab().items() if len(piece) == 1 or piece in BYTES]
    everything = dict.fromkeys(range(len(tokenizer)), single)
    with scripted_engine(tokenizer, everything) as engine:
        asked = [
            engine.submit([5, 6], max_new_tokens=60, sampling=SamplingParams(seed=seed), opens_text=True)
            for seed in range(8)
        ]
        for request_id in asked:
            ids = engine.tokens(request_id)
            assert len(ids) == 60
            assert engine.text(request_id) == text_of(tokenizer, ids)
            assert "�" in engine.text(request_id)


def test_a_completion_keeps_the_space_after_its_prompt_and_a_chat_has_none() -> None:
    script = after(SENTENCEPIECE, "▁is", "▁Paris", ".", "</s>")
    prompt = SENTENCEPIECE("The capital of France is")["input_ids"]
    with scripted_engine(SENTENCEPIECE, script) as engine:
        assert engine.text(engine.submit(prompt)) == " Paris."
        assert engine.text(engine.submit(prompt, opens_text=True)) == "Paris."
        assert engine.text(engine.submit(prompt, stop=(" Paris",))) == ""
        assert engine.text(engine.submit(prompt, stop=(" Paris",), opens_text=True)) == "Paris."


def test_after_special_tokens_alone_nothing_is_before_a_completion() -> None:
    ids = ids_of(SENTENCEPIECE, "▁Hello", "▁there")
    assert text_of(SENTENCEPIECE, ids, after=ids_of(SENTENCEPIECE, "<s>")) == "Hello there"
    assert text_of(SENTENCEPIECE, ids, after=ids_of(SENTENCEPIECE, "<s>", "<0x0A>")) == " Hello there"


@pytest.mark.parametrize(
    ("stop", "said"),
    [
        (("<|im_start|>",), "Hello"),
        (("<|im_start|>Hello there",), "Hello"),
        (("Hello<|im_start|>",), ""),
        (("<|im_start|> there",), "HelloHello there"),
        (("start",), "HelloHello there"),  # of a token that is not shown
        (("Hello there",), "Hello"),
        (("HelloHello",), ""),
    ],
)
def test_special_tokens_count_for_the_stop_strings_that_hold_them(stop: tuple[str, ...], said: str) -> None:
    ids = ids_of(BYTE_LEVEL, "Hello", "<|im_start|>", "Hello", "Ġthere")
    assert text_of(BYTE_LEVEL, ids, stop) == said


def test_a_stop_string_that_is_a_special_token_ends_an_answer() -> None:
    script = after(BYTE_LEVEL, "Ċ", "Hello", "Ġthere", "<|im_start|>", "Ċ")
    with scripted_engine(BYTE_LEVEL, script) as engine:
        ended = engine.wait(engine.submit(ids_of(BYTE_LEVEL, "Ċ"), stop=("<|im_start|>",), max_new_tokens=50))
        assert ended[-1].data == {"reason": "stop", "completion_tokens": 3}
        assert "".join(event.data["text"] for event in ended if event.kind == "delta") == "Hello there"


@pytest.mark.parametrize("tokenizer", [SENTENCEPIECE, BYTE_LEVEL])
def test_the_tokens_of_the_log_probabilities_make_the_text(tokenizer: PreTrainedTokenizerFast) -> None:
    texts = TokenTexts(tokenizer.backend_tokenizer)
    for ids in random_answers(tokenizer, 100):
        shown = [one for one in ids if one not in texts.special]
        told = TokenRecord(texts, 0, GrowingText(texts)).entries(shown, [(-1.0, [])] * len(shown))
        raw = b"".join(bytes(entry["bytes"]) for entry in told["logprobs"])
        text = text_of(tokenizer, shown)
        assert sum(told["widths"]) == len(text)
        assert raw.decode(errors=texts.errors).startswith(text)


def test_special_tokens_keep_their_names_in_log_probabilities_and_add_no_text() -> None:
    ids = ids_of(BYTE_LEVEL, "Hello", "<｜end▁of▁sentence｜>", "Ġthere")
    texts = TokenTexts(BYTE_LEVEL.backend_tokenizer)
    told = TokenRecord(texts, 0, GrowingText(texts)).entries(ids, [(-1.0, [])] * 3)
    assert [entry["token"] for entry in told["logprobs"]] == ["Hello", "<｜end▁of▁sentence｜>", " there"]
    assert told["widths"] == [5, 0, 6]
    spm = sentencepiece(additional_special_tokens=["<｜end▁of▁sentence｜>"])
    texts = TokenTexts(spm.backend_tokenizer)
    [entry] = TokenRecord(texts, 0, GrowingText(texts)).entries([len(spm) - 1], [(-1.0, [])])["logprobs"]
    assert entry["token"] == "<｜end▁of▁sentence｜>"


def test_a_tokenizer_is_written_out_once_and_not_for_each_token() -> None:
    class Counted:
        reads = 0

        def __init__(self, backend: Any) -> None:
            self._backend = backend

        @property
        def decoder(self) -> Any:
            Counted.reads += 1
            return self._backend.decoder

        def __getattr__(self, name: str) -> Any:
            return getattr(self._backend, name)

    texts: Any = TokenTexts(Counted(BYTE_LEVEL.backend_tokenizer))  # type: ignore[arg-type]
    ids = list(range(len(BYTE_LEVEL)))
    TokenRecord(texts, 20, GrowingText(texts)).entries(ids, [(-1.0, [(one, -1.0) for one in ids[:20]])] * len(ids))
    AnswerText(texts).push(ids)
    assert Counted.reads == 1
