"""dictionary_learning: `config.json` and `ae.pt` (https://github.com/saprmarks/dictionary_learning).

`ae.pt` is a zip archive of a pickle and the bytes of the tensors. The pickle names the tensors' shapes, so only
the worker reads it, by `torch.load(weights_only=True)`; until then the shapes are as the configuration says.
"""

import re
import zipfile
from pathlib import Path
from typing import Any

from steering.formats.config import LARGEST_D_IN, LARGEST_D_SAE, SAEConfig, UnreadableSAE, Values, read_config_file
from steering.formats.tensors import ITEM_SIZES, open_archive

WEIGHTS_FILE = "ae.pt"
LARGEST_PICKLE = 2**20  # bytes; that of a state dict of ten tensors has a thousand
# dict_class -> architecture, name of the decoder, and what differs in the encoder.
CLASSES: dict[str, tuple[str, str, dict[str, Any]]] = {
    # Loading an AutoEncoder moves the decoder's norms to its encoder.
    "AutoEncoder": ("standard", "decoder.weight", {"rescale_by_decoder_norm": True}),
    "AutoEncoderNew": ("standard", "decoder.weight", {"apply_b_dec_to_input": False}),
    "GatedAutoEncoder": ("gated", "decoder.weight", {}),
    "JumpReluAutoEncoder": ("jumprelu", "W_dec", {"apply_b_dec_to_input": False}),
    "AutoEncoderTopK": ("topk", "decoder.weight", {}),
    "BatchTopKSAE": ("batchtopk", "decoder.weight", {}),
    "MatryoshkaBatchTopKSAE": ("batchtopk", "W_dec", {}),
}
SUBMODULES = {
    "resid_post": "hook_resid_post",
    "resid_pre": "hook_resid_pre",
    "mlp_out": "hook_mlp_out",
    "attn_out": "hook_attn_out",
    "attention_out": "hook_attn_out",
}


def read(folder: Path, _place: str) -> SAEConfig:
    """The configuration of a dictionary_learning folder. Raises UnreadableSAE."""
    trainer = Values(read_config_file(folder / "config.json"), str(folder / "config.json")).section("trainer")
    name = trainer.text("dict_class")
    if name not in CLASSES:
        raise UnreadableSAE(
            f"{trainer.source}: dict_class {name[:100]!r} is not supported: expected {', '.join(CLASSES)}"
        )
    architecture, decoder, encoder = CLASSES[name]
    layer = trainer.layer("layer")
    d_in, d_sae = trainer.count("activation_dim", LARGEST_D_IN), trainer.count("dict_size", LARGEST_D_SAE)
    _check_archive(folder / WEIGHTS_FILE, d_in * d_sae)
    return SAEConfig(
        format="dictionary_learning",
        architecture=architecture,
        d_in=d_in,
        d_sae=d_sae,
        layer=layer,
        hook_name=f"blocks.{layer}.{_hook_point(trainer, layer)}",
        model_name=trainer.text("lm_name"),
        weights=folder / WEIGHTS_FILE,
        decoder=decoder,
        transposed=decoder == "decoder.weight",
        k=trainer.count("k", d_sae) if architecture == "topk" else None,
        **encoder,
    )


def _hook_point(trainer: Values, layer: int) -> str:
    """The hook point of `resid_post_layer_3`; without a name the residual stream, as `get_submodule` has it."""
    name = trainer.text("submodule_name")
    if not name:
        return "hook_resid_post"
    match = re.fullmatch(r"(?P<site>[a-z_]+?)_?layer_?(?P<layer>\d{1,4})", name)
    if match is None or match["site"] not in SUBMODULES:
        known = ", ".join(SUBMODULES)
        raise UnreadableSAE(f"hook point {name[:100]!r} is not supported: expected <one of {known}>_layer_<layer>")
    if int(match["layer"]) != layer:
        raise UnreadableSAE(f"{trainer.source}: layer is {layer}, and submodule_name {name}: expected one layer")
    return SUBMODULES[match["site"]]


def _check_archive(path: Path, values: int) -> None:
    """That torch can map it without unpacking, and that bytes for a decoder of so many values are in it."""
    with open_archive(path) as archive:
        members = archive.infolist()
        if any(info.compress_type != zipfile.ZIP_STORED for info in members):
            raise UnreadableSAE(f"{path} has compressed members: expected what torch.save writes")
        pickles = [info for info in members if info.filename.endswith("/data.pkl")]
        if len(pickles) != 1 or pickles[0].file_size > LARGEST_PICKLE:
            raise UnreadableSAE(
                f"{path} has no data.pkl of at most {LARGEST_PICKLE} bytes: expected what torch.save writes"
            )
        if not {info.file_size for info in members} & {values * size for size in ITEM_SIZES.values()}:
            raise UnreadableSAE(f"{path} has no tensor of the {values} values that its config.json says")
