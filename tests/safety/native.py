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

RANKS = (*range(20), 33, 64, 65, 80, 144, 160)
"""One to five vectors of each kind, no whole number of them, none, and more than are solved side by side."""


def call_native(content: bytes, _: Path) -> None:
    """Calls an entry point with arrays cut from the bytes, which no Python code has checked before."""
    cut = _Cutter(content)
    entry_point, used = ENTRY_POINTS[cut.byte() % len(ENTRY_POINTS)], _native.instruction_set()
    _native.use_instruction_set((sets := _native.instruction_sets())[cut.byte() % len(sets)])
    try:
        with suppress(*REFUSALS), np.errstate(all="ignore"):  # of numbers that are spoilt here
            entry_point(cut)
    finally:
        _native.use_instruction_set(used)


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

    def csr(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[Any]]:
        """The values are numbers, or codes."""
        indptr = self.offsets()
        nnz = max(0, min(int(indptr[-1]), 400))
        return indptr, self.small("i4", nnz), self.raw(("f4", "u1")[self.byte() % 2], nnz + (self.byte() == 1))

    def view(self, n_columns: int | None = None) -> _native.View:
        """Of a matrix with mostly enough columns."""
        indptr, indices, values = self.csr()
        if n_columns is None:
            n_columns = 14 if self.byte() % 4 else _size(self)
        return self.viewed(indptr, indices, values, n_columns)

    def viewed(
        self, indptr: NDArray[np.int64], indices: NDArray[np.int32], values: NDArray[Any], n_columns: int
    ) -> _native.View:
        told: dict[str, Any] = {"indptr": indptr, "indices": indices, "n_columns": n_columns, "threads": self.threads()}
        if values.dtype == np.uint8:
            told |= {"codes": values, "levels": self.raw("f4", 256 if self.byte() % 4 else self.byte() * 2)}
        else:
            told["values"] = values
        return _native.View(**self.spoilt(told))

    def other_side(self, dtype: str, rank: int) -> tuple[_native.View, int, NDArray[Any]]:
        """A matrix in compressed rows, its indices mostly those of the rows of the other array, (rows, rank)."""
        indptr, indices, values = self.csr()
        other = self.matrix(dtype, rank)
        if self.byte() % 4 and len(other):
            indices %= len(other)
        if self.byte() == 1 and len(indices):  # a row that several threads share
            indptr = np.insert(indptr, 1, 40_000) if indptr[-1] == 0 else indptr * (40_000 // indptr[-1] + 1)
            indices, values = np.resize(indices, indptr[-1]), np.resize(values, indptr[-1])
        view = self.viewed(indptr, indices, values, len(other) + (self.byte() == 1))
        return view, len(indptr) - 1, other

    def listed(self, n: int) -> NDArray[np.int64] | None:
        """Some of n rows, mostly; None for all of them."""
        if self.byte() % 2:
            return None
        rows = self.small("i8")
        return rows % n if self.byte() % 4 and n else rows

    def matrix(self, dtype: str, columns: int) -> NDArray[Any]:
        rows = self.byte() % 16
        return self.raw(dtype, rows * columns).reshape(rows, columns)

    def square(self, dtype: str, size: int) -> NDArray[Any]:
        return self.raw(dtype, size * size).reshape(size, size)

    def threads(self) -> int:
        return (1, 2, 2, 3, 0, -1, 2**31 - 1, 2**31)[self.byte() % 8]

    def spoilt(self, told: dict[str, Any]) -> dict[str, Any]:
        """Now and then one array as no kernel wants it, or read-only, or of what no sum is finite with."""
        arrays = [name for name, value in told.items() if isinstance(value, np.ndarray)]
        if self.byte() % 4 or not arrays:
            return told
        name, kind = arrays[self.byte() % len(arrays)], self.byte() % len(SPOILINGS)
        return told | {name: SPOILINGS[kind](told[name])}


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def _overflowing(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind == "f":
        array.ravel()[::3] = (np.nan, np.inf, -np.inf)[array.size % 3]
    return array


SPOILINGS: tuple[Callable[[NDArray[Any]], Any], ...] = (
    lambda array: np.repeat(array, 2, axis=-1)[..., ::2],  # not contiguous
    lambda array: array[::-1],  # a stride below 0
    lambda array: array.T.copy().T,  # in Fortran's order
    lambda array: array[1:],
    lambda array: array[:0],
    lambda array: array[np.newaxis],
    lambda array: np.zeros((2**40, 0), array.dtype),  # longer than memory, without elements
    lambda array: np.broadcast_to(array, (3, *array.shape))[0],  # read-only
    lambda array: array.astype(array.dtype.newbyteorder()),
    lambda array: array.astype("f8" if array.dtype != np.float64 else "f4"),
    lambda array: np.frombuffer(b"\0" + array.tobytes(), array.dtype, offset=1).reshape(array.shape),  # not aligned
    lambda array: array.tolist(),
    lambda array: None,
    _read_only,
    _overflowing,
    _overflowing,
)
"""What becomes of an array that fits."""


def _rows(cut: _Cutter, call: Callable[..., Any], **options: Any) -> None:
    dtype, rank, biased = ("f4", "f8")[cut.byte() % 2], RANKS[cut.byte() % len(RANKS)], cut.byte() % 2 == 1
    view, n_rows, other = cut.other_side(dtype, rank)
    shared: dict[str, Any] = {
        "view": view,
        "other": other,
        "other_bias": cut.raw(dtype, len(other) + (cut.byte() == 1)) if biased else None,
        "gram": None if biased else cut.square(dtype, rank),
        "with_bias": biased,
        "confidence": (1.0, 2.0),
        "target": (0.0, 1.0),
        "background": 1.0,
        "reg": 0.1,
        "reg_by_count": cut.byte() % 2 == 1,
        "rows": cut.listed(n_rows),
        "threads": cut.threads(),
    }
    if "all_rows" in options:
        shared["rows"] = None
    if options:
        listed = n_rows if shared["rows"] is None else len(shared["rows"])
        shared |= {"factors": cut.raw(dtype, listed * rank).reshape(listed, rank), "bias": cut.raw(dtype, listed)}
    if "all_rows" in options:
        del shared["rows"]
    call(**cut.spoilt(shared))


def _iteration(cut: _Cutter, dtype: str, rank: int, biased: bool) -> dict[str, Any]:
    return {
        "vectors": cut.square(dtype, rank),
        "mean": cut.raw(dtype, rank + biased),
        "border": cut.raw(dtype, rank),
        "dense": cut.raw(dtype, rank + (cut.byte() == 1)),
        "tolerance": 0.01,
        "max_iterations": cut.byte() % 5,
    }


def _solve(cut: _Cutter, call: Callable[..., Any], kind: str) -> None:
    dtype, rank, biased = ("f4", "f8")[cut.byte() % 2], RANKS[cut.byte() % len(RANKS)], cut.byte() % 2 == 1
    view, n_rows, other = cut.other_side(dtype, rank)
    n = n_rows + (cut.byte() == 1)
    told: dict[str, Any] = {
        "view": view,
        "other": other,
        "with_bias": biased,
        "confidence": (1.0, 2.0),
        "background": 1.0,
        "reg": 0.1,
        "reg_by_count": cut.byte() % 2 == 1,
        "threads": cut.threads(),
    }
    if kind == "conjugate":
        dimension = rank + biased
        told["vectors"] = cut.square(dtype, dimension)
        told |= {name: cut.raw(dtype, dimension + (cut.byte() == 1)) for name in ("dense", "slope", "offset")}
        told["steps"] = (1, 2, 3, 20, 0, -1, 2**31 - 1, 2**31)[cut.byte() % 8]
    else:
        told |= _iteration(cut, dtype, rank, biased)
    if kind != "coupled":
        told["rows"] = cut.listed(n_rows)
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
        told["direction_gram"] = None if biased else cut.square(dtype, rank)
        told["half"] = cut.byte() % 2 == 1
        told["with_change"] = cut.byte() % 2 == 1
        told["expected"] = (0.0, 1e-6, 1e300, float("nan"), None)[cut.byte() % 5]
    if kind == "newton":
        columns = rank + biased + (cut.byte() == 1)
        told["held"] = None if cut.byte() % 2 else cut.raw(dtype, n * columns).reshape(n, columns)
    call(**cut.spoilt(told))


def _remove(cut: _Cutter) -> None:
    view, entries = cut.view(14), cut.small("i8")
    if cut.byte() % 2:
        entries = np.unique(np.abs(entries))
    column_map = np.cumsum(cut.raw("u1", 14) % 2, dtype=np.int32) if cut.byte() % 2 else None
    if cut.byte() % 2:
        _native.csr_remove_in_place(view, entries, column_map)
    else:
        _native.csr_remove(view, entries, column_map, 1)


def _code(cut: _Cutter) -> None:
    values = cut.raw("f4", cut.byte() * 4)
    coder = _native.Coder()
    for piece in (values[:5], values[5:]):
        coder.encode(**cut.spoilt({"values": piece, "codes": np.empty(len(piece) + (cut.byte() == 1), np.uint8)}))
    coder.levels()


def _top_n(cut: _Cutter) -> None:
    dtype, rank = ("f4", "f8")[cut.byte() % 2], cut.byte() % 20
    users, items = cut.matrix(dtype, rank), cut.matrix(dtype, rank)
    asked = cut.small("i8")
    seen = cut.csr() if cut.byte() % 2 else None
    told = {
        "user_factors": users,
        "item_factors": items,
        "item_bias": cut.raw(dtype, len(items)),
        "item_norms": cut.raw("f8", len(items)),
        "item_order": cut.small("i4", len(items)) if cut.byte() % 2 else np.arange(len(items), dtype=np.int32),
        "users": asked,
        "user_norms": cut.raw("f8", len(asked)),
        "seen_offsets": None if seen is None else seen[0],
        "seen_items": None if seen is None else seen[1],
        "n": cut.byte() % 20,
        "threads": cut.threads(),
    }
    _native.top_n(**cut.spoilt(told))


def _eigen(cut: _Cutter) -> None:
    matrix = cut.square("f8", cut.byte() % 9)
    _native.symmetric_eigen(**cut.spoilt({"matrix": matrix + matrix.T if cut.byte() % 2 else matrix}))


def _gram(cut: _Cutter) -> None:
    _native.gram(**cut.spoilt({"x": cut.matrix(("f4", "f8")[cut.byte() % 2], cut.byte() % 20)}), threads=cut.threads())


def _inner_product(cut: _Cutter) -> None:
    dtype = ("f4", "f8")[cut.byte() % 2]
    bias = cut.raw(dtype, cut.byte() % 16)
    told = {"factors": cut.matrix(dtype, 5), "bias": bias, "stacked": cut.matrix(dtype, 4 + cut.byte() % 4)}
    _native.inner_product(**cut.spoilt(told))


def _combination(cut: _Cutter) -> None:
    dtype, rank = ("f4", "f8")[cut.byte() % 2], cut.byte() % 20
    first = cut.matrix(dtype, rank)
    parts = [cut.spoilt({"x": cut.raw(dtype, first.size).reshape(first.shape)})["x"] for _ in range(cut.byte() % 4)]
    _native.combination([first, *parts][cut.byte() % 2 :], [0.5] * (len(parts) + cut.byte() % 2), cut.threads())


def _empty(cut: _Cutter) -> None:
    columns = cut.byte() % 20
    rows = _size(cut) if cut.byte() % 2 else 2**62 - cut.byte()
    with suppress(MemoryError):
        _native.empty(**cut.spoilt({"like": cut.matrix(("f4", "f8")[cut.byte() % 2], columns)}), rows=rows)


def _instruction_set(cut: _Cutter) -> None:
    _native.use_instruction_set(("portable", "avx2", "avx512", "")[cut.byte() % 4])


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
    lambda cut: _native.csr_transpose(cut.view(), 2),
    lambda cut: _native.csr_validate(cut.view(), 2),
    lambda cut: _native.csr_find(cut.view(), wanted := cut.small("i8"), cut.small("i8", len(wanted)), 1),
    lambda cut: _native.csr_column_counts(cut.view(), 1),
    lambda cut: _native.csr_entries_of_columns(cut.view(14), cut.raw("u1", 14).astype(np.bool_), 1),
    _remove,
    lambda cut: _native.csr_holdout(
        cut.view(14), cut.raw("i8").view(np.uint64), cut.raw("i8", 14).view(np.uint64), 1, cut.byte() / 255
    ),
    lambda cut: _native.decode_values(cut.raw("u1"), cut.raw("f4", cut.byte() * 2), cut.threads()),
    lambda cut: _native.code_counts(cut.raw("u1"), cut.threads()),
    _code,
    lambda cut: _rows(cut, _native.solve_rows),
    lambda cut: _rows(cut, _native.row_gradients, with_factors=True),
    lambda cut: _rows(cut, _native.row_losses, with_factors=True, all_rows=True),
    lambda cut: _solve(cut, _native.solve_coupled, "coupled"),
    lambda cut: _solve(cut, _native.newton_rows, "newton"),
    lambda cut: _solve(cut, _native.solve_normal, "given"),
    _top_n,
    _gram,
    _inner_product,
    _combination,
    _empty,
    lambda cut: _solve(cut, _native.conjugate_rows, "conjugate"),
    _eigen,
    lambda cut: _native.integer_keys(cut.raw("i8")),
    _instruction_set,
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
