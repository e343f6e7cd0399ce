"""From the message of a web to the engine's requests: token ids, limits, and the echo of prompts."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.conf import settings
from transformers import PreTrainedTokenizerFast

from inference.broker.messages import GenerateMessage, Prompt
from inference.engine.detokenizer import GrowingText, TokenRecord, TokenTexts
from inference.engine.steering.passes import PassSteering
from inference.interface import (
    ContextLengthExceeded,
    Engine,
    EngineBusy,
    EngineUnsupported,
    GenerationError,
    GenerationRequest,
    SamplingParams,
)
from inference.worker.job import Job, choice_id
from inference.worker.requests.chat_parts import ChatParts
from inference.worker.requests.prompts import added_before, echo_text, field_of, prompt_ids
from steering.spec import SteeringSpec

if TYPE_CHECKING:  # they load what an engine on vLLM does not need
    from inference.engine.engine import ContinuousEngine
    from inference.engine.prompt_reader import PromptReader

ECHO_ENTRIES = 2**18
"""Log-probabilities and alternatives in the echoes of one request: some 25 MB in Redis, and 100 MB in the web."""


class EchoTooLarge(GenerationError):
    """A request for more log-probabilities of prompts than ECHO_ENTRIES."""

    param = "logprobs"

    def __init__(self) -> None:
        expected = f"expected at most {ECHO_ENTRIES:,} tokens and alternatives in the echo of all prompts of a request"
        super().__init__(f"{expected}: send fewer prompts at once, or ask for fewer logprobs")


class PromptScores:
    """The log-probabilities of the tokens of prompts, which `reader` computes beside the batch of `engine`."""

    def __init__(self, engine: "ContinuousEngine", reader: "PromptReader") -> None:
        self._engine, self._reader = engine, reader
        # Few of the threads of tasks may wait for them: the others answer chats.
        self._places = threading.BoundedSemaphore(max(1, settings.INFERENCE_BATCH_SIZE // 4))

    def of(self, ids: list[int], message: GenerateMessage) -> list[Any]:
        """Those of a prompt's tokens but the first, as `PromptReader.prompt_logprobs` has them. Raises EngineBusy."""
        assert message.top_logprobs is not None
        spec, engine = message.steering, self._engine
        with self._place():
            regions = engine.regions.of(message.answer_form)
            steering = PassSteering(spec, engine.weights, engine.texts.special, regions) if spec else None
            return list(self._reader.prompt_logprobs(ids, steering, message.top_logprobs))

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise EngineBusy("enough requests wait for the log-probabilities of their prompts: try again later")
        try:
            yield
        finally:
            self._places.release()


class RequestBuilder:
    """Builds the requests of `engine`; `scores` are the log-probabilities of prompts that are echoed, if it has them.

    The model reads tokens below `rows`; these have the texts `texts`. Runs in the threads of tasks.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        rows: int,
        engine: Engine,
        texts: TokenTexts,
        scores: PromptScores | None = None,
    ) -> None:
        self._tokenizer, self._rows, self._engine, self._texts, self._scores = tokenizer, rows, engine, texts, scores
        self._chats = ChatParts(tokenizer, rows, texts)

    def requests(self, message: GenerateMessage, job: Job) -> list[GenerationRequest]:
        """One request for each choice of each prompt; `job` gets the echoes.

        The second choice of a prompt has the seed after the first one's, and so on. Raises GenerationError.
        """
        requests: list[GenerationRequest] = []
        entries = 0
        for prompt in message.prompts:
            ids, field = self._chats.prompt_ids(prompt, message), field_of(prompt)
            max_new_tokens = self._max_new_tokens(message.max_tokens, len(ids), field)
            if message.echo:
                self._check_echo(ids)
                if message.top_logprobs is not None:
                    entries += len(ids) * (1 + message.top_logprobs) * message.choices
                if entries > ECHO_ENTRIES:
                    raise EchoTooLarge
                job.echoes.append(self._echo(prompt, ids, message))
            of_answer = self._chats.of_answer(prompt, message, ids)
            for choice in range(message.choices):
                request = GenerationRequest(
                    request_id=choice_id(message.request_id, len(requests)),
                    prompt_ids=ids,
                    max_new_tokens=max_new_tokens,
                    sampling=replace(message.sampling, seed=message.sampling.seed + choice),
                    steering=message.steering,
                    stop=tuple(message.stop),
                    top_logprobs=message.top_logprobs,
                    prompt_field=field,
                    opens_text="messages" in prompt and not message.template.get("continue_final_message"),
                    answer_form=message.answer_form,
                    **of_answer,
                )
                requests.append(request)
        return requests

    def background(
        self,
        prompt: Prompt,
        max_tokens: int,
        sampling: SamplingParams,
        steering: SteeringSpec | None,
        answer_form: str = "",
    ) -> GenerationRequest:
        """The request for one answer for which no user waits, as a chat or a completion would ask. Without an id.

        Raises UnusableTemplate or InvalidPrompt.
        """
        return GenerationRequest(
            request_id="",
            prompt_ids=prompt_ids(self._tokenizer, prompt, self._rows, {"add_generation_prompt": True}),
            max_new_tokens=max_tokens,
            sampling=sampling,
            steering=steering,
            prompt_field=field_of(prompt),
            opens_text="messages" in prompt,
            background=True,
            answer_form=answer_form,
        )

    def _max_new_tokens(self, asked: int | None, prompt_tokens: int, field: str) -> int:
        """The bound of the request; without one the rest of the context, within INFERENCE_MAX_NEW_TOKENS."""
        if asked is not None:
            return asked
        left = self._engine.context_length - prompt_tokens
        if left <= 0:
            got = f"your {field} resulted in {prompt_tokens} tokens"
            raise ContextLengthExceeded(self._engine.context_length, got, field)
        return min(left, settings.INFERENCE_MAX_NEW_TOKENS)

    def _check_echo(self, ids: list[int]) -> None:
        """Raise ContextLengthExceeded: the engine checks all prompts but those that are only echoed."""
        if len(ids) > self._engine.context_length:
            got = f"your prompt resulted in {len(ids)} tokens"
            raise ContextLengthExceeded(self._engine.context_length, got, "prompt")

    def _echo(self, prompt: Prompt, ids: list[int], message: GenerateMessage) -> dict[str, Any]:
        """The prompt as the beginning of its answer, with log-probabilities where the message asks for them."""
        texts, top, added = self._texts, message.top_logprobs, added_before(self._tokenizer, ids)
        echo: dict[str, Any] = {"echo": echo_text(texts, prompt, ids[added:])}
        if top is not None:
            if self._scores is None:
                raise EngineUnsupported("the log-probabilities of prompts (`echo` with `logprobs`)", "logprobs")
            every = [(None, None), *self._scores.of(ids, message)]  # nothing is before the first token
            own = TokenRecord(texts, top, GrowingText(texts)).entries(ids[:added], every[:added])
            given = TokenRecord(texts, top, GrowingText(texts, names=True)).entries(ids[added:], every[added:])
            echo |= {name: [*own[name], *given[name]] for name in own}
        return echo
