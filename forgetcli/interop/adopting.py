"""A foreign model and the data it was trained on, made one model of this program."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from forgetcli.als import half_sweep
from forgetcli.csr import Csr
from forgetcli.errors import DataError
from forgetcli.ids import Ids, Vocabulary
from forgetcli.interactions import Interactions, Removal
from forgetcli.interop.foreign import ForeignModel, Stated, completed_config
from forgetcli.model import Factors, HistoryEntry, Model, SideFactors
from forgetcli.objective import Objective

OnMismatch: TypeAlias = Literal["fail", "drop"]

SAMPLED_ROWS = 20_000
"""Of a side, to see how far it is from its exact solution: enough for a figure of two digits."""

MEAN_TOLERANCE = 1e-4
"""A model's mean, in float32 or summed in another order, may differ from the data's by this, in units of the values'
standard deviation."""


@dataclass(frozen=True)
class Agreement:
    """How far each side is from its exact solution on the data, given the other side: ‖x − x*‖ / ‖x*‖.

    The side that an exact trainer solved last is at rounding; the other one is as far as its last sweep moved it. Both
    far off mean other data, or another objective, than the model was trained with.
    """

    users: float
    items: float


@dataclass(frozen=True, eq=False)
class Imported:
    """The model, and what became of the rest.

    left_out:               interactions whose user or item the foreign model does not have, or that say nothing to it.
    idle_users, idle_items: rows of the foreign model without an interaction, which were left out.
    """

    model: Model
    left_out: int
    idle_users: int
    idle_items: int
    agreement: Agreement


def adopt(
    foreign: ForeignModel,
    interactions: Interactions,
    stated: Stated,
    *,
    on_mismatch: OnMismatch = "fail",
    threads: int = 0,
) -> Imported:
    """The foreign model on its training data.

    on_mismatch: about users and items that only the model or only the data has: "fail", or "drop" them. Rows of zeros
                 without data, as some trainers leave them, are dropped anyway.

    Raises UsageError where the objective is not known in full, DataError where model and data do not belong together.
    """
    config = completed_config(foreign, stated)
    users, items = _located(foreign.users, foreign.user, "user"), _located(foreign.items, foreign.item, "item")
    n_before = len(interactions)
    if not foreign.zeros_count:
        interactions = _without(interactions, np.flatnonzero(interactions.by_user.values == 0))
    interactions = _known_to_both(interactions, users, items, on_mismatch)
    if len(interactions) == 0:
        raise DataError("the model and the data have no user and item in common", hint="see `user_ids` and `item_ids`")
    user = users.aligned(interactions.users, on_mismatch)
    item = items.aligned(interactions.items, on_mismatch)
    if foreign.binary:
        interactions = _binary(interactions)
    if config.objective == "implicit" and interactions.by_user.value_range()[0] < 0:
        raise DataError(
            "the data has values below 0: the trainer takes them for dislikes, and this program's objective has none",
            hint="a model that was trained without those rows can be imported",
        )
    objective = Objective.of(config, interactions)
    _require_mean(foreign, objective, interactions)
    mean = objective.global_mean if foreign.global_mean is None else foreign.global_mean
    factors = Factors(user, item, mean)
    agreement = _agreement(interactions, factors, objective, threads)
    if "solved_last" not in foreign.options and stated.solved_last is None:
        config = dataclasses.replace(config, solved_last="users" if agreement.users < agreement.items else "items")
    sweeps = tuple(HistoryEntry("sweep", None, {}) for _ in range(config.sweeps))
    apart = agreement.users if config.solved_last == "users" else agreement.items
    history = (*sweeps, HistoryEntry("import", None, {"apart": apart}))
    return Imported(
        Model(config, factors, interactions.users, interactions.items, history, interactions),
        n_before - len(interactions),
        len(foreign.user) - len(user),
        len(foreign.item) - len(item),
        agreement,
    )


@dataclass(frozen=True, eq=False)
class _Located:
    """One side's rows, found by their ids.

    vocabulary: the ids, sorted; rows: (n,) the row of each.
    by_position: whether the ids are the rows' positions.
    """

    name: str
    side: SideFactors
    vocabulary: Vocabulary
    rows: NDArray[np.int64]
    by_position: bool

    def aligned(self, wanted: Vocabulary, on_mismatch: OnMismatch) -> SideFactors:
        """The rows of the wanted ids, in their order. Raises DataError when a row that is not zero is left over."""
        rows = self.rows[self.vocabulary.find(wanted.ids)]
        idle = np.ones(len(self.side), np.bool_)
        idle[rows] = False
        left = np.flatnonzero(idle & (self.side.factors.any(axis=1) | (self.side.bias != 0)))
        if len(left) and on_mismatch == "fail":
            raise DataError(
                f"the model has {len(left):,} {self.name}s of {len(self.side):,} that the data does not have",
                hint=self._hint(),
            )
        return SideFactors(np.ascontiguousarray(self.side.factors[rows]), self.side.bias[rows])

    def _hint(self) -> str:
        ids = f"say which row is whose with `{self.name}_ids`; or " if self.by_position else ""
        return f'{ids}give exactly the data that the model was trained on; `on_mismatch="drop"` does without the rest'


def _located(ids: Ids | None, side: SideFactors, name: str) -> _Located:
    vocabulary, places = Vocabulary.of(np.arange(len(side)) if ids is None else ids)
    if len(vocabulary) < len(side):
        raise DataError(f"{len(side) - len(vocabulary):,} of the model's {name} ids are there more than once")
    rows = np.empty(len(side), np.int64)
    rows[places] = np.arange(len(side))
    return _Located(name, side, vocabulary, rows, ids is None)


def _known_to_both(
    interactions: Interactions, users: _Located, items: _Located, on_mismatch: OnMismatch
) -> Interactions:
    """The interactions whose user and item the model has. Raises DataError when there are others, unless they may be
    dropped."""
    view = interactions.by_user
    strange = np.zeros(len(view.indices), np.bool_)
    for side, vocabulary, entries in (
        (users, interactions.users, view.row_numbers()),
        (items, interactions.items, view.indices),
    ):
        unknown = side.vocabulary.find(vocabulary.ids) < 0
        if unknown.any() and on_mismatch == "fail":
            raise DataError(
                f"the data has {np.count_nonzero(unknown):,} {side.name}s of {len(unknown):,} that the model does not "
                "have",
                hint=side._hint(),
            )
        strange |= unknown[entries]
    return _without(interactions, np.flatnonzero(strange))


def _without(interactions: Interactions, entries: NDArray[np.int64]) -> Interactions:
    return interactions.without(Removal(entries)).interactions if len(entries) else interactions


def _binary(interactions: Interactions) -> Interactions:
    view = interactions.by_user
    ones = Csr(view.indptr, view.indices, np.ones(len(view.values), np.float32), view.n_columns)
    return Interactions(interactions.users, interactions.items, ones)


def _require_mean(foreign: ForeignModel, objective: Objective, interactions: Interactions) -> None:
    if foreign.global_mean is None:
        return
    spread = float(interactions.by_user.values.std(dtype=np.float64)) or 1.0
    if abs(foreign.global_mean - objective.global_mean) > MEAN_TOLERANCE * spread:
        raise DataError(
            f"the model's mean is {foreign.global_mean:.6g}, and that of the data {objective.global_mean:.6g}",
            hint="give exactly the data that the model was trained on",
        )


def _agreement(interactions: Interactions, factors: Factors, objective: Objective, threads: int) -> Agreement:
    def apart(view: Csr, own: SideFactors, other: SideFactors) -> float:
        n = len(own)
        rows = np.arange(n) if n <= SAMPLED_ROWS else np.linspace(0, n - 1, SAMPLED_ROWS).astype(np.int64)
        solved = half_sweep(view, other, objective, rows=rows, threads=threads).side
        with np.errstate(over="ignore", invalid="ignore"):
            off = np.square(own.factors[rows] - solved.factors, dtype=np.float64).sum()
            off += np.square(own.bias[rows] - solved.bias, dtype=np.float64).sum()
            whole = np.square(solved.factors, dtype=np.float64).sum() + np.square(solved.bias, dtype=np.float64).sum()
            distance = float(np.sqrt(off / whole)) if whole > 0 else float(off > 0)
        if not np.isfinite(distance):
            raise DataError("the model's factors are so large that nothing can be computed of them")
        return distance

    return Agreement(
        apart(interactions.by_user, factors.user, factors.item),
        apart(interactions.by_item, factors.item, factors.user),
    )
