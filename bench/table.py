"""Writes docs/performance.md out of the figures in bench/results/: the headlines, then the tables of each benchmark."""

import json
from pathlib import Path
from typing import Any

from bench.setup import RESULTS

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
HEAD = """# Performance

Written by `make bench` (`bench/table.py`) out of `bench/results/*.json`; not by hand. The machines are shared and
noisy: what can be a ratio of two things measured in turn in the same run, is one.
"""
PEERS = "peers/prompts of 60 to 110 tokens"
ENGINES = "engines/prompts of 60 to 110 tokens"
# What is measured, and where its figure is: the benchmark, then the keys in its results.
HEADLINES = {
    "1 steered stream ÷ `transformers serve` unsteered": f"{PEERS}/1 streams/steered ÷ transformers serve",
    "16 steered streams ÷ `transformers serve` unsteered": f"{PEERS}/16 streams/steered ÷ transformers serve",
    "miLLM on vLLM, 1 steered stream ÷ `vllm serve` unsteered": f"{ENGINES}/1 streams/steered ÷ vllm serve",
    "miLLM on vLLM, 16 steered streams ÷ `vllm serve` unsteered": f"{ENGINES}/16 streams/steered ÷ vllm serve",
    "16 streams, each steered differently, ÷ 16 unsteered": "engine/ratio/16 steered ÷ 16 unsteered",
    "16 streams ÷ a bare loop over the same model": "engine/ratio/16 ÷ bare loop of 16",
    "16 streams ÷ the same one after the other": "engine/ratio/16 at once ÷ one after the other",
    "16 streams through HTTP, Celery and Redis ÷ in-process": "http/ratio/HTTP ÷ in-process, 16",
    "first token: what HTTP, Celery and Redis add (ms)": "http/first token/HTTP − in-process (ms)",
    "16 streams beside a reading without an end ÷ alone": "reading/16 chats/beside ÷ alone",
    "reading a text at the last layer ÷ a plain forward pass": "reading/passes/reading at layer 29 ÷ plain pass of 30",
    "activation of a profile through REST (ms)": "profiles/activation_by_rest_ms",
    "the page of profiles in the admin, of 100,000: median (ms)": "admin/profiles/median ms",
    "streams open at once on one web process": "load/streams open at once",
    "answers of 64 streams at once that differ from the same request alone": "soak/other than alone",
}
ROWS = {"admin": "page"}  # of the benchmarks whose rows are not told by their name

Figures = dict[str, Any]


def table(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(written, line)) + " |" for line in lines)


def written(cell: object) -> str:
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def tables(figures: Figures, title: str) -> list[str]:
    """One of the plain figures; one of all groups with the same columns, a row each; one of each other group."""
    plain = [[name, value] for name, value in figures.items() if not isinstance(value, dict)]
    made = [table([title, "figure"], plain)] if plain else []
    groups = {name: group for name, group in figures.items() if isinstance(group, dict)}
    while groups:
        name, group = next(iter(groups.items()))
        alike = {other: groups[other] for other in groups if list(groups[other]) == list(group)}
        if len(alike) > 1 and not any(isinstance(value, dict) for value in group.values()):
            made.append(table([title, *group], [[row, *values.values()] for row, values in alike.items()]))
        else:
            alike = {name: group}
            made += tables(group, name)
        groups = {other: values for other, values in groups.items() if other not in alike}
    return made


def section(name: str, document: Figures) -> str:
    machine = document["machine"]
    made = f"`{document['command']}` at {document['commit']}, on {machine['device']}, {machine['cores']} cores"
    figures = {key: value for key, value in document.items() if key not in {"machine", "command", "commit", "about"}}
    paragraphs = [
        f"## {name}",
        document["about"].strip(),
        f"{made} ({machine['cpu']}).",
        *tables(figures, ROWS.get(name, name)),
    ]
    return "\n\n".join(paragraphs) + "\n"


def headline(place: str, results: dict[str, Figures]) -> Any:
    found: Any = results
    for key in place.split("/"):
        found = found[key]
    return found


def page() -> str:
    results = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    rows = [[told, headline(place, results)] for told, place in HEADLINES.items()]
    sections = [section(name, document) for name, document in results.items()]
    return "\n".join([HEAD, table(["headline", "figure"], rows) + "\n", *sections])


if __name__ == "__main__":
    PAGE.write_text(page())
