"""The limit of words in a search: PostgreSQL tests each word as a condition on each row."""

from steering.errors import Refused

MAX_WORDS = 20


class TooManyWords(Refused):
    code = "too_many_words"


def check_number(words: list[str]) -> list[str]:
    """Return `words`. Raises TooManyWords beyond MAX_WORDS."""
    if len(words) > MAX_WORDS:
        raise TooManyWords(f"search: got {len(words)} words, expected at most {MAX_WORDS}", field="search")
    return words
