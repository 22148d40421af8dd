"""What is to be forgotten, and what that comes to in given interactions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgetcli.errors import DataError
from forgetcli.ids import Ids, Utf8Ids, Vocabulary, as_ids, distinct, join_ids, take_ids
from forgetcli.interactions import Interactions, Removal


@dataclass(frozen=True)
class RequestCounts:
    """How much was asked for, how much of it is there, and how much goes.

    pairs, users, items: distinct ones asked for.
    unknown_pairs:       of the pairs, those that are no interaction, whether or not their user and item are known.
    unknown_users:       of the users, those that have no interaction; unknown_items likewise.
    interactions:        distinct ones that go.
    """

    pairs: int
    users: int
    items: int
    unknown_pairs: int
    unknown_users: int
    unknown_items: int
    interactions: int


@dataclass(frozen=True)
class Resolution:
    """A request as it applies to given interactions.

    erased_users, erased_items: how many vanish because nothing of theirs is left.
    """

    removal: Removal
    counts: RequestCounts
    erased_users: int
    erased_items: int


@dataclass(frozen=True, eq=False)
class ForgetRequest:
    """Pairs, whole users and whole items to forget; in any order, repeated or not.

    pair_users, pair_items: (n,), the user and the item of each pair.
    users:                  whose every interaction goes.
    items:                  of which every interaction goes.

    Raises DataError for pairs without a user or an item, or an id that is an empty text.
    """

    pair_users: Ids
    pair_items: Ids
    users: Ids
    items: Ids

    def __post_init__(self) -> None:
        if len(self.pair_users) != len(self.pair_items):
            raise DataError("a request's pairs have more users than items, or fewer")
        for ids in (self.pair_users, self.pair_items, self.users, self.items):
            if isinstance(ids, Utf8Ids) and bool(np.any(ids.offsets[1:] == ids.offsets[:-1])):
                raise DataError("an id in the request is empty")

    @classmethod
    def of(cls, pairs: Iterable[tuple[object, object]] = (), users: object = (), items: object = ()) -> ForgetRequest:
        """The request for (user, item) pairs, whole users and whole items, by their ids: whole numbers or strings."""
        listed = list(pairs)
        return cls(
            as_ids([user for user, _ in listed]), as_ids([item for _, item in listed]), as_ids(users), as_ids(items)
        )

    @classmethod
    def combine(cls, requests: Sequence[ForgetRequest]) -> ForgetRequest:
        """The request for everything that one of these asks for."""
        return cls(
            join_ids([request.pair_users for request in requests]),
            join_ids([request.pair_items for request in requests]),
            join_ids([request.users for request in requests]),
            join_ids([request.items for request in requests]),
        )

    def transposed(self) -> ForgetRequest:
        """Items in the place of users, and users in the place of items."""
        return ForgetRequest(self.pair_items, self.pair_users, self.items, self.users)

    def __or__(self, other: ForgetRequest) -> ForgetRequest:
        return ForgetRequest.combine([self, other])

    def resolve(self, interactions: Interactions) -> Resolution:
        """Which of the interactions the request means. What it names and they do not hold is counted, not refused."""
        n_users, n_items = interactions.n_users, interactions.n_items
        found = interactions.by_user.find(*self._distinct_pairs(interactions))
        users = distinct(_numbers(interactions.users, self.users))
        items = distinct(_numbers(interactions.items, self.items))
        known_users, known_items = users[users < n_users], items[items < n_items]
        removal = Removal(
            _union(
                found[found >= 0],
                interactions.by_user.entries_of_rows(known_users),
                interactions.by_user.entries_of_columns(known_items) if len(known_items) else _NONE,
            )
        )
        erased_users, erased_items = interactions.emptied_by(removal) if len(removal.entries) else (_NONE, _NONE)
        counts = RequestCounts(
            pairs=len(found),
            users=len(users),
            items=len(items),
            unknown_pairs=int(np.count_nonzero(found < 0)),
            unknown_users=len(users) - len(known_users),
            unknown_items=len(items) - len(known_items),
            interactions=len(removal.entries),
        )
        return Resolution(removal, counts, len(erased_users), len(erased_items))

    def _distinct_pairs(self, interactions: Interactions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The numbers of each distinct pair's user and item, sorted by user, then item."""
        users = _numbers(interactions.users, self.pair_users)
        items = _numbers(interactions.items, self.pair_items)
        stride = items.max(initial=0) + 1  # both numbers are far below 2^32: their product fits int64
        return np.divmod(distinct(users * stride + items), stride)


_NONE = np.zeros(0, np.int64)


def _numbers(vocabulary: Vocabulary, ids: Ids) -> NDArray[np.int64]:
    """(n,) row numbers; each distinct unknown id has a number of its own beyond them."""
    numbers = vocabulary.find(ids)
    unknown = np.flatnonzero(numbers < 0)
    if len(unknown):
        _, order = Vocabulary.of(take_ids(ids, unknown))
        numbers[unknown] = len(vocabulary) + order.astype(np.int64)
    return numbers


def _union(*parts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The distinct entries of parts that are each strictly increasing, in order."""
    some = [part for part in parts if len(part)]
    if len(some) <= 1:
        return some[0] if some else _NONE
    return distinct(np.concatenate(some))
