"""A vector made of texts, as an event has it."""

import base64
from collections.abc import Callable, Sequence
from typing import Any

import torch

from inference.broker.messages import VectorMethod, VectorPool
from inference.engine.reading.reader import Text
from inference.engine.reading.residual_reader import ResidualReader
from inference.engine.reading.vectors import make_vector
from inference.interface import GenerationError

SMALLEST = 1e-4
"""The norm of a vector over that of the residual stream, at least: below it lie errors of rounding."""


class NoVector(GenerationError):
    """Texts of which no vector can be made."""

    param = "negative"


def made_vector(
    reader: ResidualReader,
    positive: Sequence[Text],
    negative: Sequence[Text],
    method: VectorMethod,
    pool: VectorPool,
    stop: Callable[[], bool],
) -> dict[str, Any] | None:
    """The fields of `make_vector`'s result, None once `stop()`; `vector` is little-endian float32 in base64.

    Raises NoVector.
    """
    found = make_vector(reader, positive, negative, method=method, pool=pool, stop=stop)
    if found is None:
        return None
    norm = float(found.vector.norm())
    if not torch.isfinite(found.vector).all():
        raise NoVector("the residual stream has values that are not finite: load the model with another dtype")
    if norm < SMALLEST * found.residual_norm:
        raise NoVector("negative: these texts differ in nothing from the positive ones: give other texts")
    values = base64.b64encode(found.vector.numpy().astype("<f4").tobytes()).decode()
    figures = {"auc": found.auc, "residual_norm": found.residual_norm, "tokens": found.tokens}
    return {"vector": values, "norm": norm, **figures}
