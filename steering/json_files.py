"""JSON objects in files of models and SAEs. Imports no Django, since the engine reads such files too.

Duplicate keys and NaN pass, unlike in `strict_json`: other programs wrote these files.
"""

import json
from pathlib import Path
from typing import Any

MAX_BYTES = 10 * 2**20
"""The limit for a model's files: its configuration can hold long lists, the index of its weights names every tensor."""


class UnreadableJSON(Exception):
    """A file that holds no JSON object, or is larger than its reader allows."""


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The object in a file of at most `max_bytes`. Raises UnreadableJSON."""
    try:
        if not path.is_file():
            raise UnreadableJSON(f"{path.parent} has no {path.name}")
        if (size := path.stat().st_size) > max_bytes:
            raise UnreadableJSON(f"{path} has {size} bytes: expected a configuration of at most {max_bytes}")
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise UnreadableJSON(f"{path} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableJSON(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UnreadableJSON(f"{path} holds {type(value).__name__}: expected an object")
    return value
