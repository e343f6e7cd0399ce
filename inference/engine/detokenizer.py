"""The growing text of token ids.

Every token has bytes, which may be a part of a character, and a text is the bytes of its tokens decoded as UTF-8. So
text once returned never changes, and bytes that are not UTF-8 become replacement characters.
"""

import codecs
import re
from collections.abc import Collection, Iterable, Sequence
from itertools import compress
from typing import Any

from tokenizers import Tokenizer

BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>\Z")
REPLACE_EACH = "millm.replace-each-byte"


def _replacements(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "�" * (error.end - error.start), error.end


# SentencePiece and `tokenizers` write one replacement character for each wrong byte, Python one for several.
codecs.register_error(REPLACE_EACH, _replacements)


def _byte_level() -> dict[str, int]:
    """The byte of each character of byte-level BPE (`bytes_to_unicode` of GPT-2): printable ones are themselves."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


BYTE_LEVEL = _byte_level()


class TokenTexts:
    """The bytes of each token of a tokenizer. Made once for a model, since it serialises the tokenizer's decoder."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        decoder = str(tokenizer.decoder)
        self._is_byte_level, self._has_byte_pieces = "ByteLevel" in decoder, "ByteFallback" in decoder
        added = tokenizer.get_added_tokens_decoder()
        self.special = {token_id: token.content for token_id, token in added.items() if token.special}
        """The special tokens, which are no part of a text, with their names."""
        self._known: dict[int, bytes] = {}
        self.errors = REPLACE_EACH if self._has_byte_pieces else "replace"

    def is_text(self, token_id: int) -> bool:
        return token_id not in self.special and self._tokenizer.id_to_token(token_id) is not None

    def within(self, token_id: int) -> bytes:
        """The bytes of a token after another one; of a special token its name, of an unknown token none."""
        if token_id not in self._known:
            self._known[token_id] = self._bytes(token_id)
        return self._known[token_id]

    def opening(self, token_id: int) -> bytes:
        """The bytes of a token at the start of a text, where SentencePiece drops a space."""
        raw = self.within(token_id)
        if self._is_byte_level or not self.is_text(token_id) or (len(raw) == 1 and raw[0] >= 0x80):
            return raw
        return self._tokenizer.decode([token_id], skip_special_tokens=False).encode()

    def _bytes(self, token_id: int) -> bytes:
        piece = self._tokenizer.id_to_token(token_id)
        if piece is None:
            return b""
        if token_id in self.special:
            return piece.encode()
        if self._is_byte_level:
            known = all(character in BYTE_LEVEL for character in piece)
            return bytes(BYTE_LEVEL[character] for character in piece) if known else piece.encode()
        if self._has_byte_pieces and (found := BYTE.match(piece)):
            return bytes([int(found[1], 16)])
        # The text that it adds to itself: so the decoder's own rules for spaces hold.
        once, twice = (self._tokenizer.decode([token_id] * n, skip_special_tokens=False) for n in (1, 2))
        return twice.removeprefix(once).encode()


class GrowingText:
    """The text that tokens add to `after`, the tokens before them. Special tokens add their names if `names`."""

    def __init__(self, texts: TokenTexts, after: Sequence[int] = (), *, names: bool = False) -> None:
        self._texts, self._names = texts, names
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors=texts.errors)
        self.opens = not any(map(texts.is_text, after))
        """True while no text is before the next token."""
        for token_id in after[-3:]:  # the last ones may begin a character
            self.push(token_id)

    @property
    def is_whole(self) -> bool:
        """False while the last tokens are a part of a character."""
        return not self._decoder.getstate()[0]

    def push(self, token_id: int) -> str:
        """The characters that this token completes."""
        if not (self._names or self._texts.is_text(token_id)):
            return ""
        raw = self._texts.opening(token_id) if self.opens else self._texts.within(token_id)
        self.opens = False
        return self._decoder.decode(raw)


class TokenRecord:
    """The log-probabilities of the tokens of a text, with `top` alternatives each, and the length of text each adds."""

    def __init__(self, texts: TokenTexts, top: int, text: GrowingText) -> None:
        self._texts, self._top, self._text = texts, top, text

    def entries(
        self, token_ids: Iterable[int], known: Iterable[tuple[float | None, list[tuple[int, float]] | None]]
    ) -> dict[str, Any]:
        """`logprobs`, an entry for each token, and `widths`, the number of characters that each adds to the text.

        `known` has for each token its log-probability, and (token id, log-probability) of the most probable tokens in
        its place; both are None for the first token of a prompt.
        """
        entries, widths = [], []
        for token_id, (own, others) in zip(token_ids, known, strict=True):
            top = None if others is None else [self._entry(*pair) for pair in others[: self._top]]
            entries.append(self._entry(token_id, own) | {"top_logprobs": top})
            widths.append(len(self._text.push(token_id)))
        return {"logprobs": entries, "widths": widths}

    def _entry(self, token_id: int, logprob: float | None) -> dict[str, Any]:
        """A token with its log-probability, from -9999 (OpenAI's minus infinity) to 0 (the most clients accept)."""
        raw = (self._texts.opening if self._text.opens else self._texts.within)(token_id)
        bounded = None if logprob is None else max(min(logprob, 0.0), -9999.0)
        return {"token": raw.decode(errors="replace"), "bytes": list(raw), "logprob": bounded}


class AnswerText:
    """The text of one answer, which ends before a stop string.

    The bytes of an unfinished character are held back, and text that may be the start of a stop string. So the pieces
    that `push` and `flush` return are final, and none of them has a part of the stop string. The answer continues the
    text of the tokens `after`, of which the answer of a chat has none. Of the special tokens, `named` are shown.
    """

    def __init__(
        self, texts: TokenTexts, stop: Sequence[str] = (), after: Sequence[int] = (), named: Collection[int] = ()
    ) -> None:
        self._text = GrowingText(texts, after)
        self._stop, self._named = tuple(stop), named
        # Special tokens are no part of the answer, but can be part of a stop string.
        self._special = {
            one: name for one, name in texts.special.items() if one in named or any(name in text for text in stop)
        }
        self._held, self._is_shown = "", bytearray()
        self.stopped = False

    def push(self, token_ids: Iterable[int]) -> str:
        """The text that is final with these tokens; none after a stop string."""
        if self.stopped:
            return ""
        for token_id in token_ids:
            name = self._special.get(token_id)
            added = self._text.push(token_id) if name is None else name
            self._held += added
            self._is_shown += bytes([name is None or token_id in self._named]) * len(added)
            if self._cut_at_stop():
                break
        return self._take(len(self._held) - self._undecided())

    def flush(self) -> str:
        """The text that is still held back at the end of the answer, without half a character."""
        return self._take(len(self._held))

    def _take(self, length: int) -> str:
        taken = "".join(compress(self._held[:length], self._is_shown))
        self._held, self._is_shown = self._held[length:], self._is_shown[length:]
        return taken

    def _cut_at_stop(self) -> bool:
        found = [at for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if found:
            self._held = self._held[: min(found)]
            self.stopped = True
        return self.stopped

    def _undecided(self) -> int:
        """The number of characters at the end that may be the start of a stop string."""
        if self.stopped:
            return 0
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stop):
                return length
        return 0
