"""What must hold of a model's arrays before anything computes with them, checked in blocks that stay in the cache.

Every function raises ModelFileError that says which array is wrong.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgetcli.errors import ModelFileError

_BLOCK = 1 << 18
"""Elements checked at once: their temporaries fit into a core's own cache."""

_COMPARED_AT_ONCE = 128
"""Bytes of an id. The few ids that are equal for longer are compared one by one."""


def is_finite(array: NDArray[Any]) -> bool:
    """Whether no value is infinite or NaN. array: floats of any shape, C-contiguous."""
    flat = array.reshape(-1)
    return all(bool(np.isfinite(flat[block]).all()) for block in _blocks(len(flat)))


def require_finite(name: str, array: NDArray[Any]) -> None:
    """array: as in `is_finite`."""
    if not is_finite(array):
        raise ModelFileError(f"{name} has values that are not finite")


def require_increasing(name: str, numbers: NDArray[np.int64]) -> None:
    """numbers: (n,), each above the one before it."""
    if not _rises(numbers):
        raise ModelFileError(f"{name} are not sorted, or not distinct")


def require_offsets(name: str, offsets: NDArray[np.int64], total: int) -> None:
    """offsets: (n + 1,), from 0 up to `total`, so that each of the n ranges between them has something in it."""
    if offsets[0] != 0 or offsets[-1] != total or not _rises(offsets):
        raise ModelFileError(f"{name} should rise at every step, from 0 to {total:,}")


def require_csr(indptr: NDArray[np.int64], indices: NDArray[np.int32], n_columns: int) -> None:
    """The interactions by user: each user has some, in increasing order of items, and each item has some.

    indptr:  (n + 1,), any values.
    indices: (nnz,), any values.
    """
    require_offsets("interactions_indptr", indptr, len(indices))
    occurs = np.zeros(n_columns, bool)
    for block in _blocks(len(indices)):
        columns = indices[block]
        if columns.min() < 0 or columns.max() >= n_columns:
            raise ModelFileError("interactions_indices name items that the model does not have")
        occurs[columns] = True
        following = indices[block.start + 1 : block.stop + 1]
        falls = np.flatnonzero(following <= columns[: len(following)]) + block.start + 1
        if not np.array_equal(indptr[np.searchsorted(indptr, falls)], falls):
            raise ModelFileError("interactions_indices are not sorted within each user, or not distinct")
    if not occurs.all():
        raise ModelFileError("interactions_indices leave out some items; a model has only items with interactions")


def require_text_ids(name: str, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
    """Distinct texts, none empty, in UTF-8 and sorted bytewise.

    data:    (total,), the texts one after the other.
    offsets: (n + 1,), where each starts and the last ends; any values.
    """
    require_offsets(f"{name}_offsets", offsets, len(data))
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for block in _blocks(len(data)):
            decoder.decode(data[block].data)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise ModelFileError(f"{name}_bytes are not valid UTF-8") from error
    for block in _blocks(len(offsets) - 1):
        # The text as a whole is valid, so each id is when none starts inside a character.
        if (data[offsets[block]] & 0xC0 == 0x80).any():
            raise ModelFileError(f"{name}_offsets cut a character in two")
    for block in _blocks(len(offsets) - 2):
        ranges = offsets[block.start : block.stop + 2]
        if not _are_sorted(data[ranges[0] : ranges[-1]], ranges - ranges[0]):
            raise ModelFileError(f"{name}_bytes are not sorted bytewise, or not distinct")


def _rises(numbers: NDArray[np.int64]) -> bool:
    return all(
        bool((numbers[block.start + 1 : block.stop + 1] > numbers[block]).all()) for block in _blocks(len(numbers) - 1)
    )


def _are_sorted(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> bool:
    """Whether each text is above the one before it: eight bytes of all those still equal at a time."""
    padded = np.concatenate([data, np.zeros(8, np.uint8)])
    words: NDArray[np.uint64] = np.ndarray(len(padded) - 7, ">u8", buffer=padded, strides=(1,))  # one from each byte
    starts, lengths = offsets[:-1], np.diff(offsets)
    undecided = np.arange(len(starts) - 1)
    for done in range(0, _COMPARED_AT_ONCE, 8):
        low, high = (_word_at(words, starts[texts] + done, lengths[texts] - done)
                     for texts in (undecided, undecided + 1))
        if (low > high).any():
            return False
        undecided = undecided[low == high]
        # Where all of the lower one is the start of the higher one, the lower one has to be the shorter.
        is_over = lengths[undecided] <= done + 8
        if (lengths[undecided + 1] <= lengths[undecided])[is_over].any():
            return False
        undecided = undecided[~is_over]
    return all(
        data[starts[i] : offsets[i + 1]].tobytes() < data[starts[i + 1] : offsets[i + 2]].tobytes() for i in undecided
    )


def _word_at(words: NDArray[np.uint64], at: NDArray[np.int64], left: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The next eight bytes of texts as big-endian numbers; bytes beyond a text's end count as zero."""
    beyond = (8 * np.clip(8 - left, 0, 8)).astype(np.uint64)
    return words[np.minimum(at, len(words) - 1)].astype(np.uint64) >> beyond << beyond


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, _BLOCK):
        yield slice(start, min(start + _BLOCK, count))
