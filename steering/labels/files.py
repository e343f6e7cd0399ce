"""Files of feature labels.

Three formats are recognised by their content, and each may be gzipped:

- Neuronpedia's explanations (https://docs.neuronpedia.org/api-and-data/exports) as JSON lines (`batch-N.jsonl.gz`),
- the same as the JSON array of Neuronpedia's API: objects with `modelId`, `layer` (an SAE's name), `index` (a string),
  `description`, `typeName`, `explanationModelName` and more,
- CSV with the header `index,label` or `index,label,source`.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from steering.imports.rows import BLANK, InvalidFile, RowFile, feature_index

LABEL_LENGTH, SOURCE_LENGTH = 10_000, 200
EDITED = "edited"
"""The source of the labels that users write. No file has it, since their changes are kept as history."""
OF_FILES = "file"
"""The source of the labels that the files of a vector set give."""
NOT_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
SURROGATES = re.compile(r"[\ud800-\udfff]")
EXPECTED = (
    "Neuronpedia's explanations as a JSON array or JSON lines, or CSV with the header index,label or index,label,source"
)

Label = tuple[int, str, str]
"""Feature index, label, source."""


class InvalidLabelFile(InvalidFile):
    """Error: a file of labels cannot be read."""

    code = "invalid_label_file"


@dataclass
class LabelFile(RowFile):
    """An open file of labels.

    A label's source is `source` if it is given, else the source that the row names, else `name`. After the labels were
    read, `skipped` is the number of rows without a label.
    """

    expected = EXPECTED
    invalid = InvalidLabelFile
    source: str = ""
    skipped: int = field(default=0, init=False)

    def labels(self, d_sae: int) -> Iterator[Label]:
        """Yield each label while the file is read, for an SAE of `d_sae` features.

        Raises InvalidLabelFile, which names the row.
        """
        for label in self.read(lambda row: self._label(row, d_sae)):
            if label[1]:
                yield label
            else:
                self.skipped += 1

    def _label(self, row: Mapping[str, Any], d_sae: int) -> Label:
        text = row.get("description", row.get("label", ""))
        if not isinstance(text, str | None):
            raise InvalidFile(f"got {text!r:.100} for a label, expected text")
        label, source = clean(text or ""), clean(self.source or _source(row) or self.name)
        for name, value, limit in (("label", label, LABEL_LENGTH), ("source", source, SOURCE_LENGTH)):
            if len(value) > limit:
                raise InvalidFile(f"the {name} has {len(value)} characters, expected at most {limit}: shorten it")
        if source == EDITED:
            raise InvalidFile(f"the source {EDITED!r} is that of labels written in miLLM: give another source")
        return feature_index(row.get("index"), d_sae), label, source

    def other_rows(self, file: io.BufferedReader) -> Iterator[tuple[int, Any]]:
        """The rows of a CSV file."""
        reader = csv.reader(io.TextIOWrapper(file, encoding="utf-8", newline=""), strict=True)
        header = [name.strip().lower() for name in next(reader, [])]
        if header not in (["index", "label"], ["index", "label", "source"]):
            raise InvalidFile(f"got the header {','.join(header)!r:.100}, expected {EXPECTED}")
        for row in reader:
            if row and len(row) != len(header):
                raise InvalidFile(f"got {len(row)} columns, expected {len(header)}")
            yield reader.line_num, dict(zip(header, row, strict=True)) if row else BLANK


def clean(text: str) -> str:
    """`text` on one line, without characters that PostgreSQL cannot store or a page cannot show."""
    return " ".join(SURROGATES.sub("\ufffd", NOT_TEXT.sub(" ", text)).split())


def _source(row: Mapping[str, Any]) -> str:
    """The source that a row names, such as `neuronpedia/gpt-4o-mini/oai_token-act-pair`. A feature may have several."""
    if "description" not in row:
        return str(row.get("source") or "")
    made_by = (row.get("explanationModelName"), row.get("typeName"))
    return "/".join(["neuronpedia", *(str(part) for part in made_by if part)])
