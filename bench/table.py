"""Writes docs/performance.md out of the figures in bench/results/."""

import json
from pathlib import Path
from typing import Any

from bench.setup import RESULTS

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
HEAD = """# Performance

Written by `make bench` (`bench/table.py`) out of `bench/results/*.json`; not by hand. The machines are shared and
noisy: what can be a ratio of two things measured in turn in the same run, is one.
"""


def rows(figures: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """The figures as (name, value), nested names joined."""
    found: list[tuple[str, Any]] = []
    for name, value in figures.items():
        if isinstance(value, dict):
            found += rows(value, f"{prefix}{name}: ")
        else:
            found.append((prefix + name, value))
    return found


def section(path: Path) -> str:
    document = json.loads(path.read_text())
    machine = document.pop("machine")
    made = f"`{document.pop('command')}` at {document.pop('commit')}, on {machine['device']}, {machine['cores']} cores"
    about = document.pop("about", "")
    table = "\n".join(f"| {name} | {value} |" for name, value in rows(document))
    return f"\n## {path.stem}\n\n{about}\n\n{made} ({machine['cpu']}).\n\n| what | figure |\n|---|---|\n{table}\n"


def main() -> None:
    PAGE.write_text(HEAD + "".join(section(path) for path in sorted(RESULTS.glob("*.json"))))


if __name__ == "__main__":
    main()
