"""The features whose decoder directions are nearest to the direction of a feature."""

import numpy as np

from inference.engine.saes.decoder import decoder_chunks, decoder_rows
from steering.formats.config import SAEConfig
from steering.formats.tensors import Float32


def nearest_features(config: SAEConfig, index: int, top: int, layer: int | None = None) -> list[tuple[int, float]]:
    """(feature, cosine of the decoder directions at `layer`), the largest first, without the feature itself.

    Reads the whole decoder. Raises UnreadableSAE or BrokenDecoder.
    """
    [direction] = decoder_rows(config, [index], layer)
    cosines = np.concatenate([_cosines(chunk, direction) for chunk in decoder_chunks(config, layer=layer)])
    cosines[index] = -np.inf
    top = min(top, config.d_sae - 1)
    best = np.argpartition(-cosines, top - 1)[:top] if top else np.empty(0, np.int64)
    return [(int(one), float(cosines[one])) for one in sorted(best, key=lambda one: -cosines[one])]


def _cosines(rows: Float32, direction: Float32) -> Float32:
    """(n,) of rows (n, d_in); a row of zeros is near to nothing."""
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(direction)
    found: Float32 = np.where(norms > 0, rows @ direction / np.maximum(norms, np.finfo(np.float32).tiny), 0.0)
    return found
