"""Sweeps without drift: the map of which a trained model is a fixed point, so that only a removal moves it.

A checkpoint (U, V) ends with an items half-sweep: V = items(U) on the data before, D. At V the users are not at their
minimum: there is a gradient left, g, for which they would drift in any further sweep. With users'(W; g) where the
remaining data's gradient is g at the items W, the map

    W  ↦  items'(users'(W; g))

holds it. On D (U, V) is its fixed point; on D' it moves by what was removed, and by nothing else. Its derivative is
made of the second derivatives at (U, V) alone. The users that lost records have a g of their own; see `response`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgetcli import _native
from forgetcli.als import half_sweep, regularisation, row_arguments
from forgetcli.csr import Csr
from forgetcli.drift import drift_change
from forgetcli.gradient import half_gradients
from forgetcli.interactions import Interactions, Remaining, Removal
from forgetcli.krylov import inner
from forgetcli.linearised import LinearisedSweep, NormalInverse
from forgetcli.model import Array, Factors, SideFactors, minus, negative, plus
from forgetcli.objective import Objective

HEAVY_LOSS = 0.1
"""Items that lose more than this share of their records are heavy: first order is poor for them. From 0.1 to 0.3 it
makes no difference."""

MOVE_TOLERANCE = 1e-4
"""Of the touched users' solutions, relative: all that follows is a response to them."""


@dataclass(frozen=True)
class Trained:
    """The trained model on the remaining data's rows.

    data, left:   the data before, and the remaining data.
    users, items: of the remaining data; item_rows: where those are in `data`.
    known_items:  all of the model's; `vanished`: those without a record left.
    rows:         the users that lost records but not all, row numbers in `data`; `touched`: in `left`.
    lost:         the records that they lost, by `rows`.
    losers:       the items that lost records but not all, row numbers in `left`; `heavy`: more than HEAVY_LOSS of them.
    share:        the records that go, of all.
    inverse:      A⁻¹, the users' normal matrices' inverses at `items`, of the remaining data.
    """

    data: Interactions
    left: Interactions
    users: SideFactors
    items: SideFactors
    item_rows: NDArray[np.int64]
    known_items: SideFactors
    vanished: SideFactors
    objective: Objective
    rows: NDArray[np.int64]
    touched: NDArray[np.int64]
    lost: Csr
    losers: NDArray[np.int64]
    heavy: NDArray[np.int64]
    share: float
    inverse: NormalInverse
    threads: int

    @classmethod
    def of(
        cls,
        data: Interactions,
        removal: Removal,
        remaining: Remaining,
        factors: Factors,
        objective: Objective,
        *,
        threads: int,
    ) -> Trained:
        """factors, objective: of the model as it was trained on `data`, of which only the users that lose records need
        to have theirs."""
        left, entries = remaining.interactions, removal.entries
        rows, counts = np.unique(data.by_user.rows_of(entries), return_counts=True)
        at = np.searchsorted(remaining.user_rows, rows)
        kept = remaining.user_rows[np.minimum(at, len(remaining.user_rows) - 1)] == rows
        theirs = entries[np.repeat(kept, counts)]
        begins = np.concatenate([[0], np.cumsum(counts[kept])])
        columns = data.by_user.indices
        lost = Csr(begins, columns[theirs], data.by_user.values_at(theirs), data.n_items)
        losses = np.bincount(columns[entries], minlength=data.n_items)[remaining.item_rows]
        items = factors.item.take(remaining.item_rows)
        vanished = np.ones(data.n_items, np.bool_)
        vanished[remaining.item_rows] = False
        return cls(
            data=data,
            left=left,
            users=factors.user.take(remaining.user_rows),
            items=items,
            item_rows=remaining.item_rows,
            known_items=factors.item,
            vanished=factors.item.take(np.flatnonzero(vanished)),
            objective=objective,
            rows=rows[kept],
            touched=at[kept],
            lost=lost,
            losers=np.flatnonzero(losses),
            heavy=np.flatnonzero(losses > HEAVY_LOSS * (losses + left.item_counts)),
            share=len(entries) / (len(entries) + len(left)),
            inverse=NormalInverse.of(left.by_user, left.by_item, items, objective, threads=threads),
            threads=threads,
        )

    @property
    def factors(self) -> Factors:
        """The model's, of the remaining users and items."""
        return Factors(self.users, self.items, self.objective.global_mean)

    def inverse_of_items(self, users: SideFactors) -> NormalInverse:
        """B⁻¹, the items' normal matrices' inverses at these users, of the remaining data."""
        return NormalInverse.of(self.left.by_item, self.left.by_user, users, self.objective, threads=self.threads)

    def moves(self, drift: SideFactors) -> tuple[SideFactors, Array]:
        """users'(V) − users(V), how far the touched users' solutions move as the records go; and the records' pull h on
        them, which moves them, (touched, d).

        drift: the touched users' U − users'(V).

        With A the normal matrices before and h the records' half gradient at users'(V), users(V) is A⁻¹ h below it.
        """
        objective = self.objective
        own = minus(self.users.take(self.touched), drift)
        arguments = row_arguments(self.lost, self.known_items, objective, self.threads)
        if arguments["gram"] is not None:  # their users no longer pass over the vanished items
            arguments["gram"] = row_arguments(self.lost, self.vanished, objective, self.threads)["gram"]
        if not objective.reg_by_count:
            arguments["reg"] = 0.0
        pull, *_ = _native.row_gradients(
            **arguments, factors=own.factors, bias=own.bias, rows=None, threads=self.threads
        )
        inverse = self.inverse.on(self.data.by_user, self.known_items)
        return inverse.solve(pull, rows=self.rows, tolerance=MOVE_TOLERANCE), pull

    def drift_change(self, users: SideFactors, drift: SideFactors) -> SideFactors:
        """See `drift`; users: at the trained items, with the drift that they have."""
        return drift_change(
            LinearisedSweep(self.inverse, self.inverse_of_items(users)),
            self.inverse.on(self.data.by_user, self.known_items),
            self.users.take(self.touched),
            self.item_rows,
            drift,
            self.touched,
            self.rows,
        )

    def heavy_solved(self, users: SideFactors) -> tuple[SideFactors, SideFactors, NDArray[np.int64]]:
        """The items, the heavy ones solved at these users, users'(V; g); the users at those; and the rows of the users
        that have one of them."""
        by_item = self.left.by_item
        solved = half_sweep(by_item, users, self.objective, rows=self.heavy, threads=self.threads).side
        items = self.items.replaced(self.heavy, solved)
        theirs = np.unique(by_item.indices[by_item.entries_of_rows(self.heavy)]).astype(np.int64)
        own, held = users.take(theirs), self.gradient(users, theirs)
        return items, users.replaced(theirs, self.users_at(items, own, held, rows=theirs)), theirs

    def gradient(self, users: SideFactors, rows: NDArray[np.int64]) -> Array:
        """Half the gradient by these of the users, at the trained items."""
        return half_gradients(self.left.by_user, users.take(rows), self.items, self.objective, rows, self.threads)[0]

    def users_at(
        self,
        items: SideFactors,
        users: SideFactors,
        held: Array,
        *,
        rows: NDArray[np.int64] | None = None,
        objective: Objective | None = None,
    ) -> SideFactors:
        """users'(items; g), from where they are now; rows: None is all of them.

        held:      their g.
        objective: another than the trained model's.
        """
        inverse = dataclasses.replace(self.inverse, objective=objective or self.objective).on(self.left.by_user, items)
        return minus(users, inverse.newton(users, held=held, rows=rows).step)


@dataclass(frozen=True)
class Formed:
    """One sweep of the map at given items.

    users:     users'(items; g).
    pull:      b, half of −∇_items f on the remaining data: (n_items, d).
    first:     B⁻¹ b, which is items'(users) − items.
    objective: at items'(users), on the remaining data.
    norm:      ‖items‖_B.
    """

    items: SideFactors
    users: SideFactors
    pull: Array
    first: SideFactors
    objective: float
    norm: float
    _inverse: NormalInverse

    @classmethod
    def of(cls, trained: Trained, items: SideFactors, users: SideFactors) -> Formed:
        """users: users'(items; g)."""
        inverse = trained.inverse_of_items(users)
        newton = inverse.newton(items)
        pull, first = -newton.gradient, negative(newton.step)
        counts = trained.left.by_user.row_counts()
        value = float(newton.losses.sum()) + regularisation(users, counts, trained.objective)
        value -= inner(first, pull)  # f is quadratic in the items
        return cls(items, users, pull, first, value, float(np.sqrt(max(newton.squares.sum(), 0.0))), inverse)

    @property
    def swept(self) -> SideFactors:
        """items'(users)."""
        return plus(self.items, self.first)

    @property
    def size(self) -> float:
        """‖first‖_B relative to ‖items‖_B."""
        return self.relative(float(np.sqrt(max(inner(self.first, self.pull), 0.0))))

    def relative(self, norm: float) -> float:
        """A change's B norm, relative to that of the items, which may all be 0."""
        return norm / self.norm if self.norm > 0 else float(np.inf if norm > 0 else 0)

    def linearised(self, trained: Trained) -> LinearisedSweep:
        """The map's derivative here."""
        return LinearisedSweep(trained.inverse.on(trained.left.by_user, self.items), self._inverse)
