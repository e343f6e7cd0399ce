"""The plan of a sweep: values, prompts, seeds and settings, with their bounds."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from inference.broker.messages import ChatPrompt, Prompt, TextPrompt
from steering.errors import Refused
from steering.validation import name_of

MAX_VALUES, MAX_PROMPTS, MAX_SEEDS, MAX_WORDS = 50, 50, 20, 20
MAX_CELLS = 1000
MAX_TOKENS = 500_000
"""New tokens of all answers together, at most."""
MAX_SEED = 2**32 - 1
PROMPT_CHARACTERS, WORD_CHARACTERS = 100_000, 100
"""Of all prompts together, and of one word."""
LARGEST = 1e300
NUL = re.compile(r"(?<!\\)(\\\\)*\\u0000")
"""The character that PostgreSQL does not store, in JSON."""
SAMPLING: Mapping[str, tuple[float, float, float]] = {
    "temperature": (1.0, 0, 2),
    "top_p": (1.0, 0, 1),
    "top_k": (0, 0, 2**31 - 1),
    "min_p": (0.0, 0, 1),
    "presence_penalty": (0.0, -2, 2),
    "frequency_penalty": (0.0, -2, 2),
    "repetition_penalty": (1.0, 0.01, 10),
}
"""{setting: (default of a model that names none, least, most)}, as of a chat request."""


class InvalidSweep(Refused):
    """A plan beyond its bounds, or with a wrong value; `field` names the field."""

    code = "invalid_sweep"

    def __init__(self, message: str, field: str) -> None:
        super().__init__(f"{field}: {message}", field=field)


@dataclass(frozen=True)
class Plan:
    """The cells of a sweep: values × prompts × seeds, in this order; `check` refuses what is out of bounds.

    With `chat` a prompt that is a text is the message of a user, without it the answer continues the text. `words` are
    those whose log-probability after each prompt is read. `sampling` has what differs from the model's own defaults.
    """

    values: Sequence[float]
    prompts: Sequence[str | list[dict[str, Any]]]
    seeds: Sequence[int] = (1,)
    words: Sequence[str] = ()
    chat: bool = True
    max_tokens: int = 64
    sampling: Mapping[str, float] = field(default_factory=dict)

    @property
    def cells(self) -> int:
        return len(self.values) * len(self.prompts) * len(self.seeds)

    def with_reference(self) -> "Plan":
        """This plan with its values in ascending order, and 0 among them: the unsteered reference."""
        values = sorted({*map(float, self.values), 0.0})
        return Plan(values, self.prompts, self.seeds, self.words, self.chat, self.max_tokens, self.sampling)

    def check(self) -> None:
        """Raises InvalidSweep, which names the field, what was got, and what was expected."""
        _check_several(self.values, "values", MAX_VALUES)
        _check_several(self.prompts, "prompts", MAX_PROMPTS)
        _check_several(self.seeds, "seeds", MAX_SEEDS)
        _check_several(self.words, "words", MAX_WORDS, least=0)
        self._check_texts()
        self._check_seeds()
        _check_number(self.max_tokens, "max_tokens", 1, settings.INFERENCE_MAX_NEW_TOKENS)
        for name, value in self.sampling.items():
            _, least, most = SAMPLING[name]
            _check_number(value, name, least, most)
        self.check_size()

    def _check_texts(self) -> None:
        for at, prompt in enumerate(self.prompts):
            if not prompt or (isinstance(prompt, str) and not prompt.strip()):
                raise InvalidSweep("got an empty prompt, expected a text", f"prompts.{at}")
            if not isinstance(prompt, str) and not self.chat:
                raise InvalidSweep("got messages without `chat`, expected a text", f"prompts.{at}")
        if (size := sum(len(str(prompt)) for prompt in self.prompts)) > PROMPT_CHARACTERS:
            raise InvalidSweep(f"got {size:,} characters in all, expected at most {PROMPT_CHARACTERS:,}", "prompts")
        for at, word in enumerate(self.words):
            if not word or len(word) > WORD_CHARACTERS:
                raise InvalidSweep(f"got {len(word)} characters, expected 1 to {WORD_CHARACTERS}", f"words.{at}")
        for name, several in (("prompts", self.prompts), ("words", self.words)):
            if NUL.search(json.dumps([*several])):
                raise InvalidSweep("got a NUL character, expected text", name)
        if len(set(self.words)) < len(self.words):
            raise InvalidSweep("got a word twice, expected different ones", "words")

    def _check_seeds(self) -> None:
        for at, seed in enumerate(self.seeds):
            if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
                raise InvalidSweep(f"got {seed!r:.100}, expected an integer from 0 to {MAX_SEED}", f"seeds.{at}")
        if len(set(self.seeds)) < len(self.seeds):
            raise InvalidSweep("got a seed twice, expected different ones", "seeds")

    def check_size(self) -> None:
        """Raises InvalidSweep for too many answers, or too many tokens of all together."""
        parts = f"{len(self.values)} values × {len(self.prompts)} prompts × {len(self.seeds)} seeds"
        if self.cells > MAX_CELLS:
            got = f"got {parts}, which are {self.cells:,} answers"
            raise InvalidSweep(f"{got}: expected at most {MAX_CELLS:,} in all", "values")
        if (tokens := self.cells * self.max_tokens) > MAX_TOKENS:
            got = f"got {parts} of up to {self.max_tokens:,} tokens, which are {tokens:,}"
            raise InvalidSweep(f"{got}: expected at most {MAX_TOKENS:,} in all", "max_tokens")

    def full_sampling(self, defaults: Mapping[str, float]) -> dict[str, float]:
        """The sampling of each answer but the seed: what the plan names, else the model's `defaults`, else OpenAI's."""
        return {name: self.sampling.get(name, defaults.get(name, own)) for name, (own, _, _) in SAMPLING.items()}


def as_prompt(prompt: str | list[dict[str, Any]], chat: bool) -> Prompt:
    """A prompt of a plan as a worker reads it."""
    if not chat:
        return TextPrompt(text=str(prompt))
    return ChatPrompt(messages=[{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt)


def parse_values(given: object) -> list[float]:
    """The values of a list, or of a range such as `{"from": 0, "to": 2, "count": 9}`. Raises InvalidSweep."""
    if isinstance(given, Mapping):
        return _of_range(given)
    if not isinstance(given, list):
        expected = 'expected a list of numbers, or a range such as {"from": 0, "to": 2, "count": 9}'
        raise InvalidSweep(f"got {name_of(given)}, {expected}", "values")
    _check_several(given, "values", MAX_VALUES)
    return [_check_number(one, f"values.{at}") for at, one in enumerate(given)]


def _of_range(given: Mapping[str, Any]) -> list[float]:
    if set(given) != {"from", "to", "count"}:
        got = ", ".join(map(str, given))[:100] or "nothing"
        raise InvalidSweep(f"got a range with {got}, expected from, to and count", "values")
    start, end = (_check_number(given[name], f"values.{name}") for name in ("from", "to"))
    count = given["count"]
    if isinstance(count, bool) or not isinstance(count, int) or not 2 <= count <= MAX_VALUES:
        raise InvalidSweep(f"got {count!r:.100}, expected an integer from 2 to {MAX_VALUES}", "values.count")
    if start == end:
        raise InvalidSweep(f"got a range from {start:g} to {end:g}, expected two different ends", "values")
    return [round(start + (end - start) * at / (count - 1), 6) for at in range(count)]


def _check_several(given: Sequence[Any], name: str, most: int, least: int = 1) -> None:
    if not least <= len(given) <= most:
        raise InvalidSweep(f"got {len(given)}, expected {least} to {most}", name)


def _check_number(given: Any, name: str, least: float = -math.inf, most: float = math.inf) -> float:
    is_number = isinstance(given, int | float) and not isinstance(given, bool) and abs(given) < LARGEST
    if not is_number or not least <= given <= most:
        within = "a number" if most == math.inf else f"a number from {least:g} to {most:g}"
        raise InvalidSweep(f"got {given!r:.100}, expected {within}", name)
    return float(given)
