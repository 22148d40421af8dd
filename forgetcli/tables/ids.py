"""Ids as Arrow columns, encoded batch by batch and gathered into one sorted vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from forgetcli.ids import Ids, Utf8Ids, Vocabulary
from forgetcli.tables.batches import Batch, Fault, Mask, convertible
from forgetcli.tables.columns import Role

LARGEST_INT64 = 2**63 - 1
LARGEST_EXACT_FLOAT = 2.0**53
"""Beyond this a float stands for several integers."""

MERGE_AT = 1 << 20
"""Batches' distinct ids are merged when there are this many, or as many as are known already if those are more: each
id then takes part in a bounded number of merges, and waiting ones never take more memory than the known."""


@dataclass(frozen=True)
class EncodedIds:
    """A column of ids as numbers.

    distinct: m ids, as Arrow int64 or large_string; some may be equal, but each is used.
    codes:    (n,) int32, the position in `distinct` of each row's id, -1 where a row has none.
    faults:   of rows whose value cannot be an id.
    """

    distinct: pa.Array
    codes: NDArray[np.int32]
    faults: tuple[Fault, ...] = ()

    def present(self) -> Mask:
        """(n,) bool, the rows that have an id."""
        return self.codes >= 0

    def kept(self, rows: Mask) -> EncodedIds:
        """Those rows alone, with the ids that occur in them."""
        codes = self.codes[rows]
        used = np.zeros(len(self.distinct), np.bool_)
        used[codes[codes >= 0]] = True
        places = np.append(np.cumsum(used, dtype=np.int32) - 1, np.int32(-1))  # the last is where -1 points
        return EncodedIds(self.distinct.filter(pa.array(used)), places[codes])

    def to_ids(self) -> Ids:
        """The ids row by row; every row must have one."""
        return ids_from_arrow(self.distinct.take(pa.array(self.codes)))

    def told_apart(self) -> EncodedIds:
        """With integers for text, where every distinct text is an integer as Python would print it."""
        numbers = as_integers(self.distinct)
        return self if numbers is None else EncodedIds(numbers, self.codes)


def as_integers(texts: pa.Array) -> pa.Array | None:
    """The texts as int64, or None when one of them is not canonical decimal ("0012", "+1", " 12", "-0")."""
    try:
        numbers = texts.cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    return numbers if numbers.cast(pa.large_string()).equals(texts) else None


def encode_ids(batch: Batch, role: Role) -> EncodedIds:
    """The ids of one column of a batch. Rows without one have no fault for it: null and empty text, and NaN, as which
    pandas writes a missing integer.

    Raises DataError for a column whose type holds no ids.
    """
    encoded = _plain(batch.columns[role]).dictionary_encode()
    codes = np.asarray(pc.fill_null(encoded.indices, -1), dtype=np.int32)
    distinct, refused = _ids_of(batch, role, encoded.dictionary)
    if distinct.null_count:
        usable = np.append(np.asarray(pc.is_valid(distinct)), False)  # the last is where -1 points
        given = np.where(usable[codes], codes, np.int32(-1))
        ids = EncodedIds(distinct, given).kept(np.ones(len(codes), np.bool_))
    else:
        ids = EncodedIds(distinct, codes)
    faults = tuple(Fault(np.append(where, False)[codes], reason, role) for where, reason in refused if where.any())
    return EncodedIds(ids.distinct, ids.codes, faults)


def missing_ids(ids: EncodedIds, role: Role) -> tuple[Fault, ...]:
    """The fault of the rows without an id, where a row needs one."""
    missing = ~ids.present()
    return (Fault(missing, f"no {role} id", role),) if missing.any() else ()


def _plain(column: pa.Array) -> pa.Array:
    """The column without a dictionary or an extension type around its values."""
    if isinstance(column, pa.ExtensionArray):
        return _plain(column.storage)
    return _plain(column.dictionary_decode()) if pa.types.is_dictionary(column.type) else column


def _ids_of(batch: Batch, role: Role, values: pa.Array) -> tuple[pa.Array, list[tuple[Mask, str]]]:
    """Distinct values as int64 or large_string, null where one is no id, and which are not, with the reason."""
    kind, types = values.type, pa.types
    if types.is_null(kind):
        return values.cast(pa.int64()), []
    if types.is_string(kind) or types.is_large_string(kind):
        return _without_empty(values.cast(pa.large_string())), []
    if types.is_binary(kind) or types.is_large_binary(kind):
        texts, refused = _cast_where_possible(values.cast(pa.large_binary()), pa.large_string(), "not valid UTF-8")
        return _without_empty(texts), refused
    if types.is_integer(kind):
        return _cast_where_possible(values, pa.int64(), "the id is beyond 2^63 - 1")
    if types.is_decimal(kind) and kind.scale == 0:
        return _cast_where_possible(values, pa.int64(), "the id is beyond 64 bits")
    if types.is_floating(kind):
        return _integral_floats(np.asarray(values.cast(pa.float64())))
    raise batch.column_error(role, f"ids are integers or text, not {kind}")


def _cast_where_possible(values: pa.Array, kind: pa.DataType, reason: str) -> tuple[pa.Array, list[tuple[Mask, str]]]:
    good = convertible(values, kind)
    if good.all():
        return values.cast(kind), []
    return pc.if_else(pa.array(good), values, pa.scalar(None, values.type)).cast(kind), [(~good, reason)]


def _without_empty(texts: pa.Array) -> pa.Array:
    empty = pc.equal(texts, "")
    return pc.if_else(empty, pa.scalar(None, texts.type), texts) if pc.any(empty).as_py() else texts


def _integral_floats(values: NDArray[np.float64]) -> tuple[pa.Array, list[tuple[Mask, str]]]:
    given = ~np.isnan(values)
    large = given & (np.abs(values) > LARGEST_EXACT_FLOAT)
    broken = given & ~large & (values != np.floor(values))
    good = given & ~large & ~broken
    numbers = pa.array(np.where(good, values, 0.0).astype(np.int64), mask=~good)
    return numbers, [(large, "the id is a float beyond 2^53, where it stands for several integers"),
                     (broken, "the id is not a whole number")]


class VocabularyBuilder:
    """Gathers one side's encoded ids. They are integers in the end if they were in every batch, else all text; the
    integers' text is then their decimal, so that which batch came first changes nothing."""

    def __init__(self) -> None:
        self._known = pa.array([], pa.int64())
        self._merged: list[NDArray[np.int32]] = []  # codes into _known, batch by batch
        self._waiting: list[EncodedIds] = []
        self._waiting_ids = 0

    def add(self, ids: EncodedIds) -> None:
        """The next batch; every row must have an id. One without rows says nothing of the ids' type."""
        if len(ids.codes) == 0:
            return
        self._waiting.append(ids)
        self._waiting_ids += len(ids.distinct)
        if self._waiting_ids >= max(MERGE_AT, len(self._known)):
            self._merge()

    def finish(self) -> tuple[Vocabulary, NDArray[np.int32]]:
        """The vocabulary, and the row number in it of each id that was added, in order. The builder is empty then."""
        self._merge()
        order = pc.sort_indices(self._known)
        ranks = np.empty(len(order), np.int32)
        ranks[np.asarray(order)] = np.arange(len(order), dtype=np.int32)
        vocabulary = Vocabulary(ids_from_arrow(self._known.take(order)))
        rows = np.empty(sum(map(len, self._merged)), np.int32)
        filled = len(rows)
        while self._merged:  # from the back, each freed once it is copied
            codes = self._merged.pop()
            np.take(ranks, codes, out=rows[filled - len(codes):filled])
            filled -= len(codes)
        return vocabulary, rows

    def _merge(self) -> None:
        """One hash table over what is known and all that waits. What is known comes first and is distinct, so it keeps
        its codes, and so do the rows encoded with them."""
        if not self._waiting:
            return
        parts = [self._known, *(ids.distinct for ids in self._waiting)]
        if any(part.type == pa.large_string() for part in parts):
            parts = [part.cast(pa.large_string()) for part in parts]
        chunks = pa.chunked_array(parts).dictionary_encode().chunks
        if len(self._known):  # Arrow leaves out the chunk of an empty part
            chunks = chunks[1:]
        for ids, chunk in zip(self._waiting, chunks, strict=True):
            self._merged.append(np.take(np.asarray(chunk.indices), ids.codes))
        self._known = chunks[0].dictionary
        self._waiting, self._waiting_ids = [], 0


def ids_from_arrow(values: pa.Array) -> Ids:
    """An int64 or large_string array without nulls as ids, copied out of Arrow's memory."""
    if values.type == pa.int64():
        return np.array(values, dtype=np.int64)
    _, offsets_buffer, bytes_buffer = values.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[values.offset:values.offset + len(values) + 1]
    data = np.frombuffer(bytes_buffer, np.uint8) if bytes_buffer is not None else np.empty(0, np.uint8)
    return Utf8Ids(data[offsets[0]:offsets[-1]].copy(), offsets - offsets[0])


def ids_to_arrow(ids: Ids) -> pa.Array:
    """Ids as an int64 or large_string array, without a copy."""
    if isinstance(ids, Utf8Ids):
        return pa.LargeStringArray.from_buffers(len(ids), pa.py_buffer(ids.offsets), pa.py_buffer(ids.data))
    return pa.array(ids)
