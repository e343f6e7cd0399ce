"""The answers of a sweep as CSV and as JSON."""

import csv
import io
from collections.abc import Iterator
from typing import Any

from inference.sweeps.models import Sweep, SweepCell

COLUMNS = ("value", "steering", "prompt_number", "prompt", "seed", "answer", "tokens", "finish_reason")
FIGURES = ("perplexity", "repeated_4grams")


def rows(sweep: Sweep) -> Iterator[dict[str, Any]]:
    """The answers in order of value, prompt and seed, each with what it was made of."""
    steerings = [spec.fingerprint if spec else "none" for spec in sweep.specs()]
    for cell in sweep.cells.all():
        yield {
            "value": sweep.values[cell.value_at],
            "steering": steerings[cell.value_at],
            "prompt_number": cell.prompt_at + 1,
            "prompt": sweep.prompts[cell.prompt_at],
            "seed": cell.seed,
            "answer": cell.text,
            "tokens": cell.tokens,
            "finish_reason": cell.reason,
            "perplexity": cell.perplexity,
            "repeated_4grams": cell.repeats,
            "logprobs": _of_words(sweep, cell),
            "error": cell.error,
        }


def csv_text(sweep: Sweep) -> str:
    """The answers as CSV of RFC 4180: a header, then a line each. `logprob of …` is a column for each chosen word."""
    text = io.StringIO()
    words = [f"logprob of {word}" for word in sweep.words]
    writer = csv.DictWriter(text, [*COLUMNS, *FIGURES, *words, "error"])
    writer.writeheader()
    for row in rows(sweep):
        logprobs = row.pop("logprobs")
        writer.writerow({**row, **{f"logprob of {word}": logprobs[word] for word in sweep.words}})
    return text.getvalue()


def file_name(sweep: Sweep, ending: str) -> str:
    return f"sweep-{sweep.pk}.{ending}"


def _of_words(sweep: Sweep, cell: SweepCell) -> dict[str, float | None]:
    return dict(zip(sweep.words, cell.words or [None] * len(sweep.words), strict=True))
