"""The benchmark's table is exactly what was asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "synthetic.py"
SHAPE = ("--ratings", "3e4", "--users", "700", "--items", "900")
RATINGS, USERS, ITEMS = 30_000, 700, 900


def generate(output: Path, *options: str) -> pa.Table:
    subprocess.run([sys.executable, str(SCRIPT), *options, "-o", str(output)], check=True)
    return pq.read_table(output)


def pairs(table: pa.Table) -> NDArray[np.int64]:
    """(n,) user and item as one number."""
    users, items = (np.asarray(table[name], dtype=np.int64) for name in ("user", "item"))
    return users << 32 | items


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    return generate(tmp_path_factory.mktemp("synthetic") / "table.parquet", *SHAPE)


def test_has_exactly_the_asked_number_of_distinct_pairs(table: pa.Table) -> None:
    assert len(table) == len(np.unique(pairs(table))) == RATINGS


@pytest.mark.parametrize(
    ("ratings", "users", "items"),
    [(1, 1, 1), (50, 50, 9), (60, 10, 10), (70_000, 70_000, 300), (6_000, 3, 5_000)],
    ids=["one cell", "one rating a user", "as full as may be", "more users than a part holds", "heavy users only"],
)
def test_has_exactly_the_asked_number_at_the_edges(tmp_path: Path, ratings: int, users: int, items: int) -> None:
    made = generate(tmp_path / "t.parquet", f"--ratings={ratings}", f"--users={users}", f"--items={items}")
    assert len(made) == len(np.unique(pairs(made))) == ratings
    assert len(np.unique(made["user"].to_numpy())) == users
    assert len(np.unique(made["item"].to_numpy())) == min(items, ratings)


def test_every_user_and_item_occurs_and_no_other(table: pa.Table) -> None:
    assert np.array_equal(np.unique(table["user"].to_numpy()), np.arange(1, USERS + 1))
    assert np.array_equal(np.unique(table["item"].to_numpy()), np.arange(1, ITEMS + 1))


def test_ratings_are_half_stars_in_float32(table: pa.Table) -> None:
    assert table.schema.types == [pa.int32(), pa.int32(), pa.float32()]
    assert np.array_equal(np.unique(table["rating"].to_numpy()), np.arange(1, 11) / 2)


def test_rows_are_by_user_then_item(table: pa.Table) -> None:
    assert (np.diff(pairs(table)) > 0).all()


def test_activity_has_its_floor_and_popularity_its_tail(table: pa.Table) -> None:
    activity = np.bincount(table["user"].to_numpy())[1:]
    popularity = np.sort(np.bincount(table["item"].to_numpy())[1:])[::-1]
    assert activity.min() >= 20
    assert popularity[: ITEMS // 10].sum() > RATINGS / 2


def test_ratings_follow_users_and_items(table: pa.Table) -> None:
    """Means by item, taken from one half of the users, explain ratings of the other half."""
    items, ratings = table["item"].to_numpy(), table["rating"].to_numpy().astype(np.float64)
    known = table["user"].to_numpy() % 2 == 0
    sums = np.bincount(items[known], ratings[known] - ratings.mean(), ITEMS + 1)
    explained = (sums / (5 + np.bincount(items[known], minlength=ITEMS + 1)))[items[~known]]
    assert np.corrcoef(explained, ratings[~known])[0, 1] > 0.25


def test_the_same_options_give_the_same_bytes(table: pa.Table, tmp_path: Path) -> None:
    generate(tmp_path / "once.parquet", *SHAPE)
    assert generate(tmp_path / "twice.parquet", *SHAPE).equals(table)
    assert (tmp_path / "once.parquet").read_bytes() == (tmp_path / "twice.parquet").read_bytes()


def test_another_seed_gives_another_table(table: pa.Table, tmp_path: Path) -> None:
    assert not generate(tmp_path / "other.parquet", *SHAPE, "--seed", "1").equals(table)


def test_shuffled_rows_are_the_same_rows(table: pa.Table, tmp_path: Path) -> None:
    shuffled = generate(tmp_path / "shuffled.parquet", *SHAPE, "--order", "shuffled")
    assert not shuffled.equals(table)
    assert shuffled.sort_by([("user", "ascending"), ("item", "ascending")]).equals(table)


def test_csv_holds_the_same_rows(table: pa.Table, tmp_path: Path) -> None:
    generate(tmp_path / "both.parquet", *SHAPE, "--csv")
    assert pc.read_csv(tmp_path / "both.csv").cast(table.schema).equals(table)


def test_a_table_that_cannot_be_is_refused(tmp_path: Path) -> None:
    refused = subprocess.run(
        [sys.executable, str(SCRIPT), "--ratings=1000", "--users=10", "--items=20", "-o", str(tmp_path / "t.parquet")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "ratings must be from 10" in refused.stderr
    assert not list(tmp_path.iterdir())
