"""The native entry points called with arrays that nothing has checked."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgetcli import _native
from tests.safety import mutations

REFUSALS = (ValueError, IndexError, TypeError)
"""What a native entry point may raise."""


def call_native(content: bytes, _: Path) -> None:
    """Calls an entry point with arrays cut from the bytes, which no Python code has checked before."""
    cut = _Cutter(content)
    with suppress(*REFUSALS):
        ENTRY_POINTS[cut.byte() % len(ENTRY_POINTS)](cut)


class _Cutter:
    """Arrays made of bytes: small numbers mostly, so that many of them fit together."""

    def __init__(self, content: bytes) -> None:
        self._rest = content

    def byte(self) -> int:
        first, self._rest = (self._rest[0] if self._rest else 0), self._rest[1:]
        return first

    def raw(self, dtype: str, length: int | None = None) -> NDArray[Any]:
        """(length,) numbers of any value."""
        size = (self.byte() % 32 if length is None else length) * np.dtype(dtype).itemsize
        piece, self._rest = self._rest[:size], self._rest[size:]
        return np.frombuffer(piece.ljust(size, b"\0"), dtype).copy()

    def small(self, dtype: str, length: int | None = None) -> NDArray[Any]:
        """(length,) numbers from -2 to 13, and a very large one now and then."""
        values = self.raw("u1", length).astype(np.int64)
        odd = values >= 250
        values = values % 16 - 2
        values[odd] = (2**62, -(2**62), 2**31, -(2**31), 2**63 - 1)[len(values) % 5]
        return values.astype(dtype)

    def offsets(self) -> NDArray[np.int64]:
        """(n + 1,) that start at 0 and mostly rise."""
        steps = self.small("i8")
        return np.concatenate([[0], np.cumsum(np.where(steps == -2, steps, np.abs(steps)))]).astype(np.int64)

    def text(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        offsets = self.offsets()
        return self.raw("u1", max(0, min(int(offsets[-1]), 400)) + (self.byte() == 1)), offsets

    def csr(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        indptr = self.offsets()
        nnz = max(0, min(int(indptr[-1]), 400))
        return indptr, self.small("i4", nnz), self.raw("f4", nnz + (self.byte() == 1))

    def matrix(self, dtype: str, columns: int) -> NDArray[Any]:
        rows = self.byte() % 16
        return self.raw(dtype, rows * columns).reshape(rows, columns)


def _rows(cut: _Cutter, call: Callable[..., Any], **options: Any) -> None:
    indptr, indices, values = cut.csr()
    dtype, rank, biased = ("f4", "f8")[cut.byte() % 2], cut.byte() % 20, cut.byte() % 2 == 1
    shared: dict[str, Any] = {
        "indptr": indptr,
        "indices": indices,
        "values": values,
        "other": (other := cut.matrix(dtype, rank)),
        "other_bias": cut.raw(dtype, len(other) + (cut.byte() == 1)) if biased else None,
        "gram": None if biased else cut.raw(dtype, rank * rank).reshape(rank, rank),
        "with_bias": biased,
        "confidence": (1.0, 2.0),
        "target": (0.0, 1.0),
        "background": 1.0,
        "reg": 0.1,
        "reg_by_count": cut.byte() % 2 == 1,
        "rows": cut.small("i8") if cut.byte() % 2 else None,
        "threads": 1 + cut.byte() % 2,
    }
    if options:
        listed = len(indptr) - 1 if shared["rows"] is None else len(shared["rows"])
        shared |= {"factors": cut.raw(dtype, listed * rank).reshape(listed, rank), "bias": cut.raw(dtype, listed)}
    call(**shared)


def _iteration(cut: _Cutter, dtype: str, rank: int, biased: bool) -> dict[str, Any]:
    return {
        "vectors": cut.raw(dtype, rank * rank).reshape(rank, rank),
        "mean": cut.raw(dtype, rank + biased),
        "border": cut.raw(dtype, rank),
        "dense": cut.raw(dtype, rank + (cut.byte() == 1)),
        "tolerance": 0.01,
        "max_iterations": cut.byte() % 5,
    }


def _solve(cut: _Cutter, call: Callable[..., Any], kind: str) -> None:
    indptr, indices, values = cut.csr()
    dtype, rank, biased = ("f4", "f8")[cut.byte() % 2], cut.byte() % 20, cut.byte() % 2 == 1
    other, n = cut.matrix(dtype, rank), len(indptr) - 1 + (cut.byte() == 1)
    told: dict[str, Any] = {
        "indptr": indptr,
        "indices": indices,
        "values": values,
        "other": other,
        "with_bias": biased,
        "confidence": (1.0, 2.0),
        "background": 1.0,
        "reg": 0.1,
        "reg_by_count": cut.byte() % 2 == 1,
        **_iteration(cut, dtype, rank, biased),
        "threads": 1 + cut.byte() % 2,
    }
    if kind != "coupled":
        told["rows"] = cut.small("i8") if cut.byte() % 2 else None
        n = n if told["rows"] is None else len(told["rows"])
    if kind == "given":
        told["rhs"] = cut.raw(dtype, n * (rank + biased)).reshape(n, rank + biased)
    else:
        told["other_bias"] = cut.raw(dtype, len(other)) if biased else None
        told["target"] = (0.0, 1.0)
        told |= {"factors": cut.raw(dtype, n * rank).reshape(n, rank), "bias": cut.raw(dtype, n)}
    if kind == "coupled":
        columns = rank + (cut.byte() == 1)
        told["direction"] = cut.raw(dtype, len(other) * columns).reshape(len(other), columns)
        told["direction_bias"] = cut.raw(dtype, len(other)) if biased else None
        told["direction_gram"] = None if biased else cut.raw(dtype, rank * rank).reshape(rank, rank)
        told["half"] = cut.byte() % 2 == 1
    call(**told)


def _top_n(cut: _Cutter) -> None:
    dtype, rank = ("f4", "f8")[cut.byte() % 2], cut.byte() % 20
    users, items = cut.matrix(dtype, rank), cut.matrix(dtype, rank)
    asked = cut.small("i8")
    seen = cut.csr() if cut.byte() % 2 else None
    _native.top_n(
        user_factors=users,
        item_factors=items,
        item_bias=cut.raw(dtype, len(items)),
        item_norms=cut.raw("f8", len(items)),
        item_order=cut.small("i4", len(items)) if cut.byte() % 2 else np.arange(len(items), dtype=np.int32),
        users=asked,
        user_norms=cut.raw("f8", len(asked)),
        seen_offsets=None if seen is None else seen[0],
        seen_items=None if seen is None else seen[1],
        n=cut.byte() % 20,
        threads=1 + cut.byte() % 2,
    )


def _size(cut: _Cutter) -> int:
    return int(cut.small("i8", 1)[0])


ENTRY_POINTS: tuple[Callable[[_Cutter], Any], ...] = (
    lambda cut: _native.text_take(*cut.text(), cut.small("i8"), 1),
    lambda cut: _native.text_find(*cut.text(), *cut.text(), 2),
    lambda cut: _native.text_distinct(*cut.text(), 2),
    lambda cut: _native.text_validate(*cut.text(), cut.byte() % 2 == 1, 1),
    lambda cut: _native.text_parse_integers(*cut.text(), 1),
    lambda cut: _native.text_from_integers(cut.raw("i8")),
    lambda cut: _native.text_keys(*cut.text(), 1),
    lambda cut: _native.integer_find(cut.small("i8"), cut.raw("i8"), 1),
    lambda cut: _native.csr_from_pairs(
        rows := cut.small("i4"),
        cut.small("i4", len(rows)),
        cut.raw("f4", len(rows)),
        cut.raw("i8", len(rows)) if cut.byte() % 2 else None,
        _size(cut),
        _size(cut),
        ("last", "sum", "mean", "max")[cut.byte() % 4],
        1,
    ),
    lambda cut: _native.csr_transpose(*cut.csr(), _size(cut), 2),
    lambda cut: _native.csr_validate(*cut.csr(), _size(cut), 2),
    lambda cut: _native.csr_find(*cut.csr()[:2], wanted := cut.small("i8"), cut.small("i8", len(wanted)), 1),
    lambda cut: _native.csr_column_counts(cut.small("i4"), _size(cut), 1),
    lambda cut: _native.csr_entries_of_columns(cut.small("i4"), cut.raw("u1").astype(np.bool_), 1),
    lambda cut: _native.csr_remove(
        *cut.csr(), cut.small("i8"), np.cumsum(cut.raw("u1") % 2, dtype=np.int32) if cut.byte() % 2 else None, 1
    ),
    lambda cut: _native.csr_holdout(
        *cut.csr()[:2], cut.raw("i8").view(np.uint64), cut.raw("i8").view(np.uint64), 1, cut.byte() / 255
    ),
    lambda cut: _rows(cut, _native.solve_rows),
    lambda cut: _rows(cut, _native.row_gradients, with_factors=True),
    lambda cut: _solve(cut, _native.solve_coupled, "coupled"),
    lambda cut: _solve(cut, _native.newton_rows, "newton"),
    lambda cut: _solve(cut, _native.solve_normal, "given"),
    lambda cut: _top_n(cut),
    lambda cut: _native.gram(cut.matrix("f4", cut.byte() % 20), 1),
    lambda cut: _native.inner_product(
        factors=cut.matrix("f4", 5), bias=cut.raw("f4", cut.byte() % 16), stacked=cut.matrix("f4", 4 + cut.byte() % 4)
    ),
    lambda cut: _native.empty(cut.matrix("f8", cut.byte() % 20), _size(cut)),
)


def seed_native() -> list[bytes]:
    """Bytes for each entry point."""
    rng = random.Random(0)
    return [bytes([number]) + rng.randbytes(200) for number in range(len(ENTRY_POINTS))]


def mutated_call(rng: random.Random, content: bytes) -> bytes:
    """Other bytes for the same entry point or another."""
    if rng.random() < 0.5:
        return bytes([rng.randrange(len(ENTRY_POINTS))]) + rng.randbytes(rng.choice((20, 100, 400)))
    return mutations.mutated_bytes(rng, content)
