"""The checks of a model's arrays agree with their plain definitions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from forgetcli import validity
from forgetcli.errors import ModelFileError
from forgetcli.validity import is_finite, require_csr, require_increasing, require_offsets, require_text_ids


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small arrays cross the borders of blocks, too."""
    monkeypatch.setattr(validity, "_BLOCK", 3)


def holds(check: object, *arguments: object) -> bool:
    try:
        check(*arguments)  # type: ignore[operator]
    except ModelFileError:
        return False
    return True


def columns(texts: list[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    data = np.frombuffer(b"".join(texts), np.uint8)
    return data, np.cumsum([0, *map(len, texts)], dtype=np.int64)


def is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


similar = st.lists(
    st.sampled_from([b"a", b"\0", b"aaaaaaa", "ü".encode(), "𝄞".encode(), b"z" * 125, b"\xff", b"\xc3"]), max_size=4
).map(b"".join)


@given(st.lists(similar, max_size=8), st.booleans())
def test_text_ids_are_valid_when_each_is_utf8_and_above_the_one_before_it(texts: list[bytes], sort: bool) -> None:
    if sort:
        texts = sorted(set(texts))
    expected = all(map(is_utf8, texts)) and b"" not in texts
    expected &= all(one < other for one, other in pairwise(texts))
    assert holds(require_text_ids, "user_id", *columns(texts)) == expected


def test_a_character_cut_in_two_ids_is_refused() -> None:
    data, offsets = columns(["aü".encode()[:2], "ü".encode()[1:]])
    with pytest.raises(ModelFileError, match="user_id_offsets cut a character in two"):
        require_text_ids("user_id", data, offsets)


@given(st.lists(st.integers(-3, 9), min_size=1, max_size=9), st.integers(0, 9))
def test_offsets_are_valid_when_they_rise_from_zero_to_the_total(offsets: list[int], total: int) -> None:
    rises = all(one < other for one, other in pairwise(offsets))
    expected = rises and offsets[0] == 0 and offsets[-1] == total
    assert holds(require_offsets, "offsets", np.array(offsets, np.int64), total) == expected


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=9, unique=True), st.booleans())
def test_integer_ids_are_valid_when_they_increase(ids: list[int], sort: bool) -> None:
    if sort:
        ids.sort()
    assert holds(require_increasing, "user_ids", np.array(ids, np.int64)) == (ids == sorted(ids))


@given(st.lists(st.lists(st.integers(-1, 4), max_size=5), max_size=6), st.integers(0, 5), st.booleans())
def test_interactions_are_valid_when_each_row_is_sorted_and_no_row_or_column_is_empty(
    rows: list[list[int]], n_columns: int, sort: bool
) -> None:
    if sort:
        rows = [sorted(set(row)) for row in rows]
    indptr = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    indices = np.array([column for row in rows for column in row], np.int32)
    expected = all(row and row == sorted(set(row)) for row in rows) and set(indices) == set(range(n_columns))
    assert holds(require_csr, indptr, indices, n_columns) == expected


@pytest.mark.parametrize("indptr", [[0, 5], [0, -1, 3], [0, 2**62, 3], [1, 3], [-(2**63), 3], [0, 2, 1, 3]])
def test_row_starts_that_point_anywhere_are_refused(indptr: list[int]) -> None:
    assert not holds(require_csr, np.array(indptr, np.int64), np.array([0, 1, 2], np.int32), 3)


@given(st.lists(st.floats(width=32), max_size=9))
def test_values_are_finite_when_each_is(values: list[float]) -> None:
    assert is_finite(np.array(values, np.float32)) == bool(np.isfinite(values).all())
