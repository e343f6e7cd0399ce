"""The charts of a sweep: one for each effect, drawn as SVG by the template. The table below them has the figures."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from inference.sweeps.effects import MOST_PERPLEXITY, MOST_REPEATS, Effects
from inference.sweeps.models import Sweep

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 40
"""Margins for the labels of the axes; all in units of the viewBox."""
TICKS = 5
LEAST_SPAN = 1.0
"""Of an axis of log-probabilities, in nats."""


@dataclass(frozen=True)
class Point:
    x: float
    y: float
    title: str
    is_broken: bool


@dataclass(frozen=True)
class Chart:
    """A chart in units of the viewBox. `reference` and `limit` are heights of lines, None where they are unknown."""

    title: str
    x_label: str
    points: list[Point]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    reference: float | None = None
    limit: float | None = None
    limit_label: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    edges: dict[str, int] = field(
        default_factory=lambda: {"left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM}
    )

    @property
    def line(self) -> str:
        """The points of the polyline."""
        return " ".join(f"{point.x},{point.y}" for point in self.points)


def charts(sweep: Sweep, effects: Sequence[Effects]) -> list[Chart]:
    """Perplexity, repeated 4-grams, and the log-probability of each chosen word, against the values."""
    x_label = "Intensity" if sweep.feature is None else "Strength"
    plain = next((one for one in effects if one.value == 0), None)
    highest = MOST_PERPLEXITY * plain.perplexity if plain and plain.perplexity else None
    figures: list[tuple[str, Callable[[Effects], float | None], float | None, Callable[[float], str]]] = [
        ("Perplexity under the unsteered model", lambda one: one.perplexity, highest, _number),
        ("Repeated 4-grams", lambda one: one.repeats, MOST_REPEATS, _percent),
    ]
    for at, word in enumerate(sweep.words):
        figures.append((f"Log-probability of “{word}”", lambda one, at=at: one.words[at], None, _number))  # type: ignore[misc]
    return [_chart(title, x_label, effects, of, limit, text) for title, of, limit, text in figures]


def _chart(
    title: str,
    x_label: str,
    effects: Sequence[Effects],
    of: Callable[[Effects], float | None],
    limit: float | None,
    text: Callable[[float], str],
) -> Chart:
    known = [(one, y) for one in effects if (y := of(one)) is not None]
    ys = [y for _, y in known] + ([limit] if limit is not None else [])
    is_log = title.startswith("Perplexity")
    x_at = _scale([one.value for one in effects], LEFT, WIDTH - RIGHT)
    y_range = _range(ys, is_log)
    y_at = _scale(y_range, HEIGHT - BOTTOM, TOP, is_log)
    reference = next((y for one, y in known if one.value == 0), None)
    return Chart(
        title,
        x_label,
        [Point(x_at(e.value), y_at(y), f"{e.value:g}: {text(y)}", bool(e.is_broken)) for e, y in known],
        [(x_at(one), f"{one:g}") for one in _ticks(effects[0].value, effects[-1].value)],
        [(y_at(one), text(one)) for one in (_log_ticks(*y_range) if is_log else _ticks(*y_range))],
        None if reference is None else y_at(reference),
        None if limit is None else y_at(limit),
        "" if limit is None else f"broken above {text(limit)}",
    )


def _range(ys: Sequence[float], is_log: bool) -> list[float]:
    """The lowest and the highest figure of the axis, with some room; shares begin at 0."""
    if not ys:
        return [1.0, 10.0] if is_log else [0.0, 1.0]
    low, high = min(ys), max(ys)
    if is_log:
        return [low / 1.2, high * 1.2]
    if low >= 0:
        return [0.0, high * 1.15 or 1.0]
    room = max(0.1 * (high - low), (LEAST_SPAN - (high - low)) / 2)  # small differences stay small
    return [low - room, high + room]


def _scale(values: Sequence[float], start: float, end: float, is_log: bool = False) -> Callable[[float], float]:
    """A function from values to places between `start` and `end`."""
    turned: Callable[[float], float] = math.log if is_log else float
    low, high = turned(min(values)), turned(max(values))
    return lambda value: round(start + (end - start) * (turned(value) - low) / ((high - low) or 1.0), 1)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`."""
    if low >= high:
        return [low]
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(at * step, 10) for at in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers of a logarithmic axis; of a short axis those of a plain one."""
    if high < 8 * low:
        return _ticks(low, high)
    factors: tuple[int, ...] = (1, 2, 5) if high < 1000 * low else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [factor * 10.0**power for power in powers for factor in factors]
    found = [one for one in every if low <= one <= high]
    return found[:: 1 + len(found) // 9]


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}" if abs(value) < 1e6 else f"{value:.1e}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def figures(sweep: Sweep, effects: Sequence[Effects]) -> list[dict[str, Any]]:
    """The rows of the table of effects, as texts."""
    plain = next((one.perplexity for one in effects if one.value == 0), None)
    return [
        {
            "value": f"{one.value:g}",
            "is_reference": one.value == 0,
            "answers": f"{one.cells - one.failed} of {len(sweep.prompts) * len(sweep.seeds)}",
            "failed": one.failed,
            "perplexity": "" if one.perplexity is None else _number(one.perplexity),
            "times": "" if not (one.perplexity and plain) else f"{one.perplexity / plain:.2f} ×",
            "repeats": "" if one.repeats is None else _percent(one.repeats),
            "words": ["" if word is None else f"{word:.2f}" for word in one.words],
            "is_broken": one.is_broken,
            "verdict": _verdict(one),
        }
        for one in effects
    ]


def _verdict(one: Effects) -> str:
    """The text of a value in a word or two; a dash where a figure that decides is unknown."""
    if one.value == 0:
        return "unsteered"
    if one.is_broken is not None:
        return "broken" if one.is_broken else "intact"
    if not one.answers or one.is_judged:
        return "–"
    return f"{'one answer' if one.answers == 1 else f'{one.answers} answers'}, too few to judge"
