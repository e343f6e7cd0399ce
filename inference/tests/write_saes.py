"""Writes small SAEs with the libraries of saelibs.txt, and what these compute: `write_saes.py FOLDER [INPUTS.npz]`.

It runs with these libraries on PYTHONPATH and the main environment's torch. FOLDER/expected.npz has the inputs `x`,
(8, D_IN), and by each SAE's path in FOLDER its activations, (8, d_sae), and by path:decoder its decoder, (d_sae, d_in).
INPUTS.npz has by the path of each SAE other inputs for it, (n, D_IN).
"""

# mypy: disable-error-code="import-not-found, import-untyped"

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel  # noqa: F401  # before the stand-ins below, which it would take for installed

D_IN, D_SAE, K = 24, 64, 5
OUT = Path(sys.argv[1])
RESULTS: dict[str, np.ndarray] = {}


def stand_in(name: str, **members: Any) -> None:
    """A module of its own in place of one that only training needs."""
    module = sys.modules[name] = ModuleType(name)
    module.__dict__.update(members)


def package(name: str, **members: Any) -> None:
    """A package without its __init__, which imports what training needs: datasets, wandb, nnsight and so on."""
    paths = [str(Path(path) / name.replace(".", "/")) for path in sys.path]
    stand_in(name, __path__=[path for path in paths if Path(path).is_dir()], **members)


class HookPoint(nn.Identity):
    """transformer_lens's, without hooks the identity."""


class HookedRootModule(nn.Module):
    def setup(self) -> None:
        pass


stand_in("transformer_lens")
stand_in("transformer_lens.hook_points", HookPoint=HookPoint)
stand_in("transformer_lens.HookedTransformer", HookedRootModule=HookedRootModule)
stand_in("accelerate")
stand_in("accelerate.utils", send_to_device=None)
package("sae_lens", __version__="6.54.12", logger=logging.getLogger("sae_lens"))
package("sparsify")
package("dictionary_learning")
package("dictionary_learning.trainers")

from dictionary_learning import dictionary  # noqa: E402
from dictionary_learning.trainers import batch_top_k, gdm, jumprelu, matryoshka_batch_top_k, standard, top_k  # noqa: E402
from sae_lens import saes  # noqa: E402
from sae_lens.loading import pretrained_sae_loaders as loaders  # noqa: E402
from sae_lens.registry import register_sae_class  # noqa: E402
from sae_lens.saes.sae import SAEMetadata  # noqa: E402
from sparsify.config import SparseCoderConfig  # noqa: E402
from sparsify.sparse_coder import SparseCoder  # noqa: E402

# As sae_lens's own __init__ does.
register_sae_class("standard", saes.StandardSAE, saes.StandardSAEConfig)
register_sae_class("jumprelu", saes.JumpReLUSAE, saes.JumpReLUSAEConfig)
register_sae_class("topk", saes.TopKSAE, saes.TopKSAEConfig)
register_sae_class("gated", saes.GatedSAE, saes.GatedSAEConfig)

RANDOM = torch.Generator().manual_seed(1)
X = torch.randn(8, D_IN, generator=RANDOM) * 3
INPUTS = {path: torch.from_numpy(x) for path, x in np.load(sys.argv[2]).items()} if len(sys.argv) > 2 else {}


def randomize(module: nn.Module) -> None:
    """Weights with which about half of the features are active, and no parameter is as it was made."""
    for name, parameter in module.named_parameters():
        scale = 0.3 if parameter.dim() == 2 else 0.5
        parameter.data = torch.randn(parameter.shape, generator=RANDOM) * scale
        if "threshold" in name:
            parameter.data = parameter.data.abs()


def expect(path: str, activations: Tensor, decoder: Tensor) -> None:
    RESULTS[path] = activations.detach().float().numpy()
    RESULTS[f"{path}:decoder"] = decoder.detach().float().numpy()


def write_json(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def saelens(name: str, hook_name: str, sae_class: Any, config_class: Any, **config: Any) -> Any:
    metadata = SAEMetadata(model_name="gpt2", hook_name=hook_name)
    sae = sae_class(config_class(d_in=D_IN, d_sae=D_SAE, metadata=metadata, **config))
    randomize(sae)
    sae.to(sae.dtype)
    sae.save_model(OUT / "saelens" / name)
    return sae


def saelens_new() -> None:
    """What SAELens 6 saves, encoded by what it loads back in float32."""
    post, standard_classes = "blocks.3.hook_resid_post", (saes.StandardSAE, saes.StandardSAEConfig)
    topk_classes, jumprelu_classes = (saes.TopKSAE, saes.TopKSAEConfig), (saes.JumpReLUSAE, saes.JumpReLUSAEConfig)
    saelens("standard", post, *standard_classes)
    saelens("no_b_dec", "blocks.0.hook_resid_pre", *standard_classes, apply_b_dec_to_input=False)
    saelens("constant_norm", post, *standard_classes, normalize_activations="constant_norm_rescale")
    saelens("layer_norm", post, *standard_classes, normalize_activations="layer_norm")
    saelens("float16", post, *standard_classes, dtype="float16")
    saelens("bfloat16", "blocks.3.hook_mlp_out", *jumprelu_classes, dtype="bfloat16")
    saelens("jumprelu", "blocks.3.hook_attn_out", *jumprelu_classes)
    saelens("topk", post, *topk_classes, k=K)
    saelens("topk_rescaled", post, *topk_classes, k=K, rescale_acts_by_decoder_norm=True)
    saelens("gated", post, saes.GatedSAE, saes.GatedSAEConfig)
    for folder in sorted((OUT / "saelens").iterdir()):
        saelens_expected(f"saelens/{folder.name}")


def saelens_batchtopk() -> None:
    """A BatchTopK as training checkpoints it, encoded as what training saves of it for inference."""
    classes = (saes.BatchTopKTrainingSAE, saes.BatchTopKTrainingSAEConfig)
    sae = saelens("batchtopk", "blocks.3.hook_resid_post", *classes, k=K)
    sae.topk_threshold = torch.tensor(0.4, dtype=torch.double)
    sae.save_model(OUT / "saelens" / "batchtopk")
    sae.save_inference_model(OUT / "saelens" / "batchtopk_saved")
    saelens_expected("saelens/batchtopk_saved")
    RESULTS["saelens/batchtopk"] = RESULTS["saelens/batchtopk_saved"]


def saelens_old() -> None:
    """Configurations of SAELens before 6: keys at the top level, first `hook_point`, topk as an activation function."""
    old = {"d_in": D_IN, "d_sae": D_SAE, "dtype": "torch.float32", "device": "cpu", "model_name": "gpt2-small"}
    top_k = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}}
    for name, config in {
        "first": old | {"hook_point": "blocks.8.hook_resid_pre", "hook_point_layer": 8, "normalize_activations": False},
        "later": old | {"hook_name": "blocks.8.hook_resid_pre", "hook_layer": 8, "architecture": "standard"},
        "topk": old | {"hook_name": "blocks.8.hook_resid_pre", "hook_layer": 8, "hook_head_index": None} | top_k,
    }.items():
        folder = OUT / "saelens_old" / name
        sae = saes.StandardSAE(saes.StandardSAEConfig(d_in=D_IN, d_sae=D_SAE))
        randomize(sae)
        sae.save_model(folder)
        write_json(folder / "cfg.json", config)
        saelens_expected(f"saelens_old/{name}")


def saelens_expected(
    path: str, converter: Callable[..., Any] = loaders.sae_lens_disk_loader, scale: float = 1.0
) -> None:
    sae = saes.SAE.load_from_disk(OUT / path, dtype="float32", converter=converter)
    if scale != 1.0:
        sae.fold_activation_norm_scaling_factor(scale)
    expect(path, sae.encode(INPUTS.get(path, X)) / scale, sae.W_dec * scale)


def by_hub_loader(path: str, loader: Callable[..., Any], scale: float = 1.0) -> None:
    """What SAELens makes of another project's files as they lie on the hub, which here is the folder OUT."""

    def hf_hub_download(repo_id: str, filename: str, subfolder: str = "", force_download: bool = False) -> str:
        return str(OUT / repo_id / subfolder / filename)

    repository, _, folder = path.partition("/")

    def convert(_path: Path, device: str, cfg_overrides: dict[str, Any]) -> Any:
        overrides = {"d_in": D_IN, "d_sae": D_SAE, "device": device, **cfg_overrides}
        return loader(repository, folder, device, False, overrides)[:2]

    loaders.hf_hub_download = hf_hub_download
    saelens_expected(path, convert, scale)


def gemma_scope() -> None:
    """Only weights, as in https://huggingface.co/google/gemma-scope; SAELens reads them."""
    for path, save in {
        "gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71": np.savez,
        "gemma-scope-9b-it-mlp/layer_7/width_16k/average_l0_9": np.savez_compressed,
    }.items():
        sae = saes.JumpReLUSAE(saes.JumpReLUSAEConfig(d_in=D_IN, d_sae=D_SAE))
        randomize(sae)
        (OUT / path).mkdir(parents=True)
        save(OUT / path / "params.npz", **{name: value.numpy() for name, value in sae.state_dict().items()})
        by_hub_loader(path, loaders.gemma_2_sae_huggingface_loader)


def llama_scope() -> None:
    """As in https://huggingface.co/fnlp/Llama-Scope; SAELens reads them, and knows no norms of the decoder but 1."""
    path = "Llama3_1-8B-Base-LXR-8x/Llama3_1-8B-Base-L15R-8x"
    encoder, decoder = nn.Linear(D_IN, D_SAE), nn.Linear(D_SAE, D_IN)
    randomize(encoder)
    randomize(decoder)
    decoder.weight.data /= decoder.weight.data.norm(dim=0)
    tensors = {f"encoder.{name}": value.contiguous() for name, value in encoder.state_dict().items()}
    tensors |= {f"decoder.{name}": value.contiguous() for name, value in decoder.state_dict().items()}
    (OUT / path / "checkpoints").mkdir(parents=True)
    from safetensors.torch import save_file

    save_file(tensors, OUT / path / "checkpoints" / "final.safetensors")
    hook_point = "blocks.15.hook_resid_post"
    config = {
        "hook_point_in": hook_point,
        "hook_point_out": hook_point,
        "d_model": D_IN,
        "d_sae": D_SAE,
        "act_fn": "jumprelu",
        "jump_relu_threshold": 0.53,
        "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": 17.125, "out": 17.125},
        "apply_decoder_bias_to_pre_encoder": False,
        "sparsity_include_decoder_norm": True,
        "top_k": 50,
    }
    write_json(OUT / path / "hyperparams.json", config)
    by_hub_loader(path, loaders.llama_scope_sae_huggingface_loader, D_IN**0.5 / 17.125)


def sparsify() -> None:
    for path, config in {
        "run/layers.12": SparseCoderConfig(num_latents=D_SAE, k=K),
        "run/layers.2.mlp": SparseCoderConfig(expansion_factor=2, k=K, skip_connection=True),
        "run/h.4.attn": SparseCoderConfig(num_latents=D_SAE, k=8, activation="groupmax"),
    }.items():
        coder = SparseCoder(D_IN, config)
        randomize(coder)
        coder.save_to_disk(OUT / path)
        top = SparseCoder.load_from_disk(OUT / path).encode(INPUTS.get(path, X))
        expect(path, torch.zeros_like(top.pre_acts).scatter(-1, top.top_indices, top.top_acts), coder.W_dec)
    write_json(OUT / "run" / "config.json", {"model": "EleutherAI/pythia-160m"})


def dictionary_learning() -> None:
    """Saved as `training.trainSAE` does it, loaded as `utils.load_dictionary` does it."""
    common = {"steps": 9000, "activation_dim": D_IN, "dict_size": D_SAE, "layer": 3, "lm_name": "EleutherAI/pythia-70m"}
    common |= {"device": "cpu", "submodule_name": "resid_post_layer_3"}
    thresholds = {"threshold": torch.tensor(0.4)}
    groups = {"group_fractions": [0.5, 0.5]}
    for name, trainer_class, dictionary_class, more, buffers in [
        ("standard", standard.StandardTrainer, dictionary.AutoEncoder, {}, {}),
        ("gated", gdm.GatedSAETrainer, dictionary.GatedAutoEncoder, {}, {}),
        ("jumprelu", jumprelu.JumpReluTrainer, dictionary.JumpReluAutoEncoder, {}, {}),
        ("topk", top_k.TopKTrainer, top_k.AutoEncoderTopK, {"k": K}, thresholds),
        ("batchtopk", batch_top_k.BatchTopKTrainer, batch_top_k.BatchTopKSAE, {"k": K}, thresholds),
        (
            "matryoshka",
            matryoshka_batch_top_k.MatryoshkaBatchTopKTrainer,
            matryoshka_batch_top_k.MatryoshkaBatchTopKSAE,
            {"k": K} | groups,
            thresholds,
        ),
    ]:
        trainer = trainer_class(**common, **more)
        shaped = {key: value.clone() for key, value in trainer.ae.state_dict().items()}
        randomize(trainer.ae)
        state = {key: shaped[key].copy_(value) for key, value in trainer.ae.state_dict().items()} | buffers
        folder = OUT / "dictionary_learning" / name
        write_json(folder / "config.json", {"trainer": trainer.config, "buffer": {"ctx_len": 128}})
        torch.save(state, folder / "ae.pt")
        loaded = dictionary_class.from_pretrained(str(folder / "ae.pt"))
        decoder = state["W_dec"] if "W_dec" in state else state["decoder.weight"].T
        path = f"dictionary_learning/{name}"
        expect(path, loaded.encode(INPUTS.get(path, X)), decoder)


for write in (saelens_new, saelens_batchtopk, saelens_old, gemma_scope, llama_scope, sparsify, dictionary_learning):
    write()
arrays: dict[str, Any] = {"x": X.numpy(), **RESULTS}
np.savez(OUT / "expected.npz", **arrays)
