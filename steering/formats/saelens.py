"""SAELens: `cfg.json` and `sae_weights.safetensors` (https://decoderesearch.github.io/SAELens/), and miStudio's export.

Until version 6 hook, layer and model are at the top level of `cfg.json` (first as `hook_point`), then under `metadata`.
miStudio writes the old form with fields of its own (https://github.com/hitsainet/miStudio, community_format.py).
"""

from pathlib import Path
from typing import Any

from steering.formats.config import (
    LARGEST_D_IN,
    LARGEST_D_SAE,
    SAEConfig,
    UnreadableSAE,
    Values,
    check_sae_architecture,
    hook_layer,
    read_config_file,
)
from steering.formats.tensors import locate_decoder, stored_tensors

WEIGHTS_FILE = "sae_weights.safetensors"
# Training checkpoints, whose inference form is batchtopk's.
SAME_ENCODER = {"matryoshka_batchtopk": "batchtopk"}


def read(folder: Path, _place: str) -> SAEConfig:
    """The configuration of a SAELens or miStudio folder. Raises UnreadableSAE."""
    config = read_config_file(folder / "cfg.json")
    source = str(folder / "cfg.json")
    metadata = Values(config, source).section("metadata").values
    values = Values({**metadata, **{key: value for key, value in config.items() if value is not None}}, source)
    hook_name, layer = _hook(values)
    d_in = values.count("d_in", LARGEST_D_IN)
    d_sae = values.count("d_sae", LARGEST_D_SAE) if "d_sae" in values else None
    weights = folder / WEIGHTS_FILE
    decoder, transposed, d_sae = locate_decoder(stored_tensors(weights), ("W_dec",), d_in, d_sae, weights)
    encoder = _mistudio(values, d_sae) if is_mistudio(config) else _encoder(values, d_sae)
    return SAEConfig(
        d_in=d_in,
        d_sae=d_sae,
        layer=layer,
        hook_name=hook_name,
        model_name=values.text("model_name"),
        weights=weights,
        decoder=decoder,
        transposed=transposed,
        normalize_activations=_normalization(values),
        **encoder,
    )


def is_mistudio(config: dict[str, Any]) -> bool:
    """Return True if miStudio wrote this `cfg.json`."""
    return any(key.startswith("mistudio") for key in config) or "hf_model_name" in (config.get("extra_metadata") or ())


def _hook(values: Values) -> tuple[str, int]:
    hook_name = values.text("hook_name") or values.text("hook_point")
    if not hook_name:
        raise UnreadableSAE(f"{values.source} lacks 'hook_name': expected blocks.<layer>.hook_resid_post or the like")
    key = "hook_layer" if "hook_layer" in values else "hook_point_layer"
    if key in values:
        hook_name = hook_name.replace("{layer}", str(values.layer(key)))
    layer = hook_layer(hook_name)
    if key in values and values.layer(key) != layer:
        raise UnreadableSAE(
            f"{values.source}: {key} is {values.layer(key)}, and the hook is {hook_name}: expected one layer"
        )
    if "hook_name_out" in values and values.text("hook_name_out") != hook_name:
        raise UnreadableSAE(f"{values.source} is of a transcoder, which does not steer where it reads: expected an SAE")
    return hook_name, layer


def _encoder(values: Values, d_sae: int) -> dict[str, Any]:
    architecture = values.text("architecture", "standard")
    architecture = SAME_ENCODER.get(architecture, architecture)
    kwargs = values.section("activation_fn_kwargs")
    k = None
    if architecture == "standard" and "topk" in (values.text("activation_fn"), values.text("activation_fn_str")):
        architecture, k = "topk", kwargs.count("k", d_sae)
    elif architecture == "topk":
        k = (values if "k" in values else kwargs).count("k", d_sae)
    return {
        "format": "saelens",
        "architecture": check_sae_architecture(architecture),
        "k": k,
        "apply_b_dec_to_input": values.flag("apply_b_dec_to_input", True),
        "rescale_by_decoder_norm": values.flag("rescale_acts_by_decoder_norm", False),
    }


def _mistudio(values: Values, d_sae: int) -> dict[str, Any]:
    architecture, k = values.text("architecture", "standard"), None
    extra = values.section("extra_metadata")
    if architecture == "skip":  # past the decoder only
        architecture = "standard"
    if architecture == "standard" and "top_k_sparsity" in extra:
        percentage = extra.number("top_k_sparsity")
        if not 0 <= percentage <= 100:
            raise UnreadableSAE(f"{values.source}: top_k_sparsity is {percentage}: expected 0 to 100 (percent)")
        architecture, k = "topk", max(1, int(percentage / 100 * d_sae))
    return {
        "format": "mistudio",
        "architecture": check_sae_architecture(architecture),
        "k": k,
        "apply_b_dec_to_input": values.flag("apply_b_dec_to_input", False),
    }


def _normalization(values: Values) -> str:
    """The normalisation of an activation before the encoder; one that was folded into the weights is none."""
    name = values.values.get("normalize_activations") or "none"
    if isinstance(name, bool):  # before it had names, the dataset-wise kind
        return "none"
    if name in ("none", "expected_average_only_in", "covariance_whitening"):
        return "none"
    if name in ("constant_norm_rescale", "layer_norm"):
        return str(name)
    raise UnreadableSAE(f"{values.source}: normalize_activations {str(name)[:100]!r} is not supported")
