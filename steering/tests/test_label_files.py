"""Files of feature labels: every form that is read, what is refused and in which row, and how much is in memory."""

import gzip
import io
import json
import tracemalloc
from collections.abc import Callable, Iterator
from typing import IO, Any

import pytest
from django.conf import LazySettings

from steering.imports.rows import ROW_BYTES
from steering.labels.files import InvalidLabelFile, LabelFile

D_SAE = 100


def explanation(index: Any, description: Any, **changes: Any) -> dict[str, Any]:
    """A row as Neuronpedia exports it."""
    return {
        "id": f"clx{index}",
        "modelId": "gemma-2-2b",
        "layer": "20-gemmascope-res-16k",
        "index": index,
        "authorId": "a",
        "description": description,
        "embedding": "[0.25,-0.5]",
        "typeName": "oai_token-act-pair",
        "explanationModelName": "gpt-4o-mini",
        "umap_x": 1.5,
        "umap_cluster": None,
        **changes,
    }


EXPLANATIONS = [explanation("3", " mentions of whales"), explanation(70, "ships"), explanation("71", "")]
NEURONPEDIA = "neuronpedia/gpt-4o-mini/oai_token-act-pair"


def as_array(rows: list[Any]) -> bytes:
    return json.dumps(rows, indent=2).encode()


def as_lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def read(content: bytes, **options: Any) -> list[tuple[int, str, str]]:
    return list(LabelFile(io.BytesIO(content), **options).labels(D_SAE))


@pytest.mark.parametrize("form", [as_array, as_lines])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_neuronpedias_explanations_are_read_as_array_and_as_lines_gzipped_or_not(
    form: Callable[[list[Any]], bytes], pack: Callable[[bytes], bytes]
) -> None:
    file = LabelFile(io.BytesIO(pack(form(EXPLANATIONS))))
    assert list(file.labels(D_SAE)) == [(3, "mentions of whales", NEURONPEDIA), (70, "ships", NEURONPEDIA)]
    assert (file.rows, file.skipped) == (3, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("index,label\n3,whales\n", [(3, "whales", "file")]),
        ("Index, Label ,source\r\n3,whales,me\r\n4,ships,\r\n", [(3, "whales", "me"), (4, "ships", "file")]),
        ('\ufeffindex,label\n07,"whales, ""dolphins""\nand more"\n\n', [(7, 'whales, "dolphins" and more', "file")]),
    ],
)
def test_csv_is_read_with_its_header(text: str, expected: list[Any]) -> None:
    assert read(text.encode()) == expected


def test_gzip_files_that_were_joined_are_read_to_the_end() -> None:
    packed = b"".join(gzip.compress(as_lines([row])) for row in EXPLANATIONS)
    assert [index for index, _, _ in read(packed)] == [3, 70]


def test_the_source_that_is_given_stands_for_what_the_file_says() -> None:
    assert read(as_lines(EXPLANATIONS[:1]), source="mine") == [(3, "mentions of whales", "mine")]
    assert read(b"index,label\n1,a\n", name="labels.csv") == [(1, "a", "labels.csv")]


def test_a_label_is_brought_onto_one_line_of_text_that_postgresql_can_hold() -> None:
    row = explanation(1, "a\u0000b\n\tc\x1b[0m \ud800 é")
    for form in (as_lines, as_array):
        assert [label for _, label, _ in read(form([row]))] == ["a b c [0m \ufffd é"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (as_lines([*EXPLANATIONS, explanation(100, "x")]), "row 4: feature 100 .* range: the SAE has 100 features"),
        (as_array([*EXPLANATIONS, explanation(100, "x")]), "row 4: feature 100 is out of range"),
        (as_lines([explanation(-1, "x")]), "row 1: got index -1, expected a whole number"),
        (as_lines([explanation("1.5", "x")]), "row 1: got index '1.5'"),
        (as_lines([explanation(True, "x")]), "row 1: got index True"),
        (as_lines([explanation(None, "x")]), "row 1: got index None"),
        (as_lines([explanation(1, ["x"])]), r"row 1: got \['x'\] for a label, expected text"),
        (as_lines([explanation(1, "x" * 10_001)]), "row 1: the label has 10001 characters, expected at most 10000"),
        (as_lines([EXPLANATIONS[0], explanation(4, "x", layer="21-res")]), "row 2: this row is of .*21-res.*one SAE"),
        (as_array([EXPLANATIONS[0], 5]), "row 2: got a number, expected an object"),
        (as_array(EXPLANATIONS)[:-30], "row 3: .*expected Neuronpedia"),
        (as_array(EXPLANATIONS) + b"\n{}", "something follows the end of the array"),
        (as_array(EXPLANATIONS[:1])[:-1] + b"; 5]", "row 1: got ';' after an element"),
        (b'[{"index": 1, "label": "a"}, {"index": 1; "label": "a"}' + b" " * 99 + b"]", "row 2: expected a comma"),
        (as_lines(EXPLANATIONS[:1]) + b'\n\n{"index": 4', "row 4: .*expected Neuronpedia"),
        (b'{\n  "index": 4,\n  "description": "x"\n}', "row 1: .*JSON lines"),
        (as_lines(EXPLANATIONS[:1]) + b'{"index": 4, "description": "\xff"}\n', "row 2: this is not UTF-8"),
        (b"index,label\n1,a\n2,\xff\n", "not UTF-8"),
        (b"index,label\n1,a\n\n2\n", "row 4: got 1 columns, expected 2"),
        (b"index,label\n1,a\nx,b\n", "row 3: got index 'x'"),
        (b"feature,words\n1,a\n", "row 1: got the header 'feature,words', expected .*index,label"),
        (b"1,whales\n", "row 1: got the header '1,whales'"),
        (b"", "row 1: got the header ''"),
        (b"PK\x03\x04" + b"\xff" * 50, "not UTF-8"),
        (gzip.compress(as_lines(EXPLANATIONS), mtime=0)[:-12], "the gzip file is damaged"),
        (gzip.compress(b"index,label\n", mtime=0)[:10] + b"\xff" * 20, "the gzip file is damaged"),
        (b"[" * 100_000, "row 1: "),
        (b'{"a":' * 100_000, "row 1: "),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_row(content: bytes, told: str) -> None:
    with pytest.raises(InvalidLabelFile, match=told):
        read(content)


def test_a_gzip_bomb_is_refused_at_the_bound(settings: LazySettings) -> None:
    settings.LABELS_MAX_BYTES = 5_000_000
    rows = as_lines([explanation(1, "x")] * 30_000)
    with pytest.raises(InvalidLabelFile, match="more than 5000000 bytes unpacked: raise LABELS_MAX_BYTES"):
        read(gzip.compress(rows))


@pytest.mark.parametrize("start", [b'{"index": 1, "label": "', b'[{"index": 1, "label": "', b'index,label\n1,"'])
def test_a_row_without_an_end_does_not_fill_the_memory(start: bytes) -> None:
    bomb = gzip.compress(start + b"x" * 50 * ROW_BYTES)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidLabelFile, match=r"a row has more than|field larger than"):
            read(bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 * ROW_BYTES


class Endless(io.RawIOBase):
    """A file of `count` rows that is made while it is read; `read_bytes` says how far that is."""

    def __init__(self, count: int, before: bytes, between: bytes, after: bytes) -> None:
        self.parts = self._parts(count, before, between, after)
        self.made, self.read_bytes = b"", 0

    def _parts(self, count: int, before: bytes, between: bytes, after: bytes) -> Iterator[bytes]:
        yield before
        for i in range(count):
            yield json.dumps(explanation(str(i % D_SAE), f"label {i}")).encode() + (between if i + 1 < count else after)

    def read(self, size: int = -1) -> bytes:
        data = self.made or next(self.parts, b"")
        data, self.made = data[:size], data[size:]
        self.read_bytes += len(data)
        return data


@pytest.mark.parametrize(("before", "between", "after"), [(b"", b"\n", b"\n"), (b"[", b",", b"]")])
def test_fifty_thousand_rows_are_streamed_with_progress(before: bytes, between: bytes, after: bytes) -> None:
    told: list[tuple[int, int]] = []
    source = Endless(50_000, before, between, after)
    opened: IO[bytes] = source  # type: ignore[assignment]
    file = LabelFile(opened, progress=lambda rows, read: told.append((rows, read)))
    labels = file.labels(D_SAE)
    assert next(labels) == (0, "label 0", NEURONPEDIA)
    assert source.read_bytes < 300_000  # the first is given before the rest is read
    assert sum(1 for _ in labels) == 49_999
    assert [rows for rows, _ in told] == [10_000, 20_000, 30_000, 40_000, 50_000, 50_000]
    assert told[-1][1] == source.read_bytes


@pytest.mark.parametrize("file", [b"[]", b" [ ] ", b"[\n" + b" " * 200_000 + b"]\n"])
def test_an_empty_array_has_no_rows_and_is_no_error(file: bytes) -> None:
    labels = LabelFile(io.BytesIO(file))
    assert (list(labels.labels(D_SAE)), labels.rows) == ([], 0)


@pytest.mark.parametrize(("file", "said"), [(b"[", "no end"), (b"[] 5", "something follows"), (b"[1,]", "a number")])
def test_what_only_looks_like_an_empty_array_is_refused(file: bytes, said: str) -> None:
    with pytest.raises(InvalidLabelFile, match=said):
        list(LabelFile(io.BytesIO(file)).labels(D_SAE))
