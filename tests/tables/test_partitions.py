"""Directories whose names hold columns, as Hive and Spark write them, and Arrow's own files."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from forgetcli.errors import DataError, FileSystemError
from forgetcli.tables import ColumnOptions, read_interactions, read_records
from forgetcli.tables.partitions import partitions_of
from tests.made import as_dict
from tests.tables.tables_made import as_rows, write, write_parquet


def test_a_paths_directories_are_columns_and_whole_numbers_where_all_are() -> None:
    assert partitions_of(["country=DE/year=2024/a.parquet", "country=AT/year=2023/b/c.parquet"]) == {
        "country=DE/year=2024/a.parquet": {"country": "DE", "year": 2024},
        "country=AT/year=2023/b/c.parquet": {"country": "AT", "year": 2023},
    }
    spark = partitions_of(["k=1/a", "k=__HIVE_DEFAULT_PARTITION__/b", "k=-3/c", "at=10%3A00 Uhr/x=/d=e"])
    assert [list(values.values()) for values in spark.values()] == [[1], [None], [-3], ["10:00 Uhr", ""]]
    mixed = partitions_of(["k=1/a", "k=01/b", f"n={10**30}/c", "=5/d", "e=5"])
    assert [dict(values) for values in mixed.values()] == [{"k": "1"}, {"k": "01"}, {"n": str(10**30)}, {}, {}]


@pytest.fixture
def hive(tmp_path: Path) -> Path:
    """Ratings by country and year; the year is the time."""
    root = tmp_path / "ratings"
    for number, (country, year) in enumerate([("AT", 2023), ("DE", 2023), ("DE", 2024)]):
        write_parquet(
            root / f"country={country}" / f"year={year}" / "part-0.parquet",
            {"user": [1, number], "item": [7, 7], "rating": [number + 1.0, 5.0]},
        )
    write(root / "_SUCCESS", "")
    write(root / "country=DE" / "year=2024" / ".part-0.parquet.crc", "x")
    return root


def test_partitions_are_columns_to_filter_by_and_the_path_decides_before_a_file_is_opened(hive: Path) -> None:
    whole = read_interactions(hive)
    assert (whole.rows, whole.files) == (6, 3)
    (hive / "country=AT" / "year=2023" / "part-0.parquet").write_bytes(b"this is no Parquet file")
    read = read_interactions(hive, where="country = 'DE' and year >= 2024")
    assert as_rows(read) == [("1", "7", 3.0), ("2", "7", 5.0)]
    assert read_interactions(hive, where="country != 'AT' and rating > 2.5").rows == 3
    with pytest.raises(DataError, match="is not a Parquet file"):
        read_interactions(hive, where="country = 'AT' or rating = 3")


def test_a_partition_can_be_a_user_an_item_a_rating_or_a_time(hive: Path) -> None:
    by_time = read_interactions(hive, ColumnOptions(timestamp="year"))
    assert as_dict(by_time.interactions)["1", "7"] == 3.0  # of 2024
    countries = read_interactions(hive, ColumnOptions(user="country", item="user", rating="year"))
    assert as_rows(countries)[0] == ("AT", "0", 2023.0)
    numbers = read_interactions(hive, ColumnOptions(user="year"), duplicates="max")
    assert [user for user, _, _ in as_rows(numbers)] == ["2023", "2024"]
    assert not numbers.interactions.users.is_text


def test_the_paths_value_wins_over_a_column_of_the_same_name(tmp_path: Path) -> None:
    write_parquet(tmp_path / "d" / "k=2" / "a.parquet", {"user": [1], "item": [1], "k": ["other"]})
    assert read_interactions(tmp_path / "d", where="k = 2").rows == 1
    with pytest.raises(DataError, match="lets no row"):
        read_interactions(tmp_path / "d", where="k = 1")


def test_the_path_above_the_named_directory_says_nothing(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "user=99" / "d" / "a.parquet", {"user": [1], "item": [1]})
    for named in (path, path.parent):
        assert as_rows(read_interactions(named)) == [("1", "1", 1.0)]


def test_a_partition_without_a_value_is_a_missing_id(tmp_path: Path) -> None:
    for name in ("7", "__HIVE_DEFAULT_PARTITION__"):
        write_parquet(tmp_path / "d" / f"user={name}" / "a.parquet", {"item": [1]})
    with pytest.raises(DataError, match="column user: no user id"):
        read_interactions(tmp_path / "d")
    assert as_rows(read_interactions(tmp_path / "d", where="user is not null")) == [("7", "1", 1.0)]
    assert len(read_records(tmp_path / "d").items) == 1


def arrow_bytes(form: str, table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    new = pa.ipc.new_file if form == "file" else pa.ipc.new_stream
    with new(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=3)
    return sink.getvalue()


TABLE = pa.table(
    {
        "junk": [["a"], [], None, ["b"], ["c"]],
        "user": pa.array(["x", "y", "x", "z", "y"], pa.string_view()),
        "item": pa.array([1, 2, 3, 1, 1], pa.uint16()),
        "rating": pa.RunEndEncodedArray.from_arrays([2, 5], [4.0, 2.0]),
    }
)
ROWS = [("x", "1", 4.0), ("x", "3", 2.0), ("y", "1", 2.0), ("y", "2", 4.0), ("z", "1", 2.0)]


@pytest.mark.parametrize("form", ["file", "stream"])
@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("name", ["a.feather", "ratings", "-"])
def test_arrow_files_and_streams_are_known_by_their_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, compression: str | None, name: str
) -> None:
    content = arrow_bytes(form, TABLE, compression=compression)
    if name == "-":
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
        assert as_rows(read_interactions("-")) == ROWS
    else:
        assert as_rows(read_interactions(write(tmp_path / name, content))) == ROWS


def test_a_directory_without_parquet_is_its_arrow_files(tmp_path: Path) -> None:
    write(tmp_path / "d" / "day=2" / "a.arrow", arrow_bytes("file", TABLE))
    write(tmp_path / "d" / "day=1" / "b.arrows", arrow_bytes("stream", TABLE))
    read = read_interactions(tmp_path / "d", where="day = 2 and rating >= 4")
    assert as_rows(read) == [("x", "1", 4.0), ("y", "2", 4.0)]
    write_parquet(tmp_path / "d" / "c.parquet", {"user": ["q"], "item": [1]})
    assert as_rows(read_interactions(tmp_path / "d")) == [("q", "1", 1.0)]


@pytest.mark.parametrize("form", ["file", "stream"])
def test_a_damaged_arrow_file_is_told_and_never_crashes(tmp_path: Path, form: str) -> None:
    table = pa.table({"user": ["anna", "bert", "carl"] * 9, "item": pa.array(range(27), pa.int64())})
    content = arrow_bytes(form, table)
    failed = 0
    for at in range(8, len(content), 29):
        for damaged in (content[:at], content[:at] + b"\xff\x7f\xff" + content[at + 3 :]):
            try:
                read_interactions(write(tmp_path / "a.arrow", damaged))
            except DataError:
                failed += 1
    assert failed > len(content) // 58


def test_what_only_calls_itself_arrow_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not an Arrow file"):
        read_interactions(write(tmp_path / "a.feather", "user,item\n1,1\n"))
    with pytest.raises(DataError, match="Feather file of version 1"):
        read_interactions(write(tmp_path / "a", b"FEA1\0\0\0\0"))


@pytest.mark.parametrize("name", [b"user=a%FF", b"user=a\xff", b"us\xe9r=1"])
def test_a_directory_whose_name_is_not_utf8_is_refused_rather_than_taken_for_another(
    tmp_path: Path, name: bytes
) -> None:
    directory = os.fsencode(tmp_path) + b"/" + name
    try:
        os.mkdir(directory)
    except OSError:
        pytest.skip("this file system takes names in UTF-8 alone")
    content = write_parquet(tmp_path / "a", {"item": [1], "rating": [1.0]}).read_bytes()
    write(Path(os.fsdecode(directory)) / "p.parquet", content)
    with pytest.raises(DataError, match="which is not UTF-8"):
        read_interactions(tmp_path)


def test_a_file_may_have_any_name(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"p\xff.parquet")
    try:
        write(path, write_parquet(tmp_path / "a", {"user": [1], "item": [2], "rating": [3.0]}).read_bytes())
    except OSError:
        pytest.skip("this file system takes names in UTF-8 alone")
    assert as_rows(read_interactions(path)) == [("1", "2", 3.0)]


def test_links_are_followed_and_none_is_passed_over_in_silence(tmp_path: Path) -> None:
    elsewhere, data = tmp_path / "elsewhere", tmp_path / "data"
    write_parquet(elsewhere / "p.parquet", {"item": [1], "rating": [1.0]})
    write_parquet(data / "user=1" / "p.parquet", {"item": [2], "rating": [2.0]})
    try:
        (data / "user=2").symlink_to(elsewhere)
    except OSError:
        pytest.skip("this system makes no links")
    (data / "user=1" / "circle").symlink_to(data)
    assert as_rows(read_interactions(data)) == [("1", "2", 2.0), ("2", "1", 1.0)]
    (data / "user=2" / "gone.parquet").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileSystemError, match=r"gone\.parquet: no such file"):
        read_interactions(data)


def test_a_directory_that_cannot_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "day=1" / "p.parquet", {"user": [1], "item": [2]})
    write_parquet(tmp_path / "day=2" / "p.parquet", {"user": [3], "item": [2]})
    scandir = os.scandir

    def refused(place: Any) -> Any:
        if str(place).endswith("day=2"):
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(FileSystemError, match="day=2: permission denied"):
        read_records(tmp_path)
