"""Answers of the model under any steering, by miLLM's own engine: what its users get."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from queue import SimpleQueue

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from inference.demo.smollm2.convert import REPETITION_PENALTY, TEMPERATURE, TOP_P
from inference.engine.engine import ContinuousEngine, EngineLimits
from inference.engine.steering.weights import SteeringWeights
from inference.interface import Event, GenerationRequest, SamplingParams
from steering.formats import SAEConfig
from steering.spec import SAEPlace, SteeringSpec

LIMITS = EngineLimits(max_requests=64, max_batch_tokens=512, cache_tokens=32_768)


@dataclass(frozen=True)
class Ask:
    """A question, with the steering of its answer; `before` are the messages of the chat so far."""

    question: str
    steering: SteeringSpec | None = None
    seed: int = 0
    max_tokens: int = 64
    before: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class Answer:
    """What the model said; `prompt_ids` and `ids` are token ids."""

    question: str
    text: str
    prompt_ids: list[int]
    ids: list[int]


@dataclass
class Answerer:
    """Asks the engine many questions at once."""

    engine: ContinuousEngine
    tokenizer: PreTrainedTokenizerFast
    _steps: SimpleQueue[list[Event]] = field(default_factory=SimpleQueue)

    def answers(self, asks: Sequence[Ask], done: Callable[[int], object] = lambda count: None) -> list[Answer]:
        """The answers, in the order of `asks`. `done` is called with the number of answers that each step ended."""
        prompts = [self._prompt(ask) for ask in asks]
        texts, ids = ["" for _ in asks], [list[int]() for _ in asks]
        waiting = iter(range(len(asks)))
        running = sum(self._submit(number, asks[number], prompts[number]) for number in _first(waiting, 128))
        while running:
            ended = 0
            for event in self._steps.get():
                if event.kind == "failed":
                    raise RuntimeError(f"the answer to {asks[int(event.request_id)].question!r} failed: {event.data}")
                number = int(event.request_id)
                texts[number] += event.data.get("text", "")
                ids[number] += event.data.get("token_ids", [])
                ended += event.is_last
            done(ended)
            running += sum(self._submit(number, asks[number], prompts[number]) for number in _first(waiting, ended))
            running -= ended
        return [Answer(a.question, t, p, i) for a, t, p, i in zip(asks, texts, prompts, ids, strict=True)]

    def chat(self, questions: Sequence[str], steering: SteeringSpec | None, max_tokens: int) -> list[Answer]:
        """The answers to questions of one chat, each of which knows those before it."""
        before: list[dict[str, str]] = []
        found = []
        for seed, question in enumerate(questions):
            [answer] = self.answers([Ask(question, steering, seed, max_tokens, tuple(before))])
            before += [{"role": "user", "content": question}, {"role": "assistant", "content": answer.text}]
            found.append(answer)
        return found

    def _prompt(self, ask: Ask) -> list[int]:
        chat = [*ask.before, {"role": "user", "content": ask.question}]
        ids: list[int] = self.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        return ids

    def _submit(self, number: int, ask: Ask, prompt: list[int]) -> int:
        self.engine.submit(
            GenerationRequest(
                request_id=str(number),
                prompt_ids=prompt,
                max_new_tokens=ask.max_tokens,
                sampling=SamplingParams(
                    temperature=TEMPERATURE, top_p=TOP_P, repetition_penalty=REPETITION_PENALTY, seed=ask.seed
                ),
                steering=ask.steering,
                opens_text=True,
            )
        )
        return 1


@contextmanager
def answerer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, weights: SteeringWeights | None = None
) -> Iterator[Answerer]:
    """An engine of `model`, which it takes over, steered by directions from `weights`."""
    steps: SimpleQueue[list[Event]] = SimpleQueue()
    engine = ContinuousEngine(model, tokenizer, steps.put, weights or SteeringWeights(_no_sae), LIMITS)
    try:
        yield Answerer(engine, tokenizer, steps)
    finally:
        engine.close()


def _no_sae(place: SAEPlace) -> SAEConfig:
    raise ValueError("a steering needs an SAE or a vector set: none was given")


def _first(numbers: Iterator[int], count: int) -> list[int]:
    return list(islice(numbers, count))
