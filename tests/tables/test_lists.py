"""Forget-lists, lists of ids, and item names."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from forgetcli.errors import DataError, UsageError
from forgetcli.ids import Ids, Utf8Ids
from forgetcli.interactions import Interactions
from forgetcli.records import ForgetRequest
from forgetcli.tables import ColumnOptions, read_ids, read_item_names, read_records
from tests.tables.tables_made import write, write_parquet


def texts(ids: Ids) -> list[str]:
    return ids.to_list() if isinstance(ids, Utf8Ids) else [str(value) for value in ids.tolist()]


def asked(request: ForgetRequest) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """The pairs, users and items of a request, sorted."""
    pairs = zip(texts(request.pair_users), texts(request.pair_items), strict=True)
    return sorted(pairs), sorted(texts(request.users)), sorted(texts(request.items))


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        ("user,item\n1,10\n2,\n,11\n", {}, ([("1", "10")], ["2"], ["11"])),
        ('userId,movieId,rating,timestamp\n1,10,x,y\n2,"",,\n', {}, ([("1", "10")], ["2"], [])),
        ("user\n1\n007\n", {}, ([], ["007", "1"], [])),
        ('item\nThe "Thing"\n', {}, ([], [], ['The "Thing"'])),
        ("who\nme\n", {"user": "who"}, ([], ["me"], [])),
        ("4\t10\n5\t\n", {"columns": ("user", "item")}, ([("4", "10")], ["5"], [])),
        ("17\n18\n", {"columns": ("item",)}, ([], [], ["17", "18"])),
        ("user,item\n", {}, ([], [], [])),
        ("user,item\n1,10\n1,10\n", {}, ([("1", "10"), ("1", "10")], [], [])),
    ],
)
def test_a_row_asks_for_a_pair_a_user_or_an_item(tmp_path: Path, content: str, options: Any, expected: Any) -> None:
    assert asked(read_records(write(tmp_path / "list.csv", content), ColumnOptions(**options))) == expected


def test_a_parquet_list_leaves_out_with_nulls(tmp_path: Path) -> None:
    columns = {"user": [1, None, 3], "item": pa.array(["a", "b", None]).dictionary_encode(), "reason": ["", "", "x"]}
    assert asked(read_records(write_parquet(tmp_path / "a.parquet", columns))) == ([("1", "a")], ["3"], ["b"])
    floats = {"user": [1.0, float("nan")], "item": [2.0, 5.0]}
    assert asked(read_records(write_parquet(tmp_path / "b.parquet", floats))) == ([("1", "2")], [], ["5"])


def test_several_lists_and_standard_input_are_one_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"user,item\nx,y\n")))
    files: list[str | Path] = [
        write(tmp_path / "a.csv", "user\n7\n"),
        "-",
        write_parquet(tmp_path / "b.parquet", {"item": [70]}),
    ]
    assert asked(read_records(files)) == ([("x", "y")], ["7"], ["70"])


@pytest.mark.parametrize(
    ("user", "known"), [("12", True), ("0012", False), ("+12", False), (" 12", False), ("12.0", False)]
)
def test_a_list_matches_integer_ids_by_their_decimal_alone(tmp_path: Path, user: str, known: bool) -> None:
    data = Interactions.from_arrays([12, 12, 13], [1, 2, 1])
    request = read_records(write(tmp_path / "a.csv", f"user,item\n{user},1\n{user},\n"))
    counts = request.resolve(data).counts
    assert (counts.unknown_pairs, counts.unknown_users) == ((0, 0) if known else (1, 1))


def test_a_list_of_numbers_matches_text_ids_by_their_decimal(tmp_path: Path) -> None:
    data = Interactions.from_arrays(["12", "0012"], ["a", "a"])
    resolution = read_records(write_parquet(tmp_path / "a.parquet", {"user": [12]})).resolve(data)
    assert resolution.counts.unknown_users == 0
    assert resolution.removal.entries.tolist() == [1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("user,item\n1,10\n,\n", "line 3: no user and no item id"),
        ('user\n1\n""\n', "line 3: no user id"),
        ("user,item\n4711,10,3\n", "line 2: 3 fields where there are 2 columns"),
        ("film,person\n4711,10\n", "has no user or item column; its first line has 2 fields of other names, or of ids"),
        ("4711\n4712\n", "has no user or item column: its first line holds numbers"),
        ("", "is empty"),
    ],
)
def test_a_list_with_a_row_that_asks_for_nothing_stops(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        read_records(write(tmp_path / "list.csv", content))
    assert said in caught.value.message
    assert "4711" not in caught.value.message
    assert "bad_rows" not in str(caught.value.hint)


def test_ids_keep_their_order_and_repetitions(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "rating,user\n1,30\n2,4\n3,30\n")
    assert texts(read_ids(path, "user")) == ["30", "4", "30"]
    assert texts(read_ids(write(tmp_path / "b.txt", "b\na\n"), "item", ColumnOptions(columns=("item",)))) == ["b", "a"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("user\n", "no users in"),
        ("item\n1\n", "no user column"),
        ("user,x\n,1\n", "line 2, column user: no user id"),
    ],
)
def test_a_list_of_ids_without_ids_stops(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_ids(write(tmp_path / "a.csv", content), "user")


def test_titles_are_found_by_the_text_of_an_id(tmp_path: Path) -> None:
    csv = write(
        tmp_path / "movies.csv", 'movieId,title,genres\n1,"American President, The (1995)",Drama\n2,,x\n2,Été,y\n3,,z\n'
    )
    dat = write(tmp_path / "movies.dat", '1::The "Thing", 2::x\n')
    parquet = write_parquet(tmp_path / "a.parquet", {"item": [5, 6], "name": pa.array(["a", None]).dictionary_encode()})
    assert read_item_names(csv).titles == {"1": "American President, The (1995)", "2": "Été"}
    assert read_item_names(dat, ColumnOptions(columns=("item", "title", "-"))).title("1") == 'The "Thing", 2'
    names = read_item_names(parquet)
    assert (names.title("5"), names.title("6"), names.title("7")) == ("a", None, None)


def test_titles_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="column title: titles are text, not"):
        read_item_names(write_parquet(tmp_path / "a.parquet", {"item": [5], "title": [5]}))


def test_the_training_file_may_itself_be_the_list(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 50, 500), rng.integers(0, 20, 500)
    data = Interactions.from_arrays(users, items)
    path = write_parquet(tmp_path / "a.parquet", {"user": users, "item": items, "rating": np.ones(500)})
    assert len(read_records(path).resolve(data).removal.entries) == len(data)


@pytest.mark.parametrize(("options", "where"), [({}, None), ({"user": "who"}, None), ({"user": "USER-ID"}, "when > 1")])
def test_a_list_without_a_header_is_refused_without_a_word_of_its_first_line(
    tmp_path: Path, options: dict[str, str], where: str | None
) -> None:
    first = "user-id,item-7" if where else "anna,item-7"
    path = write(tmp_path / "list.csv", f"{first}\nbert,item-8\n")
    with pytest.raises(
        (DataError, UsageError), match="its first line has 2 fields of other names, or of ids"
    ) as raised:
        read_records(path, ColumnOptions(**options), where=where)
    assert not any(word in f"{raised.value.message} {raised.value.hint}" for word in ("anna", "item-7", "bert"))
