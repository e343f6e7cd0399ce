"""From strengths to a steering vector: the sum of strength x decoder direction."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor


class BrokenDecoder(ValueError):
    """A decoder that cannot be read, or not as its configuration says."""


def steering_vector(weights: Path, features: Sequence[tuple[int, float]], d_in: int) -> Tensor:
    """`sum_i strength_i * W_dec[i]` as float32 of shape (d_in,).

    Reads only the rows of `features` from the safetensors file: an SAE of any width costs what its few
    rows cost. Directions are as stored, not normalised. Raises BrokenDecoder.
    """
    vector = torch.zeros(d_in, dtype=torch.float32)
    try:
        with safe_open(weights, framework="pt") as file:
            decoder = file.get_slice("W_dec")
            d_sae, width = decoder.get_shape()
            if width != d_in:
                raise BrokenDecoder(f"{weights}: W_dec is {d_sae} x {width}, expected {d_in} columns")
            for index, strength in features:
                if index >= d_sae:
                    raise BrokenDecoder(f"feature {index} is out of range: {weights} has {d_sae} features")
                vector += strength * decoder[index : index + 1][0].to(torch.float32)
    except OSError as error:
        raise BrokenDecoder(f"{weights} cannot be read: {error}") from error
    if not torch.isfinite(vector).all():
        raise BrokenDecoder(f"{weights}: the decoder directions of these features are not finite")
    return vector
