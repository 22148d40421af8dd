"""Alternating least squares: half-sweeps, the objective, and the training loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgetcli import _native
from forgetcli.config import Acceleration, TrainConfig
from forgetcli.conjugate import RowBasis, conjugate_rows
from forgetcli.errors import DataError, NumericalError
from forgetcli.interactions import Csr, Interactions, Vocabulary
from forgetcli.model import Factors, HistoryEntry, Model, SideFactors
from forgetcli.momentum import Momentum
from forgetcli.objective import Objective
from forgetcli.products import dot
from forgetcli.profiling import stage
from forgetcli.seeding import starting_factors


@dataclass(frozen=True)
class SweepReport:
    """What is known after a sweep.

    sweep, sweeps: the number of this one, from 1, and of those planned.
    objective:     on the training data, after the sweep.
    metrics:       validation metrics by name; empty without validation.
    """

    sweep: int
    sweeps: int
    objective: float
    metrics: dict[str, float]


Progress = Callable[[SweepReport], None]
Evaluate = Callable[[Factors], dict[str, float]]


@dataclass(frozen=True)
class HalfSweep:
    """One side, solved.

    side:     the rows that were asked for, in that order.
    losses:   (n,) float64, each row's part of the objective: its entries' loss, its share of the unobserved pairs'
              and its own regularisation.
    products: (n,) float64, each row's right-hand side times its solution: Σ of them is the side's square in the norm
              of the normal matrices.
    """

    side: SideFactors
    losses: NDArray[np.float64]
    products: NDArray[np.float64]

    def value(self, other: SideFactors, counts: NDArray[np.int64], objective: Objective) -> float:
        """The objective here. other, counts: the other side, and its rows' interactions."""
        return float(self.losses.sum()) + regularisation(other, counts, objective)


def half_sweep(
    view: Csr,
    other: SideFactors,
    objective: Objective,
    *,
    rows: NDArray[np.int64] | None = None,
    threads: int = 0,
) -> HalfSweep:
    """Solves one side's rows exactly, given the other side: each row's normal equations, by Cholesky.

    view:  the interactions by the side that is solved; its columns are the rows of `other`.
    rows:  the rows to solve, in this order; None is all of them.

    Raises NumericalError when a row's system is singular at this precision or not finite.
    """
    factors, bias, losses, products, failed = _native.solve_rows(
        **row_arguments(view, other, objective, threads), rows=rows, threads=threads
    )
    _require_solution(failed, view, other)
    return HalfSweep(SideFactors(factors, bias), losses, products)


def _require_solution(failed: int, view: Csr, other: SideFactors) -> None:
    """Raises NumericalError when there is a row that failed."""
    if failed < 0:
        return
    raise NumericalError(
        f"the equations of a row with {view.indptr[failed + 1] - view.indptr[failed]} interactions have no "
        f"finite solution in {other.factors.dtype}",
        hint="raise `reg`, "
        + ('use `dtype="float64"`, ' if other.factors.dtype == np.float32 else "")
        + "or look for extreme values in the data",
    )


def regularisation(side: SideFactors, counts: NDArray[np.int64], objective: Objective) -> float:
    """λ Σ s (|p|² + b²) over one side's rows, summed in float64."""
    return dot(objective.row_scales(counts), side.squares())


def starting_items(items: Vocabulary, config: TrainConfig) -> SideFactors:
    """The item side that training starts from: keyed by seed and id, biases 0."""
    dtype = np.float32 if config.dtype == "float32" else np.float64
    return SideFactors.without_bias(starting_factors(items.keys(), config.factors, config.seed, dtype))


def sweep(
    interactions: Interactions, items: SideFactors, objective: Objective, *, threads: int = 0
) -> tuple[Factors, float]:
    """One sweep, users then items, from the given item side; returns the factors and the objective there."""
    return _finished(interactions, _users(interactions, items, objective, threads).side, objective, threads)


def _users(interactions: Interactions, items: SideFactors, objective: Objective, threads: int) -> HalfSweep:
    with stage("users"):
        return half_sweep(interactions.by_user, items, objective, threads=threads)


def _finished(
    interactions: Interactions, users: SideFactors, objective: Objective, threads: int
) -> tuple[Factors, float]:
    """The items' half of a sweep."""
    with stage("items"):
        solved = half_sweep(interactions.by_item, users, objective, threads=threads)
    value = solved.value(users, interactions.by_user.row_counts(), objective)
    return Factors(users, solved.side, objective.global_mean), value


def _carried_sweep(
    interactions: Interactions,
    items: SideFactors,
    value: float,
    objective: Objective,
    momentum: Momentum,
    threads: int,
) -> tuple[Factors, float]:
    """A sweep that starts beyond the items, unless the objective there is above `value`, that at the items; infinite
    before the first sweep, which has nothing to go beyond."""
    beyond = momentum.beyond(items) if np.isfinite(value) else None
    if beyond is not None:
        solved = _users(interactions, beyond, objective, threads)
        if solved.value(beyond, interactions.item_counts, objective) <= value:
            return _finished(interactions, solved.side, objective, threads)
        momentum.restart()
    return sweep(interactions, items, objective, threads=threads)


def conjugate_sweep(
    interactions: Interactions,
    users: SideFactors | None,
    items: SideFactors,
    objective: Objective,
    *,
    steps: int,
    threads: int = 0,
) -> tuple[Factors, float]:
    """One inexact sweep, users then items, each row by so many conjugate gradient steps from where it stands, which
    is 0 for users None; returns the factors and the objective there."""
    if users is None:
        users = SideFactors.without_bias(np.zeros((interactions.n_users, items.factors.shape[1]), items.factors.dtype))

    def half(view: Csr, mirror: Csr, own: SideFactors, other: SideFactors) -> tuple[SideFactors, NDArray[np.float64]]:
        arguments = row_arguments(view, other, objective, threads)
        basis = RowBasis.of(mirror, other, objective, arguments["gram"], threads)
        solved, losses, failed = conjugate_rows(arguments, basis, own, steps=steps, threads=threads)
        _require_solution(failed, view, other)
        return solved, losses

    with stage("users"):
        users, _ = half(interactions.by_user, interactions.by_item, users, items)
    with stage("items"):
        items, losses = half(interactions.by_item, interactions.by_user, items, users)
    value = float(losses.sum()) + regularisation(users, interactions.by_user.row_counts(), objective)
    return Factors(users, items, objective.global_mean), value


def descend(
    interactions: Interactions,
    items: SideFactors,
    objective: Objective,
    *,
    sweeps: int,
    tol: float = 0.0,
    acceleration: Acceleration = "none",
    cg_steps: int | None = None,
    users: SideFactors | None = None,
    evaluate: Evaluate | None = None,
    threads: int = 0,
    on_progress: Progress | None = None,
) -> tuple[Factors, tuple[HistoryEntry, ...]]:
    """Up to `sweeps` sweeps from the given item side, with one history entry each. No exact sweep ends with an
    objective above that of the one before, but for rounding.

    cg_steps: of the inexact solver; None solves the rows exactly.
    users:    where the inexact solver starts; None is at 0.

    Stops early when a sweep lowers the objective by less than the fraction `tol`, if that is above 0.
    """
    history: list[HistoryEntry] = []
    momentum = Momentum() if acceleration == "momentum" else None
    value = np.inf
    for number in range(1, sweeps + 1):
        if cg_steps is not None:
            factors, value = conjugate_sweep(interactions, users, items, objective, steps=cg_steps, threads=threads)
        elif momentum:
            factors, value = _carried_sweep(interactions, items, value, objective, momentum, threads)
        else:
            factors, value = sweep(interactions, items, objective, threads=threads)
        users, items = factors.user, factors.item
        with stage("validating"):
            metrics = evaluate(factors) if evaluate else {}
        history.append(HistoryEntry("sweep", value, metrics))
        if on_progress:
            on_progress(SweepReport(number, sweeps, value, metrics))
        before = history[-2].objective if len(history) > 1 else None
        if tol > 0 and before is not None and before - value < tol * abs(before):
            break
    return factors, tuple(history)


def train(
    interactions: Interactions,
    config: TrainConfig,
    *,
    evaluate: Evaluate | None = None,
    threads: int = 0,
    on_progress: Progress | None = None,
) -> Model:
    """Trains a model from keyed starting factors: the same data and configuration give the same bits, whatever the
    order of the rows and the number of threads.

    evaluate:    called with the factors after each sweep; its metrics go into the history.
    threads:     0 is one for each processor.
    on_progress: called after each sweep.

    Raises DataError when there is nothing to train on, NumericalError when the equations cannot be solved.
    """
    if len(interactions) == 0:
        raise DataError("there are no interactions to train on")
    if config.solved_last == "users":
        return train(
            interactions.transposed(),
            dataclasses.replace(config, solved_last="items"),
            evaluate=None if evaluate is None else lambda factors: evaluate(factors.transposed()),
            threads=threads,
            on_progress=on_progress,
        ).transposed()
    objective = Objective.of(config, interactions)
    check_confidences(interactions, config)
    factors, history = descend(
        interactions,
        starting_items(interactions.items, config),
        objective,
        sweeps=config.sweeps,
        tol=config.tol,
        acceleration=config.acceleration,
        cg_steps=config.inexact_steps,
        evaluate=evaluate,
        threads=threads,
        on_progress=on_progress,
    )
    return Model(config, factors, interactions.users, interactions.items, history, interactions)


def check_confidences(interactions: Interactions, config: TrainConfig) -> None:
    """Raises DataError when an implicit model is asked to learn from values below 0: a confidence of less than an
    unobserved pair's says nothing, and the equations may have no solution."""
    if config.objective == "implicit" and len(interactions) and interactions.by_user.value_range()[0] < 0:
        raise DataError(
            "an implicit model needs values of at least 0, and the data has values below",
            hint='drop those rows, shift the values, or train with `objective="explicit"`',
        )


def row_arguments(view: Csr, other: SideFactors, objective: Objective, threads: int) -> dict[str, Any]:
    """What both row kernels are told of the data and the objective."""
    gram = None
    if objective.background > 0:
        gram = _native.gram(other.factors, threads=threads)
        gram *= other.factors.dtype.type(objective.background)
    return {
        "view": view.native,
        "other": other.factors,
        "other_bias": other.bias if objective.biases else None,
        "gram": gram,
        "with_bias": objective.biases,
        "confidence": objective.confidence,
        "target": objective.target,
        "background": objective.background,
        "reg": objective.reg,
        "reg_by_count": objective.reg_by_count,
    }
