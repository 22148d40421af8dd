"""Ids as Arrow columns, encoded as numbers batch by batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from forgetcli.ids import Ids, Utf8Ids
from forgetcli.tables.batches import Batch, Fault, Mask, convertible
from forgetcli.tables.columns import Role

LARGEST_INT64 = 2**63 - 1
LARGEST_EXACT_FLOAT = 2.0**53
"""Beyond this a float of 64 bits stands for several integers."""

EXACT_BITS = {16: 11, 32: 24, 64: 53}
"""Of floats by their width: from two to this power on, one stands for several whole numbers."""

FIRST_TRIED = 64

WIDEST_RANGE = 4
"""A table of this many times as many entries as there are ids still fits the cache."""


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
        if self.distinct.type == pa.int64():
            return self
        numbers = _told_from_text(self.distinct)
        if numbers is None or not numbers.cast(pa.large_string()).equals(self.distinct):
            return self
        return EncodedIds(numbers, self.codes)


def _told_from_text(texts: pa.Array) -> pa.Array | None:
    """The texts as int64, as Arrow understands them ("0012" is 12 to it); None where one is no integer.

    A few are tried first: Arrow words an error for each text that is none, which costs more than all the rest.
    """
    try:
        texts.slice(0, FIRST_TRIED).cast(pa.int64())
        return texts.cast(pa.int64())
    except pa.ArrowInvalid:
        return None


def encode_ids(batch: Batch, role: Role) -> EncodedIds:
    """The ids of one column of a batch. Rows without one have no fault for it: null and empty text, and NaN, as which
    pandas writes a missing integer.

    Raises DataError for a column whose type holds no ids.
    """
    column = plain_values(batch.columns[role])
    quick = _encode_integers(column) if batch.typed else _encode_decimals(column)
    if quick is not None:
        return quick
    if not _can_hold_ids(column.type):
        raise batch.column_error(role, f"ids are integers or text, not {column.type}")
    encoded = column.dictionary_encode()
    codes = np.asarray(pc.fill_null(encoded.indices, -1), dtype=np.int32)
    distinct, refused = _ids_of(encoded.dictionary)
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


def _encode_integers(column: pa.Array) -> EncodedIds | None:
    """Integers by a table over their range, several times as fast as by Arrow's hash table; None where the range is
    wide or some are missing."""
    if not pa.types.is_integer(column.type) or column.null_count or not len(column):
        return None
    values = np.asarray(column)
    low, high = int(values.min()), int(values.max())
    if high - low > WIDEST_RANGE * len(values) or high > LARGEST_INT64:
        return None
    offsets = values.astype(np.int64, copy=False) - low
    used = np.zeros(high - low + 1, np.bool_)
    used[offsets] = True
    codes = (np.cumsum(used, dtype=np.int32) - 1)[offsets]
    return EncodedIds(pa.array(np.flatnonzero(used) + low), codes)


def _encode_decimals(texts: pa.Array) -> EncodedIds | None:
    """Texts that are all canonical decimal integers, as these; else None. A text that Arrow reads as an integer is
    canonical unless it is longer than the integer printed, so that comparing the sums of the lengths is enough."""
    numbers = _told_from_text(texts)
    ids = None if numbers is None else _encode_integers(numbers)
    if ids is None:
        return None
    printed = np.asarray(pc.binary_length(ids.distinct.cast(pa.large_string())))
    length = int(printed @ np.bincount(ids.codes))
    return ids if length == pc.sum(pc.binary_length(texts)).as_py() else None


def plain_values(column: pa.Array) -> pa.Array:
    """The column without a dictionary, run lengths, views or an extension type around its values, and decimals of the
    widths that all of Arrow's functions know."""
    if isinstance(column, pa.ExtensionArray):
        return plain_values(column.storage)
    if pa.types.is_dictionary(column.type):
        if pa.types.is_string_view(column.type.value_type):  # as Polars has it; Arrow does not decode it
            return plain_values(column.dictionary).take(column.indices)
        return plain_values(column.dictionary_decode())
    if pa.types.is_run_end_encoded(column.type):
        return plain_values(pc.run_end_decode(column))
    if pa.types.is_decimal(column.type) and column.type.bit_width < 128:
        return column.cast(pa.decimal128(column.type.precision, column.type.scale))
    if pa.types.is_string_view(column.type):
        return column.cast(pa.large_string())
    return column.cast(pa.large_binary()) if pa.types.is_binary_view(column.type) else column


def _can_hold_ids(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or (types.is_decimal(kind) and kind.scale == 0)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_null(kind)
    )


def _ids_of(values: pa.Array) -> tuple[pa.Array, list[tuple[Mask, str]]]:
    """Distinct values as int64 or large_string, null where one is no id, and which are not, with the reason."""
    kind, types = values.type, pa.types
    if types.is_null(kind):
        return values.cast(pa.int64()), []
    if types.is_string(kind) or types.is_large_string(kind):
        return _without_empty(values.cast(pa.large_string())), []
    if types.is_binary(kind) or types.is_large_binary(kind):
        texts, refused = _cast_where_possible(values.cast(pa.large_binary()), pa.large_string(), "not valid UTF-8")
        return _without_empty(texts), refused
    if types.is_floating(kind):
        return _integral_floats(np.asarray(values.cast(pa.float64())), EXACT_BITS[kind.bit_width])
    return _cast_where_possible(values, pa.int64(), "the id is an integer beyond 64 bits with a sign")


def _cast_where_possible(values: pa.Array, kind: pa.DataType, reason: str) -> tuple[pa.Array, list[tuple[Mask, str]]]:
    good = convertible(values, kind)
    if good.all():
        return values.cast(kind), []
    return pc.if_else(pa.array(good), values, pa.scalar(None, values.type)).cast(kind), [(~good, reason)]


def _without_empty(texts: pa.Array) -> pa.Array:
    empty = pc.equal(texts, "")
    return pc.if_else(empty, pa.scalar(None, texts.type), texts) if pc.any(empty).as_py() else texts


def _integral_floats(values: NDArray[np.float64], exact_bits: int) -> tuple[pa.Array, list[tuple[Mask, str]]]:
    given = ~np.isnan(values)
    large = given & (np.abs(values) >= 2.0**exact_bits)
    broken = given & ~large & (values != np.floor(values))
    good = given & ~large & ~broken
    numbers = pa.array(np.where(good, values, 0.0).astype(np.int64), mask=~good)
    return numbers, [
        (large, f"the id is a float of 2^{exact_bits} or more, which stands for several integers"),
        (broken, "the id is not a whole number"),
    ]


def ids_from_arrow(values: pa.Array) -> Ids:
    """An int64 or large_string array without nulls as ids, copied out of Arrow's memory."""
    if values.type == pa.int64():
        return np.array(values, dtype=np.int64)
    _, offsets_buffer, bytes_buffer = values.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[values.offset : values.offset + len(values) + 1]
    data = np.frombuffer(bytes_buffer, np.uint8) if bytes_buffer is not None else np.empty(0, np.uint8)
    return Utf8Ids(data[offsets[0] : offsets[-1]].copy(), offsets - offsets[0])


def ids_to_arrow(ids: Ids) -> pa.Array:
    """Ids as an int64 or large_string array, without a copy."""
    if isinstance(ids, Utf8Ids):
        return pa.LargeStringArray.from_buffers(len(ids), pa.py_buffer(ids.offsets), pa.py_buffer(ids.data))
    return pa.array(ids)
