"""The encoders of SAEs: they compute the activations of features from the residual stream of a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from inference.engine.saes.decoder import decoder_chunks, decoder_rows, unpickled_tensors
from steering.formats import BrokenDecoder, SAEConfig
from steering.formats.tensors import stored_tensors

# What each format calls a tensor.
NAMES = {
    "weight": ("W_enc", "w_enc", "encoder.weight"),
    "bias": ("b_enc", "encoder.bias"),
    "b_dec": ("b_dec", "decoder.bias", "decoder_bias", "bias"),
    "threshold": ("threshold", "topk_threshold"),
    "log_threshold": ("log_threshold",),
    "gate_bias": ("b_gate", "gate_bias"),
    "magnitude_bias": ("b_mag", "mag_bias"),
    "log_magnitude": ("r_mag",),
}


@dataclass(frozen=True)
class Encoder:
    """The encoder of an SAE: `weight` is (d_in, d_sae), the other tensors broadcast with their operands.

    `bias`, `threshold` and `scale`, (d_sae,), are zero, zero and one where the SAE has none.
    """

    config: SAEConfig
    weight: Tensor
    subtracted: Tensor
    bias: Tensor
    scale: Tensor
    threshold: Tensor
    magnitude_bias: Tensor
    magnitude: Tensor

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """The activations of the features, (batch, d_sae), for `x` (batch, d_in) from the SAE's hook point."""
        x = NORMALIZATIONS[self.config.normalize_activations](x.to(self.weight)) - self.subtracted
        return ACTIVATIONS[self.config.architecture](self, x @ self.weight)

    def of_feature(self, column: int) -> "Encoder":
        """The encoder of one feature, by its column in `weight`; only of an elementwise architecture."""
        vectors = [field.name for field in fields(self) if field.name not in {"config", "weight", "subtracted"}]
        one = {name: value[column : column + 1] for name in vectors if (value := getattr(self, name)).dim()}
        return replace(self, weight=self.weight[:, column : column + 1], **one)

    def _pre(self, projected: Tensor) -> Tensor:
        return (projected + self.bias) * self.scale

    def standard(self, projected: Tensor) -> Tensor:
        return self._pre(projected).relu()

    def jumprelu(self, projected: Tensor) -> Tensor:
        pre = self._pre(projected)
        return pre.relu() * (pre > self.threshold)

    def topk(self, projected: Tensor) -> Tensor:
        pre = self.standard(projected)
        assert self.config.k is not None
        values, indices = pre.topk(self.config.k, dim=-1, sorted=False)
        return torch.zeros_like(pre).scatter(-1, indices, values)

    def groupmax(self, projected: Tensor) -> Tensor:
        """The largest of each of k groups of neighbours."""
        pre = self.standard(projected)
        assert self.config.k is not None
        groups = pre.unflatten(-1, (self.config.k, -1))
        values, indices = groups.max(dim=-1, keepdim=True)
        return torch.zeros_like(groups).scatter(-1, indices, values).flatten(-2)

    def gated(self, projected: Tensor) -> Tensor:
        """https://arxiv.org/abs/2404.16014: `bias` opens the gate, the magnitude has a scale and a bias of its own."""
        opened = projected + self.bias > 0
        return opened * (projected * self.magnitude + self.magnitude_bias).relu() * self.scale


ACTIVATIONS: dict[str, Callable[[Encoder, Tensor], Tensor]] = {
    "standard": Encoder.standard,
    "jumprelu": Encoder.jumprelu,
    # As batches go by in training, the k best of a batch become whatever is above one threshold.
    "batchtopk": Encoder.jumprelu,
    "topk": Encoder.topk,
    "groupmax": Encoder.groupmax,
    "gated": Encoder.gated,
}


ELEMENTWISE = frozenset({"standard", "jumprelu", "batchtopk", "gated"})
"""The architectures whose features do not compete: each activation depends on the feature's own weights alone."""


def _constant_norm(x: Tensor) -> Tensor:
    """Each activation scaled to the norm sqrt(d_in)."""
    norms: Tensor = x.norm(dim=-1, keepdim=True)
    return x * (sqrt(x.shape[-1]) / norms.clamp(min=1e-6))


def _layer_norm(x: Tensor) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    scaled: Tensor = centred / (centred.std(dim=-1, keepdim=True) + 1e-5)
    return scaled


NORMALIZATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "constant_norm_rescale": _constant_norm,
    "layer_norm": _layer_norm,
}


def load_encoder(
    config: SAEConfig, device: str | torch.device, dtype: torch.dtype, indices: Sequence[int] | None = None
) -> Encoder:
    """The encoder of an SAE in memory on `device`: all of it, or that of the features `indices`, in their order.

    `indices` are for the ELEMENTWISE architectures. Only their rows of the weights are read. Raises UnreadableSAE or
    BrokenDecoder.
    """
    load = _Loader(config, device, dtype, indices)
    d_in, d_sae, gated = config.d_in, config.d_sae, config.architecture == "gated"
    return Encoder(
        config=config,
        weight=load.weight(),
        subtracted=load.vector("b_dec", d_in, 0.0) * config.bias_scale
        if config.apply_b_dec_to_input
        else load.full(0.0),
        bias=load.vector("gate_bias" if gated else "bias", d_sae, None if gated else 0.0) * config.bias_scale,
        scale=load.decoder_norms() if config.rescale_by_decoder_norm else load.full(1.0),
        threshold=load.threshold(),
        magnitude_bias=load.vector("magnitude_bias", d_sae) if gated else load.full(0.0),
        magnitude=load.vector("log_magnitude", d_sae).exp() if gated else load.full(1.0),
    )


class _Loader:
    """The tensors of an encoder, found by any of their names, checked and moved to where they are used."""

    def __init__(
        self, config: SAEConfig, device: str | torch.device, dtype: torch.dtype, indices: Sequence[int] | None
    ) -> None:
        self.config, self.device, self.dtype, self.indices = config, device, dtype, indices
        pickled = config.weights.suffix == ".pt"
        self._tensors = unpickled_tensors(config) if pickled else {}
        self._stored = {} if pickled else stored_tensors(config.weights)

    def full(self, value: float) -> Tensor:
        return torch.tensor(value, device=self.device, dtype=self.dtype)

    def weight(self) -> Tensor:
        name = self._name("weight")
        d_in, d_sae = self.config.d_in, self.config.d_sae
        if self.indices is not None:
            return self._columns(name, self.indices)
        values = self._read(name)
        # the name decides for a square one: `encoder.weight` is a torch.nn.Linear's, (d_sae, d_in)
        if tuple(values.shape) == (d_sae, d_in) and (d_sae != d_in or name == "encoder.weight"):
            values = values.T.contiguous()
        return self._checked(name, values, (d_in, d_sae))

    def _columns(self, name: str, indices: Sequence[int]) -> Tensor:
        """The weights of single features, (d_in, features), read as the rows of a decoder are."""
        d_in, d_sae = self.config.d_in, self.config.d_sae
        shape = tuple((self._tensors[name] if name in self._tensors else self._stored[name]).shape)
        # the name decides for a square one, as above
        by_feature = shape == (d_sae, d_in) and (d_sae != d_in or name == "encoder.weight")
        rows = decoder_rows(replace(self.config, decoder=name, transposed=not by_feature), indices)
        return self._checked(name, torch.from_numpy(rows).T, (d_in, len(indices)))

    def vector(self, role: str, size: int, default: float | None = None) -> Tensor:
        """A vector of the file, (size,), or the `default` where the file has none. Raises BrokenDecoder.

        Of a vector over all features only those of the indices.
        """
        name = self._name(role, missing=default is not None)
        return (
            self._of_features(role, self._checked(name, self._read(name), (size,)))
            if name
            else self.full(default or 0.0)
        )

    def _of_features(self, role: str, values: Tensor) -> Tensor:
        return values if self.indices is None or role == "b_dec" or not values.dim() else values[list(self.indices)]

    def threshold(self) -> Tensor:
        """The threshold, (d_sae,) or (), which a jumprelu or batchtopk encoder must have."""
        config = self.config
        if config.threshold is not None or config.architecture not in ("jumprelu", "batchtopk"):
            return self.full(config.threshold or 0.0)
        name = self._name("threshold", missing=True) or self._name("log_threshold")
        values = self._read(name)
        checked = self._checked(name, values, (config.d_sae,) if values.dim() else ())
        return self._of_features("threshold", checked.exp() if name in NAMES["log_threshold"] else checked)

    def decoder_norms(self) -> Tensor:
        """The norms of the decoder's rows, (features,)."""
        if self.indices is not None:
            rows = decoder_rows(self.config, self.indices)
            return self._checked(self.config.decoder, torch.from_numpy(rows).norm(dim=1), (len(rows),))
        with np.errstate(over="ignore"):  # an infinite norm is refused below
            norms = np.concatenate([np.linalg.norm(block, axis=1) for block in decoder_chunks(self.config)])
        return self._checked(self.config.decoder, torch.from_numpy(norms), (self.config.d_sae,))

    def _name(self, role: str, missing: bool = False) -> str:
        present = self._tensors.keys() | self._stored.keys()
        name = next((name for name in NAMES[role] if name in present), "")
        if not name and not missing:
            raise BrokenDecoder(f"{self.config.weights} has no {' or '.join(NAMES[role])}, which its encoder needs")
        return name

    def _read(self, name: str) -> Tensor:
        return self._tensors[name] if name in self._tensors else torch.from_numpy(self._stored[name].read())

    def _checked(self, name: str, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        if tuple(values.shape) != shape:
            raise BrokenDecoder(f"{self.config.weights}: {name} is {tuple(values.shape)}: expected {shape}")
        if not torch.isfinite(values).all():
            raise BrokenDecoder(f"{self.config.weights}: {name} has values that are not finite")
        return values.to(self.device, self.dtype)
