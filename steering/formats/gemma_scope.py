"""Gemma Scope: only weights; model, hook point and layer are in the name of the repository and the path.

Gemma Scope (https://huggingface.co/google/gemma-scope):
`gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71/params.npz`.
Gemma Scope 2, of Gemma 3: `gemma-scope-2-1b-pt/resid_post/layer_13_width_16k_l0_small/params.safetensors`.
"""

import re
from pathlib import Path

from steering.formats.config import LARGEST_D_IN, LARGEST_D_SAE, SAEConfig, UnreadableSAE
from steering.formats.tensors import StoredTensor, locate_decoder, stored_tensors

WEIGHTS_FILES = ("params.npz", "params.safetensors")
REPOSITORY = re.compile(r"gemma-scope-(?P<size>\d+b)-(?P<kind>pt|it)-(?P<site>[a-z]+)")
REPOSITORY_2 = re.compile(r"gemma-scope-2-(?P<size>\d+[bm])-(?P<kind>pt|it)(?![a-z])")
SITES = {"res": "hook_resid_post", "mlp": "hook_mlp_out"}
SITES_2 = {"resid_post": "hook_resid_post", "mlp_out": "hook_mlp_out"}
BEFORE_W_O = "the attention SAEs of Gemma Scope read the heads before W_O (hook_z), where no residual direction is"


def read(folder: Path, place: str) -> SAEConfig:
    """The configuration of a Gemma Scope folder. Raises UnreadableSAE."""
    weights = next(folder / name for name in WEIGHTS_FILES if (folder / name).is_file())
    second = _last(REPOSITORY_2, place)
    site, model_name = _second(second, place) if second else _first(place)
    layer = _layer(place)
    tensors = stored_tensors(weights)
    d_in = _d_in(tensors, weights)
    decoder, transposed, d_sae = locate_decoder(tensors, ("W_dec", "w_dec"), d_in, None, weights)
    if d_sae > LARGEST_D_SAE:
        raise UnreadableSAE(f"{weights} has {d_sae} features: expected at most {LARGEST_D_SAE}")
    return SAEConfig(
        format="gemma_scope",
        architecture="jumprelu",
        d_in=d_in,
        d_sae=d_sae,
        layer=layer,
        hook_name=f"blocks.{layer}.{site}",
        model_name=model_name,
        weights=weights,
        decoder=decoder,
        transposed=transposed,
        apply_b_dec_to_input=False,
    )


def _first(place: str) -> tuple[str, str]:
    match = _last(REPOSITORY, place)
    if match is None:
        raise UnreadableSAE(
            f"no repository in {place!r} says where it steers: expected gemma-scope-<size>-<pt|it>-<res|mlp>"
        )
    if "/embedding" in place[match.end() :]:
        raise UnreadableSAE(f"{place!r} is an SAE of the embedding: expected one of a layer")
    if match["site"] == "att":
        raise UnreadableSAE(f"{match[0]} is not supported: {BEFORE_W_O}")
    if match["site"] not in SITES:
        raise UnreadableSAE(f"{match[0]} is not supported: expected one of {', '.join(SITES)}")
    suffix = "-it" if match["kind"] == "it" else ""
    return SITES[match["site"]], f"google/gemma-2-{match['size']}{suffix}"


def _second(match: re.Match[str], place: str) -> tuple[str, str]:
    inside = place[match.end() :]
    if "attn_out" in inside:
        raise UnreadableSAE(f"{place!r} is not supported: {BEFORE_W_O}")
    site = next((site for site in SITES_2 if site in inside), None)
    if site is None or "transcoder" in inside or "clt" in inside:
        raise UnreadableSAE(f"the hook point of {place!r} is not supported: expected one of {', '.join(SITES_2)}")
    return SITES_2[site], f"google/gemma-3-{match['size']}-{match['kind']}"


def _last(pattern: re.Pattern[str], place: str) -> re.Match[str] | None:
    return max(pattern.finditer(place), key=lambda match: match.start(), default=None)


def _layer(place: str) -> int:
    layers = re.findall(r"(?<![a-z])layer_(\d{1,4})(?!\d)", place)
    if not layers:
        raise UnreadableSAE(f"no part of {place!r} is layer_<number>: expected the path of the SAE in its repository")
    return int(layers[-1])


def _d_in(tensors: dict[str, StoredTensor], weights: Path) -> int:
    shape = tensors["b_dec"].shape if "b_dec" in tensors else ()
    if len(shape) != 1 or not 1 <= shape[0] <= LARGEST_D_IN:
        raise UnreadableSAE(
            f"{weights} has no b_dec of a width up to {LARGEST_D_IN}: expected the tensors of Gemma Scope"
        )
    return shape[0]
