"""What a request chose, resolved in the database: the model and the immutable steering.

A request is steered by one of: a profile that it activates (`profile`, permanent, for everyone), a profile of its own
(the model id `model:profile`), strengths of its own (`steering`), else the live steering.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from django.db import transaction
from django.db.models import QuerySet

from inference import stream
from inference.models import LanguageModel
from inference.openai.authentication import APIUser
from inference.openai.errors import OpenAIError
from profiles.errors import ProfileNotFound
from profiles.models import Profile
from steering.errors import NoSAEAttached, SteeringError
from steering.models import SAE, SteeringState
from steering.spec import SteeringSpec
from steering.strengths import parse_strengths


@dataclass(frozen=True)
class Selection:
    """The model as it was asked for and as it is served; what steers this request, and the profile it is of, if any."""

    model: str
    served: str
    version: str
    queue: str
    steering: SteeringSpec | None
    profile: str | None

    def headers(self) -> dict[str, str]:
        """What made the answer, for those who keep it; the profile's name is percent-encoded, empty without one."""
        steering = self.steering.fingerprint if self.steering else "none"
        return {"X-miLLM-Steering": steering, "X-miLLM-Profile": quote(self.profile or "", safe=" ")}


def select(
    user: APIUser, model_id: str, profile_name: str | None = None, steering: Mapping[str, Any] | None = None
) -> Selection:
    """Resolve a request's model and steering.

    Raises OpenAIError: 404 for an unknown model or profile, 403 without the permission to activate, 400 for more
    than one steering or a bad one, 409 for what does not fit; nothing is changed then.
    """
    param = "profile" if profile_name is not None else "steering" if steering is not None else "model"
    try:
        model, own_profile = served_model(model_id)  # first: it may ask Redis, for which no transaction should wait
        with transaction.atomic():
            _check_one_of(own_profile, profile_name, steering)
            if not model.is_current:
                _refuse_steering(model, param if profile_name is not None or steering else None)
                return Selection(model_id, model.name, model.version, model.queue, steering=None, profile=None)
            chosen: tuple[SteeringSpec | None, str | None]
            if own_profile is not None:
                chosen = own_profile.spec(), own_profile.name
            elif steering is not None:
                chosen = _own_strengths(steering), None
            else:
                if profile_name is not None:
                    _activate(user, profile_name)
                chosen = _live()
            return Selection(model_id, model.name, model.version, model.queue, *chosen)
    except SteeringError as error:
        raise OpenAIError.from_steering(error, param) from error


def _check_one_of(own_profile: Profile | None, name: str | None, steering: Mapping[str, Any] | None) -> None:
    given = {"a model id with a profile": own_profile, "profile": name, "steering": steering}
    named = [what for what, value in given.items() if value is not None]
    if len(named) > 1:
        message = f"The request has {' and '.join(named)}: expected one of them."
        raise OpenAIError(400, message, param="steering" if steering is not None else "profile", code="invalid_request")


def _refuse_steering(model: LanguageModel, param: str | None) -> None:
    """What steers belongs to the current model: another one, of a worker of its own, is served unsteered."""
    if param is not None:
        message = f"`{model.name}` is not the current model: nothing steers it. Leave out `{param}`, or load the model."
        raise OpenAIError(409, message, param=param, code="not_current_model")


def _live() -> tuple[SteeringSpec | None, str | None]:
    """The live steering, and the active profile where it is its."""
    state = SteeringState.objects.load()  # read once: another read may see a later one
    spec = state.current_spec(SAE.objects.attached())
    active = Profile.objects.active()
    return spec, active.name if active and not active.differs_from(state) else None


def _own_strengths(steering: Mapping[str, Any]) -> SteeringSpec | None:
    sae = SAE.objects.attached()
    strengths = parse_strengths(steering["features"], d_sae=sae.d_sae if sae else None, field="steering.features")
    if strengths and sae is None:
        raise NoSAEAttached("no SAE is attached: nothing can be steered")
    return SteeringState(values=strengths).spec(sae)


def served_model(model_id: str) -> tuple[LanguageModel, Profile | None]:
    """A model, the current one or another that a worker serves, and the profile of an id like `model:profile`.

    Raises OpenAIError 404 or 503.
    """
    current = LanguageModel.objects.current()
    if current is not None and model_id == current.name:
        return current, None
    if current is not None and model_id.startswith(f"{current.name}:"):
        with suppress(ProfileNotFound):  # told below, as of any other id
            return current, Profile.objects.named(model_id.removeprefix(f"{current.name}:"))
    other = next((model for model in _others() if model.name == model_id), None)
    if other is not None:
        return other, None
    if current is None:
        raise OpenAIError(503, "No model is being served.", code="no_current_model")
    message = f"The model `{model_id}` does not exist: this server serves `{current.name}`. GET /v1/models lists all."
    raise OpenAIError(404, message, param="model", code="model_not_found")


def model_entries() -> Iterator[dict[str, Any]]:
    """What /v1/models lists: the current model, it with each profile that fits it now, other models that are served."""
    current = LanguageModel.objects.current()
    if current is not None:
        yield entry(current.name, current)
        for profile in Profile.objects.fitting(current, SAE.objects.attached()):
            yield entry(f"{current.name}:{profile.name}", profile)
    for model in _others():
        yield entry(model.name, model)


def _others() -> "QuerySet[LanguageModel]":
    """Models that are not current and that workers serve all the same."""
    served = {heartbeat.model for heartbeat in stream.live_workers() if heartbeat.serves_any}
    return LanguageModel.objects.filter(is_current=False, name__in=served)


def entry(model_id: str, made: LanguageModel | Profile) -> dict[str, Any]:
    return {"id": model_id, "object": "model", "created": int(made.created_at.timestamp()), "owned_by": "millm"}


def _activate(user: APIUser, name: str) -> None:
    if not user.has_perm("profiles.activate_profile"):
        message = f"{user} may not activate profiles: the permission profiles.activate_profile is missing."
        raise OpenAIError(403, message, param="profile", code="permission_denied")
    Profile.objects.named(name).activate()
