"""The facts about each feature, of the state of a measuring."""

from collections.abc import Iterator

from inference.engine.reading.statistics import Example, Statistics
from inference.measuring.results import MeasuredExample, MeasuredFeature
from inference.worker.measuring.state import MeasuringState
from inference.worker.reading.texts import ReadTexts


def features_of(state: MeasuringState, texts: ReadTexts) -> Iterator[MeasuredFeature]:
    """The facts about each feature, with the texts of its tokens."""
    statistics = state.statistics
    histograms = statistics.histograms.cpu().numpy()
    for feature in range(len(statistics.fired)):
        promoted, suppressed = (
            [(texts.name(token), rounded(logit)) for token, logit in state.side(feature, side)] for side in (0, 1)
        )
        yield MeasuredFeature(
            index=feature,
            maximum=rounded(statistics.maxima[feature]),
            density=statistics.fired[feature] / max(1, statistics.tokens),
            mean=_mean(statistics, feature),
            histogram=statistics.histogram(histograms[feature]),
            promoted=promoted,
            suppressed=suppressed,
            examples=[_example(one, texts) for one in statistics.examples(feature)],
        )


def _mean(statistics: Statistics, feature: int) -> float | None:
    fired = statistics.fired[feature]
    return rounded(statistics.totals[feature] / fired) if fired else None


def _example(example: Example, texts: ReadTexts) -> MeasuredExample:
    tokens = [piece for piece, _ in texts.pieces(example.tokens)]
    return MeasuredExample(
        tokens, [rounded(value) if value else 0.0 for value in example.values], rounded(example.maximum)
    )


def rounded(value: float) -> float:
    """The value to five digits: of the examples of an SAE some twenty million are stored."""
    return float(f"{value:.5g}")
