"""The fingerprint of an SAE: what its decoder is, wherever it lies."""

import hashlib
from pathlib import Path

import numpy as np
from safetensors import safe_open

ROWS_AT_ONCE = 4096


def decoder_fingerprint(weights: Path, tensor: str = "W_dec") -> str:
    """SHA-256, in hex, over the decoder's shape and its values as little-endian float32, row by row."""
    with safe_open(weights, framework="np") as file:
        decoder = file.get_slice(tensor)
        shape = decoder.get_shape()
        digest = hashlib.sha256(f"{shape[0]}x{shape[1]}".encode())
        for start in range(0, shape[0], ROWS_AT_ONCE):
            rows = decoder[start : min(start + ROWS_AT_ONCE, shape[0])]
            digest.update(np.ascontiguousarray(rows, dtype="<f4").tobytes())
    return digest.hexdigest()
