"""Batches gathered into whole columns, in little more memory than the columns take."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from forgetcli.ids import Vocabulary
from forgetcli.tables.ids import EncodedIds, ids_from_arrow
from forgetcli.tables.measures import TimeKind, Times, float_order

Number = TypeVar("Number", np.int32, np.int64, np.float32)

FIRST_ENTRIES = 1 << 13
GROWTH = 8
"""An array grows by an eighth: reallocating moves its pages, not its bytes, and little of it is ever unused."""

PASS_ROWS = 1 << 20
"""Rows worked on at a time where an array is rewritten in place."""

MERGE_AT = 1 << 20
"""Batches' distinct ids are merged when there are this many, or as many as are known already if those are more: each
id then takes part in a bounded number of merges, and waiting ones never take more memory than the known."""


class GrowingArray(Generic[Number]):
    """A column that batches are appended to. A list of them to concatenate would hold everything twice."""

    def __init__(self, dtype: type[Number]) -> None:
        self._array: NDArray[Number] = np.empty(FIRST_ENTRIES, dtype)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, part: NDArray[Number]) -> None:
        """More entries, copied to the end."""
        length = self._length + len(part)
        if length > len(self._array):
            self._array.resize(length + length // GROWTH, refcheck=False)  # nothing else refers to it before `take`
        self._array[self._length : length] = part
        self._length = length

    def in_use(self) -> NDArray[Number]:
        """The entries so far, to be changed in place and not kept."""
        return self._array[: self._length]

    def take(self) -> NDArray[Number]:
        """All entries; the column is empty then."""
        self._array.resize(self._length, refcheck=False)
        array, self._array = self._array, np.empty(FIRST_ENTRIES, self._array.dtype)
        self._length = 0
        return array


class VocabularyBuilder:
    """Gathers one side's encoded ids. They are integers in the end if they were in every batch, else all text; the
    integers' text is then their decimal, so that which batch came first changes nothing."""

    def __init__(self) -> None:
        self._known = pa.array([], pa.int64())
        self._codes = GrowingArray(np.int32)
        self._coded = 0  # so many of the codes are into _known, the others into their batch's own distinct ids
        self._waiting: list[tuple[int, pa.Array]] = []  # batches' lengths and distinct ids
        self._waiting_ids = 0

    def add(self, ids: EncodedIds) -> None:
        """The next batch; every row must have an id. One without rows says nothing of the ids' type."""
        if len(ids.codes) == 0:
            return
        self._codes.append(ids.codes)
        self._waiting.append((len(ids.codes), ids.distinct))
        self._waiting_ids += len(ids.distinct)
        if self._waiting_ids >= max(MERGE_AT, len(self._known)):
            self._recode(self._merged(), begin=self._coded)

    def finish(self) -> tuple[Vocabulary, NDArray[np.int32]]:
        """The vocabulary, and (n,) the row number in it of each id that was added, in order."""
        parts = self._merged()
        order = pc.sort_indices(self._known)
        ranks = np.empty(len(order), np.int32)
        ranks[np.asarray(order)] = np.arange(len(order), dtype=np.int32)
        self._recode([(self._coded, ranks), *((length, ranks[codes]) for length, codes in parts)], begin=0)
        return Vocabulary(ids_from_arrow(self._known.take(order))), self._codes.take()

    def _merged(self) -> list[tuple[int, NDArray[np.int32]]]:
        """Makes one hash table over what is known and all that waits. What is known comes first and is distinct, so it
        keeps its codes, and so do the rows that have them. Of each batch that waited its length, and the new codes of
        its distinct ids."""
        if not self._waiting:
            return []
        parts = [self._known, *(distinct for _, distinct in self._waiting)]
        if any(part.type == pa.large_string() for part in parts):
            parts = [part.cast(pa.large_string()) for part in parts]
        chunks = pa.chunked_array(parts).dictionary_encode().chunks
        if len(self._known):  # Arrow leaves out the chunk of an empty part
            chunks = chunks[1:]
        lengths = [length for length, _ in self._waiting]
        self._known = chunks[0].dictionary
        self._waiting, self._waiting_ids = [], 0
        return [(length, np.asarray(chunk.indices)) for length, chunk in zip(lengths, chunks, strict=True)]

    def _recode(self, parts: list[tuple[int, NDArray[np.int32]]], begin: int) -> None:
        """Gives the rows from `begin` on, part after part, the codes that a part's table has for those that they have
        now: all rows are coded alike then."""
        rows = self._codes.in_use()
        for length, codes in parts:
            for at in range(begin, begin + length, PASS_ROWS):
                some = rows[at : min(at + PASS_ROWS, begin + length)]
                some[:] = codes[some]
            begin += length
        self._coded = begin


class TimeColumn:
    """Gathers times of one kind, integers and floats being one: as int64 until a fraction comes, and from then on as
    the order of the floats."""

    def __init__(self, kind: TimeKind) -> None:
        self.kind = kind
        self._values = GrowingArray(np.int64)
        self._as_floats = False

    def append(self, times: Times) -> None:
        """The next batch, of the same kind."""
        if times.values.dtype == np.float64 and not self._as_floats:
            values = self._values.in_use()
            for begin in range(0, len(values), PASS_ROWS):
                values[begin : begin + PASS_ROWS] = float_order(values[begin : begin + PASS_ROWS])
            self._as_floats = True
        self._values.append(float_order(times.values) if self._as_floats else times.values.astype(np.int64, copy=False))

    def take(self) -> NDArray[np.int64]:
        """(n,) numbers that order the rows by time."""
        return self._values.take()
