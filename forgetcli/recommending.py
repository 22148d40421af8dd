"""The items that a model expects each user to like most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgetcli import _native
from forgetcli.csr import Csr
from forgetcli.errors import DataError, NumericalError, UsageError
from forgetcli.model import Array, Factors, Model
from forgetcli.profiling import stage

BATCH = 8192
"""Users at a time when an answer is streamed: enough to keep every thread busy, at 10 items a user under 2 MB."""

UNDERFLOW = 1e-150
"""Above what a norm can lose to squares too small for float64, so that it never comes out too low."""

LARGEST_SHARE = 0.5
"""Of the largest number: scores that may be above it are refused, since on the way there a sum is rounded."""


@dataclass(frozen=True, eq=False)
class Recommendations:
    """The best items of m users, best first; equal scores by rising item row.

    users:  (m,) int64 rows of the model's users, in the order asked for.
    items:  (m, w) int32 rows of its items, w = n or the number of items if that is lower; -1 where a user has fewer
            items left to recommend.
    scores: (m, w) float64, the predictions, in rating units for explicit models; NaN where the item is -1.
    """

    users: NDArray[np.int64]
    items: NDArray[np.int32]
    scores: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.items.shape != self.scores.shape or self.items.shape[:1] != self.users.shape:
            raise ValueError(f"users {self.users.shape}, items {self.items.shape}, scores {self.scores.shape} differ")
        for array in (self.users, self.items, self.scores):
            array.flags.writeable = False

    def __len__(self) -> int:
        return len(self.users)


def recommend(
    model: Model, users: NDArray[np.integer[Any]], n: int = 10, *, exclude_seen: bool = True, threads: int = 0
) -> Recommendations:
    """The n items with the highest predictions for each of these users.

    The answer is exactly the first n of all items sorted by falling prediction in the factors' dtype, then by rising
    row; it is the same whatever the number of threads and whoever else is asked about.

    users:        (m,) rows of the model's users; a user may come more than once.
    n:            at least 1.
    exclude_seen: leave out what the user has interacted with.
    threads:      0 is one for each processor.

    Raises UsageError for arguments that make no sense, DataError when seen items are to be left out of a model that
    was saved without them, NumericalError for factors that are not finite or whose products overflow.
    """
    return _Request(model, users, n, exclude_seen, threads).answer(slice(None))


def recommend_in_batches(
    model: Model,
    users: NDArray[np.integer[Any]],
    n: int = 10,
    *,
    exclude_seen: bool = True,
    threads: int = 0,
    batch: int = BATCH,
) -> Iterator[Recommendations]:
    """The answer of `recommend` in parts of `batch` users, each computed when it is asked for, so that it can be
    written out while it is made. Raises the same errors, before the first part."""
    _require_whole("batch", batch, at_least=1)
    request = _Request(model, users, n, exclude_seen, threads)
    return (request.answer(slice(begin, begin + batch)) for begin in range(0, len(request.users), batch))


class _Request:
    """What was asked for, checked once for all its parts."""

    def __init__(self, model: Model, users: NDArray[np.integer[Any]], n: int, exclude_seen: bool, threads: int) -> None:
        _require_whole("n", n, at_least=1)
        _require_whole("threads", threads, at_least=0)
        if not len(model.items):
            raise DataError("the model has no items to recommend")
        self.users = _rows(users, len(model.users))
        self._factors = model.factors
        self._width = min(n, len(model.items))
        self._seen = _seen_items(model) if exclude_seen else None
        self._threads = threads
        self._item_norms = _norms(model.factors.item.factors)
        self._user_norms = _norms(model.factors.user.factors, self.users)
        _check_range(model.factors, self.users, self._user_norms, self._item_norms)
        self._order = _promising_first(model.factors.item.bias, self._item_norms, self._user_norms)

    def answer(self, part: slice) -> Recommendations:
        """The best items of a part of the users."""
        users, factors = self.users[part].copy(), self._factors
        with stage("best items"):
            items, relative = _native.top_n(
                user_factors=factors.user.factors,
                item_factors=factors.item.factors,
                item_bias=factors.item.bias,
                item_norms=self._item_norms,
                item_order=self._order,
                users=users,
                user_norms=self._user_norms[part],
                seen_offsets=None if self._seen is None else self._seen.indptr,
                seen_items=None if self._seen is None else self._seen.indices,
                n=self._width,
                threads=self._threads,
            )
        # What is the same for all items of a user is added last and in float64, where it cannot make two scores equal
        # that were not.
        offsets = factors.user.bias[users].astype(np.float64) + factors.global_mean
        scores = relative + offsets[:, np.newaxis]
        scores[items < 0] = np.nan
        return Recommendations(users, items, scores)


def _require_whole(name: str, value: object, *, at_least: int) -> None:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < at_least:  # type: ignore[operator]
        raise UsageError(f"{name} must be a whole number, at least {at_least}, not {value!r}")


def _rows(users: NDArray[np.integer[Any]], n_users: int) -> NDArray[np.int64]:
    """The users as a contiguous array of rows that the model has."""
    rows = np.asarray(users)
    if rows.ndim != 1 or (len(rows) and not np.issubdtype(rows.dtype, np.integer)):
        raise UsageError(
            f"users must be a one-dimensional array of row numbers, not {rows.ndim}-dimensional {rows.dtype}",
            hint="turn ids into rows with model.users.find(ids)",
        )
    if len(rows) and (rows.min() < 0 or rows.max() >= n_users):
        raise UsageError(
            f"users must be rows of the model, from 0 to {n_users - 1}",
            hint="model.users.find(ids) gives -1 for an id that the model does not know",
        )
    return rows.astype(np.int64)


def _seen_items(model: Model) -> Csr:
    if model.interactions is None:
        raise DataError(
            "the model was saved without its interactions, so items that users have already seen cannot be left out",
            hint="include seen items (`exclude_seen=False`), or use the model that has its interactions",
        )
    return model.interactions.by_user


def _norms(factors: Array, rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """The Euclidean norms of these rows, or of all; a block at a time, so that no copy of the factors is made."""
    if rows is None:
        rows = np.arange(len(factors))
    squares = np.empty(len(rows))
    with np.errstate(over="ignore", invalid="ignore"):
        for begin in range(0, len(rows), BATCH):
            block = factors[rows[begin : begin + BATCH]]
            np.einsum("nk,nk->n", block, block, dtype=np.float64, out=squares[begin : begin + BATCH])
    return np.sqrt(squares) + UNDERFLOW


def _check_range(
    factors: Factors, users: NDArray[np.int64], user_norms: NDArray[np.float64], item_norms: NDArray[np.float64]
) -> None:
    """Raises NumericalError unless all values are finite and every score is sure to be: |b + p · q| ≤ |b| + |p| |q|."""
    user, item = np.max(user_norms, initial=1.0), np.max(item_norms, initial=1.0)
    with np.errstate(over="ignore"):
        bound = float(np.abs(factors.item.bias).max()) + float(user * item)
    offset = float(np.abs(factors.user.bias[users]).max(initial=0.0)) + factors.global_mean
    if not (bound < LARGEST_SHARE * float(np.finfo(factors.item.factors.dtype).max) and np.isfinite(offset)):
        raise NumericalError(
            "the model's factors are not finite, or so large that predictions overflow",
            hint="train again with a higher `reg`",
        )


def _promising_first(bias: Array, norms: NDArray[np.float64], user_norms: NDArray[np.float64]) -> NDArray[np.int32]:
    """The items by the highest score that a user of average norm could give them: the sooner the best are found, the
    fewer others need a closer look."""
    average = float(user_norms.mean()) if len(user_norms) else 0.0
    return np.argsort(-(bias + average * norms), kind="stable").astype(np.int32)
