"""What was measured, written to the features of an SAE: all of it, or nothing."""

import json
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction

from inference.measuring.models import Measurement
from steering.features.models import MEASURED, FeatureExample
from steering.saes import SAE

Tokens = list[tuple[str, float]]
COLUMNS = ("maximum", "density", "mean", "histogram", "statistics_source", "promoted", "suppressed")


@dataclass(frozen=True)
class MeasuredExample:
    """Texts of tokens around the strongest one, and the activations there."""

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


def store(
    hold: Callable[[], AbstractContextManager[Measurement]],
    sae_id: str,
    features: Iterable[MeasuredFeature],
    residual_norm: float | None,
    tokens: int,
) -> None:
    """Replace the statistics of the SAE and its measured examples, and end the measuring that `hold` locks.

    The row is locked at the end only, so that it can be cancelled until then. Raises what `hold` raises.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        # Held until the end: the SAE cannot be deleted meanwhile, every other change of it can happen.
        cursor.execute("SELECT FROM steering_sae WHERE id = %s FOR KEY SHARE", [sae_id])
        FeatureExample.objects.filter(sae_id=sae_id, source=MEASURED).delete()
        _copy(cursor, sae_id, features)
        columns = ", ".join(COLUMNS)
        replaced = ", ".join(f"{column} = EXCLUDED.{column}" for column in COLUMNS)
        cursor.execute(
            f"INSERT INTO steering_feature (sae_id, index, {columns}) SELECT %s, index, {columns} FROM new_features "
            f"ON CONFLICT (sae_id, index) DO UPDATE SET {replaced}",
            [sae_id],
        )
        cursor.execute(
            "INSERT INTO steering_featureexample (sae_id, index, source, rank, tokens, values, maximum) "
            "SELECT %s, index, %s, rank, tokens, values, maximum FROM new_examples",
            [sae_id, MEASURED],
        )
        cursor.execute("DROP TABLE new_features, new_examples")
        cursor.execute("ANALYZE steering_feature, steering_featureexample")
        with hold() as measurement:
            SAE.objects.filter(pk=sae_id).update(residual_norm=residual_norm, measured_tokens=tokens)
            measurement.drop_corpus()
            measured = {"status": Measurement.Status.MEASURED, "progress": 1.0, "error": "", "tokens": tokens}
            Measurement.objects.filter(pk=sae_id).update(**measured)


def _copy(cursor: Any, sae_id: str, features: Iterable[MeasuredFeature]) -> None:
    """Write the features and their examples to temporary tables, in one run over them."""
    cursor.execute(
        "CREATE TEMPORARY TABLE new_features (index integer, maximum float8, density float8, mean float8, "
        "histogram jsonb, statistics_source text, promoted jsonb, suppressed jsonb) ON COMMIT DROP"
    )
    cursor.execute(
        "CREATE TEMPORARY TABLE new_examples (index integer, rank smallint, tokens text[], values float8[], "
        "maximum float8) ON COMMIT DROP"
    )
    examples: list[tuple[Any, ...]] = []
    for batch in _batches(features):
        with cursor.copy("COPY new_features FROM STDIN") as copy:
            for one in batch:
                copy.write_row(_row(one))
        examples = [
            (one.index, rank, [storable(token) for token in found.tokens], found.values, found.maximum)
            for one in batch
            for rank, found in enumerate(one.examples)
        ]
        with cursor.copy("COPY new_examples FROM STDIN WITH (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "int2", "text[]", "float8[]", "float8"])
            for example in examples:
                copy.write_row(example)


def _batches(features: Iterable[MeasuredFeature], size: int = 256) -> Iterable[list[MeasuredFeature]]:
    batch: list[MeasuredFeature] = []
    for one in features:
        batch.append(one)
        if len(batch) == size:
            yield batch
            batch = []
    yield batch


def _row(one: MeasuredFeature) -> tuple[Any, ...]:
    histogram = None if one.histogram is None else json.dumps(one.histogram)
    sides = [json.dumps([[storable(token), logit] for token, logit in side]) for side in (one.promoted, one.suppressed)]
    return (one.index, one.maximum, one.density, one.mean, histogram, MEASURED, *sides)


def storable(token: str) -> str:
    """The text without the NUL character, which PostgreSQL cannot store."""
    return token.replace("\x00", "\ufffd")
