"""The texts that the demo's SAE is trained on: what Debian's packages hold, and the model's own answers.

None of Debian's texts is shipped. `apt-get install dict-wn dict-gcide dict-foldoc fortunes fortunes-min anarchism`
installs them.
"""

import gzip
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SHORTEST = 60
"""Characters of the shortest document."""
HELD_OUT = 40
"""Of so many documents one is not trained on."""


class MissingTexts(Exception):
    """A package of Debian whose texts are needed is not installed."""


@dataclass(frozen=True)
class Document:
    """A text; with a `question` it is an answer to this question in a chat."""

    text: str
    question: str = ""


@dataclass(frozen=True)
class Source:
    """The documents below one of Debian's packages, and their share of the tokens of all texts."""

    package: str
    path: Path
    share: float
    read: Callable[[Path], Iterable[Document]]

    def documents(self, rng: random.Random, *, held_out: bool = False) -> list[Document]:
        """The documents without each HELD_OUT-th, or these if `held_out`; shuffled. Raises MissingTexts."""
        if not self.path.exists():
            raise MissingTexts(f"{self.path} is missing: run `apt-get install {self.package}`")
        found = [document for document in self.read(self.path) if len(document.text) >= SHORTEST]
        kept = found[::HELD_OUT] if held_out else [one for at, one in enumerate(found) if at % HELD_OUT]
        rng.shuffle(kept)
        return kept


def definitions(path: Path) -> Iterator[Document]:
    """WordNet's entries as answers to a question about the word; `path` is a dictionary in the format of dictd."""
    for word, body in re.findall(r"^(\S[^\n]*)\n((?:[ ]{4}[^\n]*\n)+)", unpacked(path), re.M):
        text = re.sub(r" *\[(syn|ant|also):[^\]]*\]", "", _joined(body))
        text = re.sub(r"^(n|v|adj|adv)( 1)?: ", "", text)
        text = re.sub(r" +((n|v|adj|adv)( 1)?|\d+): ", ". ", text)
        yield Document(f"{word}: {_closed(text)}", question=f"What does the word {word} mean?")


def entries(path: Path) -> Iterator[Document]:
    """The paragraphs of a dictionary in the format of dictd, without its marks of pronunciation and of sources."""
    for body in unpacked(path).split("\n\n"):
        text = re.sub(r"\\[^\\]*\\,?|\[[^\]]*\]|<[^>]*>|\(\d{4}-\d\d-\d\d\)|[{}]", "", body)
        yield Document(_joined(text))


def sayings(folder: Path) -> Iterator[Document]:
    """The sayings of a folder of fortune's files."""
    for file in sorted(folder.iterdir()):
        if file.is_file() and not file.is_symlink() and not file.suffix:
            for text in file.read_text(errors="ignore").split("\n%\n"):
                yield Document(_joined(text))


def paragraphs(folder: Path) -> Iterator[Document]:
    """The paragraphs, some together, of a folder of Markdown files."""
    for file in sorted(folder.glob("*.md.gz")):
        yield from _grouped(re.sub(r"\[([^\]]*)\]\([^)]*\)|[*_#>`]", r"\1", unpacked(file)).split("\n\n"))


SOURCES = (
    Source("dict-wn", Path("/usr/share/dictd/wn.dict.dz"), 0.35, definitions),
    Source("dict-gcide", Path("/usr/share/dictd/gcide.dict.dz"), 0.20, entries),
    Source("anarchism", Path("/usr/share/doc/anarchism/markdown"), 0.20, paragraphs),
    Source("fortunes", Path("/usr/share/games/fortunes"), 0.17, sayings),
    Source("dict-foldoc", Path("/usr/share/dictd/foldoc.dict.dz"), 0.08, entries),
)


def unpacked(path: Path) -> str:
    """The text of a file that gzip packed, or dictzip, whose format is gzip's."""
    with gzip.open(path, "rt", encoding="utf-8", errors="ignore") as file:
        return file.read()


def words(path: Path = SOURCES[0].path) -> list[str]:
    """The nouns of WordNet, for questions about them. Raises MissingTexts."""
    if not path.exists():
        raise MissingTexts(f"{path} is missing: run `apt-get install dict-wn`")
    found = re.findall(r"^([a-z]{4,12})\n[ ]{4}n 1: ", unpacked(path), re.M)
    return sorted(set(found))


def _grouped(parts: Iterable[str], least: int = 600) -> Iterator[Document]:
    """Neighbouring parts together, until they have `least` characters."""
    text = ""
    for part in parts:
        text = f"{text} {_joined(part)}".strip()
        if len(text) >= least:
            yield Document(text)
            text = ""
    if text:
        yield Document(text)


def _joined(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())


def _closed(text: str) -> str:
    text = text.strip(" ;.")
    return f"{text[:1].upper()}{text[1:]}."
