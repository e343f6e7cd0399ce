"""From strengths to a steering vector: the sum of strength x decoder direction."""

from collections.abc import Sequence

import torch
from torch import Tensor

from steering.formats import SAEConfig
from steering.formats.decoder import BrokenDecoder, decoder_rows

__all__ = ["BrokenDecoder", "steering_vector"]


def steering_vector(config: SAEConfig, features: Sequence[tuple[int, float]]) -> Tensor:
    """`sum_i strength_i * W_dec[i]` as float32 of shape (d_in,), of features (index, strength).

    Reads only the rows of `features`: an SAE of any width costs what its few rows cost. Directions are as stored,
    not normalised. Raises BrokenDecoder, or UnreadableSAE where the file is not what it was.
    """
    vector = torch.zeros(config.d_in, dtype=torch.float32)
    rows = torch.from_numpy(decoder_rows(config, [index for index, _ in features]))
    for row, (_, strength) in zip(rows, features, strict=True):
        vector += strength * row
    if not torch.isfinite(vector).all():
        raise BrokenDecoder(f"{config.weights}: the decoder directions of these features are not finite")
    return vector
