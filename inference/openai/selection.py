"""The selection of a request, resolved in the database: the model and the immutable steering.

One of these steers a request: a profile that it activates (`profile`, permanent, for everyone), a profile of its own
(the model id `model:profile`, or `model:profile@0.5` at an intensity), a document or a sum of its own (`steering`),
else the live steering. `intensity` scales it for this request. To select changes nothing: the web activates the profile
when a worker has begun to answer (`activate`), so that a refused request steers nobody.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self
from urllib.parse import quote

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from inference.broker import heartbeats
from inference.models import LanguageModel
from inference.openai.authentication import APIUser
from inference.openai.errors import OpenAIError
from profiles.composition import UNSTEERED, Chosen, UsedProfile, composed, of_live, of_profile
from profiles.errors import ProfileNotFound
from profiles.models import Profile
from steering.document import Composition
from steering.document.resolution import described
from steering.document.steering import MAX_INTENSITY
from steering.errors import Refused
from steering.history import on_behalf_of
from steering.models import SAE, SteeringState
from steering.spec import SteeringSpec

INTENSITY = re.compile(r"(?P<profile>.+)@(?P<intensity>[0-9](\.[0-9]{1,6})?)", re.DOTALL)
"""A profile's name in a model id, at an intensity."""


@dataclass(frozen=True)
class Selection:
    """The model id of the request, the model that serves it, the steering, and the profile of the steering, if any."""

    model: str
    served: str
    version: str
    queue: str
    steering: SteeringSpec | None
    profile: str | None
    activates: str | None = None
    """The id of the profile to activate when a worker has accepted the request."""
    why_unserved: Callable[[], str] = field(default=str, compare=False)
    """Asks Redis for the message for the client where no worker has the model."""
    profiles: tuple[UsedProfile, ...] = ()
    """The profiles in the steering; `profile` is the name where it is one alone."""
    is_raw: bool = True
    sampling: Mapping[str, float] = field(default_factory=dict)
    """The model's own sampling, for what the request leaves open."""
    answer_form: str = ""
    """The form of calls and reasoning, where the model's row has one."""

    @classmethod
    def of(cls, model_id: str, model: LanguageModel, chosen: Chosen = UNSTEERED) -> Self:
        profile = chosen.profiles[0].name if len(chosen.profiles) == 1 and not chosen.is_sum else None
        return cls(
            model_id,
            model.name,
            model.version,
            model.queue,
            chosen.spec,
            profile,
            chosen.activates,
            lambda: model.why_unserved,
            chosen.profiles,
            chosen.is_raw,
            model.sampling_defaults,
            model.answer_form,
        )

    def headers(self) -> dict[str, str]:
        """The headers that name the steering and its profiles; a name is percent-encoded, empty without a profile."""
        steering = self.steering.fingerprint if self.steering else "none"
        headers = {"X-miLLM-Steering": steering, "X-miLLM-Profile": _encoded(self.profile or "")}
        listed = ", ".join(_item(used, steering) for used in self.profiles)
        return headers | ({"X-miLLM-Steering-Profile": listed} if listed else {})

    def details(self) -> dict[str, Any]:
        """`steering` of `millm` in the response: the raw values of a steering that was given in other units."""
        return {"steering": described(self.steering)} if self.steering and not self.is_raw else {}


def _item(used: UsedProfile, steering: str) -> str:
    """A profile as a member of a list of RFC 8941, where strings are ASCII and decimals have three digits."""
    intensity = f"{used.intensity:.3f}".rstrip("0").rstrip(".")
    sae = f';sae="{_encoded(used.sae_id)}"' if used.sae_id else ""
    layer = "" if used.layer is None else f";layer={used.layer}"
    return f'profile;name="{_encoded(used.name)}";intensity={intensity}{sae}{layer};hash="{steering}"'


def _encoded(name: str) -> str:
    return quote(name, safe=" ")


def select(
    user: APIUser,
    model_id: str,
    profile_name: str | None = None,
    steering: Mapping[str, Any] | None = None,
    intensity: float | None = None,
) -> Selection:
    """Resolve a request's model and steering, from one state of the database; changes nothing.

    Raises OpenAIError: 404 for an unknown model or profile, 403 without the permission to activate, 400 for more
    than one steering or a bad one, 409 for what does not fit.
    """
    param = "profile" if profile_name is not None else "steering" if steering is not None else "model"
    try:
        with _snapshot():
            current = LanguageModel.objects.current()
            if found := _of_current(current, model_id):
                _check_one_of(found.profile, profile_name, steering)
                _check_one_intensity(found, intensity)
                return Selection.of(model_id, found.model, _chosen(user, found, profile_name, steering, intensity))
        model = _other(model_id, current)  # after the transaction, which should not wait for Redis
        _check_one_of(None, profile_name, steering)
        names_steering = profile_name is not None or bool(steering)
        _refuse_steering(model, param if names_steering else "intensity" if intensity is not None else None)
        return Selection.of(model_id, model)
    except Refused as error:
        raise OpenAIError.from_steering(error, param) from error


def activate(request: HttpRequest, selection: Selection) -> None:
    """Activate the profile that a request selected, as the profile is now. Raises OpenAIError 404 or 409.

    Somebody may have changed the profile since: the steering of the request stays as it was selected.
    """
    assert selection.activates is not None
    try:
        # A worker accepts a stream after the history's middleware has forgotten its request.
        with on_behalf_of(request), transaction.atomic():
            SteeringState.objects.lock()
            Profile.objects.with_id(selection.activates).activate()
    except Refused as error:
        raise OpenAIError.from_steering(error, "profile") from error


@contextmanager
def _snapshot() -> Iterator[None]:
    """Read one state of the database in the block, whatever others commit meanwhile."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def _check_one_of(own_profile: Profile | None, name: str | None, steering: Mapping[str, Any] | None) -> None:
    given = {"a model id with a profile": own_profile, "profile": name, "steering": steering}
    named = [what for what, value in given.items() if value is not None]
    if len(named) > 1:
        message = f"The request has {' and '.join(named)}: expected one of them."
        raise OpenAIError(400, message, param="steering" if steering is not None else "profile", code="invalid_request")


def _check_one_intensity(found: "Found", intensity: float | None) -> None:
    if found.intensity is not None and intensity is not None:
        message = "The request has an intensity in its model id and `intensity`: expected one of them."
        raise OpenAIError(400, message, param="intensity", code="invalid_request")


def _refuse_steering(model: LanguageModel, param: str | None) -> None:
    """Raise OpenAIError 409 for a request to steer another model than the current one: profiles and SAE are not its."""
    if param is not None:
        message = f"`{model.name}` is not the current model: nothing steers it. Leave out `{param}`, or load the model."
        raise OpenAIError(409, message, param=param, code="not_current_model")


def _chosen(
    user: APIUser,
    found: "Found",
    profile_name: str | None,
    steering: Mapping[str, Any] | None,
    intensity: float | None,
) -> Chosen:
    scale = next((one for one in (found.intensity, intensity) if one is not None), 1.0)
    if found.profile is not None:
        return of_profile(found.profile, scale, model=found.model)
    if steering is not None:
        sae = SAE.objects.attached()
        return composed(Composition.parse(steering, d_sae=sae.d_sae if sae else None), sae, scale)
    if profile_name is None:
        return of_live(scale)
    _check_may_activate(user)
    return of_profile(Profile.objects.named(profile_name), scale, model=found.model, activates=True)


def _check_may_activate(user: APIUser) -> None:
    if not user.has_perm("profiles.activate_profile"):
        message = f"{user} may not activate profiles: the permission profiles.activate_profile is missing."
        raise OpenAIError(403, message, param="profile", code="permission_denied")


def served_model(model_id: str) -> tuple[LanguageModel, Profile | None]:
    """A model, the current one or another that a worker serves, and the profile of an id like `model:profile`.

    Raises OpenAIError 404 or 503.
    """
    current = LanguageModel.objects.current()
    if found := _of_current(current, model_id):
        return found.model, found.profile
    return _other(model_id, current), None


@dataclass(frozen=True)
class Found:
    """The current model, and the profile and the intensity of an id like `model:profile@0.5`."""

    model: LanguageModel
    profile: Profile | None = None
    intensity: float | None = None


def _of_current(current: LanguageModel | None, model_id: str) -> Found | None:
    """What `model_id` names, where it is the id of the current model or of one of its profiles."""
    if current is not None and model_id == current.name:
        return Found(current)
    if current is None or not model_id.startswith(f"{current.name}:"):
        return None
    name = model_id.removeprefix(f"{current.name}:")
    with suppress(ProfileNotFound):  # another model may have such a name
        return Found(current, Profile.objects.named(name))
    at = INTENSITY.fullmatch(name)
    if at is not None and float(at["intensity"]) <= MAX_INTENSITY:
        with suppress(ProfileNotFound):
            return Found(current, Profile.objects.named(at["profile"]), float(at["intensity"]))
    return None


def _other(model_id: str, current: LanguageModel | None) -> LanguageModel:
    """The model of that name, which a pinned worker serves though it is not current. Raises OpenAIError 404 or 503."""
    if model_id in _served() and (model := LanguageModel.objects.filter(name=model_id).first()):
        return model
    if current is None:
        raise OpenAIError(503, "No model is being served.", code="no_current_model")
    profile = model_id.removeprefix(f"{current.name}:")
    if profile not in {"", model_id}:
        message = f"There is no profile `{profile}` that fits `{current.name}`. GET /v1/models lists those that do."
    else:
        serves = f"this server serves `{current.name}`. GET /v1/models lists all."
        message = f"The model `{model_id}` does not exist: {serves}"
    raise OpenAIError(404, message, param="model", code="model_not_found")


def model_list() -> dict[str, Any]:
    """The answer of /v1/models: the current model, its ids with the profiles that fit now, other served models.

    The current model and its ids are left out where its load failed. Of the profiles the active one comes first, then
    the one that was changed last. `has_more` says that more fit than
    INFERENCE_MAX_LISTED_PROFILES: these are not listed, and served all the same.
    """
    others = list(_others())
    current = LanguageModel.objects.current()
    found: list[dict[str, Any]] = []
    profiles: list[tuple[str, datetime]] = []
    if current is not None and not _has_failed(current):
        fitting = Profile.objects.fitting(current, SAE.objects.attached()).values_list("name", "created_at")
        latest = fitting.filter(is_active=False).order_by("-updated_at")
        most = settings.INFERENCE_MAX_LISTED_PROFILES
        profiles = [*fitting.filter(is_active=True), *latest[: most + 1]]
        found = [entry(f"{current.name}:{name}", created_at) for name, created_at in profiles[:most]]
        found.insert(0, entry(current.name, current.created_at))
    found += [entry(model.name, model.created_at) for model in others]
    return {"object": "list", "data": found, "has_more": len(profiles) > settings.INFERENCE_MAX_LISTED_PROFILES}


def listed(model_id: str) -> dict[str, Any]:
    """The entry of /v1/models of one id, also of a profile beyond the limit. Raises OpenAIError 404 or 503."""
    model, profile = served_model(model_id)
    if _has_failed(model):
        raise OpenAIError(503, model.why_unserved, code="no_worker")
    return entry(model_id, (profile or model).created_at)


def _has_failed(model: LanguageModel) -> bool:
    """True where the load of the model failed, and no worker answers for an earlier load of it."""
    return model.status == LanguageModel.Status.ERROR and model.name not in _served()


def _others() -> "QuerySet[LanguageModel]":
    """The models that workers serve though they are not current."""
    return LanguageModel.objects.filter(is_current=False, name__in=_served())


def _served() -> set[str]:
    """The names of the models that workers have loaded."""
    return {heartbeat.model for heartbeat in heartbeats.live_workers() if heartbeat.serves_any}


def entry(model_id: str, created_at: datetime) -> dict[str, Any]:
    return {"id": model_id, "object": "model", "created": int(created_at.timestamp()), "owned_by": "millm"}
