"""The card of the dashboard for a new user: the first steps, and the terms of miLLM."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import reverse
from django.views.decorators.http import require_POST

from inference.models import LanguageModel
from inference.openai.endpoint import in_database
from millm_site.models import FirstSteps
from steering.history import Door
from steering.models import SteeringState

DEMO = "demo"
TERMS = {
    "Model": "the language model that answers.",
    "SAE": "a sparse autoencoder. It splits what the model computes at one layer into features.",
    "Feature": "a direction inside the model that often has a meaning, such as the sea. Its strength says how much of "
    "it is added to each token.",
    "Profile": "a named set of features with their strengths, made for one model and one SAE.",
    "Live steering": "the features that steer every request that chooses no steering of its own. Activating a profile "
    "sets them.",
}


@dataclass(frozen=True)
class Step:
    """A step: a link, and a sentence that goes on after it."""

    page: str
    title: str
    text: str
    is_done: bool

    @property
    def url(self) -> str:
        return reverse(self.page)


def first_steps(request: HttpRequest) -> dict[str, Any] | None:
    """The context of the card; None where the user has done all steps or dismissed the card."""
    user: Any = request.user
    row = FirstSteps.objects.filter(user=user).first() or FirstSteps(user=user)
    if row.is_closed:
        return None
    steps = _steps(request, row)
    if all(step.is_done for step in steps):
        _close(request)
        return None
    return {"steps": steps, "terms": TERMS.items()}


def _steps(request: HttpRequest, row: FirstSteps) -> list[Step]:
    """The steps that the user may do."""
    may = request.user.has_perm
    text = "with and without steering: one pane answers unsteered, the other by a profile."
    steps = [Step("playground", "Ask the model in the playground", text, row.has_asked)]
    if may("steering.change_steeringstate"):
        own = SteeringState.history.filter(history_user=request.user.pk, door=Door.ADMIN, history_type="~")
        text = "and watch the answers change: its features steer everybody's requests."
        page = "admin:steering_steeringstate_changelist"
        steps.append(Step(page, "Move a slider of Live steering", text, own.exists()))
    if may("inference.add_languagemodel"):
        registered = LanguageModel.objects.exclude(name=DEMO).exists()
        text = "from a Hugging Face hub or a folder, and load it."
        steps.append(Step("admin:inference_languagemodel_add", "Register a model of your own", text, registered))
    return steps


@require_POST
def dismiss(request: HttpRequest) -> HttpResponse:
    """Show the card no longer to this user. The empty answer replaces the card."""
    _close(request)
    return HttpResponse()


def _close(request: HttpRequest) -> None:
    FirstSteps.objects.update_or_create(user_id=request.user.pk, defaults={"is_closed": True})


def notes_answers(view: Callable[..., Coroutine[Any, Any, HttpResponseBase]]) -> Any:
    """Make the view of the admin's chat note that its user has got an answer."""

    @wraps(view)
    async def noted(request: HttpRequest) -> HttpResponseBase:
        answer = await view(request)
        if answer.status_code == HTTPStatus.OK:
            await in_database(note_answer, request)
        return answer

    return noted


def note_answer(request: HttpRequest) -> None:
    """Note that the user has got an answer."""
    user: Any = request.user
    if not FirstSteps.objects.filter(user=user, has_asked=True).exists():
        FirstSteps.objects.update_or_create(user=user, defaults={"has_asked": True})
