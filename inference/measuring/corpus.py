"""The text over which an SAE is measured: files of lines, read line by line."""

import gzip
import io
import zlib
from collections.abc import Iterator
from typing import IO, Any

from django.conf import settings

from steering import strict_json
from steering.errors import Refused
from steering.validation import name_of

LINE_BYTES = 2**20
GZIP, BOM = b"\x1f\x8b", b"\xef\xbb\xbf"
EXPECTED = 'expected {"text": "…"} or {"messages": [{"role": "…", "content": "…"}, …]}'

Prompt = str | list[dict[str, str]]
"""A text, or a conversation."""


class InvalidCorpus(Refused):
    """A file of texts that cannot be read; `line` is counted from 1."""

    code = "invalid_corpus"


class CorpusFile:
    """An open file of texts: one text per line, or JSON lines where its first character is `{`. It may be gzipped.

    Blank lines are left out, and so are fields of JSON lines beside `text` and `messages`.
    """

    def __init__(self, file: IO[bytes], name: str = "file") -> None:
        self._file, self.name = file, name

    def prompts(self) -> Iterator[tuple[int, Prompt, int]]:
        """(number of the line, prompt, bytes of the line) of each line that is not blank.

        Raises InvalidCorpus, which names the line.
        """
        number, is_json = 0, None
        try:
            for number, line in enumerate(self._lines(), 1):
                if is_json is None and number == 1:
                    line = line.removeprefix(BOM)
                if not line.strip():
                    continue
                if is_json is None:
                    is_json = line.lstrip().startswith(b"{")
                yield number, _of_json(strict_json.loads(line.strip())) if is_json else line.decode().strip(), len(line)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self.invalid(number, f"the gzip file is damaged: {error}") from error
        except UnicodeDecodeError as error:
            raise self.invalid(number, "this is not UTF-8 text: save the file as UTF-8") from error
        except ValueError as error:
            raise self.invalid(number, f"{' '.join(str(error).split())[:200]}: {EXPECTED}") from error

    def invalid(self, number: int, message: str) -> InvalidCorpus:
        """The error of a line."""
        return InvalidCorpus(f"{self.name}, line {number}: {message}", line=number)

    def _lines(self) -> Iterator[bytes]:
        raw: Any = io.BufferedReader(self._file) if isinstance(self._file, io.RawIOBase) else self._file
        start = raw.read(len(GZIP))
        raw = io.BufferedReader(_Rest(start, raw))
        file = io.BufferedReader(gzip.GzipFile(fileobj=raw)) if start == GZIP else raw
        number = 0
        while line := file.readline(LINE_BYTES + 1):
            number += 1
            if len(line) > LINE_BYTES:
                raise self.invalid(number, f"the line has more than {LINE_BYTES:,} bytes: cut it into several lines")
            yield line


class _Rest(io.RawIOBase):
    """A file of which the `start` was read already: the start, then the rest. It need not be seekable."""

    def __init__(self, start: bytes, file: Any) -> None:
        self._start, self._file = start, file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._start or self._file.read(len(buffer))
        taken = data[: len(buffer)]
        self._start = self._start[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


def corpus_lines(files: list[CorpusFile]) -> Iterator[tuple[str, Prompt]]:
    """(file and line, prompt) of all files. Raises InvalidCorpus, also where they have more than MEASURE_MAX_BYTES."""
    total, most = 0, settings.MEASURE_MAX_BYTES
    for file in files:
        for number, prompt, size in file.prompts():
            total += size
            if total > most:
                raise file.invalid(
                    number, f"the texts have more than {most:,} bytes: measure fewer, or raise MEASURE_MAX_BYTES"
                )
            yield f"{file.name}, line {number}", prompt


def _of_json(row: Any) -> Prompt:
    if not isinstance(row, dict):
        raise ValueError(f"got {name_of(row)}")
    if ("text" in row) == ("messages" in row):
        raise ValueError(f"got an object with {', '.join(map(str, row)) or 'no field'}"[:150])
    if "text" in row:
        return _text(row["text"], "text")
    messages = row["messages"]
    if not isinstance(messages, list) or not messages:
        raise ValueError(f"got messages: {messages!r:.80}")
    return [_message(message) for message in messages]


def _message(message: Any) -> dict[str, str]:
    if not isinstance(message, dict) or set(message) != {"role", "content"}:
        raise ValueError(f"got the message {message!r:.80}")
    return {"role": _text(message["role"], "role"), "content": _text(message["content"], "content", may_be_empty=True)}


def _text(value: Any, name: str, *, may_be_empty: bool = False) -> str:
    if not isinstance(value, str):
        raise ValueError(f"got {name}: {value!r:.80}")
    if not value.strip() and not may_be_empty:
        raise ValueError(f"got an empty {name}")
    return value
