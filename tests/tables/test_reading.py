"""Interactions from tables that are as they should be."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import os
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetcli.ids import Vocabulary
from forgetcli.tables import ColumnOptions, read_heldout, read_interactions
from forgetcli.tables import parquet as parquet_module
from forgetcli.tables import text as text_module
from tests.tables.tables_made import Row, as_rows, write, write_parquet

PLAIN = "user,item,rating\n1,10,4.5\n2,10,3\n2,11,1\n"
PLAIN_ROWS: list[Row] = [("1", "10", 4.5), ("2", "10", 3.0), ("2", "11", 1.0)]


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and batches of a few rows, so that small tables have many."""
    monkeypatch.setattr(text_module, "BLOCK_BYTES", 40)
    monkeypatch.setattr(parquet_module, "BATCH_ROWS", 3)


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("plain.csv", PLAIN, {}),
        ("crlf.csv", PLAIN.replace("\n", "\r\n"), {}),
        ("cr.csv", PLAIN.replace("\n", "\r"), {}),
        ("mark.csv", "\ufeff" + PLAIN, {}),
        ("no-line-end.csv", PLAIN.rstrip(), {}),
        ("blank-lines.csv", "\n" + PLAIN.replace("\n", "\n\n"), {}),
        ("quoted.csv", 'user,item,rating\n"1","10","4.5"\n2,"10",3\n2,11,1\n', {}),
        ("spaces.csv", "user, item , rating\n1,10, 4.5 \n2,10,3\n2,11,1\n", {}),
        ("more-columns.csv", 'note,userId,"movieId",x,Rating\n"a\nb, c",1,10,,4.5\n,2,10,,3\né,2,11,,1\n', {}),
        ("upper.csv", PLAIN.replace("user,item,rating", "USER_ID,Item-Id,STARS"), {}),
        ("tabs.tsv", PLAIN.replace(",", "\t"), {}),
        ("semicolons.csv", PLAIN.replace(",", ";"), {}),
        ("bars.txt", PLAIN.replace(",", "|"), {}),
        ("hash.txt", PLAIN.replace(",", "#"), {"delimiter": "#"}),
        ("tabs.txt", PLAIN.replace(",", "\t"), {"delimiter": "\\t"}),
        ("broken-bar.txt", PLAIN.replace(",", "¦"), {"delimiter": "¦"}),
        (
            "named.csv",
            PLAIN.replace("user,item,rating", "who,what,much"),
            {"user": "who", "item": "What", "rating": "much"},
        ),
        ("headerless.csv", PLAIN.split("\n", 1)[1], {"columns": ("user", "item", "rating")}),
        ("skipped.csv", PLAIN.split("\n", 1)[1].replace(",", ",x,"), {"columns": ("user", "-", "item", "", "rating")}),
        ("renamed.csv", PLAIN.split("\n", 1)[1], {"columns": ("a", "b", "rating"), "user": "a", "item": "b"}),
    ],
)
def test_text_tables_are_read_alike(tmp_path: Path, name: str, content: str, options: dict[str, Any]) -> None:
    result = read_interactions(write(tmp_path / name, content), ColumnOptions(**options))
    assert as_rows(result) == PLAIN_ROWS
    assert not result.interactions.users.is_text
    assert (result.rows, result.dropped_rows, result.duplicates, result.has_ratings, result.files) == (3, 0, 0, True, 1)


@pytest.mark.parametrize(
    ("ending", "compress"),
    [
        (".gz", gzip.compress),
        (".bz2", bz2.compress),
        (".zst", lambda data: pa.compress(data, "zstd", asbytes=True)),
    ],
)
def test_compressed_text_is_unpacked(tmp_path: Path, ending: str, compress: Callable[[bytes], bytes]) -> None:
    assert as_rows(read_interactions(write(tmp_path / f"a.csv{ending}", compress(PLAIN.encode())))) == PLAIN_ROWS


def test_gzip_of_several_members_is_read_to_its_end(tmp_path: Path) -> None:
    header, rest = PLAIN.split("\n", 1)
    packed = gzip.compress(f"{header}\n".encode()) + gzip.compress(rest.encode())
    assert as_rows(read_interactions(write(tmp_path / "a.csv.gz", packed))) == PLAIN_ROWS


@pytest.mark.parametrize(
    ("users", "text"),
    [
        (pa.array([1, 2, 2], pa.int8()), False),
        (pa.array([1, 2, 2], pa.uint64()), False),
        (pa.array([1.0, 2.0, 2.0]), False),
        (pa.array([Decimal(1), Decimal(2), Decimal(2)], pa.decimal128(38, 0)), False),
        (pa.array([1.0, 2.0, 2.0], pa.float32()), False),
        (pa.array(["1", "2", "2"]), True),
        (pa.array(["1", "2", "2"], pa.large_string()), True),
        (pa.array([b"1", b"2", b"2"]), True),
        (pa.array(["1", "2", "2"]).dictionary_encode(), True),
        (pa.array([1, 2, 2]).dictionary_encode(), False),
    ],
)
def test_parquet_ids_of_any_sensible_type(tmp_path: Path, users: pa.Array, text: bool) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"user": users, "item": [10, 10, 11], "rating": [4.5, 3.0, 1.0]})
    result = read_interactions(path)
    assert as_rows(result) == PLAIN_ROWS
    assert result.interactions.users.is_text is text


@pytest.mark.skipif(not hasattr(pa, "decimal32"), reason="this PyArrow has no short decimals")
@pytest.mark.parametrize("name", ["decimal32", "decimal64"])
def test_short_decimals_are_ids_ratings_and_filtered(tmp_path: Path, name: str) -> None:
    kind = getattr(pa, name)(5, 0)
    whole = pa.array([Decimal(1), Decimal(2), Decimal(2)], kind)
    table = pa.table({"user": whole, "item": [10, 10, 11], "rating": whole})
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as file:
        file.write_table(table)
    expected = [("1", "10", 1.0), ("2", "10", 2.0), ("2", "11", 2.0)]
    assert as_rows(read_interactions(tmp_path / "a.arrow")) == expected
    assert as_rows(read_interactions(tmp_path / "a.arrow", where="rating > 1.5")) == expected[1:]


@pytest.mark.parametrize(
    "ratings",
    [
        pa.array([5, 3, 1], pa.int16()),
        pa.array([5, 3, 1], pa.float16()),
        pa.array([5.0, 3.0, 1.0], pa.float32()),
        pa.array([Decimal("5.0"), Decimal("3.0"), Decimal("1.0")]),
    ],
)
def test_parquet_ratings_of_any_number_type(tmp_path: Path, ratings: pa.Array) -> None:
    path = write_parquet(tmp_path / "a.pq", {"user": [1, 2, 2], "item": [10, 10, 11], "rating": ratings})
    assert [value for _, _, value in as_rows(read_interactions(path))] == [5.0, 3.0, 1.0]


@pytest.mark.parametrize(
    ("texts", "kept"),
    [
        (["12", "-3", "0", "9223372036854775807", "-9223372036854775808"], False),
        (["12", "0012"], True),
        (["12", "+1"], True),
        (["12", " 12"], True),
        (["12", "1.0"], True),
        (["0", "-0"], True),
        (["12", "9223372036854775808"], True),
        (["12", "twelve"], True),
        (["naïve", "日本語", "a b", "🎲", "NA", "null", "nan"], True),
    ],
)
def test_text_is_integers_only_when_all_of_it_is_canonical(tmp_path: Path, texts: list[str], kept: bool) -> None:
    content = "user,item\n" + "".join(f"{text},1\n" for text in texts)
    users = read_interactions(write(tmp_path / "a.csv", content)).interactions.users
    assert users.is_text is kept
    assert {users.label(row) for row in range(len(users))} == set(texts)


def test_one_text_among_the_files_makes_every_id_text(tmp_path: Path) -> None:
    numbers = write(tmp_path / "numbers.csv", "user,item\n12,1\n7,1\n")
    typed = write_parquet(tmp_path / "typed.parquet", {"user": [12, 30], "item": [2, 2]})
    texts = write(tmp_path / "texts.csv", "user,item\n012,1\n12,3\n")
    assert not read_interactions([numbers, typed]).interactions.users.is_text
    for order in ([numbers, typed, texts], [texts, typed, numbers]):
        read = read_interactions(order).interactions
        assert [read.users.label(row) for row in range(read.n_users)] == ["012", "12", "30", "7"]
        assert not read.items.is_text
        assert len(read) == 6


def test_text_ids_are_sorted_bytewise(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv", "user,item\n" + "".join(f"{user},1\n" for user in ["é", "z", "Z", "\U0001f3b2", "～"])
    )
    users = read_interactions(path).interactions.users
    assert [users.label(row) for row in range(5)] == ["Z", "z", "é", "～", "\U0001f3b2"]


def test_without_ratings_a_repeated_pair_is_one_interaction(tmp_path: Path) -> None:
    result = read_interactions(write(tmp_path / "a.csv", "user,item,timestamp\n1,10,5\n1,10,7\n1,11,x\n"))
    assert as_rows(result) == [("1", "10", 1.0), ("1", "11", 1.0)]
    assert (result.has_ratings, result.duplicates) == (False, 1)


@pytest.mark.parametrize(
    "times",
    [
        ["30", "20", "10"],
        ["3.5", "3.25", "-1"],
        ["9007199254740993", "9007199254740992", "0"],
        ["2.5", "2", "-1e300"],
        ["2024-01-03", "2024-01-02", "1999-12-31"],
        ["2024-01-01T00:00:02Z", "2024-01-01T00:00:03+01:00", "1900-01-01T00:00:00Z"],
        ["2024-01-01 00:00:00.25", "2024-01-01 00:00:00.125", "2023-01-01 00:00:00"],
    ],
)
def test_the_latest_duplicate_counts_however_times_are_written(tmp_path: Path, times: list[str]) -> None:
    rows = [f"1,10,{value},{time}\n" for value, time in zip((5, 4, 3), times, strict=True)]
    files = [write(tmp_path / f"{i}.csv", "user,item,rating,timestamp\n" + row) for i, row in enumerate(rows)]
    one = write(tmp_path / "all.csv", "user,item,rating,timestamp\n" + "".join(rows))
    for sources in ([one], files, files[::-1], [files[1], files[0], files[2]]):
        assert as_rows(read_interactions(sources)) == [("1", "10", 5.0)]


@pytest.mark.parametrize(
    "times",
    [
        pa.array([3, 1, 2], pa.timestamp("ns")),
        pa.array([3, 1, 2], pa.timestamp("s", "Europe/Paris")),
        pa.array([3, 1, 2], pa.date32()),
        pa.array([3, 1, 2], pa.uint32()),
        pa.array([-0.5, -2.5, -1.5]),
    ],
)
def test_parquet_times_of_any_type_order_duplicates(tmp_path: Path, times: pa.Array) -> None:
    times = times if times.type != pa.timestamp("ns") else pa.array([3000, 1000, 2000], pa.timestamp("ns"))
    path = write_parquet(
        tmp_path / "a.parquet", {"user": [1, 1, 1], "item": [2, 2, 2], "rating": [7, 8, 9], "ts": times}
    )
    assert as_rows(read_interactions(path)) == [("1", "2", 7.0)]


@pytest.mark.parametrize(("duplicates", "value"), [("last", 1.0), ("sum", 6.0), ("mean", 2.0), ("max", 3.0)])
def test_duplicates_are_merged_as_asked(tmp_path: Path, duplicates: Any, value: float) -> None:
    path = write(tmp_path / "a.csv", "user,item,rating\n1,1,2\n1,1,3\n1,1,1\n")
    result = read_interactions(path, duplicates=duplicates)
    assert (as_rows(result), result.duplicates) == ([("1", "1", value)], 2)


def test_times_that_are_not_needed_are_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "user,item,rating,timestamp\n1,1,2,yesterday\n")
    assert as_rows(read_interactions(path, duplicates="max")) == [("1", "1", 2.0)]


def test_a_directory_is_its_parquet_files_at_any_depth(tmp_path: Path) -> None:
    write_parquet(tmp_path / "in" / "b.parquet", {"user": [2, 2], "item": [10, 11], "rating": [3.0, 1.0]})
    write_parquet(tmp_path / "in" / "deep" / "er" / "a.parquet", {"user": [1], "item": [10], "rating": [4.5]})
    for hidden in ("_SUCCESS", "_metadata.parquet", ".part.parquet", "_old/a.parquet", "notes.txt"):
        write(tmp_path / "in" / hidden, "nothing of use")
    result = read_interactions(str(tmp_path / "in"))
    assert (as_rows(result), result.files) == (PLAIN_ROWS, 2)


@pytest.mark.parametrize("packed", [False, True])
def test_standard_input_may_be_csv_packed_or_not(monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    content = gzip.compress(PLAIN.encode()) if packed else PLAIN.encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert as_rows(read_interactions("-")) == PLAIN_ROWS


def test_standard_input_may_be_parquet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a", {"user": [1, 2, 2], "item": [10, 10, 11], "rating": [4.5, 3.0, 1.0]})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    assert as_rows(read_interactions(["-"])) == PLAIN_ROWS


def test_parquet_is_known_by_its_content_too(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "part-0000", {"user": [1, 2, 2], "item": [10, 10, 11], "rating": [4.5, 3.0, 1.0]})
    assert as_rows(read_interactions(path)) == PLAIN_ROWS


def test_movielens_files_are_read_with_columns_named(tmp_path: Path) -> None:
    named = ColumnOptions(columns=("user", "item", "rating", "timestamp"))
    dat = write(tmp_path / "ratings.dat", "1::10::4.5::978300760\n2::10::3::978302109\n2::11::1::978301968\n")
    data = write(tmp_path / "u.data", dat.read_text().replace("::", "\t"))
    csv = write(tmp_path / "ratings.csv", "userId,movieId,rating,timestamp\n" + dat.read_text().replace("::", ","))
    for result in (read_interactions(dat, named), read_interactions(data, named), read_interactions(csv)):
        assert as_rows(result) == PLAIN_ROWS


ids = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str), st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
)
pairs = st.lists(
    st.tuples(ids, ids, st.floats(width=32, allow_nan=False, allow_infinity=False)),
    min_size=1,
    max_size=30,
    unique_by=lambda row: row[:2],
)


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


@given(
    rows=pairs,
    cuts=st.lists(st.integers(0, 30), max_size=3),
    shuffle=st.randoms(use_true_random=False),
    threads=st.sampled_from([1, 3]),
)
def test_order_files_format_and_threads_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], cuts: list[int], shuffle: Any, threads: int
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    shuffled = list(rows)
    shuffle.shuffle(shuffled)
    bounds = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    files = []
    for i, (begin, end) in enumerate(itertools.pairwise(bounds)):
        part = shuffled[begin:end]
        content = "".join(f"{quoted(user)},{quoted(item)},{value!r}\n" for user, item, value in part)
        files.append(write(folder / f"{i}.csv", "user,item,rating\n" + content))
    read = read_interactions(files, threads=threads)
    as_given = sorted(rows, key=lambda row: (row[0].encode(), row[1].encode()))
    assert sorted(as_rows(read), key=lambda row: (row[0].encode(), row[1].encode())) == as_given
    users, items, values = zip(*rows, strict=True)
    parquet = write_parquet(folder / "all.parquet", {"user": users, "item": items, "rating": values})
    assert as_rows(read_interactions(parquet)) == as_given


@pytest.mark.usefixtures("small_pieces")
def test_many_small_pieces_give_what_one_large_piece_gives(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    users, items = rng.integers(-50, 50, 400), rng.integers(0, 9, 400)
    text = "user,item,rating\n" + "".join(
        f'{u},"it\nem {i}",{n}\n' for n, (u, i) in enumerate(zip(users, items, strict=True))
    )
    csv = write(tmp_path / "a.csv", text)
    parquet = write_parquet(
        tmp_path / "a.parquet", {"user": users, "item": [f"it\nem {i}" for i in items], "rating": np.arange(400.0)}
    )
    expected = {(str(u), f"it\nem {i}"): float(n) for n, (u, i) in enumerate(zip(users, items, strict=True))}
    for source in (csv, parquet):
        for threads in (1, 4):
            read = read_interactions(source, threads=threads)
            assert {(user, item): value for user, item, value in as_rows(read)} == expected
            assert not read.interactions.users.is_text


@pytest.mark.parametrize("text", [False, True])
def test_heldout_pairs_are_matched_and_sorted_by_the_models_rows(tmp_path: Path, text: bool) -> None:
    numbers = np.array([2, 10, 11])
    known = Vocabulary.of(Vocabulary(numbers).ids)[0]
    path = tmp_path / "test.parquet"
    users = [10, 2, 2, 99, 10]
    write_parquet(
        path,
        {
            "user": [str(u) for u in users] if text else users,
            "item": [11, 11, 2, 2, 98],
            "rating": [1.0, 2.0, 3.0, 4.0, 5.0],
        },
    )
    heldout = read_heldout(path, known, known)
    assert heldout.user_rows.tolist() == [0, 0, 1]
    assert heldout.item_rows.tolist() == [0, 2, 2]
    assert heldout.values.tolist() == [3.0, 2.0, 1.0]
    assert heldout.left_out == 2


def real_data() -> Path | None:
    """A directory with ml-100k.parquet, ml-1m.parquet and gowalla.parquet."""
    named = os.environ.get("FORGETCLI_DATA")
    return None if named is None else Path(named)


@pytest.mark.skipif(real_data() is None, reason="FORGETCLI_DATA names no directory of real ratings")
@pytest.mark.parametrize(
    ("name", "users", "items", "rows"),
    [
        ("ml-100k", 943, 1_682, 100_000),
        ("ml-1m", 6_040, 3_706, 1_000_203),
        ("gowalla", 29_858, 40_981, 1_027_370),
    ],
)
def test_real_data_has_the_documented_size(name: str, users: int, items: int, rows: int) -> None:
    data = real_data()
    assert data is not None
    result = read_interactions(data / f"{name}.parquet")
    assert (result.interactions.n_users, result.interactions.n_items, len(result.interactions)) == (users, items, rows)
    assert (result.rows, result.duplicates) == (rows, 0)
