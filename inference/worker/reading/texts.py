"""From the prompts of a reading to texts of token ids, with the tokens that count."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings
from transformers import PreTrainedTokenizerFast

from inference.broker.messages import Prompt, TextsMessage
from inference.engine.detokenizer import GrowingText, TokenTexts
from inference.engine.reading.reader import Text
from inference.interface import ContextLengthExceeded
from inference.worker.requests.prompts import InvalidPrompt, chat_text, check_ids, prompt_ids


class ReadTexts:
    """Makes texts of prompts for a model that reads tokens below `rows` in `context_length` positions.

    Where `first_is_sink`, the first token of a text counts as little as a special one: its residual stream is many
    times as long as that of the others, and so would be its activations (see `inference.engine.reading.sinks`).
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        texts: TokenTexts,
        rows: int,
        context_length: int,
        *,
        first_is_sink: bool = False,
    ) -> None:
        self._tokenizer, self._texts = tokenizer, texts
        self._rows, self._context_length = rows, context_length
        self._first_is_sink = first_is_sink
        self.special = texts.special

    def of(self, message: TextsMessage) -> list[Text]:
        """The text of each prompt.

        Raises UnusableTemplate, InvalidPrompt, ContextLengthExceeded, each with the field of the request.
        """
        found: list[Text] = []
        total = 0
        for prompt in message.prompts:
            text = self._text(prompt, message)
            if len(text.ids) > self._context_length:
                got = f"text {len(found)} has {len(text.ids)} tokens"
                raise ContextLengthExceeded(self._context_length, got, _param(prompt))
            found.append(text)
            total += len(text.ids)
            if total > (most := settings.INFERENCE_MAX_READING_TOKENS):
                got = f"got more than {most:,} tokens, in the first {len(found)} of {len(message.prompts)} texts"
                raise InvalidPrompt(f"{got}: read fewer texts at once", _param(prompt))
        return found

    def sides(self, message: TextsMessage, positives: int) -> tuple[list[Text], list[Text]]:
        """The texts of the first `positives` prompts, and of the others, each with a token that counts.

        Raises what `of` raises, and InvalidPrompt for a text without such a token.
        """
        texts = self.of(message)
        for index, text in enumerate(texts):
            if not any(text.counts):
                side, first = ("positive", 0) if index < positives else ("negative", positives)
                raise InvalidPrompt(f"text {index - first} has no token that counts: give it some text", side)
        return texts[:positives], texts[positives:]

    def whole(self, prompt: Prompt) -> Text:
        """A prompt of any length, of which all tokens but the special ones count. Raises what `of` raises."""
        ids, _ = self._all(prompt)
        return Text(ids, self._ordinary(ids))

    def pieces(self, ids: Sequence[int]) -> list[tuple[str, bool]]:
        """The characters that each token completes, and whether it is a special token, which has its name."""
        growing = GrowingText(self._texts, names=True)
        return [(growing.push(one), one in self._texts.special) for one in ids]

    def name(self, token_id: int) -> str:
        """The text of a token by itself; bytes that are no character are replacement characters."""
        return self._texts.within(token_id).decode(errors="replace")

    def _text(self, prompt: Prompt, message: TextsMessage) -> Text:
        ids, counts = self._answer(prompt) if "messages" in prompt and message.answer_only else self._all(prompt)
        if message.skip_special:
            counts = [one and other for one, other in zip(counts, self._ordinary(ids), strict=True)]
        return Text(ids, counts)

    def _ordinary(self, ids: Sequence[int]) -> list[bool]:
        """Whether each token of a text is neither special nor a sink."""
        ordinary = [token not in self._texts.special for token in ids]
        if self._first_is_sink:
            ordinary[0] = False
        return ordinary

    def _all(self, prompt: Prompt) -> tuple[list[int], list[bool]]:
        template = {"add_generation_prompt": False}
        ids = prompt_ids(self._tokenizer, prompt, self._rows, template, _param(prompt))
        return ids, [True] * len(ids)

    def _answer(self, prompt: Mapping[str, Any]) -> tuple[list[int], list[bool]]:
        """A conversation, of which the tokens of the last answer count."""
        answers = [one["content"] for one in prompt["messages"] if one["role"] == "assistant"]
        answer = (answers[-1] if answers else "").strip()
        if not answer:
            raise InvalidPrompt("a conversation has no answer (role assistant) with a text", "messages")
        text = chat_text(self._tokenizer, prompt["messages"], {"add_generation_prompt": False})
        start = text.rfind(answer)
        if start < 0:
            raise InvalidPrompt("the chat template changes the text of the answer: read all positions", "messages")
        end = start + len(answer)
        tokens = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = check_ids(self._tokenizer, list(tokens["input_ids"]), self._rows, "messages")
        return ids, [begin < end and after > start for begin, after in tokens["offset_mapping"]]


def _param(prompt: Mapping[str, Any]) -> str:
    """The field of a request that has the prompt."""
    return "messages" if "messages" in prompt else "texts" if "text" in prompt else "tokens"
