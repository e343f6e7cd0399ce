"""From a document to a spec: raw values, hook points, and the files of attached SAEs and vector sets."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from steering.architectures import parse_hook_name, pass_order
from steering.document.composition import check_clamps
from steering.document.part import Part
from steering.document.places import RAW, When
from steering.document.steering import Steering
from steering.errors import InvalidSteering, NoSAEAttached, Refused
from steering.features.models import Feature
from steering.saes import SAE
from steering.spec import EVERYWHERE, PLAIN, Change, Condition, Mode, SteeringPart, SteeringSpec
from steering.strengths import ABLATE, Value


class SAENotAttached(Refused):
    """A part or a condition of an SAE that is not attached, or that is attached at another layer."""

    code = "sae_not_attached"
    status = 409

    def __init__(self, message: str, field: str) -> None:
        super().__init__(f"{field}: {message}", field=field)


class StatisticsUnknown(Refused):
    """A unit that needs statistics which nobody measured or imported."""

    code = "statistics_unknown"
    status = 409

    def __init__(self, message: str, field: str) -> None:
        super().__init__(f"{field}: {message}: measure the SAE, or import its statistics", field=field)


def resolve(
    document: Steering, main: SAE | None, *, field: str = "steering", features_field: str | None = None
) -> SteeringSpec | None:
    """The spec of `document`, whose own features are of `main`; None where it steers nothing.

    Reads the attached SAEs and the measured maxima where the document needs them. Raises NoSAEAttached,
    SAENotAttached, StatisticsUnknown, or InvalidSteering, each of which names the path under `field`, or under
    `features_field` for the own features.
    """
    if document.features and main is None:
        raise NoSAEAttached("no SAE is attached: nothing can be steered")
    located = document.located_parts(main.pk if main else "")
    check_clamps([part for _, part in located], features_field or field)
    resolution = _Resolution(main, [part for _, part in located], field, features_field)
    return SteeringSpec.of(_merged(one for path, part in located for one in resolution.parts(part, path)))


class _Resolution:
    """The rows that the parts of one document need."""

    def __init__(self, main: SAE | None, parts: list[Part], field: str, features_field: str | None) -> None:
        self._field, self._features_field = field, features_field
        known = [main] if main else []
        named = {part.sae for part in parts} | {part.when.sae for part in parts if part.when}
        needs_others = named - {sae.pk for sae in known} or any(part.unit == "residual" for part in parts)
        self._attached = SAE.objects.all_attached() if needs_others else known
        self._saes = {sae.pk: sae for sae in (*self._attached, *known)}
        self._maxima = _maxima(part for part in parts if part.unit == "max_activation")

    def parts(self, part: Part, path: str) -> Iterator[SteeringPart]:
        """The parts of a spec: one, or one for each layer of a vector set."""
        place = "".join(f"{one}." for one in (self._field, path) if one)
        features = self._features_field if not path and self._features_field else f"{place}features"
        sae = self._sae(part.sae, f"{place}sae")
        layers = self._layers(part, sae, f"{place}layer")
        self._check_values(part, sae, features)
        for layer in layers:
            hook_name = hook_name_at(sae, layer)
            changes = tuple(self._changes(part, sae, hook_name, features))
            yield SteeringPart(
                sae.pk,
                sae.fingerprint,
                layer,
                hook_name,
                changes,
                sae.place,
                part.positions or EVERYWHERE,
                part.special_tokens is not False,
                self._condition(part.when, hook_name, f"{place}when") if part.when else None,
                part.tools is not False,
                part.thinking is not False,
            )

    def _sae(self, sae_id: str, field: str) -> SAE:
        if sae_id not in self._saes:
            raise SAENotAttached(f"{sae_id} is not attached: attach it, or leave out its features", field)
        return self._saes[sae_id]

    def _layers(self, part: Part, sae: SAE, field: str) -> list[int]:
        layers: list[int] = sae.layers or [sae.layer]
        if part.layer is None:
            return layers
        if part.layer not in layers:
            raise SAENotAttached(f"got {part.layer}, and {sae} is at {', '.join(map(str, layers))}", field)
        return [part.layer]

    def _check_values(self, part: Part, sae: SAE, field: str) -> None:
        for index, value in part.features.items():
            _check_index(index, sae, f"{field}.{index}")
            if sae.is_vectors and (value.is_clamp or value.mode == "scale"):
                why = f"{value.mode} needs the encoder of an SAE, and {sae} is a vector set: expected add or project"
                raise InvalidSteering(why, f"{field}.{index}")

    def _changes(self, part: Part, sae: SAE, hook_name: str, field: str) -> Iterator[Change]:
        for index, value in part.features.items():
            mode: Mode = "clamp" if value.mode == ABLATE else value.mode  # type: ignore[assignment]
            change = Change(index, value.value, mode, value.weight)
            if part.unit == RAW or not value.has_unit or value.value == 0:
                yield change
            elif part.unit == "residual":
                norm = self._norm(sae, hook_name, field)
                yield replace(change, value=value.value * norm, is_length=True)
            else:
                yield replace(change, value=value.value * self._maximum(sae, index, f"{field}.{index}"))

    def _norm(self, sae: SAE, hook_name: str, field: str) -> float:
        """The mean norm of the residual stream at the hook point, of any attached SAE that was measured there."""
        measured = [one.residual_norm for one in (sae, *self._attached) if one.hook_name == hook_name]
        norm = next((one for one in measured if one), None)
        if norm is None:
            raise StatisticsUnknown(f"the norm of the residual stream at {hook_name} is not known", field)
        return norm

    def _maximum(self, sae: SAE, index: int, field: str) -> float:
        maximum = self._maxima.get((sae.pk, index))
        if not maximum:
            known = "is 0" if maximum == 0 else "is not known"
            raise StatisticsUnknown(f"the largest activation of feature {index} of {sae} {known}", field)
        return maximum

    def _condition(self, when: When, hook_name: str, field: str) -> Condition:
        sae = self._sae(when.sae, f"{field}.sae")
        _check_index(when.index, sae, f"{field}.feature")
        names = [(layer, hook_name_at(sae, layer)) for layer in sae.layers or [sae.layer]]
        passed = [(layer, name) for layer, name in names if pass_order(name) <= pass_order(hook_name)]
        if not passed:
            raise InvalidSteering(
                f"the model passes {names[0][1]}, the hook point of {sae}, after {hook_name}, which is steered", field
            )
        layer, name = passed[-1]
        return Condition(sae.pk, sae.fingerprint, layer, name, when.index, when.above, when.so_far, sae.place)


def hook_name_at(sae: SAE, layer: int) -> str:
    """The hook point of an SAE, or of a vector set at one of its layers. Raises UnsupportedHookPoint."""
    return sae.hook_name if layer == sae.layer else f"blocks.{layer}.{parse_hook_name(sae.hook_name)[1]}"


def described(spec: SteeringSpec) -> list[dict[str, Any]]:
    """The parts of a spec as JSON with raw values; a `length` is that of what is added, whatever the direction's is."""
    return [
        {
            "sae": part.sae_id,
            "layer": part.layer,
            "hook_name": part.hook_name,
            "features": {str(change.index): _described(change) for change in part.changes},
        }
        for part in spec.parts
    ]


def _described(change: Change) -> float | dict[str, Any]:
    if change.is_length:
        return {"mode": change.mode, "length": change.value}
    return Value(change.value, change.mode, change.weight).as_json()


def _check_index(index: int, sae: SAE, field: str) -> None:
    if index >= sae.d_sae:
        raise InvalidSteering(f"feature {index} is out of range: {sae} has {sae.d_sae} features", field)


def _maxima(parts: Iterable[Part]) -> Mapping[tuple[str, int], float | None]:
    wanted: dict[str, set[int]] = defaultdict(set)
    for part in parts:
        wanted[part.sae] |= {index for index, value in part.features.items() if value.has_unit and value.value}
    found: dict[tuple[str, int], float | None] = {}
    for sae, indices in wanted.items():
        rows = Feature.objects.filter(sae=sae, index__in=indices).values_list("index", "maximum")
        found |= {(sae, index): maximum for index, maximum in rows}
    return found


def _merged(parts: Iterable[SteeringPart]) -> Iterator[SteeringPart]:
    """The parts, one for each place; what is added to one feature is summed, so that equal steerings are equal."""
    places: dict[SteeringPart, dict[Any, Change]] = defaultdict(dict)
    for part in parts:
        changes = places[replace(part, changes=())]
        for at, change in enumerate(part.changes):
            is_sum = change.mode == PLAIN
            key = (change.index, change.is_length) if is_sum else (change.index, change.mode, len(changes), at)
            before = changes.get(key)
            changes[key] = replace(change, value=before.value + change.value) if before else change
    yield from (replace(place, changes=tuple(changes.values())) for place, changes in places.items())
