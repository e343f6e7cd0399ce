"""The model's own answers: the texts of its themes, examples of its SAE's features, and a part of the training."""

import gzip
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from inference.demo.smollm2.answers import Answerer, Ask
from inference.demo.smollm2.texts import words
from inference.demo.smollm2.themes import EVERYDAY, SEARCH_PROMPTS, THEMES

PLAIN = "plain"
"""The theme of answers that have none: to everyday questions, neutral prompts and questions about any noun."""
ABOUT_NOUNS = ("Tell me about {}.", "What is {} good for?", "Write a few sentences with the word {}.")
AT_ONCE = 256
"""Answers between two writes of the file."""
TOKENS = 72

Question = tuple[str, bool, str]
"""The theme of a question, whether its answer is held back, and its text."""


@dataclass(frozen=True)
class OwnAnswer:
    """An answer of the model and its question; the judge's alone if `held_back`."""

    theme: str
    held_back: bool
    question: str
    text: str


def read(path: Path) -> list[OwnAnswer]:
    """The answers in a file that `collect` or `ship` wrote; none where it is missing."""
    if not path.exists():
        return []
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [OwnAnswer(**json.loads(line)) for line in content.splitlines()]


def ship(answers: Iterable[OwnAnswer], path: Path) -> None:
    """Write all answers to one gzipped file, the same bytes for the same answers."""
    lines = "".join(json.dumps(asdict(one)) + "\n" for one in answers)
    path.write_bytes(gzip.compress(lines.encode(), 9, mtime=0))


def collect(path: Path, answerer: Answerer, nouns: int) -> list[OwnAnswer]:
    """Ask all questions that the file `path` has no answers to yet, and add the answers to it."""
    found = read(path)
    open_questions = _unanswered(_questions(nouns), found)
    with path.open("a") as file, tqdm(total=len(open_questions), desc="own answers", mininterval=10) as progress:
        for start in range(0, len(open_questions), AT_ONCE):
            some = open_questions[start : start + AT_ONCE]
            asks = [
                Ask(question, seed=len(found) + number, max_tokens=TOKENS)
                for number, (_, _, question) in enumerate(some)
            ]
            for asked, answer in zip(some, answerer.answers(asks, done=progress.update), strict=True):
                found.append(OwnAnswer(*asked, answer.text))
                file.write(json.dumps(asdict(found[-1])) + "\n")
            file.flush()
    return found


def _unanswered(questions: Iterable[Question], found: Iterable[OwnAnswer]) -> list[Question]:
    """The questions without those in `found`; one that is asked twice has two answers."""
    answered = Counter((one.theme, one.held_back, one.question) for one in found)
    missing = []
    for question in questions:
        answered[question] -= 1
        if answered[question] < 0:
            missing.append(question)
    return missing


def _questions(nouns: int) -> Iterator[Question]:
    """The questions of all answers, in a fixed order: those of themes first."""
    for theme in THEMES:
        for held_back in (False, True):
            yield from ((theme.name, held_back, question) for question in theme.questions(held_back=held_back))
    for held_back in (False, True):
        yield from ((PLAIN, held_back, question) for question in EVERYDAY[held_back::2] * 4)
    yield from ((PLAIN, False, question) for question in SEARCH_PROMPTS * 2)
    yield from _nouns(nouns)


def _nouns(count: int) -> Iterator[Question]:
    rng = random.Random(0)
    for noun in rng.sample(words(), count):
        yield PLAIN, rng.random() < 0.5, rng.choice(ABOUT_NOUNS).format(noun)
