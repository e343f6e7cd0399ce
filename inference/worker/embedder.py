"""The embeddings of a request's texts, a chunk at a time."""

from transformers import PreTrainedTokenizerFast

from inference.broker.events import write_events
from inference.broker.messages import EmbedMessage, Prompt
from inference.engine.prompt_reader import PromptReader
from inference.interface import Event, TimedOut
from inference.worker.job import Job
from inference.worker.requests.prompts import prompt_ids

CHUNK = 64
"""Texts of one request that are in memory as tokens at a time."""


class Embedder:
    """Embeds the texts of requests; the model reads tokens below `rows`. Runs in the thread of embeddings."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, rows: int, reader: PromptReader) -> None:
        self._tokenizer, self._rows, self._reader = tokenizer, rows, reader

    def embed(self, message: EmbedMessage, job: Job) -> None:
        """Write the embeddings in as many events as the model runs batches, then the last event.

        Returns early where the job was cancelled. Raises GenerationError, or RedisError.
        """
        order = sorted(range(len(message.prompts)), key=lambda index: _length(message.prompts[index]))
        tokens = 0
        for start in range(0, len(order), CHUNK):  # texts of similar length share a batch
            chunk = order[start : start + CHUNK]
            texts = [prompt_ids(self._tokenizer, message.prompts[at], self._rows, param="input") for at in chunk]
            tokens += sum(map(len, texts))
            for embeddings in self._reader.embeddings(texts):
                if job.error:
                    raise job.error
                if job.ended.is_set():
                    return
                if job.left_s < 0:
                    raise TimedOut
                found = [(chunk[index], embedding) for index, embedding in embeddings]
                write_events([(job.inbox, Event(job.request_id, "embedded", {"embeddings": found}))])
        write_events([(job.inbox, Event(job.request_id, "finished", {"prompt_tokens": tokens}))])
        job.left = 0


def _length(prompt: Prompt) -> int:
    """Characters or tokens: enough to order texts by."""
    if "text" in prompt:
        return len(prompt["text"])
    return len(prompt["ids"]) if "ids" in prompt else 0
