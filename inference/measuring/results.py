"""What was measured, written to the features of an SAE: all of it, or nothing."""

import gzip
import json
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from steering.features.models import MEASURED
from steering.imports.copy import imported
from steering.saes import SAE

COLUMNS = ("maximum", "density", "mean", "histogram", "promoted", "suppressed")
NEW_COLUMNS = {
    "index": "integer",
    **dict.fromkeys(("maximum", "density", "mean"), "double precision"),
    **dict.fromkeys(("histogram", "promoted", "suppressed"), "jsonb"),
    "rank": "smallint",
    "tokens": "text[]",
    "values": "double precision[]",
}
WRITE_FEATURES = f"""
INSERT INTO steering_feature (sae_id, index, statistics_source, {", ".join(COLUMNS)})
SELECT %(sae)s, index, %(source)s, {", ".join(COLUMNS)} FROM new_measured WHERE rank IS NULL
ON CONFLICT (sae_id, index) DO UPDATE SET
    statistics_source = EXCLUDED.statistics_source, {", ".join(f"{column} = EXCLUDED.{column}" for column in COLUMNS)}
"""
DELETE_EXAMPLES = "DELETE FROM steering_featureexample WHERE sae_id = %(sae)s AND source = %(source)s"
WRITE_EXAMPLES = """
INSERT INTO steering_featureexample (sae_id, index, source, rank, tokens, values, maximum)
SELECT %(sae)s, index, %(source)s, rank, tokens, values, maximum FROM new_measured WHERE rank IS NOT NULL
"""
ANALYZE = "ANALYZE steering_feature, steering_featureexample"

Tokens = list[tuple[str, float]]


@dataclass(frozen=True)
class MeasuredExample:
    """The texts of the tokens around the strongest one, and the activations there."""

    tokens: list[str]
    values: list[float]
    maximum: float


@dataclass(frozen=True)
class MeasuredFeature:
    """The statistics of a feature; `mean` and `histogram` are None where it never fired."""

    index: int
    maximum: float
    density: float
    mean: float | None
    histogram: dict[str, Any] | None
    promoted: Tokens
    suppressed: Tokens
    examples: list[MeasuredExample] = field(default_factory=list)
    """The strongest first."""


@dataclass(frozen=True)
class Measured:
    """What was measured of an SAE over `tokens` tokens; `residual_norm` is the mean norm of the residual stream."""

    tokens: int
    residual_norm: float | None
    features: Iterable[MeasuredFeature]


def store(sae_id: str, measured: Measured, last: AbstractContextManager[object] | None = None) -> None:
    """Replace the statistics of the SAE and its measured examples; other facts of its features stay.

    `last` is entered at the end of the transaction; an error that it raises undoes everything. Raises NoSuchSAE.
    """
    given = {"sae": sae_id, "source": MEASURED}
    with imported(sae_id, "new_measured", NEW_COLUMNS) as new:
        new.copy(_rows(measured.features))
        for statement in (WRITE_FEATURES, DELETE_EXAMPLES, WRITE_EXAMPLES):
            new.cursor.execute(statement, given)
        new.cursor.execute(ANALYZE)
        with last or nullcontext():
            counted = {"residual_norm": measured.residual_norm, "measured_tokens": measured.tokens}
            SAE.objects.filter(pk=sae_id).update(**counted)


def _rows(features: Iterable[MeasuredFeature]) -> Generator[tuple[Any, ...], None, None]:
    """A row of each feature, and a row of each of its examples."""
    for one in features:
        facts = [
            json.dumps(_storable(fact)) if fact else None for fact in (one.histogram, one.promoted, one.suppressed)
        ]
        yield (one.index, one.maximum, one.density, one.mean, *facts, None, None, None)
        for rank, example in enumerate(one.examples):
            yield (one.index, example.maximum, *[None] * 5, rank, _storable(example.tokens), example.values)


def _storable(value: Any) -> Any:
    """The value without the NUL character, which PostgreSQL cannot store."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    return [_storable(one) for one in value] if isinstance(value, list | tuple) else value


# --- a file ---


def write_file(path: Path, measured: Measured) -> None:
    """Write what was measured as gzipped JSON lines: a line of the whole, then a line of each feature."""
    head = {"tokens": measured.tokens, "residual_norm": measured.residual_norm}
    lines = [head, *map(asdict, measured.features)]
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def read_file(path: Path) -> Measured:
    """Read what `write_file` wrote."""
    head, *lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    return Measured(**json.loads(head), features=_features(lines))


def _features(lines: list[str]) -> Iterator[MeasuredFeature]:
    for line in lines:
        fields = json.loads(line)
        examples = [MeasuredExample(**one) for one in fields.pop("examples")]
        yield MeasuredFeature(**fields, examples=examples)
