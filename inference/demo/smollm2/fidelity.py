"""How well the SAE stands for the residual stream: the figures that are stated beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

ROWS = 8


@dataclass(frozen=True)
class Fidelity:
    """The figures of an SAE over texts that it was not trained on.

    `explained` is the share of the variance of the residual stream, `active` the mean number of features at a token,
    `dead` the share of features that are active at none of the tokens. The three losses are the model's mean
    cross-entropy in nats a token: as it is, with the reconstruction in place of the residual stream, and with its mean.
    """

    tokens: int
    explained: float
    active: float
    dead: float
    loss: float
    loss_with_sae: float
    loss_with_mean: float

    @property
    def recovered(self) -> float:
        """The share of the loss between mean and model that the reconstruction keeps."""
        return (self.loss_with_mean - self.loss_with_sae) / (self.loss_with_mean - self.loss)


class JumpReLU:
    """The SAE of `weights`, float32, by the names of SAELens."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights

    def encode(self, x: Tensor) -> Tensor:
        """(tokens, d_sae) of residuals (tokens, d_model)."""
        pre = (x - self._weights["b_dec"]) @ self._weights["W_enc"] + self._weights["b_enc"]
        return torch.relu(pre) * (pre > self._weights["threshold"])

    def decode(self, f: Tensor) -> Tensor:
        return f @ self._weights["W_dec"] + self._weights["b_dec"]


class Exchange:
    """Puts something else in the place of the residual stream after a block, at the tokens that count."""

    def __init__(self, model: PreTrainedModel, layer: int) -> None:
        self._model = model
        self._hook = model.base_model.layers[layer].register_forward_hook(self._replace)
        self.kept: list[Tensor] = []
        self.instead: list[Tensor] | None = None
        self._starts: list[tuple[int, int]] = []

    def _replace(self, module: object, args: object, output: Tensor) -> Tensor:
        self.kept = [row[start:end] for row, (start, end) in zip(output, self._starts, strict=True)]
        if self.instead is None:
            return output
        changed = output.clone()
        for row, (start, end), values in zip(changed, self._starts, self.instead, strict=True):
            row[start:end] = values
        return changed

    @torch.inference_mode()
    def loss(self, rows: Sequence[tuple[list[int], int]], instead: "list[Tensor] | None" = None) -> tuple[float, int]:
        """The summed cross-entropy of the tokens behind those that count, and their number."""
        self.instead, self._starts = instead, [(start, len(ids)) for ids, start in rows]
        longest = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids, _ in rows])
        hidden = self._model.base_model(ids, use_cache=False).last_hidden_state
        head, total, tokens = self._model.get_output_embeddings(), 0.0, 0
        for states, (row, start) in zip(hidden, rows, strict=True):
            logits = head(states[start : len(row) - 1]).float()
            total += float(torch.nn.functional.cross_entropy(logits, torch.tensor(row[start + 1 :]), reduction="sum"))
            tokens += len(row) - start - 1
        return total, tokens

    def close(self) -> None:
        self._hook.remove()


def fidelity(
    model: PreTrainedModel, layer: int, sae: JumpReLU, rows: Sequence[tuple[list[int], int]], mean: Tensor
) -> Fidelity:
    """Measure the SAE at `rows`: token ids, and the position of the first token that counts."""
    exchange = Exchange(model, layer)
    losses, tokens, seen, active = [0.0, 0.0, 0.0], 0, 0, 0
    error, variance, fired = 0.0, 0.0, torch.zeros(1, dtype=torch.bool)
    try:
        for begin in range(0, len(rows), ROWS):
            some = rows[begin : begin + ROWS]
            found = [exchange.loss(some)]
            kept = exchange.kept
            f = [sae.encode(x) for x in kept]
            rebuilt = [sae.decode(one) for one in f]
            found.append(exchange.loss(some, rebuilt))
            found.append(exchange.loss(some, [mean.expand_as(x) for x in kept]))
            losses = [total + one for total, (one, _) in zip(losses, found, strict=True)]
            tokens += found[0][1]
            x, x_rebuilt, every = torch.cat(kept), torch.cat(rebuilt), torch.cat(f)
            seen, active = seen + len(x), active + int((every > 0).sum())
            error, variance = error + float((x - x_rebuilt).pow(2).sum()), variance + float((x - mean).pow(2).sum())
            fired = fired | (every > 0).any(0)
    finally:
        exchange.close()
    dead = 1 - float(fired.float().mean())
    loss, with_sae, with_mean = (total / tokens for total in losses)
    return Fidelity(seen, 1 - error / variance, active / seen, dead, loss, with_sae, with_mean)
