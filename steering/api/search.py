"""The words of a search: each one is a condition that PostgreSQL tries on each row."""

from steering.errors import Refused

MAX_WORDS = 20


class TooManyWords(Refused):
    code = "too_many_words"


def check_number(words: list[str]) -> list[str]:
    """`words`. Raises TooManyWords."""
    if len(words) > MAX_WORDS:
        raise TooManyWords(f"search: got {len(words)} words, expected at most {MAX_WORDS}", field="search")
    return words
