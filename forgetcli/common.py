"""What several models have in common: their users and items by id, and the pairs that one of them was to forget."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgetcli.csr import Csr
from forgetcli.errors import DataError
from forgetcli.ids import Ids, Vocabulary, take_ids
from forgetcli.interactions import Heldout, Interactions
from forgetcli.model import Factors, Model, SideFactors
from forgetcli.records import ForgetRequest


@dataclass(frozen=True, eq=False)
class ForgottenPairs:
    """The interactions that were to be forgotten.

    users, items: (n,), their ids.
    values:       (n,) float32, their values in the original data; None where those are not known.
    """

    users: Ids
    items: Ids
    values: NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.users)

    @classmethod
    def of(cls, request: ForgetRequest, data: Interactions | None) -> ForgottenPairs:
        """What the request means.

        data: the interactions before, or the part of them that went. Without them, what the request says of whole
              users and whole items is not known, and neither is any value.
        """
        if data is None:
            return cls(request.pair_users, request.pair_items, None)
        entries = request.resolve(data).removal.entries
        view = data.by_user
        users = take_ids(data.users.ids, view.rows_of(entries))
        return cls(users, take_ids(data.items.ids, view.indices[entries]), view.values_at(entries))


def forgotten_pairs(request: ForgetRequest, original: Model | None, data: Interactions | None) -> ForgottenPairs:
    """The pairs that the request means in the data, or else in the original model's, or else those that it spells
    out."""
    if data is None and original is not None:
        data = original.interactions
    return ForgottenPairs.of(request, data)


def remaining_data(unlearned: Model, retrained: Sequence[Model]) -> Interactions:
    """What the request left, from the first of the models that carries it. Raises DataError when none does."""
    for model in (unlearned, *retrained):
        if model.interactions is not None:
            return model.interactions
    raise DataError(
        "neither the unlearned model nor a retrained one carries its interactions",
        hint="compare models that were saved with them",
    )


def still_held(model: Model, request: ForgetRequest | None) -> int | None:
    """How many interactions that were to go the model still carries; None where that cannot be seen."""
    if request is None or model.interactions is None:
        return None
    return len(request.resolve(model.interactions).removal.entries)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Distinct pairs of a user and an item that all models know, in the rows of a `CommonGround`; sorted by user, then
    item.

    users, items: (n,) int64.
    values:       (n,) float64, or None where not known.
    left_out:     how many pairs were passed over because a model does not know their user or item.
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    values: NDArray[np.float64] | None
    left_out: int

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True, eq=False)
class CommonGround:
    """The users and items that all of several models have, in the order of the first model's rows.

    data:   the remaining interactions of these users and items; some of them may have none.
    models: each with its own configuration and history, but cut to these users and items; all with `data`, so that
            they leave the same items out of their rankings.
    """

    users: Vocabulary
    items: Vocabulary
    data: Interactions
    models: tuple[Model, ...]

    @classmethod
    def of(cls, models: Sequence[Model], data: Interactions) -> CommonGround:
        """Raises DataError when the models have no user or no item in common, among themselves and with the data, or
        when the data's ids are text and the models' are numbers."""
        users = _common_ids([model.users for model in models] + [data.users], "users")
        items = _common_ids([model.items for model in models] + [data.items], "items")
        seen = Interactions(users, items, _cut_data(data, users, items))
        cut = tuple(
            Model(model.config, _cut_factors(model, users, items), users, items, model.history, seen)
            for model in models
        )
        return cls(users, items, seen, cut)

    def pairs(self, forgotten: ForgottenPairs) -> Pairs:
        """Those of the pairs whose user and item are common."""
        users, items = self.users.find(forgotten.users), self.items.find(forgotten.items)
        known = np.flatnonzero((users >= 0) & (items >= 0))
        _, first = np.unique(users[known] * len(self.items) + items[known], return_index=True)
        pairs = known[first]
        values = None if forgotten.values is None else forgotten.values[pairs].astype(np.float64)
        return Pairs(users[pairs], items[pairs], values, len(forgotten) - len(known))

    def held_out(self, test: Heldout, model: Model) -> Heldout:
        """The held-out pairs of common users and items. test: in the rows of `model`."""
        user_rows = self.users.find(model.users.ids)[test.user_rows]
        item_rows = self.items.find(model.items.ids)[test.item_rows]
        known = np.flatnonzero((user_rows >= 0) & (item_rows >= 0))
        return Heldout(
            user_rows[known].astype(np.int32),
            item_rows[known].astype(np.int32),
            test.values[known],
            test.left_out + len(test) - len(known),
        )


def cautions(unlearned: Model, retrained: Sequence[Model], request: ForgetRequest | None) -> Iterator[str]:
    """What these models cannot tell, in sentences."""
    seeds = [model.config.seed for model in retrained]
    if len(seeds) == 1:
        yield (
            "With a single retrained model, what forgetting left cannot be told from what the starting factors' seed "
            "decides: compare with retrains of different seeds."
        )
    if len(set(seeds)) < len(seeds):
        yield "Retrained models share a seed: how far they are from each other says too little."
    options = [dataclasses.replace(model.config, seed=0) for model in (unlearned, *retrained)]
    if any(each != options[0] for each in options):
        yield "The models were trained with different options: their differences are not the unlearning's alone."
    if any(still_held(model, request) for model in retrained):
        yield "A retrained model still carries interactions of the request: it is no model that never saw them."
    if any(not _same_data(unlearned, model) for model in retrained):
        yield "The unlearned and the retrained models do not carry the same interactions."


def _same_data(a: Model, b: Model) -> bool:
    """Whether two models carry the same interactions, as far as can be seen."""
    if a.interactions is None or b.interactions is None:
        return len(a.users) == len(b.users) and len(a.items) == len(b.items)
    left, right = a.interactions.by_user, b.interactions.by_user
    return all(
        np.array_equal(x, y)
        for x, y in ((left.indptr, right.indptr), (left.indices, right.indices), (left.values, right.values))
    )


def _common_ids(vocabularies: Sequence[Vocabulary], side: str) -> Vocabulary:
    first = vocabularies[0]
    known = np.ones(len(first), np.bool_)
    for other in vocabularies[1:]:
        if other is not first:
            known &= other.find(first.ids) >= 0
    if not known.any():
        raise DataError(f"the models have no {side} in common", hint="compare models of the same data")
    return first if known.all() else first.take(np.flatnonzero(known))


def _cut_data(data: Interactions, users: Vocabulary, items: Vocabulary) -> Csr:
    """The matrix of these users and items, in their rows and columns."""
    user_rows, item_rows = data.users.find(users.ids), data.items.find(items.ids)
    if bool(np.any(np.diff(user_rows) < 0)) or bool(np.any(np.diff(item_rows) < 0)):
        raise DataError("the ids of some models are text, of others numbers", hint="train all on the same files")
    view = data.by_user
    if _is_whole(user_rows, len(data.users)) and _is_whole(item_rows, len(data.items)):
        return view
    other_users = np.setdiff1d(np.arange(len(data.users)), user_rows)
    other_items = np.setdiff1d(np.arange(len(data.items)), item_rows)
    gone = np.union1d(view.entries_of_rows(other_users), view.entries_of_columns(other_items))
    return view.without(gone, other_users, other_items)


def _cut_factors(model: Model, users: Vocabulary, items: Vocabulary) -> Factors:
    def cut(side: SideFactors, rows: NDArray[np.int64]) -> SideFactors:
        return side if _is_whole(rows, len(side)) else SideFactors(side.factors[rows], side.bias[rows])

    factors = model.factors
    user, item = cut(factors.user, model.users.find(users.ids)), cut(factors.item, model.items.find(items.ids))
    return Factors(user, item, factors.global_mean)


def _is_whole(rows: NDArray[np.integer[Any]], size: int) -> bool:
    return len(rows) == size and bool(np.array_equal(rows, np.arange(size)))
