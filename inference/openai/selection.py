"""What a chat request chose, resolved in the database: the model and the immutable steering."""

from dataclasses import dataclass

from django.db import transaction

from inference.models import LanguageModel
from inference.openai.authentication import APIUser
from inference.openai.errors import OpenAIError
from profiles.models import Profile
from steering.errors import SteeringError
from steering.models import SteeringState
from steering.spec import SteeringSpec


@dataclass(frozen=True)
class Selection:
    """The served model's name and queue, and what steers this request."""

    model: str
    queue: str
    steering: SteeringSpec | None


def select(user: APIUser, model_name: str, profile_name: str | None) -> Selection:
    """Resolve a request's model and steering; a `profile` is activated first, permanently and for everyone.

    Raises OpenAIError: 404 for an unknown model or profile, 403 without the permission to activate,
    409 for what does not fit; nothing is changed then.
    """
    try:
        with transaction.atomic():
            model = served_model(model_name)
            if profile_name is not None:
                _activate(user, profile_name)
            return Selection(model.name, model.queue, SteeringState.objects.current_spec())
    except SteeringError as error:
        raise OpenAIError.from_steering(error) from error


def served_model(name: str) -> LanguageModel:
    """The current model, if that is its name. Raises OpenAIError 404 or 503."""
    current = LanguageModel.objects.current()
    if current is None:
        raise OpenAIError(503, "No model is being served.", code="no_current_model")
    if name != current.name:
        message = f"The model `{name}` does not exist: this server serves `{current.name}`."
        raise OpenAIError(404, message, param="model", code="model_not_found")
    return current


def _activate(user: APIUser, name: str) -> None:
    if not user.has_perm("profiles.activate_profile"):
        message = "This API key may not activate profiles: its user lacks the permission profiles.activate_profile."
        raise OpenAIError(403, message, param="profile", code="permission_denied")
    Profile.objects.named(name).activate()
