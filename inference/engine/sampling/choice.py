"""The choice of a token by chance: filters, and noise whose argmax is a sample.

Gumbel-max sampling (Gumbel 1954; Maddison et al. 2014, arXiv:1411.0030): argmax(log p + G) with G from the row's seed
is an exact sample of p. The noise depends on seed, position and token only, so that a seed gives the same text whatever
else is in the batch.

To sort a vocabulary, or to draw noise for all of it, takes longer than the forward pass of a small model. The filters
mostly leave a few tokens, and `perturbed_few` looks only at these.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

UINT32 = 0xFFFFFFFF
FEW = 256
"""The most probable tokens of a row, among which those that pass its filters mostly are."""


@dataclass(frozen=True)
class Filters:
    """top_p and min_p float32 and top_k int64 of each row, (rows, 1). 1, 0 and 0 let everything pass."""

    top_p: Tensor
    min_p: Tensor
    top_k: Tensor

    def are_on(self) -> Tensor:
        """(rows,) True where a filter may refuse a token."""
        return ((self.top_p < 1) | (self.min_p > 0) | (self.top_k > 0)).squeeze(-1)

    def of(self, rows: Tensor) -> "Filters":
        return Filters(self.top_p[rows], self.min_p[rows], self.top_k[rows])


@dataclass(frozen=True)
class Noise:
    """The halves of the seed and the position of each row, (rows, 1) int64, from which its noise is computed."""

    seed_low: Tensor
    seed_high: Tensor
    position: Tensor

    def of(self, rows: Tensor) -> "Noise":
        return Noise(self.seed_low[rows], self.seed_high[rows], self.position[rows])

    def at(self, tokens: Tensor) -> Tensor:
        """Standard Gumbel noise, float32, at token ids (vocab,) or (rows, tokens): (rows, tokens).

        The 32 random bits are a keyed hash (the `lowbias32` finaliser of C. Wellons' hash prospector) of the token;
        -log1p(-v) keeps its resolution at the small v that decide an argmax.
        """
        seed_low, seed_high, position = map(_int32, (self.seed_low, self.seed_high, self.position))
        key = _mix(_mix(_mix(seed_low) ^ seed_high) ^ position)
        bits = _mix(_mix(tokens.to(torch.int32) ^ key) ^ _shifted(key, 7)).to(torch.int64) & UINT32
        uniform = bits.to(torch.float32).add_(0.5).mul_(2.0**-32).clamp_(max=1 - 2.0**-24)
        return uniform.neg_().log1p_().neg_().log_().neg_()


def perturbed(scores: Tensor, filters: Filters, noise: Noise) -> Tensor:
    """Scores, (rows, vocab), with their noise; -inf where the filters refuse a token. No step depends on the data."""
    return perturbed_all(scores.masked_fill(~allowed(scores, filters), -torch.inf), filters, noise)


def perturbed_all(scores: Tensor, filters: Filters, noise: Noise) -> Tensor:
    """The same where no filter is on."""
    return scores + noise.at(torch.arange(scores.size(-1), device=scores.device))


def perturbed_few(scores: Tensor, filters: Filters, noise: Noise) -> Tensor:
    """What `perturbed` returns, from the `FEW` most probable tokens of each row where these are enough."""
    best, tokens = scores.topk(min(FEW, scores.size(-1)), dim=-1)
    # A softmax sums each row in one order, however many rows there are; logsumexp does not.
    kept = _kept(best, scores.softmax(-1).gather(-1, tokens), filters)
    # What is behind the last of them passes no filter either, unless it is a tie at the end of top-k.
    top_k_ends = (filters.top_k > 0) & (best[:, -1:] < _kth(best, filters.top_k)) & (filters.top_k < best.size(-1))
    is_whole = (~kept[:, -1:] & ((filters.top_k == 0) | top_k_ends)).squeeze(-1) | (best.size(-1) == scores.size(-1))
    few = (best + noise.at(tokens)).masked_fill(~kept, -torch.inf)
    found = torch.full_like(scores, -torch.inf).scatter_(-1, tokens, few)
    if not is_whole.all():
        rest = ~is_whole
        found[rest] = perturbed(scores[rest], filters.of(rest), noise.of(rest))
    return found


def allowed(scores: Tensor, filters: Filters) -> Tensor:
    """A mask of the tokens that pass top-k, top-p and min-p, as transformers' `generate` orders them; (rows, vocab)."""
    ordered, order = scores.sort(dim=-1, descending=True)
    kept = _kept(ordered, ordered.softmax(-1), filters)
    return torch.zeros_like(kept).scatter(-1, order, kept)


def _kept(ordered: Tensor, probs: Tensor, filters: Filters) -> Tensor:
    """A mask of the scores that pass; `ordered`, (rows, tokens), are the largest ones, `probs` theirs among all."""
    rank = torch.arange(ordered.size(-1), device=ordered.device)
    in_top_k = (filters.top_k == 0) | (rank < filters.top_k) | (ordered >= _kth(ordered, filters.top_k))
    of_top_k = ordered.masked_fill(~in_top_k, -torch.inf).softmax(-1)
    probs = torch.where(filters.top_k > 0, of_top_k, probs)
    # The tokens before this one must not hold top_p yet: the first token always passes.
    in_top_p = (probs.cumsum(dim=-1) - probs < filters.top_p) | (rank == 0) | (filters.top_p >= 1)
    in_min_p = probs >= filters.min_p * probs[:, :1]
    return in_top_k & in_top_p & in_min_p


def _kth(ordered: Tensor, top_k: Tensor) -> Tensor:
    """The k-th largest score of each row, so that ties with it pass, as in transformers."""
    return ordered.gather(-1, (top_k - 1).clamp(0, ordered.size(-1) - 1))


def _mix(x: Tensor) -> Tensor:
    """lowbias32 on an int32 tensor, whose products wrap."""
    x = (x ^ _shifted(x, 16)) * 0x7FEB352D
    x ^= _shifted(x, 15)
    x *= 0x846CA68B - 2**32
    x ^= _shifted(x, 16)
    return x


def _shifted(x: Tensor, bits: int) -> Tensor:
    """An int32 tensor shifted right, with zeros in front."""
    return (x >> bits).bitwise_and_(UINT32 >> bits)


def _int32(x: Tensor) -> Tensor:
    """The low 32 bits of an int64 tensor, as int32."""
    low = x & UINT32
    return torch.where(low > 0x7FFFFFFF, low - 2**32, low).to(torch.int32)
