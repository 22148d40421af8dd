"""The committed sample data are what their script makes, and tell the story that their README tells."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

SAMPLE = Path(__file__).resolve().parent.parent / "sample_data"
MADE = ("ratings.parquet", "ratings.csv", "items.csv", "deletions.csv")
MOST_BYTES = 2_000_000
"""A clone stays small: everything in the directory together."""
SHARED_ACCOUNT, GENRE = 42, "Horror"
WORST_SHARE_OF_TOP_TENTH = 0.3
"""A tenth of the titles with less than this share of the ratings would be no long tail: MovieLens-1M has 0.44."""


def rows(name: str) -> list[dict[str, str]]:
    with (SAMPLE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def remade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory where make.py has just run."""
    directory = tmp_path_factory.mktemp("sample_data")
    subprocess.run([sys.executable, str(SAMPLE / "make.py"), "--output", str(directory)], check=True)
    return directory


@pytest.mark.parametrize("name", [name for name in MADE if name.endswith(".csv")])
def test_make_reproduces_the_committed_csv_byte_for_byte(remade: Path, name: str) -> None:
    assert (remade / name).read_bytes() == (SAMPLE / name).read_bytes()


def test_make_reproduces_the_committed_parquet(remade: Path) -> None:
    made, committed = remade / "ratings.parquet", SAMPLE / "ratings.parquet"
    assert pq.read_table(made).equals(pq.read_table(committed))
    if pq.read_metadata(made).created_by == pq.read_metadata(committed).created_by:
        assert made.read_bytes() == committed.read_bytes()


def test_parquet_and_csv_hold_the_same_rows() -> None:
    table = pq.read_table(SAMPLE / "ratings.parquet")
    from_csv = np.array([(row["user"], row["item"], row["rating"]) for row in rows("ratings.csv")], dtype=np.float64)
    assert table.column_names == ["user", "item", "rating"]
    np.testing.assert_array_equal(from_csv, np.column_stack([table[name].to_numpy() for name in table.column_names]))


def test_the_directory_stays_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLE.iterdir() if path.is_file()) < MOST_BYTES


def test_ratings_are_half_stars_of_distinct_pairs_of_known_items() -> None:
    table = pq.read_table(SAMPLE / "ratings.parquet")
    users, items, ratings = (table[name].to_numpy() for name in ("user", "item", "rating"))
    assert np.isin(ratings, np.arange(1, 11) / 2).all()
    assert len(np.unique(users.astype(np.int64) * 1000 + items)) == len(table)
    assert np.array_equal(np.unique(items), [int(row["item"]) for row in rows("items.csv")])


def test_popularity_has_a_long_tail() -> None:
    counts = np.sort(np.bincount(pq.read_table(SAMPLE / "ratings.parquet")["item"].to_numpy())[1:])[::-1]
    assert counts[: len(counts) // 10].sum() > WORST_SHARE_OF_TOP_TENTH * counts.sum()


def test_titles_differ_and_have_no_slot_left_unfilled() -> None:
    titles = [row["title"] for row in rows("items.csv")]
    assert len({title.casefold() for title in titles}) == len(titles)
    assert not [title for title in titles if re.search(r"[{}]|\b[Aa] [AEIOU]", title)]


def test_deletions_name_things_that_exist() -> None:
    ratings = {(row["user"], row["item"]) for row in rows("ratings.csv")}
    users, items = {user for user, _ in ratings}, {item for _, item in ratings}
    asked = [(row["user"], row["item"]) for row in rows("deletions.csv")]
    assert len(set(asked)) == len(asked)
    assert {pair for pair in asked if all(pair)} <= ratings
    accounts, titles = [u for u, i in asked if not i], [i for u, i in asked if not u]
    assert len(accounts) == len(titles) == 1
    assert set(accounts) <= users
    assert set(titles) <= items


def test_the_shared_account_takes_back_the_whole_genre_and_nothing_else() -> None:
    in_genre = {row["item"] for row in rows("items.csv") if GENRE in row["genres"].split("|")}
    hers = {row["item"] for row in rows("ratings.csv") if row["user"] == str(SHARED_ACCOUNT)}
    taken_back = {row["item"] for row in rows("deletions.csv") if row["user"] == str(SHARED_ACCOUNT)}
    assert taken_back == hers & in_genre
    assert 0.3 < len(taken_back) / len(hers) < 0.5


def test_the_readme_counts_right() -> None:
    readme = (SAMPLE / "README.md").read_text(encoding="utf-8")
    ratings, items, asked = rows("ratings.csv"), rows("items.csv"), rows("deletions.csv")
    closed = next(row["user"] for row in asked if not row["item"])
    pulled = next(row["item"] for row in asked if not row["user"])
    title = next(row["title"] for row in items if row["item"] == pulled)
    assert f"{len(ratings):,} ratings of {len(items)} titles" in readme
    assert f"{sum(row['user'] == closed for row in ratings)} ratings" in readme
    assert f"those {sum(bool(row['user'] and row['item']) for row in asked)} ratings" in readme
    assert f"**Title {pulled}**, *{title}*" in readme
