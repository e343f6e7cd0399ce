"""The fingerprint of an SAE: what its decoder is, wherever it lies."""

import hashlib
from collections.abc import Callable

import numpy as np

from steering.formats import SAEConfig
from steering.formats.decoder import BrokenDecoder, decoder_chunks


def decoder_fingerprint(config: SAEConfig, told: Callable[[float], None] | None = None) -> str:
    """SHA-256, in hex, over the decoder's shape and its values as little-endian float32, row by row.

    `told` hears the fraction that is done after each chunk. Raises UnreadableSAE, or BrokenDecoder,
    which a value that is not finite is too.
    """
    digest = hashlib.sha256(f"{config.d_sae}x{config.d_in}".encode())
    done = 0
    for chunk in decoder_chunks(config):
        if not np.isfinite(chunk).all():
            row = done + int(np.flatnonzero(~np.isfinite(chunk).all(axis=1))[0])
            raise BrokenDecoder(f"{config.weights}: the decoder direction of feature {row} is not finite")
        digest.update(np.ascontiguousarray(chunk, dtype="<f4").data)
        done += len(chunk)
        if told:
            told(done / config.d_sae)
    return digest.hexdigest()
