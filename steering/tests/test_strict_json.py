"""JSON that would lose something is refused, in a time that grows with its length."""

import time

import pytest

from steering.strict_json import loads


def test_the_first_key_that_is_there_already_is_told() -> None:
    with pytest.raises(ValueError, match="'b' is given twice"):
        loads('{"a": 1, "b": 2, "c": {"d": 1}, "b": 3, "a": 4}')


def test_a_hundred_thousand_keys_before_the_one_that_is_twice_cost_no_more_than_reading_them() -> None:
    text = "{" + "".join(f'"{i}":0,' for i in range(100_000))
    began = time.process_time()
    loads(text + '"last": 0}')
    once = time.process_time() - began
    with pytest.raises(ValueError, match="'99999' is given twice"):
        loads(text + '"99999": 0}')
    assert time.process_time() - began < 10 * once + 1  # a search for each key would take minutes


HALVES = [
    '"\\ud800"',
    '["a", "\\udc00 b"]',
    '{"\\uD83C": 1}',
    '{"a": {"b": "\\ud83c\\ud83c\\udf0a"}}',
    '"\ud800"',
    b'"\xed\xa0\x80"',
]


@pytest.mark.parametrize("text", HALVES)
def test_half_of_a_surrogate_pair_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"surrogate pair|is not UTF-8"):
        loads(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [('"\\ud83c\\udf0a"', "🌊"), ('"🌊"', "🌊"), ('"\\\\ud800"', "\\ud800")],
)
def test_a_whole_pair_is_a_character(text: str, value: str) -> None:
    assert loads(text) == value


def test_bytes_are_read_in_their_encoding() -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert loads('{"a": "🌊"}'.encode(encoding)) == {"a": "🌊"}
