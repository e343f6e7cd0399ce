"""Files of rows about an SAE's features, read row by row, so that the size of a file does not matter.

JSON lines and a JSON array of objects are recognised by their content, and each may be gzipped.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any, ClassVar, TypeVar

from django.conf import settings

from steering.errors import Refused
from steering.strict_json import told
from steering.validation import name_of

ROW_BYTES = 2**20  # bounds the memory that a row takes; the longest real rows, which hold an embedding, have 50 kB
READ_BYTES = 2**16
PROGRESS_ROWS = 10_000
GZIP, BOM = b"\x1f\x8b", b"\xef\xbb\xbf"
INDEX = re.compile(r"[0-9]{1,10}\Z")
BLANK: Any = object()  # stands for an empty line
BLANKS = re.compile(r"[ \t\n\r]*")

Parsed = TypeVar("Parsed")
Progress = Callable[[int, int], None]
"""Called every PROGRESS_ROWS rows with the rows and the bytes (of the file on disk) read so far."""


class InvalidFile(Refused):
    """Error: a file cannot be read. `row` is the line, or the element of a JSON array, counted from 1."""

    code = "invalid_file"


class CountingReader(io.RawIOBase):
    """Reads `file` and counts the bytes: `total`, and `row_bytes` since `row_bytes` was set to 0."""

    def __init__(self, file: Any) -> None:
        self.file, self.total, self.row_bytes = file, 0, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.file.read(min(len(buffer), READ_BYTES))
        self.total += len(data)
        self.row_bytes += len(data)
        self.check()
        buffer[: len(data)] = data
        return len(data)

    def check(self) -> None:
        """Raise InvalidFile if a limit is passed. This class has no limit."""


class LimitedReader(CountingReader):
    """Reads at most LABELS_MAX_BYTES in total, and ROW_BYTES for one row."""

    def check(self) -> None:
        if self.total > (limit := settings.LABELS_MAX_BYTES):
            raise InvalidFile(f"the file has more than {limit} bytes unpacked: raise LABELS_MAX_BYTES, or split it")
        if self.row_bytes > ROW_BYTES + 2 * READ_BYTES:  # two buffers are read ahead of a row
            raise InvalidFile(f"a row has more than {ROW_BYTES} bytes: is this a file of rows?")


@dataclass
class RowFile:
    """An open file of rows. After the rows were read, `rows` is their number."""

    expected: ClassVar[str]
    """The formats that a subclass reads, for messages."""
    invalid: ClassVar[type[InvalidFile]]
    """The class of every error about a file."""
    file: IO[bytes]
    name: str = "file"
    progress: Progress | None = None
    rows: int = field(default=0, init=False)
    _position: int = field(default=1, init=False)
    _origin: tuple[Any, ...] | None = field(default=None, init=False)

    def read(self, parse: Callable[[Mapping[str, Any]], Parsed]) -> Iterator[Parsed]:
        """Yield `parse(row)` of each row while the file is read.

        Raises `invalid`, which names the row, also in place of an InvalidFile or a ValueError of `parse`.
        """
        packed = CountingReader(self.file)
        with self._errors():
            raw = io.BufferedReader(packed, READ_BYTES)
            unpacked = LimitedReader(gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == GZIP else raw)
            for position, row in self._rows(io.BufferedReader(unpacked, READ_BYTES)):
                unpacked.row_bytes, self._position = 0, position
                if row is not BLANK:
                    self._check_origin(row)
                    parsed = parse(row)
                    self.rows += 1
                    if self.progress and self.rows % PROGRESS_ROWS == 0:
                        self.progress(self.rows, packed.total)
                    yield parsed
                self._position += 1
        if self.progress:
            self.progress(self.rows, packed.total)

    def other_rows(self, file: io.BufferedReader) -> Iterator[tuple[int, Any]]:
        """Each row's position and content, of a file that is not JSON. Raises InvalidFile where it has no rows."""
        raise InvalidFile(f"this is not JSON: expected {self.expected}")

    def _rows(self, file: io.BufferedReader) -> Iterator[tuple[int, Any]]:
        if file.peek(len(BOM)).startswith(BOM):
            file.read(len(BOM))
        first = file.peek(1).lstrip()[:1]
        if first == b"[":
            return enumerate(_elements(io.TextIOWrapper(file, encoding="utf-8", newline="")), 1)
        return _json_lines(file) if first == b"{" else self.other_rows(file)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise every error of the block as `invalid`, with the file's name and the row."""
        try:
            yield
        except InvalidFile as error:
            message = str(error)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            message = f"the gzip file is damaged, download it again: {error}"
        except UnicodeDecodeError:
            message = "this is not UTF-8 text: save the file as UTF-8"
        except (ValueError, csv.Error, RecursionError) as error:
            message = f"{' '.join(str(error).split())[:200]}: expected {self.expected}"
        else:
            return
        raise self.invalid(f"{self.name}, row {self._position}: {message}", row=self._position)

    def _check_origin(self, row: Any) -> None:
        """Refuse a row that names another SAE than the rows before: they would overwrite each other."""
        if not isinstance(row, Mapping):
            raise InvalidFile(f"got {name_of(row)}, expected an object: {self.expected}")
        origin = (row.get("modelId"), row.get("layer"))
        if self._origin not in (None, origin):
            raise InvalidFile(
                f"this row is of {origin}, the rows before it are of {self._origin}: import one SAE's rows at a time"
            )
        self._origin = origin


def feature_index(given: Any, d_sae: int) -> int:
    """`given`, a number or its digits, as a feature of an SAE with `d_sae` features. Raises InvalidFile."""
    text = str(given).strip() if isinstance(given, int | str) and not isinstance(given, bool) else ""
    if not INDEX.match(text):
        raise InvalidFile(f"got index {given!r:.100}, expected a whole number >= 0")
    if int(text) >= d_sae:
        message = f"feature {text} is out of range: the SAE has {d_sae} features"
        raise InvalidFile(f"{message}; the file may be another SAE's")
    return int(text)


def _elements(file: io.TextIOWrapper) -> Iterator[Any]:
    """Yield the elements of a JSON array, one after the other.

    ijson, the usual library, is not used: its memory grows with the square of the depth (20,000 brackets take 1 GB).
    """
    text = file.read(READ_BYTES)
    position = text.index("[") + 1
    while not text[position:].strip() and (more := file.read(READ_BYTES)):
        text, position = more, 0
    is_empty = text[position:].lstrip().startswith("]")
    position = text.index("]", position) + 1 if is_empty else position
    while not is_empty:
        found = _element(text, position)
        if found is not None:
            element, position, last = found
            yield element
            if last:
                break
        elif more := file.read(READ_BYTES):
            text, position = text[position:] + more, 0
        else:
            raise ValueError("the array has no end")
    if (text[position:] + file.read(READ_BYTES)).strip():
        raise ValueError("something follows the end of the array")


def _element(text: str, position: int) -> tuple[Any, int, bool] | None:
    """Read the element at `position`: (element, position after it, is it the last). None if `text` ends too early."""
    start = BLANKS.match(text, position).end()  # type: ignore[union-attr]  # the pattern matches everywhere
    try:
        element, end = json.JSONDecoder().raw_decode(text, start)
    except json.JSONDecodeError as error:
        # An error well before the end of the buffer cannot be cured by more input.
        if not error.msg.startswith("Unterminated") and error.pos < len(text) - 16:
            raise ValueError(f"{told(error)} at {text[error.pos : error.pos + 20]!r}") from error
        return None
    delimiter = BLANKS.match(text, end).end()  # type: ignore[union-attr]
    if delimiter == len(text):
        return None
    if text[delimiter] not in ",]":
        raise ValueError(f"got {text[delimiter]!r} after an element, expected a comma or the end of the array")
    return element, delimiter + 1, text[delimiter] == "]"


def _json_lines(file: io.BufferedReader) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(file, 1):
        yield number, json.loads(line.decode()) if line.strip() else BLANK
