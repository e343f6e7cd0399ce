"""One sweep: answers a few at a time, behind users' requests. Each answer is stored as soon as it has ended."""

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db.models.functions import Now

from inference.engine.continuations import Continuations
from inference.engine.steering.passes import PassSteering
from inference.interface import (
    EngineBusy,
    EngineClosed,
    GenerationError,
    GenerationRequest,
    SamplingParams,
)
from inference.models import LanguageModel
from inference.sweeps.effects import perplexity, repeats
from inference.sweeps.models import Place, Sweep, SweepCell
from inference.worker.leases.lease import Lease
from inference.worker.leases.run import ATTEMPTS, Interrupted, LeasedRun
from inference.worker.requests.builder import RequestBuilder
from inference.worker.sweeping.answers import BackgroundAnswer, BackgroundAnswers
from steering.errors import Refused
from steering.spec import SteeringSpec

logger = logging.getLogger(__name__)

POLL_S = 0.05
LATER_S = 5
"""The time after which a sweep whose engine has ended is due again."""
AGAIN = {"cancelled", EngineBusy.code, EngineClosed.code}
"""Codes of failures that are not the answer's own."""


@dataclass(frozen=True)
class SweepModel:
    """The model that answers, and reads answers: a copy beside the engine, without its steering."""

    version: str
    builder: RequestBuilder
    answers: BackgroundAnswers[Place]
    continuations: Continuations
    steering: Callable[[SteeringSpec, str], PassSteering]
    """Makes the steering of passes of a spec and the form of answers of the model's row."""
    tokens: Callable[[str], list[int]]
    """The token ids of a text that continues another one, without special tokens."""


class Run(LeasedRun[Sweep]):
    """A sweep that this worker holds a lease on."""

    def __init__(self, lease: Lease[Sweep], model: SweepModel) -> None:
        super().__init__(lease)
        self._model = model
        self._words: dict[tuple[int, int], list[float | None]] = {}
        """The log-probabilities of the words, by positions of value and prompt."""

    def run(self) -> None:
        """Sweep, as `run_job` says."""
        self.run_job(self._begin, self._sweep_while_served)

    def _sweep_while_served(self) -> None:
        try:
            self._sweep()
        except EngineClosed:  # the worker ends soon, or loads another model
            logger.info("the %s waits for another engine", self._row)
            self._lease.update(attempts=self._row.attempts, due_at=Now() + timedelta(seconds=LATER_S))
        else:
            self._lease.update(status=Sweep.Status.DONE, error="")

    def _begin(self) -> None:
        if self._row.model_version != self._model.version:
            got = f"{self._row.model_name} has other files or options than when the sweep was made"
            made, now = self._row.model_version, self._model.version
            raise Refused(f"{got} (got {now}, expected {made}): make the sweep again")
        if self._row.attempts >= ATTEMPTS:
            raise Refused(f"{ATTEMPTS} workers ended before the next answer was stored: see their logs, then resume")
        self._lease.update(status=Sweep.Status.RUNNING, attempts=self._row.attempts + 1)
        self._specs = self._row.specs()
        row = LanguageModel.objects.filter(name=self._row.model_name).first()
        self._form = row.answer_form if row else ""
        self._word_ids = [self._model.tokens(word) for word in self._row.words]

    # --- the answers ---

    def _sweep(self) -> None:
        left, answers = deque(self._row.missing()), self._model.answers
        try:
            while left or len(answers):
                if self._lease.is_over():
                    raise Interrupted
                left.extendleft(reversed(answers.give_way()))
                if left and answers.has_room():
                    self._submit(left)
                if answer := answers.ended(POLL_S):
                    self._take(answer, left)
        finally:
            answers.cancel()
            while answers.ended(0):  # of no use any more: another run begins them again
                pass

    def _submit(self, left: deque[Place]) -> None:
        """Submit the next answer. Where it is refused, its error is stored."""
        place = left.popleft()
        try:
            self._model.answers.submit(place, self._request(place))
        except EngineClosed:
            raise
        except EngineBusy:
            left.appendleft(place)
        except GenerationError as error:
            self._store(place, SweepCell(error=str(error)))

    def _request(self, place: Place) -> GenerationRequest:
        row = self._row
        sampling = {**row.sampling, "top_k": int(row.sampling["top_k"])}
        return self._model.builder.background(
            row.prompt(place.prompt_at),
            row.max_tokens,
            SamplingParams(**sampling, seed=place.seed),
            self._specs[place.value_at],
            self._form,
        )

    def _take(self, answer: BackgroundAnswer[Place], left: deque[Place]) -> None:
        if answer.code in AGAIN:
            left.appendleft(answer.key)
        elif answer.code:
            self._store(answer.key, SweepCell(error=answer.message))
        else:
            self._store(answer.key, self._measured(answer))

    def _store(self, place: Place, cell: SweepCell) -> None:
        cell.value_at, cell.prompt_at, cell.seed = place
        with self._lease.hold() as row:
            cell.sweep = row
            cell.store()

    # --- the effects ---

    def _measured(self, answer: BackgroundAnswer[Place]) -> SweepCell:
        """The answer with its effects. An error of theirs takes its place."""
        try:
            return SweepCell(
                text=answer.text,
                token_ids=answer.token_ids,
                tokens=len(answer.token_ids),
                reason=answer.reason,
                perplexity=self._perplexity(answer),
                repeats=repeats(answer.text),
                words=self._logprobs(answer),
            )
        except GenerationError as error:
            return SweepCell(error=str(error))

    def _perplexity(self, answer: BackgroundAnswer[Place]) -> float | None:
        [found] = self._model.continuations.logprobs(answer.prompt_ids, [answer.token_ids])
        return perplexity(found) if all(map(math.isfinite, found)) else None

    def _logprobs(self, answer: BackgroundAnswer[Place]) -> list[float | None]:
        """The log-probability of each chosen word after the prompt, under the steering: the sum over its tokens."""
        if not self._word_ids:
            return []
        key = answer.key.value_at, answer.key.prompt_at
        if key not in self._words:
            spec = self._specs[answer.key.value_at]
            steering = self._model.steering(spec, self._form) if spec else None
            found = self._model.continuations.logprobs(answer.prompt_ids, self._word_ids, steering)
            self._words[key] = [_sum(one) for one in found]
        return self._words[key]


def _sum(logprobs: Sequence[float]) -> float | None:
    total = math.fsum(logprobs)
    return total if logprobs and math.isfinite(total) else None
