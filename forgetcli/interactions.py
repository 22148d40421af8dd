"""The interactions that a model is trained on: who, with what, how much."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forgetcli import _native
from forgetcli.csr import Csr
from forgetcli.errors import DataError, UsageError
from forgetcli.ids import Ids, Utf8Ids, Vocabulary, as_ids
from forgetcli.profiling import stage

__all__ = [
    "Csr", "Duplicates", "Heldout", "Ids", "Interactions", "Remaining", "Removal", "Utf8Ids", "Vocabulary",
    "split_holdout",
]  # fmt: skip

Duplicates = Literal["last", "sum", "mean", "max"]
"""What becomes of several interactions of one pair."""


class SparseMatrix(Protocol):
    """SciPy's sparse arrays and matrices of every format, without importing them."""

    def tocoo(self, copy: bool = False) -> Any:
        """The coordinates (`row`, `col`) and the values (`data`) of what is stored."""


@dataclass(frozen=True, eq=False)
class Removal:
    """What is to go.

    entries: (m,) int64, strictly increasing: positions in `Interactions.by_user`.
    """

    entries: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.entries.dtype != np.int64 or self.entries.ndim != 1:
            raise ValueError(f"entries are one-dimensional and int64, not {self.entries.dtype}")
        object.__setattr__(self, "entries", np.ascontiguousarray(self.entries))
        self.entries.flags.writeable = False


@dataclass(frozen=True, eq=False)
class Interactions:
    """At most one value a pair of a user and an item; every user and every item has at least one.

    users, items: the ids; their positions are the row numbers.
    by_user:      users × items.

    Raises ValueError when the vocabularies and the matrix differ in size; `validate` checks the rest.
    """

    users: Vocabulary
    items: Vocabulary
    by_user: Csr

    def __post_init__(self) -> None:
        if len(self.users) != self.by_user.n_rows or len(self.items) != self.by_user.n_columns:
            raise ValueError("the ids and the matrix differ in size")

    @classmethod
    def from_pairs(
        cls,
        users: Vocabulary,
        items: Vocabulary,
        user_rows: NDArray[np.int32],
        item_rows: NDArray[np.int32],
        values: NDArray[np.float32],
        *,
        duplicates: Duplicates = "last",
        timestamps: NDArray[np.int64] | None = None,
        threads: int = 0,
    ) -> Interactions:
        """The interactions of n pairs in any order. Users and items without one are dropped.

        user_rows, item_rows: (n,) int32, positions in the vocabularies.
        values:               (n,) float32, finite.
        duplicates:           "last" keeps the value with the latest timestamp, the later pair of equal ones; "sum" and
                              "mean" add in float64, in an order of their own, so that the pairs' order changes nothing.
        timestamps:           (n,) int64, in any unit; None takes the pairs' order for time.

        Raises DataError for lengths that differ, a row out of range, a value or a sum that is not finite in float32,
        2^32 pairs or more.
        """
        try:
            with stage("building rows"):
                indptr, indices, kept_values, kept_users, kept_items = _native.csr_from_pairs(
                    _column("user rows", user_rows, np.int32),
                    _column("item rows", item_rows, np.int32),
                    _column("values", values, np.float32),
                    None if timestamps is None else _column("timestamps", timestamps, np.int64),
                    len(users),
                    len(items),
                    duplicates,
                    threads,
                )
        except ValueError as error:
            raise DataError(str(error)) from error
        users = users if kept_users is None else users.take(kept_users, threads)
        items = items if kept_items is None else items.take(kept_items, threads)
        with stage("coding values"):
            by_user = Csr(indptr, indices, kept_values, len(items)).compact()
        return cls(users, items, by_user)

    @classmethod
    def from_arrays(
        cls,
        users: object,
        items: object,
        values: ArrayLike | None = None,
        *,
        duplicates: Duplicates = "last",
        timestamps: ArrayLike | None = None,
    ) -> Interactions:
        """The interactions of n pairs given by their ids, lists or arrays of whole numbers or of strings; see
        `from_pairs`. Without values each is 1."""
        user_vocabulary, user_rows = Vocabulary.of(as_ids(users))
        item_vocabulary, item_rows = Vocabulary.of(as_ids(items))
        given = np.ones(len(user_rows), np.float32) if values is None else _to_float32(values)
        times = None if timestamps is None else np.asarray(timestamps).astype(np.int64, casting="same_kind")
        return cls.from_pairs(
            user_vocabulary, item_vocabulary, user_rows, item_rows, given, duplicates=duplicates, timestamps=times
        )

    @classmethod
    def from_sparse(
        cls,
        matrix: SparseMatrix,
        users: object = None,
        items: object = None,
        *,
        duplicates: Duplicates = "sum",
        threads: int = 0,
    ) -> Interactions:
        """The interactions that a SciPy sparse matrix stores, users × items; zeros that it stores are interactions too.

        users, items: the ids of the rows and of the columns; None is their positions, from 0. Those without an
                      interaction are dropped.
        duplicates:   of cells that a matrix of coordinates stores several times; SciPy means their sum.

        Raises DataError for ids that are repeated or not as many as there are rows or columns, for a matrix whose
        indices lead outside it, and as `from_pairs`.
        """
        try:
            if hasattr(matrix, "check_format"):  # CSR, CSC and BSR, whose conversion follows whatever is there
                matrix.check_format(full_check=True)
            stored = matrix.tocoo(copy=False)
        except ValueError as error:
            raise DataError(f"the matrix is not sound: {error}") from error
        if len(stored.shape) != 2:
            raise DataError(f"a matrix of users and items has two axes, not {len(stored.shape)}")
        user_vocabulary, user_rows = _axis("users", users, stored.shape[0], stored.row)
        item_vocabulary, item_rows = _axis("items", items, stored.shape[1], stored.col)
        return cls.from_pairs(
            user_vocabulary,
            item_vocabulary,
            user_rows,
            item_rows,
            _to_float32(stored.data),
            duplicates=duplicates,
            threads=threads,
        )

    @cached_property
    def by_item(self) -> Csr:
        """Items × users: the transpose, made at first use."""
        with stage("transposing"):
            return self.by_user.transpose()

    @cached_property
    def item_counts(self) -> NDArray[np.int64]:
        """(n_items,) the number of interactions of each item."""
        counts = self.by_user.column_counts()
        counts.flags.writeable = False
        return counts

    @property
    def n_users(self) -> int:
        """The number of users."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """The number of items."""
        return len(self.items)

    def __len__(self) -> int:
        return self.by_user.nnz

    def transposed(self) -> Interactions:
        """Items in the place of users, and users in the place of items; nothing is copied."""
        turned = Interactions(self.items, self.users, self.by_item)
        vars(turned)["by_item"] = self.by_user
        return turned

    @property
    def suited_objective(self) -> Literal["explicit", "implicit"]:
        """The objective for who does not name one: implicit where all values are the same and above 0, for then they
        say who had what, and not how it was liked: an explicit model would predict that one value everywhere."""
        if not len(self):
            return "explicit"
        low, high = self.by_user.value_range()
        return "implicit" if 0 < low == high else "explicit"

    def mean_value(self) -> float:
        """The mean of the values, summed in float64; 0 without interactions."""
        return self.by_user.value_sum() / len(self) if len(self) else 0.0

    def emptied_by(self, removal: Removal) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The users and the items, row numbers, that a removal leaves without an interaction."""
        user_losses = np.bincount(self.by_user.rows_of(removal.entries), minlength=self.n_users)
        item_losses = np.bincount(self.by_user.indices[removal.entries], minlength=self.n_items)
        return (
            np.flatnonzero((user_losses > 0) & (user_losses == self.by_user.row_counts())),
            np.flatnonzero((item_losses > 0) & (item_losses == self.item_counts)),
        )

    def around(self, removal: Removal) -> tuple[Interactions, Removal]:
        """The interactions of the users that lose some, and the removal in them. All users and items keep their row
        numbers, most without an interaction: what has to be known of the data before, when all of it is large."""
        rows = self.by_user.rows_of(removal.entries)
        theirs = Interactions(self.users, self.items, self.by_user.only_rows(np.unique(rows)))
        moved = theirs.by_user.indptr[rows] - self.by_user.indptr[rows]
        return theirs, Removal(removal.entries + moved)

    def without(self, removal: Removal, threads: int = 0, *, in_place: bool = False) -> Remaining:
        """What is left, equal in every bit to the interactions built without the removed ones.

        Where by_item has been made already, that of the rest is made from it. in_place: in the memory of these
        interactions, which are of no use afterwards.
        """
        if len(removal.entries) == 0:
            return Remaining(self, np.arange(self.n_users), np.arange(self.n_items))
        with stage("removing"):
            users, items = self.emptied_by(removal)
            mirrored = None
            if "by_item" in vars(self):
                rows, columns = self.by_user.rows_of(removal.entries), self.by_user.indices[removal.entries]
                mirrored = np.sort(self.by_item.find(columns, rows))
            user_rows = np.delete(np.arange(self.n_users), users)
            item_rows = np.delete(np.arange(self.n_items), items)
            interactions = Interactions(
                self.users.take(user_rows, threads) if len(users) else self.users,
                self.items.take(item_rows, threads) if len(items) else self.items,
                self.by_user.without(removal.entries, users, items, in_place=in_place, threads=threads),
            )
            if mirrored is not None:
                vars(interactions)["by_item"] = self.by_item.without(
                    mirrored, items, users, in_place=in_place, threads=threads
                )
        return Remaining(interactions, user_rows, item_rows)

    def validate(self, threads: int = 0) -> None:
        """Raises ValueError saying what is wrong, for interactions from a file that is not to be trusted."""
        self.users.validate(threads)
        self.items.validate(threads)
        self.by_user.validate(threads)
        if self.by_user.row_counts().min(initial=1) == 0 or self.item_counts.min(initial=1) == 0:
            raise ValueError("a user or an item has no interaction")


@dataclass(frozen=True, eq=False)
class Remaining:
    """What a removal leaves.

    interactions: users and items with nothing left are gone from the vocabularies.
    user_rows:    (n_users left,) int64, the old row of each user that remains.
    item_rows:    (n_items left,) int64, the same for items.
    """

    interactions: Interactions
    user_rows: NDArray[np.int64]
    item_rows: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Heldout:
    """Interactions kept from training, of users and items that training knows; sorted by user, then item.

    user_rows, item_rows: (n,) int32, positions in the training data's vocabularies.
    values:               (n,) float32.
    left_out:             how many pairs were passed over because their user or item is unknown.
    """

    user_rows: NDArray[np.int32]
    item_rows: NDArray[np.int32]
    values: NDArray[np.float32]
    left_out: int

    def __post_init__(self) -> None:
        if not len(self.user_rows) == len(self.item_rows) == len(self.values):
            raise ValueError("held-out users, items and values differ in number")
        for array in (self.user_rows, self.item_rows, self.values):
            array.flags.writeable = False

    def __len__(self) -> int:
        return len(self.values)


def split_holdout(interactions: Interactions, fraction: float, seed: int) -> tuple[Interactions, Heldout]:
    """Training data and about a fraction of the interactions held out of it.

    A pair is held out by a hash of the seed and its two ids, so that neither row order nor other pairs decide, except
    that a user's or item's last interaction stays.

    Raises UsageError for a fraction outside (0, 1).
    """
    if not 0 < fraction < 1:
        raise UsageError(f"`fraction` must be above 0 and below 1, not {fraction!r}")
    view = interactions.by_user
    entries = _native.csr_holdout(view.native, interactions.users.keys(), interactions.items.keys(), seed, fraction)
    users, items = view.rows_of(entries).astype(np.int32), view.indices[entries]
    return interactions.without(Removal(entries)).interactions, Heldout(users, items, view.values_at(entries), 0)


def _column(name: str, array: NDArray[Any], dtype: type[np.generic]) -> NDArray[Any]:
    if array.dtype != dtype or array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional and {np.dtype(dtype)}, not {array.dtype}")
    return np.ascontiguousarray(array)


def _axis(
    side: str, ids: object, size: int, positions: NDArray[np.integer[Any]]
) -> tuple[Vocabulary, NDArray[np.int32]]:
    """The vocabulary of one axis of a matrix, and the rows in it of these positions."""
    if size > np.iinfo(np.int32).max:
        raise DataError(f"the matrix has more than 2,147,483,647 {side}")
    if ids is None:
        return Vocabulary(np.arange(size)), positions.astype(np.int32, copy=False)
    vocabulary, rows = Vocabulary.of(as_ids(ids))
    if len(rows) != size or len(vocabulary) != size:
        said = "repeated ones among them" if len(rows) == size else f"for {size:,} of the matrix"
        raise DataError(f"there are {len(rows):,} ids of {side}, {said}")
    return vocabulary, rows[positions]


def _to_float32(values: ArrayLike) -> NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as that
            return np.asarray(values).astype(np.float32, casting="same_kind")
    except (TypeError, ValueError) as error:
        raise DataError("the values must be numbers") from error
