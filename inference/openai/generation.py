"""A request for answers: the choice of its steering, its way to a worker, and what `millm` of its response says."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from django.http import HttpRequest

from inference.broker.exchange import Exchange
from inference.broker.messages import GenerateMessage
from inference.interface import Event
from inference.openai.answers import Choice, system_fingerprint
from inference.openai.details.activations import ActivationsOfAnswer
from inference.openai.details.conditions import conditions_held
from inference.openai.endpoint import in_database
from inference.openai.requests import AnswerRequest
from inference.openai.selection import Selection, activate, select


@dataclass(frozen=True)
class Generation:
    """A request that a worker has, or will get."""

    request_id: str
    selection: Selection
    choices: int
    events: AsyncGenerator[Event]
    activations: ActivationsOfAnswer | None = None

    @classmethod
    async def begin(cls, request: HttpRequest, user: Any, asked: AnswerRequest, request_id: str) -> Self:
        """Select the steering and send the request to a worker.

        The profile that it activates is activated when a worker has begun. Raises OpenAIError, or what
        `Exchange.send` raises.
        """
        steering = asked.steering.given() if asked.steering else None
        selection = await in_database(select, user, asked.model, asked.profile, steering, asked.intensity)
        activations = None
        if asked.activations:
            activations = await in_database(ActivationsOfAnswer.select, user, asked.activations, selection)
        choices = len(asked.prompts) * asked.choices
        exchange = Exchange(request_id, selection, choices)
        await exchange.send(_message(asked, selection, activations))
        events = exchange.events()
        if selection.activates:
            events = _accepted(events, partial(in_database, activate, request, selection))
        return cls(request_id, selection, choices, events, activations)

    @property
    def fingerprint(self) -> str:
        return system_fingerprint(self.selection.version, self.selection.steering)

    async def details(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """`millm` of the response: raw values and conditions of the steering, the features that fire in the answers."""
        read = {}
        if self.activations:
            read = await in_database(self.activations.response, [choice.activations for choice in choices])
        return {**self.selection.details(), **conditions_held(self.selection.steering, choices), **read}


def _message(
    asked: AnswerRequest, selection: Selection, activations: ActivationsOfAnswer | None
) -> Callable[..., GenerateMessage]:
    """The message to a worker, but for its address."""
    return partial(
        GenerateMessage,
        prompts=[*asked.prompts],
        choices=asked.choices,
        steering=selection.steering,
        sampling=asked.sampling(selection.sampling),
        max_tokens=asked.token_limit,
        stop=asked.stops,
        top_logprobs=asked.alternatives,
        answer_schema=asked.answer_schema,
        echo=bool(getattr(asked, "echo", False)),
        template=asked.template,
        **asked.parts,
        answer_form=selection.answer_form,
        reading=activations.message if activations else None,
    )


async def _accepted(events: AsyncGenerator[Event], accept: Callable[[], Awaitable[None]]) -> AsyncGenerator[Event]:
    """Pass `events` on, and call `accept` before the first one of the answer: a refused request has none."""
    is_accepted = False
    async for event in events:
        if not is_accepted and event.kind != "waiting":
            await accept()
            is_accepted = True
        yield event
