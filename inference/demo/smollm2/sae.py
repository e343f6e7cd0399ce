"""A BatchTopK SAE (Bussmann, Leask, Nanda 2024, arXiv:2412.06410), trained over shards and saved as JumpReLU.

While it trains, the largest `K` activations of each token count, in the mean of a batch; afterwards a feature counts
where it is above one threshold, the mean of the smallest activation that counted in a batch. So SAELens saves it too.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from inference.engine.loading import cpu_has_bfloat16

MODEL_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
D_SAE, K = 4096, 32
BATCH = 2048
LEARNING_RATE = 1e-3
DECAY = 0.25
"""The last share of the steps, in which the learning rate falls to 0."""
DEAD_AFTER = 200_000
"""Tokens after which a feature that never counted is dead, and is trained on what the others leave unexplained."""
DEAD_K, DEAD_WEIGHT = 256, 1 / 32
"""The dead features that count at a token, and the weight of their loss (Gao et al. 2024, arXiv:2406.04093)."""


class BatchTopK(nn.Module):
    """x ~ f W_dec + b_dec with f the largest K·batch of relu((x − b_dec) W_enc + b_enc); rows of W_dec have norm 1."""

    def __init__(self, mean: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        decoder = nn.functional.normalize(torch.randn(D_SAE, mean.numel(), generator=generator), dim=-1)
        self.W_dec = nn.Parameter(decoder)
        self.W_enc = nn.Parameter(decoder.T.clone())
        self.b_enc = nn.Parameter(torch.zeros(D_SAE))
        self.b_dec = nn.Parameter(mean.clone())

    def activations(self, x: Tensor) -> Tensor:
        """(tokens, d_sae) of residuals (tokens, d_model), before the choice."""
        return torch.relu(product(x - self.b_dec, self.W_enc) + self.b_enc)

    def decode(self, f: Tensor) -> Tensor:
        return product(f, self.W_dec) + self.b_dec


def product(a: Tensor, b: Tensor) -> Tensor:
    """The matrix product, float32; from factors in bfloat16 on a processor that multiplies these twice as fast."""
    with torch.autocast("cpu", torch.bfloat16, enabled=cpu_has_bfloat16()):
        return (a @ b).float()


@dataclass
class Progress:
    """What a training needs to go on: besides the weights, when each feature last counted and the threshold."""

    idle: Tensor
    threshold: Tensor
    step: int = 0


class Trainer:
    """Trains one SAE over shards of activations, whose `scale` makes the mean squared length d_model."""

    def __init__(self, shards: Sequence[Path], epochs: int, seed: int) -> None:
        self._shards, self._epochs, self._seed = shards, epochs, seed
        sample = torch.from_numpy(np.load(shards[0])).float()
        self.scale = (sample.size(1) / sample.pow(2).sum(-1).mean()).sqrt()
        self._variance = (sample * self.scale).var(0).sum()
        self.sae = BatchTopK(sample.mean(0) * self.scale, torch.Generator().manual_seed(seed))
        self._optimizer = torch.optim.Adam(self.sae.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.999))
        self._steps = epochs * sum(len(np.load(shard, mmap_mode="r")) // BATCH for shard in shards)
        self._progress = Progress(torch.zeros(D_SAE), torch.tensor(0.0))

    def train(self, checkpoint: Path) -> None:
        """Train to the end; after each shard the state goes into `checkpoint`, from which a new training goes on."""
        if checkpoint.exists():
            self._restore(torch.load(checkpoint, weights_only=True))
        done = 0
        with tqdm(total=self._steps, initial=self._progress.step, desc="SAE", mininterval=10) as progress:
            for shard in self._order():
                batches = len(np.load(shard, mmap_mode="r")) // BATCH
                done += batches
                if done <= self._progress.step:
                    continue
                for x in self._batches(shard):
                    unexplained = self._step(x)
                    progress.update()
                progress.set_postfix(
                    unexplained=f"{unexplained:.3f}", dead=int((self._progress.idle > DEAD_AFTER).sum())
                )
                partial = checkpoint.with_suffix(".partial")
                torch.save(self._state(), partial)
                partial.rename(checkpoint)

    def _order(self) -> Iterator[Path]:
        generator = torch.Generator().manual_seed(self._seed)
        for _ in range(self._epochs):
            yield from (self._shards[number] for number in torch.randperm(len(self._shards), generator=generator))

    def _batches(self, shard: Path) -> Iterator[Tensor]:
        rows = torch.from_numpy(np.load(shard))
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self._seed + self._progress.step))
        for number in range(len(rows) // BATCH):
            yield rows[order[number * BATCH : (number + 1) * BATCH]].float() * self.scale

    def _step(self, x: Tensor) -> float:
        """One step of the optimizer; returns the share of the variance that is unexplained."""
        share = (self._steps - self._progress.step) / (self._steps * DECAY)
        self._optimizer.param_groups[0]["lr"] = LEARNING_RATE * min(1.0, share)
        pre = self.sae.activations(x)
        # Few tokens have more than four times the mean number: a choice among all activations would take far longer.
        largest = pre.topk(min(4 * K, D_SAE), dim=-1, sorted=False).values.flatten()
        least = largest.topk(K * len(x), sorted=False).values.min()
        counted = pre * (pre >= least.clamp(min=1e-6))
        error = x - self.sae.decode(counted)
        unexplained = error.pow(2).sum(-1).mean() / self._variance
        loss = unexplained + DEAD_WEIGHT * self._dead_loss(pre, error.detach())
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.sae.parameters(), 1.0)
        self._optimizer.step()
        self._after(counted, least)
        return unexplained.item()

    def _dead_loss(self, pre: Tensor, error: Tensor) -> Tensor:
        """The share of `error` that the dead features leave unexplained."""
        dead = (self._progress.idle > DEAD_AFTER).nonzero().squeeze(1)
        if not len(dead):
            return torch.zeros(())
        values, chosen = pre[:, dead].topk(min(DEAD_K, len(dead)), dim=-1)
        few = torch.zeros(len(pre), len(dead)).scatter(-1, chosen, values)
        return (few @ self.sae.W_dec[dead] - error).pow(2).sum(-1).mean() / error.pow(2).sum(-1).mean()

    @torch.no_grad()
    def _after(self, counted: Tensor, least: Tensor) -> None:
        self.sae.W_dec.copy_(nn.functional.normalize(self.sae.W_dec, dim=-1))
        progress = self._progress
        progress.idle = torch.where((counted > 0).any(0), 0.0, progress.idle + len(counted))
        progress.threshold = least if not progress.step else torch.lerp(progress.threshold, least, 0.01)
        progress.step += 1

    def _state(self) -> dict[str, object]:
        return {
            "sae": self.sae.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "progress": vars(self._progress),
        }

    def _restore(self, state: dict[str, dict[str, object]]) -> None:
        self.sae.load_state_dict(state["sae"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._progress = Progress(**state["progress"])  # type: ignore[arg-type]

    @torch.no_grad()
    def weights(self) -> dict[str, Tensor]:
        """The weights as a JumpReLU SAE of unscaled activations, by the names of SAELens, float16.

        A threshold is compared with what the encoder gives before the jump.
        """
        threshold = (self._progress.threshold / self.scale).expand(D_SAE)
        found = {
            "W_enc": self.sae.W_enc,
            "W_dec": self.sae.W_dec,
            "b_enc": self.sae.b_enc / self.scale,
            "b_dec": self.sae.b_dec / self.scale,
            "threshold": threshold,
        }
        return {name: value.detach().to(torch.float16).contiguous() for name, value in found.items()}


def save(weights: dict[str, Tensor], layer: int, folder: Path, context: int) -> None:
    """Write `cfg.json` and `sae_weights.safetensors` as SAELens does."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "sae_weights.safetensors")
    config = {
        "architecture": "jumprelu",
        "d_in": weights["W_dec"].size(1),
        "d_sae": weights["W_dec"].size(0),
        "dtype": "float16",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "model_name": MODEL_NAME,
            "hook_name": f"blocks.{layer}.hook_resid_post",
            "prepend_bos": True,
            "context_size": context,
        },
    }
    (folder / "cfg.json").write_text(json.dumps(config, indent=2) + "\n")


def read(folder: Path) -> dict[str, Tensor]:
    """The weights in `folder`, float32."""
    return {name: value.float() for name, value in load_file(folder / "sae_weights.safetensors").items()}
