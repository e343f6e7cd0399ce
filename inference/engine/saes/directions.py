"""The steering vector of strengths: the sum of strength x decoder direction."""

from collections.abc import Sequence

import torch
from torch import Tensor

from inference.engine.saes.decoder import BrokenDecoder, decoder_rows
from steering.formats import SAEConfig

__all__ = ["BrokenDecoder", "steering_vector"]


def steering_vector(config: SAEConfig, features: Sequence[tuple[int, float]]) -> Tensor:
    """`sum_i strength_i * W_dec[i]`, (d_in,) float32, of `features` (index, strength).

    Only the rows of `features` are read, so that the width of the SAE costs nothing. Directions are used as stored, not
    normalised. Raises BrokenDecoder, or UnreadableSAE where the file has changed.
    """
    vector = torch.zeros(config.d_in, dtype=torch.float32)
    rows = torch.from_numpy(decoder_rows(config, [index for index, _ in features]))
    for row, (_, strength) in zip(rows, features, strict=True):
        vector += strength * row
    if not torch.isfinite(vector).all():
        raise BrokenDecoder(f"{config.weights}: the decoder directions of these features are not finite")
    return vector
