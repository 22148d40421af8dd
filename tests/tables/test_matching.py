"""Filters let the same rows through whatever file they are in, and rule out what need not be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetcli.errors import DataError, UsageError
from forgetcli.tables import ColumnOptions, read_heldout, read_ids, read_interactions, read_records
from forgetcli.tables import parquet as parquet_module
from forgetcli.tables.filters import Filter
from forgetcli.tables.footer import read_footer
from forgetcli.tables.matching import might_match
from tests.tables.tables_made import as_rows, write, write_parquet

NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)
TABLE: dict[str, list[Any]] = {
    "user": [1, 2, 3, 4, 5, 6],
    "item": [10, 10, 10, 10, 10, 10],
    "rating": [1.0, 2.5, 3.5, 4.0, 4.5, 5.0],
    "country": ["DE", "AT", "DE", None, "FR", "O'Land"],
    "age": [10, None, 30, 40, 50, 9007199254740993],
    "at": [NOON + timedelta(days=day, seconds=1) for day in range(-2, 3)] + [None],
    "gift": [True, False, None, True, False, True],
}

EXPECTED = {
    "rating >= 4": [4, 5, 6],
    "rating >= 4 and country = 'FR'": [5],
    "rating >= 4 or country = 'DE'": [1, 3, 4, 5, 6],
    "not rating >= 4": [1, 2, 3],
    "country != 'DE'": [2, 5, 6],
    "not (country = 'DE' or rating > 4)": [2],
    "country in ('DE', 'FR')": [1, 3, 5],
    "country not in ('DE', 'FR')": [2, 6],
    "country in ('O''Land')": [6],
    "country is null": [4],
    "country is not null and age is not null": [1, 3, 5, 6],
    "country > 'B' and country < 'E'": [1, 3],
    "age < 30.5": [1, 3],
    "age >= 30.5": [4, 5, 6],
    "age = 30.5 or age = 10": [1],
    "age != 30.5": [1, 3, 4, 5, 6],
    "age in (10, 30.5, 50)": [1, 5],
    "age not in (10, 50)": [3, 4, 6],
    "age = 9007199254740993": [6],
    "age = 9007199254740992": [],
    "age > 1e30": [],
    "age < 1e30": [1, 3, 4, 5, 6],
    "age > -1e30 and age != 1e30": [1, 3, 4, 5, 6],
    "at >= 2024-06-01": [3, 4, 5],
    "at < 2024-06-01T12:00:01": [1, 2],
    "at <= 2024-06-01T14:00:01+02:00": [1, 2, 3],
    "at = 2024-06-01 12:00:01": [3],
    "at in (2024-06-01 12:00:01, 2024-06-02)": [3],
    "at not in (2024-06-01 12:00:01, 2024-06-02)": [1, 2, 4, 5],
    "2024-06-01 12:00:01 < at": [4, 5],
    "gift = true": [1, 4, 6],
    "gift != true": [2, 5],
    "gift in (true, false)": [1, 2, 4, 5, 6],
    "gift is null": [3],
    "RATING >= 4 and Country is null": [4],
    "item = 10": [1, 2, 3, 4, 5, 6],
}


def write_table(path: Path, form: str) -> Path:
    table = pa.table(TABLE)
    if form == "csv":
        texts = [["" if value is None else str(value) for value in column] for column in TABLE.values()]
        lines = [",".join(TABLE), *(",".join(row) for row in zip(*texts, strict=True))]
        return write(path / "a.csv", "\n".join(lines))
    if form == "feather":
        with pa.ipc.new_file(path / "a.feather", table.schema) as writer:
            writer.write_table(table, max_chunksize=4)
        return path / "a.feather"
    if form == "dictionary":
        table = table.set_column(3, "country", table["country"].combine_chunks().dictionary_encode())
    pq.write_table(table, path / "a.parquet", row_group_size=2)
    return path / "a.parquet"


@pytest.mark.parametrize("form", ["csv", "parquet", "feather", "dictionary"])
def test_a_filter_means_the_same_in_every_kind_of_file(tmp_path: Path, form: str) -> None:
    path = write_table(tmp_path, form)
    for where, users in EXPECTED.items():
        if users:
            read = read_interactions(path, where=where)
            assert [int(user) for user, _, _ in as_rows(read)] == users, where
            assert read.rows == len(users)
        else:
            with pytest.raises(DataError, match=r"`where` lets no row of .* through"):
                read_interactions(path, where=where)


@pytest.mark.parametrize(
    ("kind", "value", "same"),
    [
        (pa.int8(), "3", True),
        (pa.int8(), "300", False),
        (pa.uint64(), "-1", False),
        (pa.uint64(), "3.0", True),
        (pa.float16(), "3", True),
        (pa.float32(), "3", True),
        (pa.decimal128(6, 2), "3.00", True),
        (pa.decimal128(6, 2), "3.001", False),
        (pa.decimal128(38, 10), f"3.{'0' * 24}1", False),
        (pa.decimal256(76, 40), "3", True),
        (pa.decimal128(3, 2), "1e400", False),
        (pa.string_view(), "'3'", True),
        (pa.large_string(), "'3'", True),
        (pa.date32(), "1970-01-04", True),
        (pa.date32(), "1970-01-04T01:00", False),
        (pa.timestamp("s"), "1970-01-01T00:00:03Z", True),
        (pa.timestamp("s"), "1970-01-01T00:00:03.5Z", False),
        (pa.timestamp("ns", "Europe/Vienna"), "1970-01-01 00:00:00.000000", False),
        (pa.null(), "3", False),
    ],
)
def test_a_value_is_compared_exactly_with_a_column_of_any_type(
    tmp_path: Path, kind: pa.DataType, value: str, same: bool
) -> None:
    three: Any = {
        "d": date(1970, 1, 4), "t": datetime(1970, 1, 1, 0, 0, 3), "s": "3", "l": "3", "n": None
    }.get(str(kind)[0], Decimal(3) if pa.types.is_decimal(kind) else 3)  # fmt: skip
    three = Decimal(3) if pa.types.is_decimal(kind) else three
    column = pa.array([three, three], kind)
    with pa.ipc.new_file(tmp_path / "a.arrow", pa.schema({"user": pa.int64(), "item": pa.int64(), "x": kind})) as file:
        file.write_batch(pa.record_batch([pa.array([1, 2]), pa.array([1, 1]), column], names=["user", "item", "x"]))
    if same:
        assert read_interactions(tmp_path / "a.arrow", where=f"x = {value} and x >= {value}").rows == 2
        with pytest.raises(DataError, match="lets no row"):
            read_interactions(tmp_path / "a.arrow", where=f"x != {value} or x < {value}")
    else:
        with pytest.raises(DataError, match="lets no row"):
            read_interactions(tmp_path / "a.arrow", where=f"x = {value} or x in ({value}, {value})")


def test_thousands_of_tests_are_no_deeper_than_arrows_stack(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"user": [1, 2, 3], "item": [1, 1, 1], "x": [0.5, 1.5, 2.5]})
    tests = " or ".join(f"user = {number}" for number in range(2, 20_000))
    assert read_interactions(path, where=tests, threads=1).rows == 2
    listed = ", ".join(f"{number}.5" for number in range(1, 20_000))
    assert read_interactions(path, where=f"x in ({listed})", threads=1).rows == 2


def test_decimals_are_not_rounded_to_be_compared(tmp_path: Path) -> None:
    whole, more = Decimal(3), Decimal(f"3.{'0' * 29}1")
    table = {"user": [1, 2], "item": [1, 1], "x": pa.array([whole, more], pa.decimal128(38, 30))}
    path = write_parquet(tmp_path / "a.parquet", table)
    for where, users in {"x > 3": ["2"], f"x < 3.{'0' * 30}9": ["1"], f"x >= 2.{'9' * 40}": ["1", "2"]}.items():
        assert [user for user, _, _ in as_rows(read_interactions(path, where=where))] == users, where


def test_nan_counts_as_a_missing_value(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "a.parquet",
        {"user": [1, 2, 3], "item": [1, 1, 1], "x": pa.array([float("nan"), 1.0, None])},
        row_group_size=1,
    )
    for where, users in {
        "x is null": ["1", "3"], "x is not null": ["2"], "x != 5": ["2"], "not x > 5": ["2"], "x not in (4, 5)": ["2"]
    }.items():  # fmt: skip
        assert [user for user, _, _ in as_rows(read_interactions(path, where=where))] == users, where


def test_a_float32_column_is_compared_at_its_own_precision(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"user": [1], "item": [1], "x": pa.array([0.1], pa.float32())})
    assert read_interactions(path, where="x = 0.1").rows == 1


@pytest.mark.parametrize("form", ["csv", "parquet", "feather"])
def test_an_unknown_column_is_told_with_those_there_are(tmp_path: Path, form: str) -> None:
    with pytest.raises(UsageError, match=r"no column 'contry' \(`where`, character 16\); its columns are: user, item"):
        read_interactions(write_table(tmp_path, form), where="rating >= 4 or contry = 'DE'")


@pytest.mark.parametrize(
    ("where", "said", "hint"),
    [
        ("country > 3", None, None),
        ("user = '3'", "compares the column user with text, but it holds int64", "without quotes"),
        ("at > '2024-06-01'", "with text, but it holds timestamp", "without quotes"),
        ("user > 2024-06-01", "with a date, but it holds int64", "seconds since 1970 would be 1717200000,"),
        ("gift = 1", "with a number, but it holds bool", "true or false"),
        ("gift > true", "neither is above the other", None),
        ("rating = true", "with true or false, but it holds double", None),
    ],
)
def test_a_comparison_with_another_kind_of_value_is_refused(
    tmp_path: Path, where: str, said: str | None, hint: str | None
) -> None:
    path = write_table(tmp_path, "parquet")
    if said is None:  # text is read as the number that it may be
        with pytest.raises(DataError, match="row 1, column country: not a number, with which `where` compares it"):
            read_interactions(path, where=where)
        return
    with pytest.raises(UsageError, match=said) as raised:
        read_interactions(path, where=where)
    assert hint is None or (raised.value.hint is not None and hint in raised.value.hint)


def test_rows_that_are_left_out_may_be_bad_ones(tmp_path: Path) -> None:
    text = "user,item,rating,country\n1,1,x,FR\n2,2,4,DE\n,3,3,AT\n4,4,5,DE\n"
    path = write(tmp_path / "a.csv", text)
    assert as_rows(read_interactions(path, where="country = 'DE'")) == [("2", "2", 4.0), ("4", "4", 5.0)]
    with pytest.raises(DataError, match="line 4, column user: no user id"):
        read_interactions(path, where="country in ('AT', 'DE')")
    with pytest.raises(DataError, match="line 2, column rating: not a number"):
        read_interactions(path, where="rating > 3")
    assert read_interactions(path, where="rating > 3", bad_rows="drop").dropped_rows == 1


def test_a_row_of_which_the_filter_cannot_tell_is_a_bad_one(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv", "user,item,size,country\n1,1,5,DE\n2,2,big,DE\n3,3,big,FR\n4,4,9\n5,5,,DE\n6,6,7,DE\n"
    )
    where = "size in (5, 7) and country = 'DE'"
    with pytest.raises(DataError, match="line 5: 3 fields where there are 4 columns"):
        read_interactions(path, where="country = 'FR'")
    with pytest.raises(DataError, match="line 3, column size: not a number, with which `where` compares it"):
        read_interactions(path, where=where)
    read = read_interactions(path, where=where, bad_rows="drop")
    assert [user for user, _, _ in as_rows(read)] == ["1", "6"]
    assert read.dropped_rows == 2  # not the third, which is not from DE whatever its size, nor the fifth


def test_dates_in_text_may_have_zones_or_none(tmp_path: Path) -> None:
    times = ["2024-06-01", "2024-06-01T01:00:00+02:00", "2024-06-01 01:00Z", "2024-05-31T23:59:59.5"]
    lines = ["user,item,when", *(f"{n},1,{time}" for n, time in enumerate(times))]
    path = write(tmp_path / "a.csv", "\n".join(lines))
    assert [row[0] for row in as_rows(read_interactions(path, where="when >= 2024-06-01"))] == ["0", "2"]
    assert [row[0] for row in as_rows(read_interactions(path, where="when < 2024-05-31T23:30"))] == ["1"]


def test_forget_lists_held_out_data_and_lists_of_users_are_filtered_too(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "user,item,status\n1,10,done\n2,,open\n3,30,open\n")
    request = read_records(path, where="status = 'open'")
    assert [[str(id) for id in ids] for ids in (request.users, request.pair_users, request.pair_items)] == [
        ["2"], ["3"], ["30"]
    ]  # fmt: skip
    assert list(read_ids(path, "user", where="status != 'open'")) == [1]
    data = read_interactions(write_table(tmp_path, "parquet")).interactions
    heldout = read_heldout(write_table(tmp_path, "parquet"), data.users, data.items, where="rating > 4")
    assert heldout.values.tolist() == [4.5, 5.0]


def test_a_column_may_be_a_role_and_be_tested_and_have_any_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'who,item,"my stars",when\n1,1,3,2\n2,2,4,3\n2,2,5,1\n')
    columns = ColumnOptions(user="who", rating="my stars", timestamp="when")
    read = read_interactions(path, columns, where="\"my stars\" >= 4 and who = '2' and when < 4")
    assert as_rows(read) == [("2", "2", 4.0)]


def test_row_groups_that_statistics_rule_out_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = list(range(1000))
    path = write_parquet(tmp_path / "a.parquet", {"user": rows, "item": rows, "rating": rows}, row_group_size=100)
    read: list[list[int]] = []

    class Watched(pq.ParquetFile):  # type: ignore[misc]
        def iter_batches(self, size: int, row_groups: list[int], columns: list[str], **more: Any) -> Any:
            if size > 1:  # of one row only the index is tried
                read.append(row_groups)
            return super().iter_batches(size, row_groups=row_groups, columns=columns, **more)

    monkeypatch.setattr(parquet_module.pq, "ParquetFile", Watched)
    found = read_interactions(path, where="rating >= 849.5 or user in (5, 250)")
    assert read == [[0], [2], [8, 9]]
    assert found.rows == 152
    with pytest.raises(DataError, match="lets no row"):
        read_interactions(path, where="rating > 2000")
    assert len(read) == 3


def test_a_bad_row_behind_row_groups_that_were_not_read_has_its_own_number(tmp_path: Path) -> None:
    users = [*range(250), None, *range(251, 300)]
    path = write_parquet(tmp_path / "a.parquet", {"user": users, "item": list(range(300))}, row_group_size=100)
    with pytest.raises(DataError, match="row 251, column user: no user id"):
        read_interactions(path, where="item >= 240")


def row_groups(path: Path, where: str) -> list[int]:
    with pa.OSFile(str(path)) as file:
        return parquet_module._groups_to_read(read_footer(file), Filter.parse(where), {})


tests = st.one_of(
    st.builds(
        "x {} {}".format,
        st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
        st.integers(-3, 3) | st.sampled_from([0.5, -1.5]),
    ),
    st.builds("x {} in ({}, {})".format, st.sampled_from(["", "not"]), st.integers(-3, 3), st.integers(-3, 3)),
    st.sampled_from(["x is null", "x is not null"]),
)
filters = st.recursive(
    tests,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
        | st.builds("not ({})".format, inner)
    ),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(filters, st.lists(st.one_of(st.none(), st.integers(-3, 3)), min_size=1, max_size=8), st.booleans())
def test_no_row_group_with_a_row_that_passes_is_ruled_out_and_not_is_sqls(
    tmp_path_factory: pytest.TempPathFactory, where: str, values: list[int | None], as_floats: bool
) -> None:
    path = tmp_path_factory.mktemp("pruned") / "a.parquet"
    kind = pa.float64() if as_floats else pa.int64()
    numbers = [float("nan") if value == 3 and as_floats else value for value in values]
    pq.write_table(pa.table({"x": pa.array(numbers, kind)}), path, row_group_size=2)
    missing = [value is None or (value == 3 and as_floats) for value in values]
    passing = [row for row, value in enumerate(values) if _passes(Filter.parse(where), None if missing[row] else value)]
    groups = row_groups(path, where)
    assert {row // 2 for row in passing} <= set(groups)
    users = list(range(len(values)))
    table = write_parquet(path.parent / "b.parquet", {"user": users, "item": users, "x": pa.array(numbers, kind)})
    if passing:
        assert [int(row[0]) for row in as_rows(read_interactions(table, where=where))] == passing
    else:
        with pytest.raises(DataError, match="lets no row"):
            read_interactions(table, where=where)


def _passes(where: Filter, value: int | None) -> bool:
    """An oracle in plain Python, of one row with one column."""
    from forgetcli.tables.filters import Both, Comparison, Either, Membership, Test

    compare: Mapping[str, Callable[[Any, Any], bool]] = {
        "=": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b, "<=": lambda a, b: a <= b,
        ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
    }  # fmt: skip

    def holds(test: Test) -> bool:
        if isinstance(test, Both):
            return all(holds(part) for part in test.parts)
        if isinstance(test, Either):
            return any(holds(part) for part in test.parts)
        if isinstance(test, Comparison):
            return value is not None and compare[test.operator](value, test.value)
        if isinstance(test, Membership):
            return value is not None and (value in test.values) != test.negated
        return (value is None) != test.negated

    return holds(where.test)


@pytest.mark.parametrize(
    ("where", "possible"),
    [
        ("country = 'DE'", True),
        ("country = 'AT'", False),
        ("country = 'AT' or rating > 3", True),
        ("country = 'AT' and rating > 3", False),
        ("not (country = 'DE' and year = 2024)", False),
        ("year in (2023, 2024)", True),
        ("year > 2024.5", False),
        ("day >= 2024-06-02", False),
        ("day < 2024-06-02", True),
        ("region is null", True),
        ("region = 'x'", False),
    ],
)
def test_a_path_rules_out_what_it_cannot_hold(where: str, possible: bool) -> None:
    known = {"country": "DE", "year": 2024, "day": "2024-06-01", "region": None}
    assert might_match(Filter.parse(where), known) == possible
