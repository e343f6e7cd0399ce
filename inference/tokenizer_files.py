"""The files of a model's tokenizer, which the web checks before a load. Imports neither tokenizers nor Django."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from steering.errors import Refused
from steering.json_files import UnreadableJSON, read_json

FAST, CONFIG = "tokenizer.json", "tokenizer_config.json"
MAX_BYTES = 256 * 2**20
"""The largest known tokenizer.json has some 40 MB."""


class BrokenTokenizer(Refused):
    """Files of a tokenizer that cannot be read."""

    code = "broken_tokenizer"

    def __init__(self, message: str) -> None:
        super().__init__(message, field="source")


class _Model(BaseModel):
    vocab: dict[str, Any] | list[Any]


class _Tokenizer(BaseModel):
    """The part of a `tokenizer.json` that every kind of tokenizer has."""

    model: _Model


def check_tokenizer(folder: Path) -> None:
    """Refuse a `tokenizer.json` or a `tokenizer_config.json` that is not whole. Raises BrokenTokenizer.

    A folder without them passes: transformers knows other files of tokenizers. A worker reads the rest.
    """
    try:
        if (folder / CONFIG).is_file():
            read_json(folder / CONFIG)
        if (folder / FAST).is_file():
            _check_fast(folder / FAST)
    except UnreadableJSON as error:
        raise BrokenTokenizer(f"{error}: fetch the file again") from error


def _check_fast(path: Path) -> None:
    """Read the file in pydantic's parser, which makes objects of the vocabulary alone. Raises UnreadableJSON."""
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise UnreadableJSON(f"{path} has {size} bytes: expected a tokenizer of at most {MAX_BYTES}")
        _Tokenizer.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UnreadableJSON(f"{path} cannot be read: {error}") from error
    except ValidationError as error:
        [first, *_] = error.errors(include_url=False, include_input=False)
        if first["type"] == "json_invalid":
            raise UnreadableJSON(f"{path} is not JSON: {first['ctx']['error']}") from error
        raise UnreadableJSON(f"{path} has no model with a vocab: expected a file of the tokenizers library") from error
