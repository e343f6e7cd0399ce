"""The weights of SAEs that a steering needs: decoder directions, and encoders of single features."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inference.engine.saes.decoder import BrokenDecoder, decoder_rows
from inference.engine.saes.encoders import ELEMENTWISE, Encoder, load_encoder
from steering.formats import VECTORS, SAEConfig
from steering.spec import Condition, SAEPlace, SteeringPart


@dataclass(frozen=True)
class FeatureEncoder:
    """The encoder of one feature, of an elementwise SAE or, with `index`, of one whose features compete.

    `encoder` has one feature in the first case, all of them in the second. `direction`, (d_model,), stands for it
    where the feature is a vector: its activation is then the component of the residual stream along the vector.
    """

    encoder: Encoder | None = None
    index: int | None = None
    direction: Tensor | None = None


class SteeringWeights:
    """Reads the weights from the files of SAEs; `config_at` finds the files, `whole_encoder` keeps encoders in memory.

    Any thread may call it. Raises UnreadableSAE or BrokenDecoder, and what the two functions raise.
    """

    def __init__(
        self,
        config_at: Callable[[SAEPlace], SAEConfig],
        whole_encoder: Callable[[SAEPlace], Encoder] | None = None,
    ) -> None:
        self._config_at = config_at
        self._whole_encoder = whole_encoder or (lambda place: load_encoder(config_at(place), "cpu", torch.float32))

    def directions(self, part: SteeringPart) -> Tensor:
        """The decoder directions of the changes of `part`, (changes, d_model) float32, as stored."""
        return self._rows(self._config_at(part.place), [change.index for change in part.changes], part.layer)

    def encoders(self, part: SteeringPart) -> list[FeatureEncoder]:
        """An encoder for each change of `part`."""
        return self._encoders(part.place, [change.index for change in part.changes], part.layer)

    def encoder(self, condition: Condition) -> FeatureEncoder:
        """The encoder of the feature that a condition reads."""
        return self._encoders(condition.place, [condition.index], condition.layer)[0]

    def _encoders(self, place: SAEPlace, indices: Sequence[int], layer: int) -> list[FeatureEncoder]:
        config = self._config_at(place)
        if config.architecture == VECTORS:
            rows = self._rows(config, indices, layer)
            return [FeatureEncoder(direction=row / row.norm().clamp(min=1e-12)) for row in rows]
        if config.architecture not in ELEMENTWISE:
            whole = self._whole_encoder(place)
            return [FeatureEncoder(whole, index) for index in indices]
        few = load_encoder(config, "cpu", torch.float32, indices)
        return [FeatureEncoder(few.of_feature(position)) for position in range(len(indices))]

    def _rows(self, config: SAEConfig, indices: Sequence[int], layer: int) -> Tensor:
        rows = torch.from_numpy(decoder_rows(config, indices, layer))
        if not torch.isfinite(rows).all():
            raise BrokenDecoder(f"{config.weights}: the decoder directions of these features are not finite")
        return rows
