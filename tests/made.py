"""Interactions made for tests, and what it takes for two to be the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from forgetcli.interactions import Csr, Interactions, Utf8Ids, Vocabulary

THREADS = (1, 2, 5)

any_float = st.floats(width=32, allow_nan=False, allow_infinity=False)
pairs = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9), any_float), max_size=80)
Pair = tuple[int, int, float]


def interactions_of(rows: Sequence[tuple[object, object, float]], **options: Any) -> Interactions:
    """The interactions of these rows of a user, an item and a value."""
    users, items, values = zip(*rows, strict=True) if rows else ((), (), ())
    return Interactions.from_arrays(list(users), list(items), list(values), **options)


def integer_ids(vocabulary: Vocabulary) -> NDArray[np.int64]:
    """The ids of a vocabulary of whole numbers."""
    assert not isinstance(vocabulary.ids, Utf8Ids)
    return vocabulary.ids


def text_ids(vocabulary: Vocabulary) -> list[str]:
    """The ids of a vocabulary of text."""
    assert isinstance(vocabulary.ids, Utf8Ids)
    return vocabulary.ids.to_list()


def as_dict(interactions: Interactions) -> dict[tuple[str, str], float]:
    """The value of each pair of labels."""
    view = interactions.by_user
    return {
        (interactions.users.label(int(u)), interactions.items.label(int(i))): float(v)
        for u, i, v in zip(view.row_numbers(), view.indices, view.values, strict=True)
    }


def assert_same_csr(a: Csr, b: Csr) -> None:
    """Equal in every bit."""
    assert a.n_columns == b.n_columns
    for name in ("indptr", "indices", "values"):
        assert getattr(a, name).tobytes() == getattr(b, name).tobytes(), name


def assert_same(a: Interactions, b: Interactions) -> None:
    """Equal in every id and bit, in both views."""
    for mine, its in ((a.users, b.users), (a.items, b.items)):
        assert mine.is_text == its.is_text
        assert [mine.label(i) for i in range(len(mine))] == [its.label(i) for i in range(len(its))]
    assert_same_csr(a.by_user, b.by_user)
    assert_same_csr(a.by_item, b.by_item)


def many_pairs(n: int, n_rows: int, n_columns: int, seed: int = 0) -> tuple[NDArray[np.int32], ...]:
    """n pairs with long tails on both sides, among them the pair (0, 0) many times."""
    rng = np.random.default_rng(seed)
    rows, columns = (np.floor(size * rng.random(n) ** 3).astype(np.int32) for size in (n_rows, n_columns))
    rows[: n // 50], columns[: n // 50] = 0, 0
    shuffled = rng.permutation(n)
    return rows[shuffled], columns[shuffled]


def numbered(rows: int, columns: int) -> tuple[Vocabulary, Vocabulary]:
    """Users and items whose ids are their row numbers."""
    return Vocabulary(np.arange(rows)), Vocabulary(np.arange(columns))
