"""The files of a vector that was made here: a folder of its own below MILLM_VECTORS_DIR.

It has the form of `steering.formats.vectors`, whose `cfg.json` has under `made` the way the vector was made.
`texts.json` has the texts.
"""

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from numpy.typing import NDArray
from safetensors.numpy import save_file

from steering.errors import Refused
from steering.formats.vectors import CONFIG_FILE, TENSOR, WEIGHTS_FILES
from steering.formats.vectors import FORMAT as FORMAT

TEXTS = "texts.json"


class VectorsNotStored(Refused):
    """A folder of vectors that cannot be written."""

    code = "vectors_not_stored"
    status = 507


def store(name: str, vector: NDArray[np.float32], config: Mapping[str, Any], texts: Mapping[str, Any]) -> Path:
    """Write the files of a vector, (d_model,), to a new folder named like `name`. Raises VectorsNotStored."""
    root = Path(settings.MILLM_VECTORS_DIR).expanduser().absolute()
    unfinished = root / f".{uuid.uuid4().hex}"
    try:
        unfinished.mkdir(parents=True)
        save_file({TENSOR: np.ascontiguousarray(vector[np.newaxis], "<f4")}, unfinished / WEIGHTS_FILES[0])
        for file, content in ((CONFIG_FILE, config), (TEXTS, texts)):
            (unfinished / file).write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        return _named(unfinished, root, name)
    except OSError as error:
        remove(unfinished)
        remedy = "free some space, or set MILLM_VECTORS_DIR to a folder that web and workers share"
        raise VectorsNotStored(f"the vector cannot be written to {root} ({error.strerror}): {remedy}") from error


def remove(folder: Path) -> None:
    """Delete a folder that `store` made."""
    shutil.rmtree(folder, ignore_errors=True)


def _named(unfinished: Path, root: Path, name: str) -> Path:
    """Give a folder its name, or one like it: the folders of deleted vector sets stay."""
    number = 1
    while True:
        folder = root / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()  # takes the name: no other process gets it
        except FileExistsError:
            number += 1
            continue
        os.replace(unfinished, folder)
        return folder
