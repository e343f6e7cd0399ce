"""Changes at one hook point that depend on the residual stream there, for all tokens of a batch at once.

A column is one change: it computes from the residual stream `h` of a token, (d_model,), the activation `f` of a
feature, and adds `(constant + slope·f)·direction`. So a clamp to v has the constant v and the slope −1: see
`steering.spec.Change`. A column may also decide a condition, or wait for one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from inference.engine.saes.encoders import NORMALIZATIONS, Encoder
from inference.engine.steering.conditions import Held
from inference.engine.steering.weights import FeatureEncoder


@dataclass(frozen=True)
class Column:
    """One change at a hook point.

    `encoder` is None for a change that no activation scales. `gate` is the condition under which the change is made, 0
    for none. A column that decides the condition `decides` changes nothing; `above` is the condition's threshold.
    """

    encoder: FeatureEncoder | None
    direction: Tensor | None
    constant: float = 0.0
    slope: float = 0.0
    gate: int = 0
    decides: int = 0
    above: float = 0.0


@dataclass(frozen=True)
class _Gathered:
    """The columns of the rows of one step, side by side; their tensors are on the device, float32.

    `encoders` and `directions` are (columns, d_model), `member` is (rows, columns). `parameters`, (10, columns), are
    those of `encoder_weights`, then the constant and the slope.
    """

    member: Tensor
    encoders: Tensor
    directions: Tensor
    parameters: Tensor
    gates: Tensor | None
    norms: dict[str, Tensor]
    """The columns, as a mask, of each normalisation of the stream but none."""
    whole: list[tuple[Encoder, Tensor, Tensor]]
    """Encoders whose features compete: the encoder, its columns, the features of these."""
    deciding: "_Deciding | None"


@dataclass(frozen=True)
class _Deciding:
    """The `columns` that decide conditions, (n,), with their `thresholds`, and the `conditions`, (m,), each once.

    The rows of one request decide the same condition, each at its own tokens: `groups`, (n, m) float32, is 1 where a
    column decides a condition.
    """

    columns: Tensor
    thresholds: Tensor
    conditions: Tensor
    groups: Tensor

    def are_above(self, activations: Tensor, mine: Tensor) -> Tensor:
        """True where a condition's feature is above its threshold at a token of its request, (tokens, m)."""
        now = (activations[:, self.columns] > self.thresholds) & mine[:, self.columns]
        above: Tensor = now.float() @ self.groups > 0
        return above


@dataclass
class Columns:
    """The columns at one hook point, by the row that has them.

    Threads that submit requests write; the batch's thread reads the columns of rows in use, which nobody writes.
    """

    rows: int
    d_model: int
    device: torch.device
    _of_row: dict[int, list[Column]] = field(default_factory=dict)
    _last: tuple[frozenset[int], _Gathered] | None = None
    _every: _Gathered | None = None
    """The columns of all rows, for the CUDA graphs."""

    def add(self, row: int, columns: Sequence[Column]) -> None:
        """Give the row more columns."""
        self._of_row[row] = [*self._of_row.get(row, []), *columns]
        self._changed()

    def resize(self, rows: int) -> None:
        """Have more rows."""
        self.rows = rows
        self._changed()

    def remove(self, row: int) -> bool:
        """Take all columns from the row. Returns True where it had some."""
        had_columns = self._of_row.pop(row, None) is not None
        if had_columns:
            self._changed()
        return had_columns

    def _changed(self) -> None:
        self._last = None
        if self.device.type == "cuda":
            # Here, since a CUDA graph cannot copy from the host while it is captured.
            self._every = self._gather_all(frozenset(self._of_row)) if self._of_row else None

    def has_whole_encoder(self, row: int) -> bool:
        """Return True where a column of the row keeps the encoder of a whole SAE in memory."""
        return any(
            column.encoder is not None and column.encoder.index is not None for column in self._of_row.get(row, [])
        )

    def change(self, stream: Tensor, token_rows: Tensor, used: frozenset[int] | None, held: Held) -> Tensor | None:
        """The sum of the changes of each token, (tokens, d_model) float32; None where no token has a column.

        `stream` is (tokens, d_model), `token_rows` (tokens,). `used` are the rows that occur in the step; None is any.
        """
        gathered = self._gather(used)
        if gathered is None:
            return None
        mine = gathered.member[token_rows]
        h = stream.float()
        activations = self._activations(gathered, h, mine)
        if gathered.deciding is not None:
            held.decide(gathered.deciding.conditions, gathered.deciding.are_above(activations, mine))
        constant, slope = gathered.parameters[8:]
        amounts = (constant + slope * activations) * mine
        if gathered.gates is not None:
            amounts = amounts * held.of(gathered.gates)
        changed: Tensor = amounts @ gathered.directions
        return changed

    def _activations(self, gathered: _Gathered, h: Tensor, mine: Tensor) -> Tensor:
        """The activation of each column's feature, (tokens, columns), for the stream `h`: as `Encoder` computes it."""
        projected = h @ gathered.encoders.T
        for norm, columns in gathered.norms.items():
            projected = torch.where(columns, NORMALIZATIONS[norm](h) @ gathered.encoders.T, projected)
        shift, gain, bias, scale, gate_bias, gate_scale, threshold, is_linear = gathered.parameters[:8]
        projected = projected - shift
        value = (projected * gain + bias) * scale
        opened = (projected + gate_bias) * gate_scale > threshold
        activations = torch.where(is_linear.bool(), value, value.relu() * opened)
        for encoder, columns, features in gathered.whole:
            if h.is_cuda and torch.cuda.is_current_stream_capturing():  # a graph has no shapes that depend on values
                activations[:, columns] = encoder.encode(h)[:, features]
                continue
            tokens = mine[:, columns].any(dim=1).nonzero().squeeze(1)
            activations[tokens[:, None], columns] = encoder.encode(h[tokens])[:, features]
        return activations

    def _gather(self, used: frozenset[int] | None) -> _Gathered | None:
        """The columns of the rows that are used; None where these have none."""
        if used is None and self.device.type == "cuda":
            return self._every
        rows = frozenset(self._of_row) if used is None else used & self._of_row.keys()
        if not rows:
            return None
        last = self._last  # most steps have the rows of the step before
        if last is not None and last[0] == rows:
            return last[1]
        gathered = self._gather_all(rows)
        self._last = rows, gathered
        return gathered

    def _gather_all(self, rows: frozenset[int]) -> _Gathered:
        columns = [(row, column) for row in sorted(rows) for column in self._of_row[row]]
        return self._side_by_side([row for row, _ in columns], [column for _, column in columns])

    def _side_by_side(self, rows: list[int], columns: list[Column]) -> _Gathered:
        count, zeros = len(columns), torch.zeros(self.d_model)
        member = torch.zeros(self.rows, count, dtype=torch.bool)
        member[rows, range(count)] = True
        weights = [encoder_weights(column.encoder, zeros) for column in columns]
        parameters = torch.tensor(
            [[*own, c.constant, c.slope] for (_, own, _), c in zip(weights, columns, strict=True)]
        )
        norms = {
            norm: torch.tensor([own == norm for _, _, own in weights], device=self.device)
            for norm in {own for _, _, own in weights} - {"none"}
        }
        gates = torch.tensor([column.gate for column in columns], device=self.device)
        return _Gathered(
            member=member.to(self.device),
            encoders=torch.stack([weight for weight, _, _ in weights]).to(self.device),
            directions=torch.stack([zeros if c.direction is None else c.direction for c in columns]).to(self.device),
            parameters=parameters.T.contiguous().to(self.device),
            gates=gates if any(column.gate for column in columns) else None,
            norms=norms,
            whole=self._whole(columns),
            deciding=self._deciding(columns),
        )

    def _whole(self, columns: list[Column]) -> list[tuple[Encoder, Tensor, Tensor]]:
        found: dict[int, tuple[Encoder, list[int], list[int]]] = {}
        for at, column in enumerate(columns):
            own = column.encoder
            if own is not None and own.encoder is not None and own.index is not None:
                _, positions, features = found.setdefault(id(own.encoder), (own.encoder, [], []))
                positions.append(at)
                features.append(own.index)
        return [(encoder, self._indices(at), self._indices(features)) for encoder, at, features in found.values()]

    def _deciding(self, columns: list[Column]) -> _Deciding | None:
        at = [position for position, column in enumerate(columns) if column.decides]
        if not at:
            return None
        thresholds = torch.tensor([columns[position].above for position in at], device=self.device)
        decided = torch.tensor([columns[position].decides for position in at])
        conditions, group = decided.unique(return_inverse=True)
        groups = torch.nn.functional.one_hot(group, len(conditions)).float()
        return _Deciding(self._indices(at), thresholds, conditions.to(self.device), groups.to(self.device))

    def _indices(self, values: list[int]) -> Tensor:
        return torch.tensor(values, device=self.device)


def encoder_weights(own: FeatureEncoder | None, zeros: Tensor) -> tuple[Tensor, list[float], str]:
    """The encoder's direction, (d_model,), its parameters, and the normalisation of the stream that it reads.

    The parameters are those of `Columns._activations`: shift, gain, bias, scale, bias and scale of the gate, threshold,
    and 1 where the activation is linear.
    """
    linear = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    if own is None or own.index is not None:
        return zeros, linear, "none"
    if own.encoder is None:
        assert own.direction is not None
        return own.direction, linear, "none"
    encoder = own.encoder
    weight = encoder.weight[:, 0]
    shift = float((encoder.subtracted * weight).sum())
    scale, threshold = float(encoder.scale), float(encoder.threshold)
    if encoder.config.architecture == "gated":
        gate = [float(encoder.bias), 1.0, 0.0]
        parameters = [shift, float(encoder.magnitude), float(encoder.magnitude_bias), scale, *gate]
    else:
        floor = threshold if encoder.config.architecture != "standard" else 0.0
        parameters = [shift, 1.0, float(encoder.bias), scale, float(encoder.bias), scale, floor]
    return weight, [*parameters, 0.0], encoder.config.normalize_activations
