"""Word lists by which an answer is on a theme or not."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WORD = re.compile(r"[a-z][a-z']+")
SEEN = 4
"""Texts of the theme in which a word of its list occurs, at least."""
OFTENER = 6.0
"""How many times as large the share of the theme's texts with the word is as that of other texts and of plain ones."""
NEEDED = 2
"""Different words of the list that an answer on the theme has, at least."""
BY_CHANCE = 0.05
"""The share of plain texts that may be on the theme; where it is larger, more words are needed."""


@dataclass(frozen=True)
class ThemeWords:
    """The words of a theme, and how many different ones of them an answer on the theme has at least."""

    words: frozenset[str]
    needed: int = NEEDED

    @classmethod
    def of(cls, texts: Sequence[str], others: Sequence[str], plain: Sequence[str]) -> "ThemeWords":
        """The words that are in texts of the theme much oftener than elsewhere; `plain` are texts of no theme."""
        here, elsewhere = _texts_with(texts), [(_texts_with(some), len(some)) for some in (others, plain)]

        def is_own(word: str) -> bool:
            usual = max((there[word] + 1) / (count + 1) for there, count in elsewhere if count)
            return here[word] >= SEEN and here[word] / len(texts) >= OFTENER * usual

        words = frozenset(filter(is_own, here))
        needed = NEEDED
        while plain and cls(words, needed).share(plain) > BY_CHANCE:
            needed += 1
        return cls(words, needed)

    def found(self, text: str) -> set[str]:
        """The words of the list in `text`."""
        return words_in(text) & self.words

    def is_on(self, text: str) -> bool:
        """True where `text` is on the theme."""
        return len(self.found(text)) >= self.needed

    def share(self, texts: Sequence[str]) -> float:
        """The share of `texts`, which must not be empty, that is on the theme."""
        return sum(map(self.is_on, texts)) / len(texts)


def words_in(text: str) -> set[str]:
    """The different words of a text, in lower case."""
    return set(WORD.findall(text.lower()))


def _texts_with(texts: Iterable[str]) -> Counter[str]:
    return Counter(word for text in texts for word in words_in(text))
