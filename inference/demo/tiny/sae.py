"""The demo's sparse autoencoder: TopK (Gao et al. 2024, arXiv:2406.04093), saved in SAELens format."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

D_SAE, K = 512, 16


class TopKSAE(nn.Module):
    """x ~ TopK(relu((x - b_dec) W_enc + b_enc)) W_dec + b_dec; the rows of W_dec have norm 1."""

    def __init__(self, d_in: int, mean: Tensor) -> None:
        super().__init__()
        decoder = nn.functional.normalize(torch.randn(D_SAE, d_in), dim=-1)
        self.W_dec = nn.Parameter(decoder)
        self.W_enc = nn.Parameter(decoder.T.clone())
        self.b_enc = nn.Parameter(torch.zeros(D_SAE))
        self.b_dec = nn.Parameter(mean.clone())

    def encode(self, x: Tensor) -> Tensor:
        """Activations (tokens, d_sae) of residuals (tokens, d_in)."""
        pre = torch.relu((x - self.b_dec) @ self.W_enc + self.b_enc)
        values, indices = pre.topk(K, dim=-1)
        return torch.zeros_like(pre).scatter(-1, indices, values)

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(x) @ self.W_dec + self.b_dec


def train_sae(residuals: Tensor, steps: int, batch: int = 1024) -> TopKSAE:
    """An SAE of `residuals`, (tokens, d_in)."""
    sae = TopKSAE(residuals.size(1), residuals.mean(0))
    optimizer = torch.optim.Adam(sae.parameters(), lr=2e-3)
    variance = residuals.var(0).sum()
    progress = tqdm(range(steps), desc="SAE")
    for _ in progress:
        x = residuals[torch.randint(len(residuals), (batch,))]
        error = (sae(x) - x).pow(2).sum(-1).mean() / variance
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        with torch.no_grad():
            sae.W_dec.copy_(nn.functional.normalize(sae.W_dec, dim=-1))
        progress.set_postfix(unexplained=f"{error.item():.3f}")
    return sae.eval()


def save_sae(sae: TopKSAE, layer: int, folder: Path) -> None:
    """Write `cfg.json` and `sae_weights.safetensors` as SAELens does."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: parameter.detach().contiguous() for name, parameter in sae.named_parameters()}
    save_file(weights, folder / "sae_weights.safetensors")
    config = {
        "architecture": "topk",
        "k": K,
        "d_in": sae.W_dec.size(1),
        "d_sae": D_SAE,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "model_name": "demo",
            "hook_name": f"blocks.{layer}.hook_resid_post",
            "prepend_bos": True,
            "context_size": 160,
        },
    }
    (folder / "cfg.json").write_text(json.dumps(config, indent=2) + "\n")
