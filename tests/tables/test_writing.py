"""Recommendations in files."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetcli.errors import UsageError
from forgetcli.ids import Utf8Ids, Vocabulary
from forgetcli.tables import ItemNames, RecommendationWriter, TableFormat, table_format
from forgetcli.tables import writing as writing_module

FORMATS: tuple[TableFormat, ...] = ("csv", "parquet", "jsonl")
USERS = Vocabulary(np.array([3, 12, 40]))
AWKWARD = ["=1+1", 'a,"b"', "c\nd", "é", "\x1b[31m"]
ITEMS = Vocabulary.of(Utf8Ids.from_strings(AWKWARD))[0]
NAMES = ItemNames({"=1+1": 'The "One"', "é": "Été, l'"})


def written(
    form: TableFormat,
    *batches: tuple[Any, Any, Any],
    users: Vocabulary = USERS,
    items: Vocabulary = ITEMS,
    names: ItemNames | None = None,
) -> bytes:
    file = io.BytesIO()
    with RecommendationWriter(file, form, users, items, names) as writer:
        for batch_users, batch_items, scores in batches:
            writer.write(np.array(batch_users, np.int64), np.array(batch_items, np.int32), np.array(scores, np.float32))
    return file.getvalue()


def rows_in(form: TableFormat, content: bytes) -> list[dict[str, Any]]:
    """The rows with every value as text, None and "" alike."""
    if form == "csv":
        rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    elif form == "jsonl":
        rows = [json.loads(line) for line in content.decode().splitlines()]
    else:
        rows = pq.read_table(pa.BufferReader(content)).to_pylist()
    return [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_holds_the_same_rows(form: TableFormat) -> None:
    row = {label: ITEMS.find(Utf8Ids.from_strings([label]))[0] for label in AWKWARD}
    content = written(
        form,
        ([2, 0], [[row["=1+1"], row["c\nd"]], [row["é"], -1]], [[2.5, 0.5], [-1.25, 0]]),
        ([1], [[row['a,"b"'], row["\x1b[31m"]]], [[4, 3.5]]),
        names=NAMES,
    )
    assert [list(row.values()) for row in rows_in(form, content)] == [
        ["40", "=1+1", "1", "2.5", 'The "One"'],
        ["40", "c\nd", "2", "0.5", ""],
        ["3", "é", "1", "-1.25", "Été, l'"],
        ["12", 'a,"b"', "1", "4" if form != "parquet" else "4.0", ""],
        ["12", "\x1b[31m", "2", "3.5", ""],
    ]


def test_csv_quotes_only_where_it_must() -> None:
    items = Vocabulary(np.array([1, 2]))
    content = written("csv", ([0], [[0, 1]], [[0.1, 1e-9]]), items=items, names=ItemNames({"1": "Plain", "2": 'a "b"'}))
    assert content.decode() == 'user,item,rank,score,title\n3,1,1,0.1,Plain\n3,2,2,1e-9,"a ""b"""\n'


def test_json_lines_are_typed_and_in_ascii() -> None:
    content = written("jsonl", ([0], [[3]], [[1.5]]), names=ItemNames({ITEMS.label(3): "\x9b é"}))
    assert content.isascii()
    row = json.loads(content)
    assert row == {"user": 3, "item": ITEMS.label(3), "rank": 1, "score": 1.5, "title": "\x9b é"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parquet_is_typed_as_the_training_data_and_the_model(dtype: type[np.floating[Any]]) -> None:
    file = io.BytesIO()
    with RecommendationWriter(file, "parquet", USERS, ITEMS) as writer:
        writer.write(np.array([1]), np.array([[2]]), np.array([[0.5]], dtype))
    schema = pq.read_schema(pa.BufferReader(file.getvalue()))
    assert schema.names == ["user", "item", "rank", "score"]
    assert [str(kind) for kind in schema.types] == [
        "int64",
        "large_string",
        "int32",
        "float" if dtype is np.float32 else "double",
    ]


@pytest.mark.parametrize("form", FORMATS)
def test_no_recommendations_are_a_table_all_the_same(form: TableFormat) -> None:
    content = written(form)
    assert rows_in(form, content) == []
    assert form != "csv" or content == b"user,item,rank,score\n"
    assert rows_in(form, written(form, ([0], [[-1, -1]], [[0, 0]]))) == []


@pytest.mark.parametrize("form", FORMATS)
def test_the_cut_into_batches_and_pieces_changes_no_row(form: TableFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    users, items = rng.integers(0, 3, 50), rng.integers(-1, 5, (50, 4))
    scores = rng.random((50, 4))
    whole = rows_in(form, written(form, (users, items, scores), names=NAMES))
    monkeypatch.setattr(writing_module, "PIECE_ROWS", 16)
    parts = [(users[begin:end], items[begin:end], scores[begin:end]) for begin, end in ((0, 7), (7, 8), (8, 50))]
    assert rows_in(form, written(form, *parts, names=NAMES)) == whole
    assert len(whole) == np.count_nonzero(items >= 0)


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, unique=True),
    st.sampled_from(FORMATS),
)
def test_any_text_id_comes_back(labels: list[str], form: TableFormat) -> None:
    items = Vocabulary.of(Utf8Ids.from_strings(labels))[0]
    order = np.arange(len(labels))[None, :]
    rows = rows_in(form, written(form, ([0], order, np.zeros(order.shape)), items=items))
    assert [row["item"] for row in rows] == [items.label(row) for row in range(len(labels))]


@pytest.mark.parametrize("form", FORMATS)
def test_the_file_stays_open_and_an_error_adds_nothing(form: TableFormat) -> None:
    class _StopError(Exception):
        pass

    def fail(file: BinaryIO) -> None:
        with RecommendationWriter(file, form, USERS, ITEMS):
            raise _StopError

    file = io.BytesIO()
    with pytest.raises(_StopError):
        fail(file)
    assert file.getvalue() == b""


@pytest.mark.parametrize("form", FORMATS)
def test_a_pipe_will_do(form: TableFormat, tmp_path: Path) -> None:
    code = (
        f"import sys, numpy as np\nfrom forgetcli.tables import *\nfrom forgetcli.ids import *\n"
        f"ids = Vocabulary(np.arange(3))\nwith RecommendationWriter(sys.stdout.buffer, {form!r}, ids, ids) as writer:\n"
        f"    writer.write(np.arange(1), np.array([[2, 1]]), np.array([[2.5, 1.5]]))\nsys.stdout.flush()\n"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE).stdout
    assert [row["item"] for row in rows_in(form, output)] == ["2", "1"]


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.csv", "csv"),
        ("-", "csv"),
        ("b/c.PARQUET", "parquet"),
        ("x.y.jsonl", "jsonl"),
    ],
)
def test_the_name_tells_the_format(name: str, form: TableFormat) -> None:
    assert table_format(name) == form


@pytest.mark.parametrize("name", ["a", "a.xlsx", ".csv", "a.csv.gz"])
def test_another_ending_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot tell the format") as caught:
        table_format(name)
    assert name in caught.value.message
