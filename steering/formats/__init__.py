"""SAE file formats: the configuration of an SAE on disk, read without its weights and without torch."""

from pathlib import Path

from steering.formats import dictionary_learning, gemma_scope, llama_scope, saelens, sparsify
from steering.formats.config import BrokenDecoder, SAEConfig, UnreadableSAE, parse_hook_name

__all__ = ["BrokenDecoder", "SAEConfig", "UnreadableSAE", "parse_hook_name", "read_config"]

# A file that only this format has, and its reader; the first that is there decides.
READERS = {
    saelens.WEIGHTS_FILE: saelens.read,
    sparsify.WEIGHTS_FILE: sparsify.read,
    llama_scope.CONFIG_FILE: llama_scope.read,
    dictionary_learning.WEIGHTS_FILE: dictionary_learning.read,
    **dict.fromkeys(gemma_scope.WEIGHTS_FILES, gemma_scope.read),
}


def read_config(folder: Path, *, path: str = "") -> SAEConfig:
    """The configuration of the SAE in `folder`, its format recognised from the files in it.

    `path` is the place the SAE has in its repository, after the repository's name (`google/gemma-scope-2b-pt-res/…`),
    where `folder` does not end in it: some formats keep layer and hook point only there. Raises UnreadableSAE.
    """
    place = f"{folder.absolute().as_posix()}/{path}"
    for name, read in READERS.items():
        if (folder / name).is_file():
            return read(folder, place)
    if (folder / "checkpoint.safetensors").is_file():
        raise UnreadableSAE(f"{folder} holds a checkpoint of miStudio, without its configuration: export the SAE there")
    if (folder / "cfg.json").is_file():
        raise UnreadableSAE(f"{folder} has a cfg.json, and neither {saelens.WEIGHTS_FILE} nor {sparsify.WEIGHTS_FILE}")
    raise UnreadableSAE(f"{folder} holds no SAE that we can read: expected one of {', '.join(READERS)}")
