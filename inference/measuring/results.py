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
        histogram = json.dumps(one.histogram) if one.histogram else None
        facts = [histogram, _pairs(one.promoted), _pairs(one.suppressed)]
        yield (one.index, one.maximum, one.density, one.mean, *facts, None, None, None)
        for rank, example in enumerate(one.examples):
            arrays = _texts(example.tokens), _numbers(example.values)
            yield (one.index, example.maximum, *[None] * 5, rank, *arrays)


def _storable(text: str) -> str:
    """The text without the NUL character, which PostgreSQL cannot store."""
    return text.replace("\x00", "\ufffd")


def _pairs(tokens: Tokens) -> str:
    return json.dumps([[_storable(token), logit] for token, logit in tokens])


# Arrays are written here: psycopg takes four times as long, and an SAE may have a million examples.


def _texts(texts: list[str]) -> str:
    """The texts as an array of PostgreSQL."""
    escaped = [_storable(text).replace("\\", "\\\\").replace('"', '\\"') for text in texts]
    return '{"' + '","'.join(escaped) + '"}' if texts else "{}"


def _numbers(values: list[float]) -> str:
    return "{" + ",".join(map(repr, values)) + "}"


# --- a file ---


def write_file(path: Path, measured: Measured) -> None:
    """Write what was measured as gzipped JSON lines: a line of the whole, then a line of each feature."""
    head = {"tokens": measured.tokens, "residual_norm": measured.residual_norm}
    lines = [head, *map(asdict, measured.features)]
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def read_file(path: Path) -> Measured:
    """Read what `write_file` wrote."""
    head, *lines = gzip.decompress(path.read_bytes()).decode().rstrip("\n").split("\n")
    return Measured(**json.loads(head), features=_features(lines))


def _features(lines: list[str]) -> Iterator[MeasuredFeature]:
    for line in lines:
        fields = json.loads(line)
        examples = [MeasuredExample(**one) for one in fields.pop("examples")]
        yield MeasuredFeature(**fields, examples=examples)
