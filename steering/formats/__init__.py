"""The file formats of SAEs and vector sets, read without torch and without Django. A module for each format.

From outside: the names below, `control_vector` for its export and, for encoders and decoders, `tensors`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from steering.formats import control_vector, dictionary_learning, gemma_scope, llama_scope, saelens, sparsify, vectors
from steering.formats.config import VECTORS, BrokenDecoder, SAEConfig, UnreadableSAE

__all__ = ["LAYOUTS", "VECTORS", "BrokenDecoder", "Layout", "SAEConfig", "UnreadableSAE", "read_config"]


@dataclass(frozen=True)
class Layout:
    """The files by which a format is recognised, and the reader of a folder with these files.

    `config` must lie beside `weights`; it is "" where the format has none. A name with a `*` is a pattern.
    """

    format: str
    weights: str
    config: str
    read: Callable[[Path, str], SAEConfig]

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(name for name in (self.config, self.weights) if name)

    def is_in(self, folder: Path) -> bool:
        """True where all its files are in `folder`."""
        return all(
            any(path.is_file() for path in folder.glob(name)) if "*" in name else (folder / name).is_file()
            for name in self.files
        )


# The first layout whose files are all there decides.
LAYOUTS = (
    Layout("saelens", saelens.WEIGHTS_FILE, "cfg.json", saelens.read),
    Layout("sparsify", sparsify.WEIGHTS_FILE, "cfg.json", sparsify.read),
    *(Layout("llama_scope", name, llama_scope.CONFIG_FILE, llama_scope.read) for name in llama_scope.WEIGHTS_FILES),
    Layout("dictionary_learning", dictionary_learning.WEIGHTS_FILE, "config.json", dictionary_learning.read),
    *(Layout("gemma_scope", name, "", gemma_scope.read) for name in gemma_scope.WEIGHTS_FILES),
    *(Layout("vectors", name, "", vectors.read) for name in vectors.WEIGHTS_FILES),
    Layout(control_vector.FORMAT, f"*{control_vector.SUFFIX}", "", control_vector.read),
)


def read_config(folder: Path, *, path: str = "") -> SAEConfig:
    """The configuration of the SAE or the vector set in `folder`, its format recognised from the files in it.

    `folder` may also be a control vector's file. `path` is the repository's name and the SAE's path in it
    (`google/gemma-scope-2b-pt-res/…`), where `folder` does not end with both: some formats keep layer and hook point
    only there. Raises UnreadableSAE.
    """
    if folder.suffix == control_vector.SUFFIX and folder.is_file():
        return control_vector.read(folder, "")
    for layout in LAYOUTS:
        if layout.is_in(folder):
            return layout.read(folder, _place(folder, path))
    raise UnreadableSAE(_why_not(folder))


def _place(folder: Path, path: str) -> str:
    """The folder and the path after it, or the folder where it ends with the path: a cache's folder names no layer."""
    here, place = folder.absolute().as_posix(), Path(path).expanduser().as_posix() if path else ""
    return here if not place or here.endswith(place) else f"{here}/{place}"


def _why_not(folder: Path) -> str:
    if (folder / "checkpoint.safetensors").is_file():
        return f"{folder} holds a checkpoint of miStudio, without its configuration: export the SAE there"
    for layout in LAYOUTS:  # half of the files of a layout
        if layout.config and (folder / layout.weights).is_file():
            configs = " or ".join(dict.fromkeys(one.config for one in LAYOUTS if one.weights == layout.weights))
            return f"{folder} has {layout.weights}, and {configs} is missing in the same folder"
    for config in ("cfg.json", llama_scope.CONFIG_FILE):
        if (folder / config).is_file():
            weights = " or ".join(one.weights for one in LAYOUTS if one.config == config)
            return f"{folder} has {config}, and {weights} is missing in the same folder"
    known = ", ".join(dict.fromkeys(layout.weights for layout in LAYOUTS))
    return f"{folder} holds no SAE of a known format: expected one of {known}"
