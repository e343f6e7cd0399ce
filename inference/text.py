"""From token ids to the text of an answer, as it grows."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

BYTE = re.compile(r"<0x([0-9A-F]{2})>\Z")


def _byte_level() -> dict[str, int]:
    """The byte of each character of byte-level BPE (`bytes_to_unicode` of GPT-2): printable ones are themselves."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


BYTE_LEVEL = _byte_level()


def token_bytes(tokenizer: Tokenizer, token_id: int) -> bytes:
    """The bytes of one token, which may be a part of a character."""
    piece = tokenizer.id_to_token(token_id)
    if piece is None:
        return b""
    if found := BYTE.match(piece):
        return bytes([int(found[1], 16)])
    if "ByteLevel" in str(tokenizer.decoder) and all(character in BYTE_LEVEL for character in piece):
        return bytes(BYTE_LEVEL[character] for character in piece)
    return piece.replace("▁", " ").encode()


def token_entry(tokenizer: Tokenizer, token_id: int, logprob: float) -> dict[str, Any]:
    """A token with its log-probability; 0 is the most that OpenAI's clients take, -9999 their minus infinity."""
    raw = token_bytes(tokenizer, token_id)
    return {"token": raw.decode(errors="replace"), "bytes": list(raw), "logprob": max(min(logprob, 0.0), -9999.0)}


def token_entries(
    tokenizer: Tokenizer, token_ids: Iterable[int], known: Iterable[tuple[float, list[tuple[int, float]]]], top: int
) -> list[dict[str, Any]]:
    """The entry of each token, with those of its `top` alternatives; `known` has what is known of each."""
    return [
        token_entry(tokenizer, token_id, own)
        | {"top_logprobs": [token_entry(tokenizer, *pair) for pair in others[:top]]}
        for token_id, (own, others) in zip(token_ids, known, strict=True)
    ]


class AnswerText:
    """Decodes the tokens of one answer and ends it before a stop string.

    What may still become something else is held back: the bytes of an unfinished character and
    text that may be the start of a stop string. So the pieces that `push` and `flush` return are
    final, and the stop string is in none of them.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._stop = tuple(stop)
        self._held = ""
        self.stopped = False

    def push(self, token_ids: Iterable[int]) -> str:
        """The text that these tokens make final; none after a stop string."""
        if self.stopped:
            return ""
        for token_id in token_ids:
            self._held += self._stream.step(self._tokenizer, token_id) or ""
            if self._cut_at_stop():
                break
        return self._take(len(self._held) - self._undecided())

    def flush(self) -> str:
        """The text still held back when no more tokens come; half a character is dropped."""
        return self._take(len(self._held))

    def _take(self, length: int) -> str:
        taken, self._held = self._held[:length], self._held[length:]
        return taken

    def _cut_at_stop(self) -> bool:
        found = [at for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if found:
            self._held = self._held[: min(found)]
            self.stopped = True
        return self.stopped

    def _undecided(self) -> int:
        """How many characters at the end may be the start of a stop string."""
        if self.stopped:
            return 0
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stop):
                return length
        return 0
