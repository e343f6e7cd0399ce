"""The region of each token of a text: content, the reasoning, or a call of a tool.

Delimiters such as `<tool_call>` and `</tool_call>` enclose a region in a message of the assistant. A region has the
tokens from the one that completes its opening delimiter to the one that completes its closing delimiter, both included.
A region without a closing delimiter ends with its message. The regions of a text follow from its tokens alone, read in
their order, and from the place where its answer begins: a prompt has the regions that its answers had in earlier turns.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from inference.engine.detokenizer import GrowingText, TokenTexts
from steering.spec import Region

CONTENT: Region = "content"
REASONING: Region = "reasoning"
CALL: Region = "call"
REGIONS: tuple[Region, ...] = (CONTENT, REASONING, CALL)
LONGEST = 128
"""Characters of the longest delimiter."""


@dataclass(frozen=True)
class Span:
    """The delimiters of a region; without `closes` it ends with the message."""

    region: Region
    opens: re.Pattern[str]
    closes: re.Pattern[str] | None = None
    is_first: bool = False
    """True where only spaces may be before it in the message."""


@dataclass(frozen=True)
class Regions:
    """The regions of the texts of one model, whose tokens have `texts`.

    `begins` matches what is before each message of the assistant. None is unknown: only the answer is a message then.
    The tokens `ends` end a message.
    """

    texts: TokenTexts
    spans: Sequence[Span]
    begins: re.Pattern[str] | None = None
    ends: Collection[int] = ()

    def reader(self) -> "RegionReader":
        """A reader of one text."""
        return RegionReader(self)


class RegionReader:
    """Reads the tokens of one text in their order."""

    def __init__(self, regions: Regions) -> None:
        self._regions = regions
        self._piece = GrowingText(regions.texts, names=True)
        self._text = ""
        """The message so far; outside of messages the end of the text."""
        self._is_message = False
        self._at = 0
        """The end of the last delimiter in the text."""
        self._span: Span | None = None

    @property
    def region(self) -> Region:
        """The region after the last token."""
        return self._span.region if self._span else CONTENT

    def begin_answer(self) -> None:
        """Begin a message here, unless the prompt ends in one; a delimiter at its end opens its region."""
        if not self._is_message:
            end = self._text.rstrip() if self._piece.is_whole else ""
            spans = (span for span in self._regions.spans for m in span.opens.finditer(end) if m.end() == len(end))
            self._begin("")
            self._span = next(spans, None)

    def push(self, token_id: int) -> Region:
        """The region of the next token of the text."""
        before, seen = self.region, len(self._text)
        self._text += self._piece.push(token_id)
        while (found := self._delimiter(seen)) is not None:
            span, match = found
            if match.end() <= seen:  # a delimiter of no characters, which ends a region where another one follows
                before = CONTENT
            if span is None and match.re is self._regions.begins:
                seen = max(0, seen - match.end())
                self._begin(self._text[match.end() :])
            else:
                self._span, self._at = span, match.end()
        if token_id in self._regions.ends:
            self._is_message, self._span, self._text, self._at = False, None, "", 0
        if not self._is_message:
            self._text = self._text[-LONGEST:]
        return self.region if before == CONTENT else before

    def _begin(self, text: str) -> None:
        """Begin a message, of which `text` is known."""
        self._text, self._at, self._span, self._is_message = text, 0, None, True

    def _delimiter(self, seen: int) -> tuple[Span | None, re.Match[str]] | None:
        """The next delimiter after the last one, and the region that begins there; None where there is none so far.

        The first `seen` characters of the text hold none.
        """
        found = sorted(self._delimiters(max(self._at, seen - LONGEST)), key=lambda one: _order(one[1]))
        return found[0] if found else None

    def _delimiters(self, start: int) -> Iterator[tuple[Span | None, re.Match[str]]]:
        """The first delimiter of each kind from `start` on."""
        begins = self._regions.begins
        if begins and (match := begins.search(self._text, start)):
            yield None, match
        if self._span and self._span.closes:
            match = self._span.closes.search(self._text, start)
            # Of no characters at the end of the text, a delimiter is no end of the message yet.
            if match and match.end() > self._at and (match.group() or match.end() < len(self._text)):
                yield None, match
        elif self._is_message and not self._span:
            for span in self._regions.spans:
                match = span.opens.search(self._text, start)
                if match and not (span.is_first and self._text[: match.start()].strip()):
                    yield span, match


def _order(match: re.Match[str]) -> tuple[int, int]:
    """The first one, and the longest of those that begin together."""
    return match.start(), -match.end()
