"""Tables that cannot be used: where it is said to be wrong, what is dropped instead, and that no id is repeated."""

from __future__ import annotations

import gzip
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from forgetcli.errors import DataError, FileSystemError, ForgetError, UsageError
from forgetcli.tables import ColumnOptions, read_interactions, read_records
from forgetcli.tables import text as text_module
from tests.tables.tables_made import as_rows, write, write_parquet

HEADER = "user,item,rating\n"
SECRET = "4711"
"""An id that no message may repeat."""

BAD_ROWS: dict[str, tuple[str | bytes, str]] = {
    "no user": (HEADER + ",10,4\n", "line 2, column user: no user id"),
    "no item": (HEADER + f'1,10,4\n{SECRET},"",4\n', "line 3, column item: no item id"),
    "no rating": (HEADER + f"{SECRET},10,\n", "line 2, column rating: no rating"),
    "text rating": (HEADER + f"1,1,1\n2,2,2\n{SECRET},10,good\n", "line 4, column rating: not a number"),
    "NaN rating": (HEADER + f"{SECRET},10,NaN\n", "line 2, column rating: the rating is not finite"),
    "infinite rating": (HEADER + f"{SECRET},10,-inf\n", "line 2, column rating: the rating is not finite"),
    "rating beyond double": (HEADER + f"{SECRET},10,1e999\n", "line 2, column rating: the rating is not finite"),
    "rating beyond float": (
        HEADER + f"{SECRET},10,1e39\n",
        "line 2, column rating: the rating is too large for float32",
    ),
    "hexadecimal": (HEADER + f"{SECRET},10,0x10\n", "line 2, column rating: not a number"),
    "comma for a point": (HEADER + f'{SECRET},10,"3,5"\n', "line 2, column rating: not a number"),
    "too few fields": (HEADER + f"1,1,1\n{SECRET},10\n", "line 3: 2 fields where there are 3 columns"),
    "too many fields": (HEADER + f"{SECRET},10,4,4\n", "line 2: 4 fields where there are 3 columns"),
    "Latin-1 id": (
        HEADER.encode() + f"1,1,1\n{SECRET}\xe9,10,4\n".encode("latin-1"),
        "line 3, column user: not valid UTF-8",
    ),
    "after quoted lines": (HEADER + f'1,"a\nb\r\nc",1\n\n{SECRET},10,x\n', "line 6, column rating: not a number"),
    "after a note": (
        "user,note,item,rating\n" + f'1,"a\nb",1,2\n{SECRET},,10,x\n',
        "line 4, column rating: not a number",
    ),
    "after CR CR": ((HEADER + f"1,1,1\n{SECRET},10,x\n").replace("\n", "\r"), "line 3, column rating: not a number"),
    "no time": ("user,item,rating,ts\n" + f"1,1,1,1\n{SECRET},10,4,\n", "line 3, column ts: no time"),
    "strange time": (
        "user,item,rating,ts\n" + f"1,1,1,1\n{SECRET},10,4,01/02/2024\n",
        "line 3, column ts: neither a number nor an ISO 8601 date",
    ),
    "time of day": ("user,item,rating,ts\n" + f"{SECRET},10,4,12:30:00\n", "line 2, column ts: neither a number nor"),
    "dates and numbers": (
        "user,item,rating,ts\n" + f"1,1,1,2024-01-01\n2,2,2,2024-01-02\n{SECRET},10,4,17\n",
        "line 4, column ts: neither a number nor an ISO 8601 date",
    ),
    "two faults": (HEADER + f"{SECRET},,x\n", "line 2, column rating: not a number"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
@pytest.mark.parametrize("block", [1 << 20, 24])
def test_a_bad_line_stops_with_its_place_and_without_its_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, block: int
) -> None:
    content, said = BAD_ROWS[case]
    monkeypatch.setattr(text_module, "BLOCK_BYTES", block)
    path = write(tmp_path / "bad.csv", content)
    with pytest.raises(DataError) as caught:
        read_interactions(path)
    if block == 24 and "dates" in case:
        return  # what a column's times are is told block by block, and then this is a mixture of two
    assert str(path) in caught.value.message
    assert said in caught.value.message
    assert SECRET not in caught.value.message
    assert '`bad_rows="drop"`' in str(caught.value.hint)


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_line_may_be_dropped_and_counted(tmp_path: Path, case: str) -> None:
    content, _ = BAD_ROWS[case]
    data = content if isinstance(content, bytes) else content.encode()
    good = {"user": "900", "note": "", "item": "901", "rating": "5", "ts": "2024-01-03" if "dates" in case else "7"}
    header = data.split(b"\r")[0].split(b"\n")[0].decode()
    row = ",".join(good[name] for name in header.split(","))
    path = write(tmp_path / "bad.csv", data + row.encode() + (b"\n" if b"\n" in data else b"\r"))
    result = read_interactions(path, bad_rows="drop")
    kept = as_rows(result)
    assert ("900", "901", 5.0) in kept
    assert SECRET not in [user for user, _, _ in kept]
    assert result.dropped_rows == 1
    assert result.rows == 1 + len(kept)


def test_an_id_that_is_dropped_does_not_make_the_others_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", HEADER + "1,10,4\n002,10,\nx,11,NaN\n,10,3\n")
    result = read_interactions(path, bad_rows="drop")
    assert not result.interactions.users.is_text
    assert (as_rows(result), result.rows, result.dropped_rows) == ([("1", "10", 4.0)], 4, 3)


PARQUET_ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "null user": ({"user": [1, None], "item": [1, 2]}, "row 2, column user: no user id"),
    "NaN user": ({"user": [1.0, float("nan")], "item": [1, 2]}, "row 2, column user: no user id"),
    "empty user": ({"user": ["a", ""], "item": [1, 2]}, "row 2, column user: no user id"),
    "nothing but nulls": ({"user": pa.nulls(2), "item": [1, 2]}, "row 1, column user: no user id"),
    "null in a dictionary": ({"user": pa.array(["a", None]).dictionary_encode(), "item": [1, 2]}, "row 2, column user"),
    "broken user": ({"user": [1.0, 4711.5], "item": [1, 2]}, "row 2, column user: the id is not a whole number"),
    "float of 2^53": (
        {"user": [1.0, 2.0**53], "item": [1, 2]},
        "row 2, column user: the id is a float of 2^53 or more",
    ),
    "float of 2^24": (
        {"user": pa.array([1.0, 2.0**24], pa.float32()), "item": [1, 2]},
        "row 2, column user: the id is a float of 2^24 or more, which stands for several integers",
    ),
    "infinite user": ({"user": [1.0, float("inf")], "item": [1, 2]}, "row 2, column user: the id is a float of 2^53"),
    "unsigned": (
        {"user": [1, 2], "item": pa.array([1, 2**63], pa.uint64())},
        "row 2, column item: the id is an integer beyond 64 bits",
    ),
    "decimal": (
        {"user": pa.array([Decimal(1), Decimal(10**20)], pa.decimal128(30, 0)), "item": [1, 2]},
        "row 2, column user: the id is an integer beyond 64 bits",
    ),
    "bytes": ({"user": [b"a", b"\xff"], "item": [1, 2]}, "row 2, column user: not valid UTF-8"),
    "null rating": ({"user": [1, 2], "item": [1, 2], "rating": [1, None]}, "row 2, column rating: no rating"),
    "NaN rating": (
        {"user": [1, 2], "item": [1, 2], "rating": [1.0, float("nan")]},
        "row 2, column rating: the rating is",
    ),
    "large rating": (
        {"user": [1, 2], "item": [1, 2], "rating": [1.0, 1e308]},
        "row 2, column rating: the rating is too",
    ),
    "null time": ({"user": [1, 2], "item": [1, 2], "rating": [1, 2], "ts": [1, None]}, "row 2, column ts: no time"),
    "NaN time": (
        {"user": [1, 2], "item": [1, 2], "rating": [1, 2], "ts": [1.5, float("nan")]},
        "row 2, column ts: no time",
    ),
}


@pytest.mark.parametrize("case", PARQUET_ROWS)
def test_a_bad_parquet_row_stops_with_its_place_or_is_dropped(tmp_path: Path, case: str) -> None:
    columns, said = PARQUET_ROWS[case]
    path = write_parquet(tmp_path / "bad.parquet", columns)
    with pytest.raises(DataError) as caught:
        read_interactions(path)
    assert f"{path}, {said}" in caught.value.message
    assert SECRET not in caught.value.message
    if case == "nothing but nulls":
        with pytest.raises(DataError, match=r"no rows to use in .*; 2 were dropped"):
            read_interactions(path, bad_rows="drop")
    else:
        result = read_interactions(path, bad_rows="drop")
        assert (len(result.interactions), result.dropped_rows) == (1, 1)


def test_a_row_number_counts_across_row_groups(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"user": [*range(1, 100), None], "item": [1] * 100}, row_group_size=7)
    with pytest.raises(DataError, match="row 100, column user"):
        read_interactions(path)


PARQUET_COLUMNS: dict[str, tuple[dict[str, Any], str]] = {
    "user": ({"user": [True], "item": [1]}, "column user: ids are integers or text, not bool"),
    "item": ({"user": [1], "item": [[1]]}, "column item: ids are integers or text, not list"),
    "decimal": ({"user": [Decimal("1.5")], "item": [1]}, "column user: ids are integers or text, not decimal"),
    "date": ({"user": pa.array([1], pa.date32()), "item": [1]}, "column user: ids are integers or text, not date32"),
    "rating": ({"user": [1], "item": [1], "rating": ["5"]}, "column rating: ratings are numbers, not string"),
    "time": (
        {"user": [1], "item": [1], "rating": [5], "ts": ["now"]},
        "column ts: times are numbers or dates, not string",
    ),
}


@pytest.mark.parametrize("case", PARQUET_COLUMNS)
@pytest.mark.parametrize("bad_rows", ["stop", "drop"])
def test_a_parquet_column_of_the_wrong_type_stops_always(tmp_path: Path, case: str, bad_rows: Any) -> None:
    columns, said = PARQUET_COLUMNS[case]
    with pytest.raises(DataError) as caught:
        read_interactions(write_parquet(tmp_path / "bad.parquet", columns), bad_rows=bad_rows)
    assert said in caught.value.message


PACKED = gzip.compress((HEADER + "1,2,3\n" * 1000).encode())
DAMAGED_PACKED = PACKED[:30] + bytes(byte ^ 255 for byte in PACKED[30:])

FILES: dict[str, tuple[str, str | bytes, str]] = {
    "empty": ("a.csv", "", "is empty"),
    "blank": ("a.csv", "\n\r\n\n", "is empty: it has blank lines only"),
    "mark only": ("a.csv", "\ufeff", "is empty"),
    "header only": ("a.csv", HEADER, "no rows to use"),
    "header without line end": ("a.csv", HEADER.strip(), "no rows to use"),
    "header and blanks": ("a.csv", HEADER + "\n\n", "no rows to use"),
    "empty gzip": ("a.csv.gz", "", "is empty"),
    "gzip of nothing": ("a.csv.gz", gzip.compress(b""), "is empty"),
    "not gzip": ("a.csv.gz", HEADER, "is not gzip data"),
    "not zstd": ("a.csv.zst", HEADER, "is not zstd data"),
    "cut gzip": ("a.csv.gz", PACKED[:-12], "is damaged or not what its name says"),
    "damaged gzip": ("a.csv.gz", DAMAGED_PACKED, "is damaged or not what its name says"),
    "UTF-16": ("a.csv", HEADER.encode("utf-16"), "is UTF-16 text"),
    "Latin-1 header": ("a.csv", "usér,item\n1,1\n".encode("latin-1"), "line 1: not valid UTF-8"),
    "spreadsheet": ("a.csv", b"PK\x03\x04....", "is a zip archive or a spreadsheet"),
    "open quote": ("a.csv", HEADER + '1,1,1\n2,"x,1\n3,3,3\n', "line 3: a quote opens a field and never closes it"),
    "open quote in the header": ("a.csv", '"user,item\n1,1\n', "line 1: a quote opens a field and never closes it"),
    "not Parquet": ("a.parquet", HEADER, "is not a Parquet file"),
    "cut Parquet": ("a.parquet", b"PAR1 and then something else", "is damaged or not what its name says"),
    "Parquet's start alone": ("a.parquet", b"PAR1", "is damaged or not what its name says"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_no_table_says_so(tmp_path: Path, case: str) -> None:
    name, content, said = FILES[case]
    path = write(tmp_path / name, content)
    with pytest.raises(DataError) as caught:
        read_interactions(path)
    assert str(path) in caught.value.message
    assert said in caught.value.message
    assert caught.value.exit_code == 3


def test_damaged_parquet_data_is_named(tmp_path: Path) -> None:
    columns = {"user": list(range(5000)), "item": list(range(5000))}
    path = write_parquet(tmp_path / "a.parquet", columns, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[200:400] = bytes(200)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet is damaged"):
        read_interactions(path)


@pytest.mark.parametrize("name", ["nowhere.csv", "nowhere/a.parquet", "a\nb.csv"])
def test_a_missing_file_is_the_file_systems_fault(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileSystemError) as caught:
        read_interactions(tmp_path / name)
    assert "no such file" in caught.value.message.lower()
    assert name.replace("\n", "\\n") in caught.value.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file_is_the_file_systems_fault(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", HEADER)
    path.chmod(0)
    with pytest.raises(FileSystemError, match="permission"):
        read_interactions(path)


def test_a_directory_without_parquet_says_so(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", HEADER)
    with pytest.raises(DataError, match="holds no Parquet and no Arrow files"):
        read_interactions(tmp_path)


@pytest.mark.parametrize(
    ("header", "options", "kind", "said"),
    [
        ("who,item", {}, DataError, "no user column; its columns are: who, item"),
        ("196,242,3,881250949", {}, DataError, "no user column: its first line holds numbers, not names"),
        ("user,user_id,item", {}, DataError, "several columns that may be the user: user, user_id"),
        ("user,item,rating,count", {}, DataError, "several columns that may be the rating: rating, count"),
        ("user,item,item", {}, DataError, "several columns that may be the item: item, item"),
        ("user,item,item", {"item": "item"}, DataError, "has 2 columns named 'item'"),
        (
            "user,item,a",
            {"rating": "b"},
            UsageError,
            "has no column 'b' (`rating`); its columns are: user, item, a",
        ),
        ("user,item", {"item": "user"}, DataError, "no user column"),
        ("user,item", {"user": "item", "item": "item"}, UsageError, "`user=NAME` or `item=NAME` name the same column"),
        ("use\x1b[31mr,item", {}, DataError, "its columns are: use\\x1b[31mr, item"),
        (",".join(f"c{i}" for i in range(30)), {}, DataError, "c19 and 10 more"),
        ("x" * 500, {}, DataError, "x" * 40 + "…"),
    ],
)
def test_columns_that_cannot_be_told_are_listed(
    tmp_path: Path, header: str, options: dict[str, Any], kind: type[ForgetError], said: str
) -> None:
    path = write(tmp_path / "a.csv", header + "\n" + ",".join("1" * (header.count(",") + 1)) + "\n")
    with pytest.raises(kind) as caught:
        read_interactions(path, ColumnOptions(**options))
    assert said in caught.value.message


def test_the_numbers_of_a_missing_header_are_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_interactions(write(tmp_path / "u.data", f"{SECRET}\t242\t3\t881250949\n"))
    assert SECRET not in caught.value.message
    assert "`columns=user,item,rating,timestamp`" in str(caught.value.hint)


def test_files_with_and_without_ratings_do_not_mix(tmp_path: Path) -> None:
    rated, bare = write(tmp_path / "a.csv", HEADER + "1,1,1\n"), write(tmp_path / "b.csv", "user,item\n1,2\n")
    for order in ([rated, bare], [bare, rated]):
        with pytest.raises(DataError, match=r"a\.csv has a rating column, .*b\.csv has none"):
            read_interactions(order)


def test_times_that_are_numbers_and_dates_do_not_mix(tmp_path: Path) -> None:
    header = "user,item,rating,time\n"
    files = [write(tmp_path / "a.csv", header + "1,1,1,5\n"), write(tmp_path / "b.csv", header + "1,1,1,2024-01-01\n")]
    with pytest.raises(DataError, match=r"times are numbers in .*a\.csv, dates in .*b\.csv"):
        read_interactions(files)


@pytest.mark.parametrize(
    "options",
    [
        {"delimiter": ""},
        {"delimiter": '"'},
        {"delimiter": "\n"},
        {"delimiter": "\x1f"},
        {"columns": ("", "-")},
        {"columns": ()},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ColumnOptions(**options)


def test_columns_by_position_are_not_for_parquet(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"user": [1], "item": [1]})
    with pytest.raises(UsageError, match="has types and names its columns"):
        read_interactions(path, ColumnOptions(columns=("user", "item")))


def test_standard_input_is_read_once_at_most() -> None:
    with pytest.raises(UsageError, match="only once"):
        read_interactions(["-", "-"])


def test_no_input_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match="no input"):
        read_interactions([])


def test_the_stand_in_for_a_long_delimiter_is_refused_in_the_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dat", "1::2::3\n1::\x1f::3\n")
    with pytest.raises(DataError, match="line 2: the control character 0x1F"):
        read_interactions(path, ColumnOptions(columns=("user", "item", "rating")))


def test_a_row_without_an_end_is_not_read_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_module, "BLOCK_BYTES", 100)
    monkeypatch.setattr(text_module, "LONGEST_ROW", 1 << 10)
    path = write(tmp_path / "a.csv", HEADER + '1,"' + "x\n" * 5000)
    with pytest.raises(DataError, match="line 2: the row does not end within"):
        read_interactions(path)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the address space is counted by Linux")
def test_packed_text_that_ends_too_early_leaves_no_memory_behind(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv.gz", gzip.compress(b"user,item\n1,1\n" * 100)[:-20])

    def mebibytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE") >> 20

    def read_often(times: int) -> None:
        for _ in range(times):
            with pytest.raises(DataError, match=r"a\.csv\.gz is damaged"):
                read_interactions(path, threads=1)

    read_often(3)
    before = mebibytes()
    read_often(40)
    assert mebibytes() - before < 100  # of 320 that were asked for


@pytest.mark.parametrize("form", ["file", "stream"])
@pytest.mark.parametrize("kind", ["nulls", "runs"])
def test_arrow_files_whose_rows_take_no_room_are_refused(tmp_path: Path, form: str, kind: str) -> None:
    rows = 1 << 30
    run = pa.RunEndEncodedArray.from_arrays(pa.array([rows]), pa.array([1]))
    batch = pa.record_batch([pa.nulls(rows) if kind == "nulls" else run] * 2, names=["user", "item"])
    path = tmp_path / "a.arrow"
    with (pa.ipc.new_file if form == "file" else pa.ipc.new_stream)(path, batch.schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(DataError, match=r"a\.arrow says that it has 1,073,741,824 rows and more, in \d+ bytes"):
        read_interactions(path, bad_rows="drop", threads=1)
    with pytest.raises(DataError, match="says that it has"):
        read_records(path)
