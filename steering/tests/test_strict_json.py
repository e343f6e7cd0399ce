"""JSON in which a key stands twice is refused, in a time that grows with its length."""

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
