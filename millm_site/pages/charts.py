"""The dashboard's charts, for Unfold's chart component: one value for each minute of the last hour."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inference.broker.counters import MINUTES, Hour

LABELS = [*(f"−{minutes} min" for minutes in range(MINUTES, 0, -1)), "now"]
TICK_EVERY = 15  # minutes: a tick at the beginning, one at "now"
GREY = "#9ca3af"  # Unfold's colour of a chart's ticks
Series = Sequence[float | None]


@dataclass(frozen=True)
class Chart:
    """The look of a chart: its kind, and {name of a series: colour}."""

    kind: str
    series: Mapping[str, str]
    whole_numbers: bool = False
    """True: the axis shows no fractions."""

    def context(self, data: Sequence[Series]) -> dict[str, str]:
        """The context of Unfold's component."""
        datasets = [
            {"label": name, "data": values, "borderColor": colour, "backgroundColor": colour}
            for (name, colour), values in zip(self.series.items(), data, strict=True)
        ]
        return {
            "template": f"unfold/components/chart/{self.kind}.html",
            "data": json.dumps({"labels": LABELS, "datasets": datasets}),
            "options": json.dumps(self._options()),
        }

    def _options(self) -> dict[str, Any]:
        ticks = {"color": GREY, "maxRotation": 0, "maxTicksLimit": len(LABELS) / TICK_EVERY}
        legend = {"color": GREY, "usePointStyle": True, "pointStyle": "circle", "boxWidth": 6, "boxHeight": 6}
        # Bars share the axis of lines, from -60 min to now: half of the first and of the last bar lies beyond it.
        bars = {"categoryPercentage": 1, "barPercentage": 0.8, "borderRadius": 2, "clip": False}
        return {
            "animation": False,
            "maintainAspectRatio": False,
            "interaction": {"mode": "index", "intersect": False},
            "datasets": {"bar": bars, "line": {"borderWidth": 2, "pointRadius": 0}},
            "plugins": {"legend": {"display": len(self.series) > 1, "position": "bottom", "labels": legend}},
            "scales": {
                "x": {"stacked": True, "offset": False, "grid": {"display": False}, "ticks": ticks},
                "y": {
                    "stacked": True,
                    "beginAtZero": True,
                    "suggestedMax": 1,
                    "border": {"display": False},
                    "grid": {"tickWidth": 0},
                    "ticks": {"color": GREY, "maxTicksLimit": 4, "precision": 0 if self.whole_numbers else None},
                },
            },
        }


CHARTS = {
    "tokens": Chart("line", {"tokens/s": "var(--color-primary-600)"}),
    "first_token": Chart("bar", {"seconds": "var(--color-primary-600)"}),
    "requests": Chart(
        "bar",
        {"answered": "var(--color-primary-600)", "refused": "#f59e0b", "failed": "#ef4444", "cancelled": GREY},
        whole_numbers=True,
    ),
}


def series(hour: Hour | None) -> dict[str, list[Series]]:
    """The data of each chart; None for unknown values, and for the first label, an hour ago."""
    if hour is None:
        return {name: [[None] * len(LABELS) for _ in chart.series] for name, chart in CHARTS.items()}
    outcomes = CHARTS["requests"].series
    return {
        "tokens": [[None, *(round(rate, 1) for rate in hour.tokens_per_second)]],
        "first_token": [[None, *(_rounded(minute.mean_first_token_s) for minute in hour.minutes)]],
        "requests": [[None, *(getattr(minute, outcome) for minute in hour.minutes)] for outcome in outcomes],
    }


def figures(hour: Hour) -> dict[str, str]:
    """The figures of the hour as texts."""
    total = hour.total
    first = total.mean_first_token_s
    not_answered = {"refused": total.refused, "failed": total.failed, "cancelled": total.cancelled}
    return {
        "tokens": f"{hour.tokens_per_second[-1]:.1f}",
        "first_token": "-" if first is None else f"{first:.2f} s",
        "requests": str(total.answered + sum(not_answered.values())),
        "requests_more": ", ".join(f"{count} {how}" for how, count in not_answered.items()),
    }


def charts(data: Mapping[str, Sequence[Series]]) -> dict[str, dict[str, str]]:
    """The context of Unfold's component for each chart."""
    return {name: chart.context(data[name]) for name, chart in CHARTS.items()}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
