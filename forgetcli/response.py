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

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from forgetcli import _native
from forgetcli.als import half_sweep, regularisation, row_arguments, sweep
from forgetcli.csr import Csr
from forgetcli.drift import Trained, drift_on_forgotten, drift_without_records
from forgetcli.interactions import Interactions, Remaining, Removal
from forgetcli.krylov import BRACKET, MAX_VECTORS, Filtered, filtered_solution, inner
from forgetcli.linearised import CG_TOLERANCE, LinearisedSweep, NormalInverse, stacked, unstacked
from forgetcli.model import Array, Factors, SideFactors
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
"""Where the drift shifts the forgotten predictions by more than this fraction of what solving the users anew removes
from them, it is taken as it would be without the records. Explicit models are at 0.006 after 15 sweeps, implicit ones
at 0.05 to 0.2; the memory changes by a tenth of that."""

DRIFT_STEP = "drift without the records"
"""What progress calls that."""

LONG_TRAINING = 30
"""From so many sweeps on, the slowest directions take up so much of a change that first order needs help sooner."""

SMALL_SHARE, SMALL_STEP = 1e-3, 2e-3
"""A request of at most this share of the records whose first sweep moves the items by at most this, relative to
themselves in the B norm, is followed linearly to the end: what is left out is the square of it."""

SMALL_BRACKET = 0.02
"""The bracket for those: few records tell little, and retrains differ by more than a tenth on one user's."""

WORSE = 1e-3
"""A step that ends with an objective above that of a single sweep by more than this fraction is not taken."""

FALLBACK_SWEEPS = 5
"""Warm sweeps that are done instead."""

Path = Literal["linear", "exact", "fallback"]


@dataclass(frozen=True)
class Response:
    """The unlearned factors, and how they were reached.

    path:      "exact" ends with an exact sweep; "linear" does without, for a small request; "fallback": the step was
               not finite or raised the objective, and warm sweeps were done instead.
    objective: on the remaining data, at the end; None where no sweep gave it for nothing.
    sweeps:    exact sweeps done.
    vectors:   Krylov vectors used.
    size:      ρ, the step relative to the items' factors, in the B norm.
    """

    factors: Factors
    path: Path
    objective: float | None
    sweeps: int
    vectors: int
    size: float


@dataclass(frozen=True)
class Options:
    """max_vectors, bracket: when to stop; see `krylov`. None: BRACKET, or SMALL_BRACKET for a small request.
    cg_tolerance:         see `linearised`.
    on_step:              called with a word or two on what comes next.
    """

    max_vectors: int = MAX_VECTORS
    bracket: float | None = None
    cg_tolerance: float = CG_TOLERANCE
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
    model = Trained(data, removal, remaining, factors, before, options.threads)
    trained = _Trained.of(data, removal, remaining, factors, before, options.threads)
    if trained.share <= SMALL_SHARE and len(trained.heavy) == 0:
        response = _linear(trained, after, sweeps, options)
        if response is not None:
            return response
    return _exact(model, trained, after, sweeps, options)


@dataclass(frozen=True)
class _Trained:
    """The trained model on the remaining data's rows, and its users' drift.

    left:          the remaining data.
    touched:       its users that lost records, row numbers.
    touched_drift: (touched, d) U − users(V) on the data before, of those.
    heavy:         its items that lost more than HEAVY_LOSS of their records.
    share:         the records that go, of all.
    """

    left: Interactions
    users: SideFactors
    items: SideFactors
    objective: Objective
    touched: NDArray[np.int64]
    touched_drift: Array
    heavy: NDArray[np.int64]
    share: float
    threads: int

    @classmethod
    def of(
        cls,
        data: Interactions,
        removal: Removal,
        remaining: Remaining,
        factors: Factors,
        objective: Objective,
        threads: int,
    ) -> _Trained:
        rows = np.unique(data.by_user.rows_of(removal.entries))
        at = np.searchsorted(remaining.user_rows, rows)
        kept = remaining.user_rows[np.minimum(at, len(remaining.user_rows) - 1)] == rows
        rows, touched = rows[kept], at[kept]
        solved = half_sweep(data.by_user, factors.item, objective, rows=rows, threads=threads).side
        users = _take(factors.user, remaining.user_rows)
        drift = stacked(_take(users, touched), objective) - stacked(solved, objective)
        lost = np.bincount(data.by_user.indices[removal.entries], minlength=data.n_items)[remaining.item_rows]
        heavy = np.flatnonzero(lost > HEAVY_LOSS * (lost + remaining.interactions.item_counts))
        items = _take(factors.item, remaining.item_rows)
        share = len(removal.entries) / len(data)
        return cls(remaining.interactions, users, items, objective, touched, drift, heavy, share, threads)

    def touched_users(self) -> SideFactors:
        """users'(V) + c: the trained users, but for the touched ones."""
        solved = half_sweep(self.left.by_user, self.items, self.objective, rows=self.touched, threads=self.threads)
        return self.with_touched(self.users, solved.side)

    def with_touched(self, users: SideFactors, solved: SideFactors) -> SideFactors:
        """`users`, the touched ones replaced by their solution plus their drift."""
        moved = stacked(solved, self.objective) + self.touched_drift
        factors, bias = users.factors.copy(), users.bias.copy()
        factors[self.touched] = moved[:, : factors.shape[1]]
        if self.objective.biases:
            bias[self.touched] = moved[:, -1]
        return SideFactors(factors, bias)


@dataclass(frozen=True)
class _Formed:
    """One sweep of the map at given items.

    users:     users'(items) + c.
    solved:    items'(users).
    objective: there, on the remaining data.
    size:      ‖items‖_B.
    """

    items: SideFactors
    users: SideFactors
    solved: SideFactors
    objective: float
    size: float


def _linear(trained: _Trained, after: Objective, sweeps: int, options: Options) -> Response | None:
    """All T sweeps to first order; of the users only the touched ones are solved. None where the request turns out
    too large for that."""
    left, threads = trained.left, trained.threads
    options.say("touched users")
    users = trained.touched_users()
    formed = _form_items(trained, trained.items, users)
    pull, first = _pull(trained, formed), _minus(formed.solved, formed.items)
    if np.sqrt(max(inner(first, pull), 0.0)) > SMALL_STEP * formed.size:
        return None
    system = _linearised(trained, formed, options)
    step = _filtered(system, pull, first, sweeps, SMALL_BRACKET, options)
    if step is None:
        return Response(Factors(users, trained.items, after.global_mean), "linear", None, 0, 0, 0.0)
    items = _plus(trained.items, step.items)
    solved = half_sweep(left.by_user, items, after, rows=trained.touched, threads=threads).side
    users = trained.with_touched(_minus(users, step.users), solved)
    factors = Factors(users, items, after.global_mean)
    if not _finite(factors):
        return None
    return Response(factors, "linear", None, 0, step.vectors, step.norm / formed.size)


def _exact(model: Trained, trained: _Trained, after: Objective, sweeps: int, options: Options) -> Response:
    """T − 1 sweeps, some exactly and the others to first order, and the T-th exactly."""
    options.say("all users")
    left, objective, threads = trained.left, trained.objective, trained.threads
    solved = half_sweep(left.by_user, trained.items, objective, threads=threads).side
    drift = stacked(trained.users, objective) - stacked(solved, objective)
    drift[trained.touched] = trained.touched_drift
    if sweeps > 1 and trained.share <= SHARES[0]:
        trained = _with_own_drift(model, trained, solved, drift, options)
        drift[trained.touched] = trained.touched_drift
    users, items = trained.with_touched(trained.users, _take(solved, trained.touched)), trained.items
    if len(trained.heavy) and sweeps > 1:  # the one sweep there is would solve them anyway
        options.say("items that lose much")
        heavy = half_sweep(left.by_item, users, objective, rows=trained.heavy, threads=threads).side
        items = _replace_rows(items, trained.heavy, heavy)
        users = _drifted_users(trained, items, drift)
    formed = _form_items(trained, items, users)
    single_sweep, done = formed.objective, 0
    while True:
        pull, first = _pull(trained, formed), _minus(formed.solved, formed.items)
        size = float(np.sqrt(max(inner(first, pull), 0.0))) / formed.size
        if done == 0:
            wanted = exact_sweeps(size, trained.share, sweeps)
        if done >= wanted:
            system = _linearised(trained, formed, options)
            step = _filtered(system, pull, first, sweeps - 1 - done, BRACKET, options)
            size = step.norm / formed.size if step else 0.0
            if done > 0 or exact_sweeps(size, trained.share, sweeps) == 0:
                break
            wanted = exact_sweeps(size, trained.share, sweeps)
        options.say(f"exact sweep {done + 1} of {wanted}")
        items, done = formed.solved, done + 1
        formed = _form_items(trained, items, _drifted_users(trained, items, drift))
    items = _plus(formed.items, step.items) if step else formed.items
    return _closed(
        trained, after, items, drift if trained.share <= SHARES[0] else None, single_sweep, done, step, size, options
    )


def _with_own_drift(model: Trained, trained: _Trained, solved: SideFactors, drift: Array, options: Options) -> _Trained:
    """The touched users' drift as it would be without their records, where that matters.

    solved: users(V) of what remains; drift: (n_users, d), with the records.
    """
    touched = trained.touched
    before, without = (stacked(_take(side, touched), trained.objective) for side in (trained.users, solved))
    if drift_on_forgotten(model, touched, drift[touched], before - drift[touched] - without) <= DRIFT:
        return trained
    options.say(DRIFT_STEP)
    users = trained.with_touched(trained.users, _take(solved, touched))
    own = drift_without_records(model, users, trained.items, drift, touched, tolerance=options.cg_tolerance)
    return dataclasses.replace(trained, touched_drift=own)


def _closed(
    trained: _Trained,
    after: Objective,
    items: SideFactors,
    drift: Array | None,
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
            users = _plus(users, unstacked(drift, users.factors.shape[1]))
        solved = half_sweep(left.by_item, users, after, threads=threads)
        objective = float(solved.losses.sum()) + regularisation(users, left.by_user.row_counts(), after)
        if objective <= single_sweep * (1 + WORSE):
            factors = Factors(users, solved.side, after.global_mean)
            return Response(factors, "exact", objective, done + 1, vectors, size)
    options.say("warm sweeps instead")
    items = trained.items
    for _ in range(FALLBACK_SWEEPS):
        factors, objective = sweep(left, items, after, threads=threads)
        items = factors.item
    return Response(factors, "fallback", objective, FALLBACK_SWEEPS, vectors, size)


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


def _form_items(trained: _Trained, items: SideFactors, users: SideFactors) -> _Formed:
    left, objective = trained.left, trained.objective
    half = half_sweep(left.by_item, users, objective, threads=trained.threads)
    value = float(half.losses.sum()) + regularisation(users, left.by_user.row_counts(), objective)
    return _Formed(items, users, half.side, value, float(np.sqrt(max(half.products.sum(), 0.0))))


def _linearised(trained: _Trained, formed: _Formed, options: Options) -> LinearisedSweep:
    left, objective = trained.left, trained.objective

    def inverse(view: Csr, other: SideFactors) -> NormalInverse:
        return NormalInverse.of(view, other, objective, tolerance=options.cg_tolerance, threads=trained.threads)

    return LinearisedSweep(
        left,
        formed.users,
        formed.items,
        objective,
        user_inverse=inverse(left.by_user, formed.items),
        item_inverse=inverse(left.by_item, formed.users),
        threads=trained.threads,
    )


def _pull(trained: _Trained, formed: _Formed) -> Array:
    """b, half of −∇_items f on the remaining data: (n_items, d). Rows that the map leaves where they are, to the last
    bit, have none."""
    moved = np.flatnonzero(
        (formed.solved.factors != formed.items.factors).any(axis=1) | (formed.solved.bias != formed.items.bias)
    )
    view, objective = trained.left.by_item, trained.objective
    gradient, _ = _native.row_gradients(
        **row_arguments(view, formed.users, objective, trained.threads),
        factors=formed.items.factors[moved],
        bias=formed.items.bias[moved],
        rows=moved,
        threads=trained.threads,
    )
    pull = np.zeros((len(formed.items), gradient.shape[1]), gradient.dtype)
    pull[moved] = -gradient
    return pull


def _drifted_users(trained: _Trained, items: SideFactors, drift: Array) -> SideFactors:
    solved = half_sweep(trained.left.by_user, items, trained.objective, threads=trained.threads).side
    return _plus(solved, unstacked(drift, solved.factors.shape[1]))


def _take(side: SideFactors, rows: NDArray[np.int64]) -> SideFactors:
    return SideFactors(side.factors[rows], side.bias[rows])


def _replace_rows(side: SideFactors, rows: NDArray[np.int64], by: SideFactors) -> SideFactors:
    factors, bias = side.factors.copy(), side.bias.copy()
    factors[rows], bias[rows] = by.factors, by.bias
    return SideFactors(factors, bias)


def _plus(side: SideFactors, change: SideFactors) -> SideFactors:
    return SideFactors(side.factors + change.factors, side.bias + change.bias)


def _minus(side: SideFactors, other: SideFactors) -> SideFactors:
    return SideFactors(side.factors - other.factors, side.bias - other.bias)


def _finite(factors: Factors) -> bool:
    arrays = (factors.user.factors, factors.user.bias, factors.item.factors, factors.item.bias)
    return sum(int(np.count_nonzero(~np.isfinite(array))) for array in arrays) == 0
