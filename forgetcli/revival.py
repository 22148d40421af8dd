"""Users and items that were erased whole, folded back in, to see what the rest of a model keeps of them.

A retrain without a person has no row for them, and neither has a model that forgot them; yet the items' factors may
still hold what the person's records taught them. So the person comes back with exactly those records: against each
model's items their row is solved as a training sweep would solve it, and where the items remember, the predictions of
the records are better than where they do not. Erased items are folded in on their users, likewise.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgetcli.als import half_sweep
from forgetcli.common import CommonGround, ForgottenPairs, Pairs
from forgetcli.csr import Csr
from forgetcli.ids import Ids, Vocabulary, take_ids
from forgetcli.model import Factors, Model, SideFactors
from forgetcli.objective import Objective

_Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Scene:
    """The forgotten pairs that can be measured, and what measures them.

    factors:   of each model of the ground, with a row more for each user and item that was folded in.
    seen:      the remaining interactions in these rows; those folded in have none.
    pairs:     in these rows. Left out are pairs whose user and item both are gone.
    folded_in: how many of them have a user or an item that was folded in.
    """

    factors: tuple[Factors, ...]
    seen: Csr
    pairs: Pairs
    folded_in: int


def revive(ground: CommonGround, forgotten: ForgottenPairs) -> Scene:
    """The scene of these pairs. Without their values nothing can be folded in, and only pairs whose user and item all
    models have are left."""
    present = ground.pairs(forgotten)
    users, items = ground.users.find(forgotten.users), ground.items.find(forgotten.items)
    if forgotten.values is None or not bool(np.any((users < 0) != (items < 0))):
        return Scene(tuple(model.factors for model in ground.models), ground.data.by_user, present, 0)
    user_less, item_less = np.flatnonzero((users < 0) & (items >= 0)), np.flatnonzero((users >= 0) & (items < 0))
    new_users, n_new_users = _numbered(forgotten.users, user_less)
    new_items, n_new_items = _numbered(forgotten.items, item_less)
    n_users, n_items = len(ground.users), len(ground.items)
    by_user = _csr(new_users, items[user_less], forgotten.values[user_less], (n_new_users, n_items))
    by_item = _csr(new_items, users[item_less], forgotten.values[item_less], (n_new_items, n_users))
    pairs = _sorted(
        np.concatenate([present.users, n_users + new_users, users[item_less]]),
        np.concatenate([present.items, items[user_less], n_items + new_items]),
        np.concatenate([_values(present), forgotten.values[user_less], forgotten.values[item_less]]),
        left_out=present.left_out - len(user_less) - len(item_less),
    )
    seen = ground.data.by_user
    return Scene(
        factors=tuple(_with_rows(model, by_user, by_item) for model in ground.models),
        seen=Csr(
            np.concatenate([seen.indptr, np.full(n_new_users, seen.nnz)]),
            seen.indices,
            seen.values,
            n_items + n_new_items,
        ),
        pairs=pairs,
        folded_in=len(user_less) + len(item_less),
    )


def _with_rows(model: Model, by_user: Csr, by_item: Csr) -> Factors:
    factors, objective = model.factors, _objective(model)
    return Factors(
        _joined(factors.user, by_user, factors.item, objective),
        _joined(factors.item, by_item, factors.user, objective),
        factors.global_mean,
    )


def _joined(own: SideFactors, view: Csr, other: SideFactors, objective: Objective) -> SideFactors:
    if view.n_rows == 0:
        return own
    solved = half_sweep(view, other, objective).side
    return SideFactors(np.concatenate([own.factors, solved.factors]), np.concatenate([own.bias, solved.bias]))


def _objective(model: Model) -> Objective:
    """The model's own, with the mean rating that it was trained with."""
    assert model.interactions is not None
    objective, mean = Objective.of(model.config, model.interactions), model.factors.global_mean
    if model.config.objective == "implicit":
        return objective
    return dataclasses.replace(objective, target=(1.0, -mean), global_mean=mean)


def _numbered(ids: Ids, places: _Rows) -> tuple[_Rows, int]:
    """A row number for each of these ids, equal for equal ones, and how many there are."""
    if len(places) == 0:
        return np.zeros(0, np.int64), 0
    vocabulary, rows = Vocabulary.of(take_ids(ids, places))
    return rows.astype(np.int64), len(vocabulary)


def _csr(rows: _Rows, columns: _Rows, values: NDArray[np.float32], shape: tuple[int, int]) -> Csr:
    order = np.lexsort((columns, rows))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=shape[0]))]).astype(np.int64)
    return Csr(indptr, columns[order].astype(np.int32), values[order], shape[1])


def _sorted(users: _Rows, items: _Rows, values: NDArray[np.float64], left_out: int) -> Pairs:
    order = np.lexsort((items, users))
    return Pairs(users[order], items[order], values[order], left_out)


def _values(pairs: Pairs) -> NDArray[np.float64]:
    assert pairs.values is not None
    return pairs.values
