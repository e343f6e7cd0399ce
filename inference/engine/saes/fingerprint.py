"""The fingerprint of an SAE: a digest of its decoder, the same for every format and place."""

import hashlib
from collections.abc import Callable

import numpy as np

from inference.engine.saes.decoder import BrokenDecoder, decoder_chunks
from steering.formats import SAEConfig


def decoder_fingerprint(config: SAEConfig, report: Callable[[float], None] | None = None) -> str:
    """SHA-256, in hex, over the decoder's shape and its values as little-endian float32, row by row.

    Of a set that spans layers it is over the layers too, and over the directions of one layer after the other. `report`
    is called after each chunk with the fraction that is done. Raises UnreadableSAE or BrokenDecoder, also for a value
    that is not finite.
    """
    layers = config.layers
    where = f"@{','.join(map(str, layers))}" if len(layers) > 1 else ""
    digest = hashlib.sha256(f"{config.d_sae}x{config.d_in}{where}".encode())
    for place, layer in enumerate(layers):
        done = 0
        for chunk in decoder_chunks(config, layer=layer):
            if not np.isfinite(chunk).all():
                row = done + int(np.flatnonzero(~np.isfinite(chunk).all(axis=1))[0])
                at = f" at layer {layer}" if where else ""
                raise BrokenDecoder(f"{config.weights}: the decoder direction of feature {row}{at} is not finite")
            digest.update(np.ascontiguousarray(chunk, dtype="<f4").data)
            done += len(chunk)
            if report:
                report((place + done / config.d_sae) / len(layers))
    return digest.hexdigest()
