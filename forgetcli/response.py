"""The second-order unlearning step: what T training sweeps would have made of the data without the records.

A checkpoint (U, V) ends with an items half-sweep: V = items(U) on the data before, D. On the remaining data D' take

    W  ↦  items'(users'(W) + c),    c = U − users(V) on D

With the drift c, what any further sweep would change anyway, (U, V) is a fixed point of this map on D: on D' it moves
by what was removed, and by nothing else. T − 1 of its sweeps from V, to first order, are one linear system's solution
(see `krylov`), which a few passes over the data find; the T-th is done exactly. So the result is what the model would
be if the records had never been there and everything else had gone the same way, and further forgetting can start from
it as from any checkpoint.

Where the removal is too large for first order, some sweeps of the map are done exactly before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from forgetcli import _native
from forgetcli.als import Standing, half_sweep, regularisation, row_arguments, standing, sweep
from forgetcli.csr import Csr
from forgetcli.drift import drift_change
from forgetcli.interactions import Interactions, Remaining, Removal
from forgetcli.krylov import BRACKET, MAX_VECTORS, Filtered, filtered_solution, inner
from forgetcli.linearised import (
    LinearisedSweep,
    NormalInverse,
    stacked,
    unstacked,
)
from forgetcli.model import Array, Factors, SideFactors, minus, negative, plus
from forgetcli.objective import Objective

STEP_COST = 4.5
"""A step's cost in sweeps, but for those done exactly before: forming all systems, three or four Krylov vectors, the
touched users and the last sweep."""

HEAVY_LOSS = 0.1
"""Items that lose more than this share of their records are solved exactly before the step: first order is poor for
them. From 0.1 to 0.3 it makes no difference."""

SHARES, SIZES = (0.03, 0.20), (0.07, 0.25)
"""A request is large, or very large, when it takes more than these shares of the records, or when its step, ‖x‖_B
relative to ‖V‖_B, is larger than these sizes. First order is off by about the step's size of itself, and the memory by
its square."""

DRIFT = 0.02
"""Where the drift changes the forgotten records' loss by more than this fraction of what solving their users anew
does, it is taken as it would be without the records. The memory is off by up to a tenth of that."""

DRIFT_STEP = "drift without the records"
"""What progress calls that."""

LONG_TRAINING = 30
"""From so many sweeps on, the slowest directions take up so much of a change that first order needs help sooner."""

SMALL_SHARE, SMALL_STEP = 1e-3, 2e-3
"""A request of at most this share of the records whose first sweep moves the items by at most this, relative to
themselves in the B norm, is followed linearly to the end: what is left out is the square of it."""

SMALL_BRACKET = 0.05
"""The bracket for those: few records tell little, and retrains differ by more than a tenth on one user's."""

WORSE = 1e-3
"""A step that ends with an objective above that of a single sweep by more than this fraction is not taken."""

FALLBACK_SWEEPS = 5
"""Warm sweeps that are done instead."""

DRIFT_TOLERANCE = 3e-3
"""Of the users' drift, relative, which is small itself."""

MOVE_TOLERANCE = 1e-4
"""Of the touched users' solutions, relative: all that follows is a response to them."""

Path = Literal["linear", "exact", "fallback"]


@dataclass(frozen=True)
class Response:
    """The unlearned factors, and how they were reached.

    before:    where the given factors stand on the remaining data.
    path:      "exact" ends with an exact sweep; "linear" does without, for a small request; "fallback": the step was
               not finite or raised the objective, and warm sweeps were done instead.
    objective: on the remaining data, at the end; None where no sweep gave it for nothing.
    sweeps:    exact sweeps done.
    vectors:   Krylov vectors used.
    size:      ρ, the step relative to the items' factors, in the B norm.
    """

    factors: Factors
    before: Standing
    path: Path
    objective: float | None
    sweeps: int
    vectors: int
    size: float


@dataclass(frozen=True)
class Options:
    """max_vectors, bracket: when to stop; see `krylov`. None: BRACKET, or SMALL_BRACKET for a small request.
    on_step:              called with a word or two on what comes next.
    """

    max_vectors: int = MAX_VECTORS
    bracket: float | None = None
    threads: int = 0
    on_step: Callable[[str], None] | None = None

    def say(self, what: str) -> None:
        """Reports progress."""
        if self.on_step:
            self.on_step(what)


def respond(
    data: Interactions,
    removal: Removal,
    remaining: Remaining,
    factors: Factors,
    before: Objective,
    after: Objective,
    *,
    sweeps: int,
    options: Options | None = None,
) -> Response:
    """Makes the factors forget.

    data, removal, remaining: the interactions before, what goes, and what is left.
    factors:                  of the model that was trained on `data`.
    before, after:            the objective of `data` and of what is left. They differ in the mean, which the steps keep
                              and the last exact sweep changes; the side that is solved absorbs it.
    sweeps:                   T, at least 1.

    Raises NumericalError when a row's system cannot be solved.
    """
    options = options or Options()
    trained = _Trained.of(data, removal, remaining, factors, before, options)
    if trained.share <= SMALL_SHARE and len(trained.heavy) == 0:
        response = _linear(trained, after, sweeps, options)
        if response is not None:
            return response
    return _exact(trained, after, sweeps, options)


@dataclass(frozen=True)
class _Trained:
    """The trained model on the remaining data's rows.

    data, left:   the data before, and the remaining data.
    users, items: of the remaining data; item_rows: where those are in `data`.
    known_users,
    known_items:  all of the model's; `vanished`: the items without a record left.
    rows:         the users that lost records but not all, row numbers in `data`; `touched`: in `left`.
    lost:         the records that they lost, by `rows`.
    losers:       the items that lost records but not all, row numbers in `left`; `heavy`: more than HEAVY_LOSS of them.
    share:        the records that go, of all.
    inverse:      A⁻¹ of the remaining data.
    """

    data: Interactions
    left: Interactions
    users: SideFactors
    items: SideFactors
    item_rows: NDArray[np.int64]
    known_users: SideFactors
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
        options: Options,
    ) -> _Trained:
        left, entries = remaining.interactions, removal.entries
        rows, counts = np.unique(data.by_user.rows_of(entries), return_counts=True)
        at = np.searchsorted(remaining.user_rows, rows)
        kept = remaining.user_rows[np.minimum(at, len(remaining.user_rows) - 1)] == rows
        theirs = entries[np.repeat(kept, counts)]
        begins = np.concatenate([[0], np.cumsum(counts[kept])])
        columns = data.by_user.indices
        lost = Csr(begins, columns[theirs], data.by_user.values[theirs], data.n_items)
        losses = np.bincount(columns[entries], minlength=data.n_items)[remaining.item_rows]
        items = take(factors.item, remaining.item_rows)
        vanished = np.ones(data.n_items, np.bool_)
        vanished[remaining.item_rows] = False
        return cls(
            data=data,
            left=left,
            users=take(factors.user, remaining.user_rows),
            items=items,
            item_rows=remaining.item_rows,
            known_users=factors.user,
            known_items=factors.item,
            vanished=take(factors.item, np.flatnonzero(vanished)),
            objective=objective,
            rows=rows[kept],
            touched=at[kept],
            lost=lost,
            losers=np.flatnonzero(losses),
            heavy=np.flatnonzero(losses > HEAVY_LOSS * (losses + left.item_counts)),
            share=len(entries) / len(data),
            inverse=_inverse(left.by_user, left.by_item, items, objective, options),
            threads=options.threads,
        )

    def moves(self, drift: Array) -> tuple[Array, Array]:
        """(touched, d), twice: users'(V) − users(V), how far the touched users' solutions move as the records go; and
        the records' pull h on them, which moves them.

        drift: (touched, d) U − users'(V).

        With A the normal matrices before and h the records' half gradient at users'(V), users(V) is A⁻¹ h below it.
        """
        objective = self.objective
        own = unstacked(stacked(take(self.users, self.touched), objective) - drift, self.users.factors.shape[1])
        arguments = row_arguments(self.lost, self.known_items, objective, self.threads)
        if arguments["gram"] is not None:  # their users no longer pass over the vanished items
            arguments["gram"] = row_arguments(self.lost, self.vanished, objective, self.threads)["gram"]
        if not objective.reg_by_count:
            arguments["reg"] = 0.0
        pull, *_ = _native.row_gradients(
            **arguments, factors=own.factors, bias=own.bias, rows=None, threads=self.threads
        )
        inverse = self.inverse.on(self.data.by_user, self.known_items)
        return stacked(inverse.solve(pull, rows=self.rows, tolerance=MOVE_TOLERANCE), objective), pull

    def with_touched(self, users: SideFactors, by: Array) -> SideFactors:
        """`users`, the touched ones replaced."""
        factors, bias = users.factors.copy(), users.bias.copy()
        factors[self.touched] = by[:, : factors.shape[1]]
        if self.objective.biases:
            bias[self.touched] = by[:, -1]
        return SideFactors(factors, bias)


@dataclass(frozen=True)
class _Formed:
    """One sweep of the map at given items.

    users:     users'(items) + c.
    pull:      b, half of −∇_items f on the remaining data: (n_items, d).
    first:     B⁻¹ b, which is items'(users) − items.
    objective: at items'(users), on the remaining data.
    size:      ‖items‖_B.
    inverse:   B⁻¹.
    """

    items: SideFactors
    users: SideFactors
    pull: Array
    first: SideFactors
    objective: float
    size: float
    inverse: NormalInverse

    @classmethod
    def of(cls, trained: _Trained, items: SideFactors, users: SideFactors, options: Options) -> _Formed:
        left, objective = trained.left, trained.objective
        inverse = _inverse(left.by_item, left.by_user, users, objective, options)
        newton = inverse.newton(items)
        pull, first = -newton.gradient, negative(newton.step)
        value = float(newton.losses.sum()) + regularisation(users, left.by_user.row_counts(), objective)
        value -= inner(first, pull)  # f is quadratic in the items
        return cls(items, users, pull, first, value, float(np.sqrt(max(newton.squares.sum(), 0.0))), inverse)

    @property
    def swept(self) -> SideFactors:
        """items'(users)."""
        return plus(self.items, self.first)


def _linear(trained: _Trained, after: Objective, sweeps: int, options: Options) -> Response | None:
    """All T sweeps to first order; of the users only the touched ones are solved. None where the request turns out
    too large for that."""
    left, objective, threads = trained.left, trained.objective, trained.threads
    options.say("where the model stands")
    before = standing(left, _factors(trained), objective, threads=threads)
    options.say("touched users")
    own = take(trained.users, trained.touched)
    newton = trained.inverse.newton(own, rows=trained.touched, tolerance=MOVE_TOLERANCE)
    moves, _ = trained.moves(stacked(newton.step, objective))
    drift = stacked(newton.step, objective) + moves
    users = trained.with_touched(trained.users, stacked(own, objective) + moves)
    # Only these items have lost anything, or have a user who moved: the others' pull is what it was, none.
    near = np.union1d(trained.losers, left.by_user.indices[left.by_user.entries_of_rows(trained.touched)])
    item_inverse = _inverse(left.by_item, left.by_user, users, objective, options)
    newton = item_inverse.newton(take(trained.items, near), rows=near)
    pull = np.zeros((left.n_items, newton.gradient.shape[1]), newton.gradient.dtype)
    step = np.zeros_like(pull)
    pull[near], step[near] = -newton.gradient, -stacked(newton.step, objective)
    first = unstacked(step, trained.items.factors.shape[1])
    if np.sqrt(max(inner(first, pull), 0.0)) > SMALL_STEP * before.item_norm:
        return None
    system = LinearisedSweep(trained.inverse, item_inverse)
    filtered = _filtered(system, pull, first, sweeps, SMALL_BRACKET, options)
    if filtered is None:
        return Response(Factors(users, trained.items, after.global_mean), before, "linear", None, 0, 0, 0.0)
    items = plus(trained.items, filtered.items)
    solved = half_sweep(left.by_user, items, after, rows=trained.touched, threads=threads).side
    users = trained.with_touched(minus(users, filtered.users()), stacked(solved, objective) + drift)
    factors = Factors(users, items, after.global_mean)
    if not _finite(factors):
        return None
    return Response(factors, before, "linear", None, 0, filtered.vectors, filtered.norm / before.item_norm)


def _exact(trained: _Trained, after: Objective, sweeps: int, options: Options) -> Response:
    """T − 1 sweeps, some exactly and the others to first order, and the T-th exactly."""
    left, objective, touched = trained.left, trained.objective, trained.touched
    options.say("all users")
    newton = trained.inverse.newton(trained.users, tolerance=DRIFT_TOLERANCE)
    before = standing(
        left, _factors(trained), objective, users=(newton.gradient, newton.losses), threads=trained.threads
    )
    drift = stacked(newton.step, objective).copy()
    moves, pull = trained.moves(drift[touched])
    drift[touched] += moves
    own = stacked(take(trained.users, touched), objective) + moves
    users = trained.with_touched(trained.users, own)
    if sweeps > 1 and trained.share <= SHARES[0] and _along(pull, drift[touched]) > DRIFT * _along(pull, moves):
        options.say(DRIFT_STEP)
        change = _drift_change(trained, users, drift, options)
        drift[touched] += change
        users = trained.with_touched(trained.users, own + change)
    items = trained.items
    if len(trained.heavy) and sweeps > 1:  # the one sweep there is would solve them anyway
        options.say("items that lose much")
        items, users = _heavy_solved(trained, users, drift)
    formed = _Formed.of(trained, items, users, options)
    single_sweep, done = formed.objective, 0
    while True:
        size = float(np.sqrt(max(inner(formed.first, formed.pull), 0.0))) / formed.size
        if done == 0:
            wanted = exact_sweeps(size, trained.share, sweeps)
        if done >= wanted:
            system = _linearised(trained, formed)
            step = _filtered(system, formed.pull, formed.first, sweeps - 1 - done, BRACKET, options)
            size = step.norm / formed.size if step else 0.0
            if done > 0 or exact_sweeps(size, trained.share, sweeps) == 0:
                break
            wanted = exact_sweeps(size, trained.share, sweeps)
        options.say(f"exact sweep {done + 1} of {wanted}")
        items, done = formed.swept, done + 1
        formed = _Formed.of(trained, items, _drifted_users(trained, items, drift), options)
    items = plus(formed.items, step.items) if step else formed.items
    kept_drift = drift if trained.share <= SHARES[0] else None
    return _closed(trained, after, items, kept_drift, before, single_sweep, done, step, size, options)


def _drift_change(trained: _Trained, users: SideFactors, drift: Array, options: Options) -> Array:
    """See `drift`; users: users'(V) + c."""
    left = trained.left
    return drift_change(
        LinearisedSweep(trained.inverse, _inverse(left.by_item, left.by_user, users, trained.objective, options)),
        trained.inverse.on(trained.data.by_user, trained.known_items),
        trained.known_users,
        trained.item_rows,
        drift,
        trained.touched,
        trained.rows,
    )


def _along(pull: Array, change: Array) -> float:
    """By how much a change of the users shifts the loss of the records whose pull this is: the absolute first order."""
    return abs(float(np.einsum("nd,nd->", pull, change, dtype=np.float64)))


def _heavy_solved(trained: _Trained, users: SideFactors, drift: Array) -> tuple[SideFactors, SideFactors]:
    """The items, the heavy ones solved at these users, and the users at those."""
    left, objective, heavy, threads = trained.left, trained.objective, trained.heavy, trained.threads
    items = _replace_rows(
        trained.items, heavy, half_sweep(left.by_item, users, objective, rows=heavy, threads=threads).side
    )
    theirs = np.unique(left.by_item.indices[left.by_item.entries_of_rows(heavy)]).astype(np.int64)
    solved = half_sweep(left.by_user, items, objective, rows=theirs, threads=threads).side
    moved = plus(solved, unstacked(drift[theirs], solved.factors.shape[1]))
    return items, _replace_rows(users, theirs, moved)


def _closed(
    trained: _Trained,
    after: Objective,
    items: SideFactors,
    drift: Array | None,
    before: Standing,
    single_sweep: float,
    done: int,
    step: Filtered | None,
    size: float,
    options: Options,
) -> Response:
    """The last sweep, exactly; and the check that the step was worth taking."""
    options.say("last sweep")
    left, threads = trained.left, trained.threads
    vectors = step.vectors if step else 0
    if np.isfinite(items.factors).all() and np.isfinite(items.bias).all():
        users = half_sweep(left.by_user, items, after, threads=threads).side
        if drift is not None:
            users = plus(users, unstacked(drift, users.factors.shape[1]))
        solved = half_sweep(left.by_item, users, after, threads=threads)
        objective = float(solved.losses.sum()) + regularisation(users, left.by_user.row_counts(), after)
        if objective <= single_sweep * (1 + WORSE):
            factors = Factors(users, solved.side, after.global_mean)
            return Response(factors, before, "exact", objective, done + 1, vectors, size)
    options.say("warm sweeps instead")
    items = trained.items
    for _ in range(FALLBACK_SWEEPS):
        factors, objective = sweep(left, items, after, threads=threads)
        items = factors.item
    return Response(factors, before, "fallback", objective, FALLBACK_SWEEPS, vectors, size)


def exact_sweeps(size: float, share: float, sweeps: int) -> int:
    """How many of T = `sweeps` sweeps to do exactly before a step of this size, for this share of the records."""
    level = max(sum(size > limit for limit in SIZES), sum(share > limit for limit in SHARES))
    long = sweeps >= LONG_TRAINING
    wanted = (2 if long else 0, max(3, round(sweeps / 5)), max(4, round(4 * sweeps / 15)))[level]
    return max(0, min(wanted, sweeps - 2))


def _filtered(
    system: LinearisedSweep, pull: Array, first: SideFactors, sweeps: int, bracket: float, options: Options
) -> Filtered | None:
    return filtered_solution(
        system,
        pull,
        first,
        sweeps,
        max_vectors=options.max_vectors,
        bracket=bracket if options.bracket is None else options.bracket,
        on_vector=lambda number: options.say(f"direction {number}"),
    )


def _linearised(trained: _Trained, formed: _Formed) -> LinearisedSweep:
    return LinearisedSweep(trained.inverse.on(trained.left.by_user, formed.items), formed.inverse)


def _inverse(view: Csr, mirror: Csr, other: SideFactors, objective: Objective, options: Options) -> NormalInverse:
    return NormalInverse.of(view, mirror, other, objective, threads=options.threads)


def _drifted_users(trained: _Trained, items: SideFactors, drift: Array) -> SideFactors:
    solved = half_sweep(trained.left.by_user, items, trained.objective, threads=trained.threads).side
    return plus(solved, unstacked(drift, solved.factors.shape[1]))


def _factors(trained: _Trained) -> Factors:
    return Factors(trained.users, trained.items, trained.objective.global_mean)


def take(side: SideFactors, rows: NDArray[np.integer[Any]]) -> SideFactors:
    """These rows; the side itself where they are all of them."""
    if len(rows) == len(side):
        return side
    return SideFactors(side.factors[rows], side.bias[rows])


def _replace_rows(side: SideFactors, rows: NDArray[np.int64], by: SideFactors) -> SideFactors:
    factors, bias = side.factors.copy(), side.bias.copy()
    factors[rows], bias[rows] = by.factors, by.bias
    return SideFactors(factors, bias)


def _finite(factors: Factors) -> bool:
    arrays = (factors.user.factors, factors.user.bias, factors.item.factors, factors.item.bias)
    return sum(int(np.count_nonzero(~np.isfinite(array))) for array in arrays) == 0
