"""The tokens that may come next in an answer that must match a JSON schema, by llguidance (https://github.com/guidance-ai/llguidance)."""

import logging
import threading
from collections.abc import Sequence

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from inference.engine.forms.grammar import OPTIONS
from inference.interface import GenerationRequest, InvalidSchema, InvalidTools

logger = logging.getLogger(__name__)


class Constraint:
    """The state of one answer in its grammar. `error` has the reason where no token can follow."""

    def __init__(self, matcher: LLMatcher, tokenizer: LLTokenizer) -> None:
        self._matcher, self._tokenizer = matcher, tokenizer
        self._consumed = 0
        self.error = ""

    def allowed(self, answer_ids: Sequence[int]) -> NDArray[np.bool_]:
        """A mask of the tokens that may follow `answer_ids`, the whole answer so far; (vocab,) bool. Raises nothing.

        After an `error` only the end is allowed: the row must get some token in this step, and the engine ends the
        request when it sees the error.
        """
        try:
            return self._allowed(answer_ids)
        except Exception as error:  # uncaught, it would end the engine and all requests
            logger.exception("a grammar failed")
            self.error = f"{type(error).__name__}: {error}"
            return self._only_end()

    def _allowed(self, answer_ids: Sequence[int]) -> NDArray[np.bool_]:
        self._matcher.consume_tokens(list(answer_ids[self._consumed :]))
        self._consumed = len(answer_ids)
        if self._matcher.is_error():
            self.error = self._matcher.get_error()
            return self._only_end()
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        return np.unpackbits(bits, bitorder="little")[: self._tokenizer.vocab_size].astype(np.bool_)

    def _only_end(self) -> NDArray[np.bool_]:
        only_end = np.zeros(self._tokenizer.vocab_size, dtype=np.bool_)
        only_end[self._tokenizer.eos_tokens] = True
        return only_end


class Grammars:
    """Makes constraints for answers of one model, whose logits are `vocab` wide and whose answers end with `eos`."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, vocab: int, eos: Sequence[int]) -> None:
        self._source, self._vocab = tokenizer, vocab
        self._eos = [token_id for token_id in eos if token_id >= 0]
        self._tokenizer: LLTokenizer | None = None
        self._lock = threading.Lock()

    def of_request(self, request: GenerationRequest) -> Constraint | None:
        """The constraint of the answer to `request`; None where it is free. Raises InvalidSchema or InvalidTools."""
        if request.grammar is not None:
            return self._of_lark(request.grammar)
        return self.constraint(request.schema) if request.schema is not None else None

    def _of_lark(self, grammar: str) -> Constraint:
        tokenizer = self._prepared()
        matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(grammar), log_level=0)
        if matcher.is_error():
            raise InvalidTools(f"answers cannot be held to these tools: {_reason(matcher)}")
        return Constraint(matcher, tokenizer)

    def constraint(self, schema: str) -> Constraint:
        """The constraint of a new answer that must be JSON of `schema` (JSON text). Raises InvalidSchema."""
        tokenizer = self._prepared()
        try:
            grammar = LLMatcher.grammar_from_json_schema(schema, overrides=OPTIONS)
        except ValueError as error:
            raise InvalidSchema(f"Invalid schema for response_format: {error}") from error
        matcher = LLMatcher(tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise InvalidSchema(f"Invalid schema for response_format: {_reason(matcher)}")
        return Constraint(matcher, tokenizer)

    def _prepared(self) -> LLTokenizer:
        """The tokenizer in llguidance's form, made at the first use since this can take a second."""
        if not self._eos:
            raise InvalidSchema("response_format: this model has no token that ends an answer")
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = from_tokenizer(self._source, n_vocab=self._vocab, eos_token=self._eos)
            return self._tokenizer


def _reason(matcher: LLMatcher) -> str:
    """The error of a matcher, without the dump of its grammar that llguidance appends to some."""
    return str(matcher.get_error()).split("<state>")[0].strip()
