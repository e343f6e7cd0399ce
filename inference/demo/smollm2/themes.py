"""The themes that the demo's profiles steer to, and the questions by which they are found and judged: `themes.toml`.

Some questions about the subjects of a topic, and every second question of a manner, are for the judge alone: the search
never sees answers to them.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_FILE = tomllib.loads(Path(__file__).with_name("themes.toml").read_text(encoding="utf-8"))

EVERYDAY: list[str] = _FILE["everyday"]
"""Questions that a manner is contrasted on."""
SEARCH_PROMPTS: list[str] = _FILE["search"]
"""Neutral prompts of the search."""
JUDGE_PROMPTS: list[str] = _FILE["judge"]
"""The fifty neutral prompts by which a profile is judged."""

CHAT: list[str] = _FILE["chat"]
"""The questions of a chat of ten turns."""


@dataclass(frozen=True)
class Theme:
    """A topic with its `subjects`, or a manner with the `request` for it that is put before a question."""

    name: str
    description: str
    subjects: Sequence[str] = ()
    request: str = ""

    def questions(self, *, held_back: bool) -> list[str]:
        """Questions whose answers have the theme: those of the judge if `held_back`, else those of the search.

        Each is there more than once, for answers by more than one seed.
        """
        if self.subjects:
            about = _FILE["about_held_back" if held_back else "about"]
            return [one.format(subject) for subject in self.subjects for one in about] * 2
        return [f"{self.request} {question}" for question in EVERYDAY[held_back::2]] * 4


THEMES = [Theme(name, **fields) for name, fields in _FILE["themes"].items()]
"""The themes that profiles are searched for; those that the judge accepts are shipped."""
