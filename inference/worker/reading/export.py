"""The file of a control vector, made of the directions of a feature or of a vector."""

import base64
from collections.abc import Iterator

from inference.broker.messages import ExportMessage
from inference.engine.saes.decoder import decoder_rows
from inference.worker.saes.preparation import config_at
from steering.formats.control_vector import control_vector

PIECE = 3 * 2**17
"""Bytes of the file in one event; a multiple of 3, so that base64 needs no padding between."""


def file_pieces(message: ExportMessage) -> Iterator[str]:
    """The file in pieces, as base64. Raises what `config_at`, `decoder_rows` and `control_vector` raise."""
    config = config_at(message.place)
    rows = {layer: decoder_rows(config, [message.index], layer)[0] for layer in config.layers}
    file = control_vector(config, rows, message.model_hint)
    for start in range(0, len(file), PIECE):
        yield base64.b64encode(file[start : start + PIECE]).decode()
