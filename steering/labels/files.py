"""Files of feature labels, read row by row, so that the size of a file does not matter.

Three formats are recognised by their content, and each may be gzipped:

- Neuronpedia's explanations (https://docs.neuronpedia.org/api-and-data/exports) as JSON lines (`batch-N.jsonl.gz`),
- the same as the JSON array of Neuronpedia's API: objects with `modelId`, `layer` (an SAE's name), `index` (a string),
  `description`, `typeName`, `explanationModelName` and more,
- CSV with the header `index,label` or `index,label,source`.
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
from typing import IO, Any

from django.conf import settings

from steering.errors import Refused

LABEL_LENGTH, SOURCE_LENGTH = 10_000, 200
ROW_BYTES = 2**20  # bounds the memory that a row takes; the longest real rows, which hold an embedding, have 50 kB
READ_BYTES = 2**16
PROGRESS_ROWS = 10_000
GZIP, BOM = b"\x1f\x8b", b"\xef\xbb\xbf"
INDEX = re.compile(r"[0-9]{1,10}\Z")
NOT_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
BLANK: Any = object()  # stands for an empty line
BLANKS = re.compile(r"[ \t\n\r]*")
SURROGATES = re.compile(r"[\ud800-\udfff]")
EXPECTED = (
    "Neuronpedia's explanations as a JSON array or JSON lines, or CSV with the header index,label or index,label,source"
)

Label = tuple[int, str, str]
"""Feature index, label, source."""
Progress = Callable[[int, int], None]
"""Called every PROGRESS_ROWS rows with the rows and the bytes (of the file on disk) read so far."""


class InvalidLabelFile(Refused):
    """Error: a file of labels cannot be read. `row` is the line, or the element of a JSON array, counted from 1."""

    code = "invalid_label_file"


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
        """Raise InvalidLabelFile if a limit is passed. This class has no limit."""


class LimitedReader(CountingReader):
    """Reads at most LABELS_MAX_BYTES in total, and ROW_BYTES for one row."""

    def check(self) -> None:
        if self.total > (limit := settings.LABELS_MAX_BYTES):
            raise InvalidLabelFile(
                f"the file has more than {limit} bytes unpacked: raise LABELS_MAX_BYTES, or split it"
            )
        if self.row_bytes > ROW_BYTES + 2 * READ_BYTES:  # two buffers are read ahead of a row
            raise InvalidLabelFile(f"a row has more than {ROW_BYTES} bytes: expected {EXPECTED}")


@dataclass
class LabelFile:
    """An open file of labels.

    A label's source is `source` if it is given, else the source that the row names, else `name`. After the labels were
    read, `rows` is the number of rows and `skipped` the number of rows without a label.
    """

    file: IO[bytes]
    source: str = ""
    name: str = "file"
    progress: Progress | None = None
    rows: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)
    _position: int = field(default=1, init=False)
    _origin: tuple[Any, ...] | None = field(default=None, init=False)

    def labels(self, d_sae: int) -> Iterator[Label]:
        """Yield each label while the file is read, for an SAE of `d_sae` features.

        Raises InvalidLabelFile, which names the row.
        """
        packed = CountingReader(self.file)
        with self._errors():
            raw = io.BufferedReader(packed, READ_BYTES)
            unpacked = LimitedReader(gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == GZIP else raw)
            for self._position, row in _rows(io.BufferedReader(unpacked, READ_BYTES)):
                unpacked.row_bytes = 0
                if row is not BLANK:
                    label = self._label(row, d_sae)
                    self.rows += 1
                    if self.progress and self.rows % PROGRESS_ROWS == 0:
                        self.progress(self.rows, packed.total)
                    if label[1]:
                        yield label
                    else:
                        self.skipped += 1
                self._position += 1
        if self.progress:
            self.progress(self.rows, packed.total)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise every error of the block as InvalidLabelFile, with the file's name and the row."""
        try:
            yield
        except InvalidLabelFile as error:
            message = str(error)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            message = f"the gzip file is damaged, download it again: {error}"
        except UnicodeDecodeError:
            message = "this is not UTF-8 text: save the file as UTF-8"
        except (ValueError, csv.Error, RecursionError) as error:
            message = f"{' '.join(str(error).split())[:200]}: expected {EXPECTED}"
        else:
            return
        raise InvalidLabelFile(f"{self.name}, row {self._position}: {message}", row=self._position)

    def _label(self, row: Any, d_sae: int) -> Label:
        if not isinstance(row, Mapping):
            raise InvalidLabelFile(f"got {type(row).__name__}, expected an object with index and description")
        self._check_origin(row)
        text = row.get("description", row.get("label", ""))
        if not isinstance(text, str | None):
            raise InvalidLabelFile(f"got {text!r:.100} for a label, expected text")
        label, source = clean(text or ""), clean(self.source or _source(row) or self.name)
        for name, value, limit in (("label", label, LABEL_LENGTH), ("source", source, SOURCE_LENGTH)):
            if len(value) > limit:
                raise InvalidLabelFile(f"the {name} has {len(value)} characters, expected at most {limit}: shorten it")
        return _index(row.get("index"), d_sae), label, source

    def _check_origin(self, row: Mapping[str, Any]) -> None:
        """Refuse a row that names another SAE than the rows before: their labels would overwrite each other."""
        origin = (row.get("modelId"), row.get("layer"))
        if self._origin not in (None, origin):
            raise InvalidLabelFile(
                f"this row is of {origin}, the rows before it are of {self._origin}: import one SAE's rows at a time"
            )
        self._origin = origin


def _index(given: Any, d_sae: int) -> int:
    text = str(given).strip() if isinstance(given, int | str) and not isinstance(given, bool) else ""
    if not INDEX.match(text):
        raise InvalidLabelFile(f"got index {given!r:.100}, expected a whole number >= 0")
    if int(text) >= d_sae:
        message = f"feature {text} is out of range: the SAE has {d_sae} features"
        raise InvalidLabelFile(f"{message}; the file may be another SAE's")
    return int(text)


def clean(text: str) -> str:
    """`text` on one line, without characters that PostgreSQL cannot store or a page cannot show."""
    return " ".join(SURROGATES.sub("\ufffd", NOT_TEXT.sub(" ", text)).split())


def _source(row: Mapping[str, Any]) -> str:
    """The source that a row names, such as `neuronpedia/gpt-4o-mini/oai_token-act-pair`. A feature may have several."""
    if "description" not in row:
        return str(row.get("source") or "")
    made_by = (row.get("explanationModelName"), row.get("typeName"))
    return "/".join(["neuronpedia", *(str(part) for part in made_by if part)])


def _rows(file: io.BufferedReader) -> Iterator[tuple[int, Any]]:
    """Yield each row's position and content."""
    if file.peek(len(BOM)).startswith(BOM):
        file.read(len(BOM))
    first = file.peek(1).lstrip()[:1]
    if first == b"[":
        return enumerate(_elements(io.TextIOWrapper(file, encoding="utf-8", newline="")), 1)
    return _json_lines(file) if first == b"{" else _csv(file)


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
            raise ValueError(f"{error.msg} at {text[error.pos : error.pos + 20]!r}") from error
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


def _csv(file: io.BufferedReader) -> Iterator[tuple[int, Any]]:
    reader = csv.reader(io.TextIOWrapper(file, encoding="utf-8", newline=""), strict=True)
    header = [name.strip().lower() for name in next(reader, [])]
    if header not in (["index", "label"], ["index", "label", "source"]):
        raise InvalidLabelFile(f"got the header {','.join(header)!r:.100}, expected {EXPECTED}")
    for row in reader:
        if row and len(row) != len(header):
            raise InvalidLabelFile(f"got {len(row)} columns, expected {len(header)}")
        yield reader.line_num, dict(zip(header, row, strict=True)) if row else BLANK
