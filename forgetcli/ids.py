"""Columns of ids, whole numbers or text, and the vocabularies made of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from forgetcli import _native
from forgetcli.errors import DataError


@dataclass(frozen=True, eq=False)
class Utf8Ids:
    """A column of text ids, end to end.

    data:    (total,) uint8, UTF-8.
    offsets: (n + 1,) int64; id i is data[offsets[i]:offsets[i + 1]].

    Raises ValueError for the wrong dtypes, or offsets that do not begin at 0 and end at total. What lies between is
    checked where it is used (no kernel reads outside the data) and, in full, by `Vocabulary.validate`.
    """

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.data.dtype != np.uint8 or self.offsets.dtype != np.int64:
            raise ValueError(f"text ids are uint8 with int64 offsets, not {self.data.dtype} and {self.offsets.dtype}")
        if self.data.ndim != 1 or self.offsets.ndim != 1 or len(self.offsets) == 0:
            raise ValueError("text ids and their offsets are one-dimensional, with at least one offset")
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.data):
            raise ValueError("the ids' offsets do not begin at 0 and end at the last byte")
        object.__setattr__(self, "data", np.ascontiguousarray(self.data))
        object.__setattr__(self, "offsets", np.ascontiguousarray(self.offsets))
        self.data.flags.writeable = False
        self.offsets.flags.writeable = False

    @classmethod
    def from_strings(cls, strings: Sequence[str]) -> Utf8Ids:
        """The column of these strings. Raises DataError for one that has no UTF-8: half a surrogate pair."""
        try:
            encoded = [string.encode() for string in strings]
        except UnicodeEncodeError as error:
            raise DataError("an id holds half a surrogate pair, which is no text") from error
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(each) for each in encoded], out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    @classmethod
    def from_integers(cls, values: NDArray[np.int64]) -> Utf8Ids:
        """The canonical decimal text of each value."""
        return cls(*_native.text_from_integers(np.ascontiguousarray(values, np.int64)))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, position: int) -> str:
        position = range(len(self))[position]
        return self.data[self.offsets[position] : self.offsets[position + 1]].tobytes().decode()

    def take(self, positions: NDArray[np.integer[Any]], threads: int = 0) -> Utf8Ids:
        """The ids at these positions, which lie in [0, n). Raises IndexError for one that does not."""
        return Utf8Ids(*_native.text_take(self.data, self.offsets, _int64(positions), threads))

    def to_list(self) -> list[str]:
        """The ids as Python strings."""
        raw, bounds = self.data.tobytes(), self.offsets.tolist()
        return [raw[begin:end].decode() for begin, end in itertools.pairwise(bounds)]

    def to_integers(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """(n,) values, and (n,) whether the id is the canonical decimal text of an int64 ("12" and "-3" are; "012",
        "+1", "-0" and "1.0" are not); where it is not, the value is 0."""
        return _native.text_parse_integers(self.data, self.offsets, 0)


Ids: TypeAlias = NDArray[np.int64] | Utf8Ids
"""A column of ids, all of one kind."""


def as_ids(values: object) -> Ids:
    """A column of ids from a list or array of whole numbers or of strings, or from what NumPy can make such an array
    of: a Series, a column of Arrow. A column of ids stays as it is.

    Raises DataError for anything else among them, a mixture, or a number that does not fit int64.
    """
    if isinstance(values, Utf8Ids):
        return values
    array = np.asarray(values) if hasattr(values, "__array__") else None
    if array is not None and array.ndim == 1 and array.dtype.kind in "iu":
        if array.dtype == np.uint64 and len(array) and array.max() > np.iinfo(np.int64).max:
            raise DataError(_TOO_LARGE)
        return np.ascontiguousarray(array, np.int64)
    listed: list[Any] = array.tolist() if array is not None else list(values)  # type: ignore[call-overload]
    if all(isinstance(value, str) for value in listed) and listed:
        return Utf8Ids.from_strings(listed)
    if any(isinstance(value, bool) or not isinstance(value, (int, np.integer)) for value in listed):
        raise DataError("ids must be all whole numbers or all text", hint="convert them before, for example to text")
    try:
        return np.array(listed, np.int64)
    except OverflowError as error:
        raise DataError(_TOO_LARGE) from error


_TOO_LARGE = "an id is a number outside -2^63 … 2^63 - 1"


def join_ids(columns: Sequence[Ids]) -> Ids:
    """One column after the other. Where numbers meet text they become their canonical decimal text, which matches
    the same ids of any vocabulary."""
    columns = [column for column in columns if len(column)]
    if not columns:
        return np.zeros(0, np.int64)
    integers = [column for column in columns if not isinstance(column, Utf8Ids)]
    if len(integers) == len(columns):
        return np.concatenate(integers)
    texts = [column if isinstance(column, Utf8Ids) else Utf8Ids.from_integers(column) for column in columns]
    lengths = np.concatenate([np.diff(text.offsets) for text in texts])
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return Utf8Ids(np.concatenate([text.data for text in texts]), offsets)


def take_ids(ids: Ids, positions: NDArray[np.integer[Any]]) -> Ids:
    """The ids at these positions."""
    return ids.take(positions) if isinstance(ids, Utf8Ids) else ids[positions]


def distinct(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The distinct values, increasing. (np.unique hashes from NumPy 2.3 on, which takes minutes for 25 million.)"""
    ordered = np.sort(values)
    fresh = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=fresh[1:])
    return ordered[fresh]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The distinct ids of one side, sorted: whole numbers by value, text bytewise. An id's position is its row number.

    ids: (n,), strictly increasing; n is below 2^31. Held to be so: `of` makes it so, `validate` checks it.
    """

    ids: Ids

    def __post_init__(self) -> None:
        if isinstance(self.ids, Utf8Ids):
            return
        if self.ids.dtype != np.int64 or self.ids.ndim != 1:
            raise ValueError(f"integer ids are one-dimensional and int64, not {self.ids.dtype}")
        object.__setattr__(self, "ids", np.ascontiguousarray(self.ids))
        self.ids.flags.writeable = False

    @classmethod
    def of(cls, ids: Ids, threads: int = 0) -> tuple[Vocabulary, NDArray[np.int32]]:
        """The vocabulary of these (n,) ids, repeated or not, and the (n,) row number of each.

        Raises DataError for an empty text or one that is not UTF-8.
        """
        if not isinstance(ids, Utf8Ids):
            integers = cls(distinct(ids))
            return integers, integers.find(ids, threads).astype(np.int32)
        try:
            positions, rows = _native.text_distinct(ids.data, ids.offsets, threads)
            vocabulary = cls(ids.take(positions, threads))
            vocabulary.validate(threads)
        except ValueError as error:
            raise DataError(str(error)) from error
        return vocabulary, rows

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_text(self) -> bool:
        """Whether the ids are text."""
        return isinstance(self.ids, Utf8Ids)

    def find(self, ids: Ids, threads: int = 0) -> NDArray[np.int64]:
        """(m,) row numbers of m ids, -1 where unknown.

        Numbers match the text that spells them canonically and the other way round: 12 matches "12", never "0012".
        """
        if isinstance(self.ids, Utf8Ids):
            texts = ids if isinstance(ids, Utf8Ids) else Utf8Ids.from_integers(ids)
            return _native.text_find(self.ids.data, self.ids.offsets, texts.data, texts.offsets, threads)
        if isinstance(ids, Utf8Ids):
            values, canonical = ids.to_integers()
            return np.where(canonical, _native.integer_find(self.ids, values, threads), -1)
        return _native.integer_find(self.ids, _int64(ids), threads)

    def take(self, positions: NDArray[np.integer[Any]], threads: int = 0) -> Vocabulary:
        """The vocabulary of the ids at these increasing positions."""
        if isinstance(self.ids, Utf8Ids):
            return Vocabulary(self.ids.take(positions, threads))
        return Vocabulary(self.ids[positions])

    def label(self, row: int) -> str:
        """The id of a row, for output."""
        return str(self.ids[row])

    def keys(self, threads: int = 0) -> NDArray[np.uint64]:
        """(n,) a 64-bit hash of each id: the same on every machine, whatever the other ids are."""
        if isinstance(self.ids, Utf8Ids):
            return _native.text_keys(self.ids.data, self.ids.offsets, threads)
        return _native.integer_keys(self.ids)

    def validate(self, threads: int = 0) -> None:
        """Raises ValueError saying what is wrong, for ids from a file that is not to be trusted: order, repetition,
        an empty text, bytes that are not UTF-8, offsets that do not fit."""
        if len(self) > np.iinfo(np.int32).max:
            raise ValueError("more than 2,147,483,647 ids")
        if isinstance(self.ids, Utf8Ids):
            _native.text_validate(self.ids.data, self.ids.offsets, True, threads)
        elif not bool(np.all(self.ids[1:] > self.ids[:-1])):
            raise ValueError("the ids are not strictly increasing")


def _int64(positions: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    return np.ascontiguousarray(positions, np.int64)
