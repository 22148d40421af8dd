"""The second-order unlearning step: what T training sweeps would have made of the data without the records.

Sweeps without drift (see `drift_free`) move a trained model (U, V) by what was removed, and by nothing else. T − 1 of
them from V, to first order, are one linear system's solution (see `krylov`), which a few passes over the data find; the
T-th is done exactly. So the result is what the model would be if the records had never been there and everything else
had gone the same way, and further forgetting can start from it as from any checkpoint.

Where the removal is too large for first order, some of the sweeps are done exactly before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from forgetcli.als import half_sweep, sweep
from forgetcli.drift_free import MOVE_TOLERANCE, Formed, Trained
from forgetcli.errors import NumericalError
from forgetcli.gradient import Standing, half_gradients, standing
from forgetcli.interactions import Interactions, Remaining, Removal
from forgetcli.krylov import BRACKET, MAX_VECTORS, Filtered, absorbed, filtered_solution, inner
from forgetcli.linearised import LinearisedSweep, stacked
from forgetcli.model import Array, Factors, SideFactors, negative, plus, still
from forgetcli.objective import Objective
from forgetcli.products import dot

STEP_COST = 5.5
"""A step's time in sweeps, but for those done exactly before: the users' gradient and moves, the items' first sweep,
three Krylov vectors, the last sweep, and the arrays moved between. Its passes grow with k and a sweep with k², so that
it is 3 for 25 million ratings at k = 64, and 4 to 10 for 5 million at k = 32."""

SHARES, SIZES = (0.03, 0.20), (0.04, 0.25)
"""A request is large, or very large, when it takes more than these shares of the records, or when its step, ‖x‖_B
relative to ‖V‖_B, is larger than these sizes. First order is off by about the step's size of itself, and the memory by
its square: of 2 % at random, MovieLens-1M at λ = 0.1, where the size is 0.05, by −0.008 with 32 factors and −0.005 with
64, and with a fifth of the sweeps done exactly by −0.001 and 0.002."""

DRIFT = 1e-3
"""Where the touched users' drift, each one's by the share of their records that goes, changes the records' loss by more
than this fraction of what solving these users anew does, it is taken as it would be without the records. The memory
would be off by about that fraction: nothing of the drift is right for who keeps next to nothing."""

LONG_TRAINING = 30
"""From so many sweeps on, the slowest directions take up so much of a change that first order needs help sooner."""

SMALL_SHARE, SMALL_STEP = 1e-3, 2e-3
"""A request of at most this share of the records whose first sweep moves the items by at most this, relative to
themselves in the B norm, is followed linearly to the end: what is left out is the square of it."""

SMALL_BRACKET, SMALL_LOOSE = 0.1, 2.0
"""The bracket for those, and how many times wider the tolerances are: few records tell little. Half the history of one
user, MovieLens-1M and gowalla, implicit, k = 64: the memory is off by 0.003, and retrains deviate by 0.02 to 0.06."""

UNSOLVED = 0.5, 1e-3
"""Nor is a request followed linearly where the items' relative gradient is above this fraction of the users', and above
this: training ends with the items solved, and what the removal and the steps before it pull is then no longer small
beside what training left. 200 requests of 100 pairs on an implicit model of MovieLens-1M with too little regularisation
(λ = 0.07), where it is 0.8 of the users': memory 0.051 linearly, 0.018 with exact ends, 0.019 ± 0.006 of retrains. Most
requests find 0.02 to 0.1."""

WORSE = 1e-3
"""A step that ends with an objective above what the exact sweeps before it would have come to with one more, by more
than this fraction, is not taken: the mean may move as much."""

FAR_WORSE = 0.05
"""Nor is one that ends so far above where the model began: sweeps without drift go wherever the drift leads of a model
that is far from its end."""

ITERATED_RANK = 48
"""From this rank on the last sweep's items are solved by conjugate gradients, up to NEWTON_TOLERANCE of what is left to
do after the step: that costs three quarters of their exact solution at 64, half of it at 128, and at 32 more."""

FALLBACK_SWEEPS = 5
"""Warm sweeps that are done instead, on from there."""

DRIFT_TOLERANCE = 3e-3
"""Of the users' drift, relative, which is small itself."""

Path = Literal["linear", "exact", "fallback"]


@dataclass(frozen=True)
class Response:
    """The unlearned factors, and how they were reached.

    before:    where the given factors stand on the remaining data.
    path:      "exact" ends with an exact sweep; "linear" does without, for a small request; "fallback": the step was
               not finite or raised the objective, and warm sweeps were done instead.
    objective: on the remaining data, at the end; None where nothing had to be done after what was known at the start.
    sweeps:    exact sweeps done.
    vectors:   Krylov vectors used.
    size:      ρ, the step relative to the items' factors, in the B norm.
    after:     where the unlearned factors stand, if that had to be found out.
    """

    factors: Factors
    before: Standing
    path: Path
    objective: float | None
    sweeps: int
    vectors: int
    size: float
    after: Standing | None = None


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


@np.errstate(over="ignore", invalid="ignore")  # what is not finite is not taken in the end
def respond(
    data: Interactions,
    removal: Removal,
    remaining: Remaining,
    factors: Factors,
    before: Objective,
    after: Objective,
    *,
    sweeps: int,
    momentum: Sequence[float] = (),
    options: Options | None = None,
) -> Response:
    """Makes the factors forget.

    data, removal, remaining: the interactions before, of the users that lose some at least; what goes; what is left.
    factors:                  of the model that was trained on `data`.
    before, after:            the objective of `data` and of what is left. They differ in the mean, which the steps keep
                              and the last exact sweep changes; the side that is solved absorbs it.
    sweeps:                   T, at least 1.
    momentum:                 the weights before each of them, of a model that was trained with it.

    Raises NumericalError when a row's system cannot be solved.
    """
    options = options or Options()
    trained = Trained.of(data, removal, remaining, factors, before, threads=options.threads)
    if trained.share <= SMALL_SHARE:
        response = _linear(trained, after, sweeps, momentum, options)
        if response is not None:
            return response
    return _exact(trained, after, sweeps, momentum, options)


def _linear(
    trained: Trained, after: Objective, sweeps: int, momentum: Sequence[float], options: Options
) -> Response | None:
    """All T sweeps to first order; of the users only the touched ones are solved. None where the request turns out
    too large for that, or where it ends worse than it began."""
    left, threads = trained.left, trained.threads
    options.say("where the model stands")
    before = standing(left, trained.factors, trained.objective, threads=threads)
    if before.item_gradient > max(UNSOLVED[0] * before.user_gradient, UNSOLVED[1]):
        return None
    touched, users = trained.touched, _users_moved(trained, sweeps, options)
    held = trained.gradient(users, touched)
    items, users, theirs = _heavy_moved(trained, users, sweeps, options)
    # Only these items have lost anything, or have a user who moved: the others' pull is what it was, none.
    moved = left.by_user.entries_of_rows(np.union1d(touched, theirs))
    near = np.union1d(trained.losers, left.by_user.indices[moved])
    item_inverse = trained.inverse_of_items(users)
    newton = item_inverse.newton(items.take(near), rows=near)
    pull = np.zeros((left.n_items, newton.gradient.shape[1]), newton.gradient.dtype)
    pull[near] = -newton.gradient
    first = still(items).replaced(near, negative(newton.step))
    if not np.sqrt(max(inner(first, pull), 0.0)) <= SMALL_STEP * before.item_norm:
        return None
    system = LinearisedSweep(trained.inverse.on(left.by_user, items), item_inverse, SMALL_LOOSE)
    filtered = _filtered(system, pull, first, sweeps, momentum, SMALL_BRACKET, options, with_users=True)
    if filtered is None:
        if inner(first, pull) > 0:  # not nothing to do, but more than this precision can follow
            return None
        return Response(Factors(users, items, after.global_mean), before, "linear", None, 0, 0, 0.0)
    vectors, size = filtered.vectors, filtered.norm / before.item_norm
    items, users = plus(items, filtered.items), filtered.users_from(users)
    del filtered  # which holds a vector of the users' size for each of its own
    solved = trained.users_at(items, users.take(touched), held, rows=touched, objective=after)
    factors = Factors(users.replaced(touched, solved), items, after.global_mean)
    if not _finite(factors):
        return None
    options.say("where it ends")
    ends = standing(left, factors, after, threads=threads)
    if not ends.objective <= before.objective * (1 + WORSE):
        return None
    return Response(factors, before, "linear", ends.objective, 0, vectors, size, ends)


def _exact(trained: Trained, after: Objective, sweeps: int, momentum: Sequence[float], options: Options) -> Response:
    """T − 1 sweeps, some exactly and the others to first order, and the T-th exactly."""
    options.say("where the model stands")
    left, threads = trained.left, trained.threads
    held, losses, _ = half_gradients(left.by_user, trained.users, trained.items, trained.objective, None, threads)
    before = standing(left, trained.factors, trained.objective, users=(held, losses), threads=threads)
    users = _users_moved(trained, sweeps, options)
    held[trained.touched] = trained.gradient(users, trained.touched)
    items, users, _ = _heavy_moved(trained, users, sweeps, options)
    formed = Formed.of(trained, items, users)
    done = 0
    while True:
        size = formed.size
        if done == 0:
            wanted = exact_sweeps(size, trained.share, sweeps, momentum)
        if done >= wanted:
            system = formed.linearised(trained)
            ahead = sweeps - 1 - done
            step = _filtered(
                system, formed.pull, formed.first, ahead, momentum[done:], BRACKET, options, with_users=False
            )
            size = formed.relative(step.norm) if step else 0.0
            if done > 0 or exact_sweeps(size, trained.share, sweeps, momentum) == 0:
                break
            wanted = exact_sweeps(size, trained.share, sweeps, momentum)
        options.say(f"exact sweep {done + 1} of {wanted}")
        items, done = formed.swept, done + 1
        formed = Formed.of(trained, items, trained.users_at(items, formed.users, held))
    items = plus(formed.items, step.items) if step else formed.items
    kept = held if trained.share <= SHARES[0] else None
    return _closed(trained, after, items, kept, before, formed, done, step, size, options)


def _users_moved(trained: Trained, sweeps: int, options: Options) -> SideFactors:
    """The users at the trained items, the touched ones as they would be without their records."""
    options.say("touched users")
    touched = trained.touched
    step = trained.inverse.newton(trained.users.take(touched), rows=touched, tolerance=MOVE_TOLERANCE).step
    own, drift, counts = _touched(trained, step)
    users = trained.users.replaced(touched, own)
    if sweeps > 1 and counts:
        options.say("drift without the records")
        everyone = trained.inverse.newton(trained.users, tolerance=DRIFT_TOLERANCE).step
        change = trained.drift_change(users, everyone.replaced(touched, drift))
        users = users.replaced(touched, plus(own, change))
    return users


def _heavy_moved(
    trained: Trained, users: SideFactors, sweeps: int, options: Options
) -> tuple[SideFactors, SideFactors, NDArray[np.int64]]:
    """The items, the heavy ones solved at these users; the users there; and the rows of those that have moved."""
    if not len(trained.heavy) or sweeps <= 1:  # the one sweep there is would solve them anyway
        return trained.items, users, np.empty(0, np.int64)
    options.say("items that lose much")
    return trained.heavy_solved(users)


def _touched(trained: Trained, step: SideFactors) -> tuple[SideFactors, SideFactors, bool]:
    """The touched users at the trained items, users'(V) + c; their drift c; and whether the records count in it, see
    DRIFT. step: their U − users'(V)."""
    moves, pull = trained.moves(step)
    drift = plus(step, moves)
    lost, kept = trained.lost.row_counts(), trained.left.by_user.row_counts()[trained.touched]
    toward = np.einsum("nk,nk->n", stacked(drift, trained.objective), pull, dtype=np.float64)
    counts = abs(dot(toward, lost / (lost + kept))) > DRIFT * abs(inner(moves, pull))
    return plus(trained.users.take(trained.touched), moves), drift, counts


def _closed(
    trained: Trained,
    after: Objective,
    items: SideFactors,
    held: Array | None,
    before: Standing,
    formed: Formed,
    done: int,
    step: Filtered | None,
    size: float,
    options: Options,
) -> Response:
    """The last sweep; and the check that the step was worth taking.

    items: after the step; formed: before it.
    held:  the users' gradient, where they keep it.
    """
    options.say("last sweep")
    left, threads = trained.left, trained.threads
    vectors, limit = step.vectors if step else 0, before.objective * (1 + FAR_WORSE)
    if np.isfinite(items.factors).all() and np.isfinite(items.bias).all():
        with suppress(NumericalError):  # no finite solution where the step led
            if held is None:
                users = half_sweep(left.by_user, items, after, threads=threads).side
            else:
                users = trained.users_at(items, formed.users, held, objective=after)
            if step and items.factors.shape[1] >= ITERATED_RANK:
                closed = Formed.of(dataclasses.replace(trained, objective=after), items, users)
                items, objective = closed.swept, closed.objective
            else:
                solved = half_sweep(left.by_item, users, after, threads=threads)
                items, objective = solved.side, solved.value(users, left.by_user.row_counts(), after)
            factors = Factors(users, items, after.global_mean)
            if objective <= min(formed.objective * (1 + WORSE), limit) and _finite(factors):
                return Response(factors, before, "exact", objective, done + 1, vectors, size)
    options.say("warm sweeps instead")
    items = formed.swept if formed.objective <= limit else trained.items
    for _ in range(FALLBACK_SWEEPS):
        factors, objective = sweep(left, items, after, threads=threads)
        items = factors.item
    return Response(factors, before, "fallback", objective, done + 1 + FALLBACK_SWEEPS, vectors, size)


def exact_sweeps(size: float, share: float, sweeps: int, momentum: Sequence[float] = ()) -> int:
    """How many of T = `sweeps` sweeps to do exactly before a step of this size, for this share of the records."""
    level = max(sum(size > limit for limit in SIZES), sum(share > limit for limit in SHARES))
    long = absorbed(np.zeros(1), sweeps, momentum)[0] >= LONG_TRAINING
    wanted = (2 if long else 0, max(3, round(sweeps / 5)), max(4, round(4 * sweeps / 15)))[level]
    return max(0, min(wanted, sweeps - 2))


def _filtered(
    system: LinearisedSweep,
    pull: Array,
    first: SideFactors,
    sweeps: int,
    momentum: Sequence[float],
    bracket: float,
    options: Options,
    *,
    with_users: bool,
) -> Filtered | None:
    return filtered_solution(
        system,
        pull,
        first,
        sweeps,
        momentum=momentum,
        max_vectors=options.max_vectors,
        bracket=bracket if options.bracket is None else options.bracket,
        with_users=with_users,
        threads=options.threads,
        on_vector=lambda number: options.say(f"direction {number}"),
    )


def _finite(factors: Factors) -> bool:
    arrays = (factors.user.factors, factors.user.bias, factors.item.factors, factors.item.bias)
    return sum(int(np.count_nonzero(~np.isfinite(array))) for array in arrays) == 0
