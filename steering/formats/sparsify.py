"""EleutherAI's sparsify: `cfg.json` and `sae.safetensors` (https://github.com/EleutherAI/sparsify).

The folder is named for the module whose output was trained on: `layers.12` is a block, `layers.12.mlp` its MLP.
"""

import re
from pathlib import Path

from steering.formats.config import LARGEST_D_IN, SAEConfig, UnreadableSAE, Values, read_config_file
from steering.formats.tensors import locate_decoder, stored_tensors

WEIGHTS_FILE = "sae.safetensors"
FOLDER = re.compile(r"(?:.*\.)?(?:layers|h)[._](?P<layer>\d{1,4})(?:\.(?P<module>\w+))?")
MODULES = {
    None: "hook_resid_post",
    "mlp": "hook_mlp_out",
    "attention": "hook_attn_out",
    "self_attn": "hook_attn_out",
    "attn": "hook_attn_out",
}


def read(folder: Path, place: str) -> SAEConfig:
    """The configuration of a sparsify folder. Raises UnreadableSAE."""
    values = Values(read_config_file(folder / "cfg.json"), str(folder / "cfg.json"))
    if values.flag("transcode", False):
        raise UnreadableSAE(f"{values.source} is of a transcoder, which does not steer where it reads: expected an SAE")
    layer, hook_point = _hook(place)
    d_in = values.count("d_in", LARGEST_D_IN)
    weights = folder / WEIGHTS_FILE
    tensors = stored_tensors(weights)
    decoder, transposed, d_sae = locate_decoder(tensors, ("W_dec", "decoder.weight"), d_in, None, weights)
    activation = values.text("activation", "topk")
    if activation not in ("topk", "groupmax") or values.flag("signed", False):
        raise UnreadableSAE(f"{values.source}: activation {activation[:40]!r}, or a signed one, is not supported")
    k = values.count("k", d_sae)
    if activation == "groupmax" and d_sae % k:
        raise UnreadableSAE(f"{values.source}: {d_sae} features are not {k} groups of one size, as groupmax needs")
    return SAEConfig(
        format="sparsify",
        architecture=activation,
        d_in=d_in,
        d_sae=d_sae,
        layer=layer,
        hook_name=f"blocks.{layer}.{hook_point}",
        model_name=_model_name(folder),
        weights=weights,
        decoder=decoder,
        transposed=transposed,
        k=k,
    )


def _hook(place: str) -> tuple[int, str]:
    for part in reversed(place.split("/")):
        match = FOLDER.fullmatch(part)
        if match is None:
            continue
        if match["module"] not in MODULES:
            raise UnreadableSAE(
                f"hook point {part!r} is not supported: expected layers.<layer>, and of its modules mlp or attention"
            )
        return int(match["layer"]), MODULES[match["module"]]
    raise UnreadableSAE(
        f"no folder of {place!r} is named for a hook point: expected layers.<layer> or layers.<layer>.mlp"
    )


def _model_name(folder: Path) -> str:
    """The model of the training run, whose configuration is beside the folders of its hook points."""
    run = folder.parent / "config.json"
    return Values(read_config_file(run), str(run)).text("model") if run.is_file() else ""
