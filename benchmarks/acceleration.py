"""Whether accelerated ALS pays: sweeps and seconds until a model is as good as plain ALS after 15 and after 40 sweeps.

    python benchmarks/acceleration.py DATA_DIR --times
    python benchmarks/acceleration.py DATA_DIR --seeds 4
    python benchmarks/acceleration.py DATA_DIR --seeds 4 --warm

DATA_DIR holds ml-100k, ml-1m, gowalla and mtg-player as Parquet files with the columns user, item and rating; a file
that is missing is passed over. benchmarks/held_out.py holds out 10 % for explicit models, judged by RMSE clipped to the
ratings' range, and 20 % for implicit ones, judged by NDCG@20 of at most 2,000 users. λ is the default.

A sweep maps the items to items: G(V) = items(users(V)). All methods propose the V that the next sweep starts from:

    momentum     G(V) + β (G(V) − G before), β = (t − 1) / (t + 2) after t sweeps, Nesterov's (Mitchell, Ye & De
                 Sterck 2020): what `--acceleration momentum` does
    Anderson(m)  the combination of the last m + 1 sweeps whose residuals G(V) − V, rows weighted by their number of
                 interactions, cancel best (Walker & Ni 2011)
    NCG          nonlinear conjugate gradients preconditioned by ALS, over users and items together, with an exact line
                 search (De Sterck & Winlaw 2015): the objective along a line is of degree four, and five passes over
                 the data give the gradient and the polynomial

All are safeguarded: solving the users at V tells the objective there, and where it is above that of the sweep before,
the sweep starts from G(V) instead, the half-sweep is counted as lost, and the method starts anew.

A method's curve is the mean over the seeds, and what is counted is the number of sweeps, half-sweeps lost included, at
which it first is as good as plain ALS is after 15 and after 40 sweeps: in the objective, and held-out. Plain ALS itself
may have been that good earlier. --times measures a sweep of each method, its own work included, in turns. --warm starts
from a model of 15 sweeps of which 5 % of the records are gone; plain ALS after 5 and after 15 more sweeps is the mark.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from held_out import split
from numpy.typing import NDArray

import forgetcli as fc
from forgetcli import _native
from forgetcli.als import half_sweep, regularisation, row_arguments, starting_items
from forgetcli.csr import Csr
from forgetcli.evaluate import Relevant, ranking_metrics, rating_metrics
from forgetcli.interactions import Removal
from forgetcli.linearised import stacked
from forgetcli.model import Array, Factors, Model, SideFactors
from forgetcli.momentum import Momentum
from forgetcli.objective import Objective

ObjectiveName = Literal["explicit", "implicit"]

RANKED_USERS = 2_000
AS_GOOD = 1e-4
"""Of RMSE or NDCG: seeds differ by several times that."""

LOST_SHARE = 0.05
"""Of the records, gone before a warm start."""

TRAINED_SWEEPS = 15
COLD_MARKS, WARM_MARKS = (15, 40), (5, 15)
DEPTHS = (3, 5, 8)


class Case(NamedTuple):
    """One table's row: data, objective, options that differ from the defaults."""

    data: str
    objective: ObjectiveName
    biases: bool
    rank: int

    def __str__(self) -> str:
        kind = self.objective if self.biases or self.objective == "implicit" else "explicit, no biases"
        return f"{self.data}, {kind}, k = {self.rank}"


CASES = (
    *(Case("ml-100k", "explicit", True, k) for k in (16, 32, 64)),
    *(Case("ml-1m", "explicit", True, k) for k in (16, 32, 64)),
    Case("ml-1m", "explicit", False, 32),
    Case("ml-100k", "implicit", False, 32),
    *(Case("ml-1m", "implicit", False, k) for k in (16, 32, 64)),
    *(Case("gowalla", "implicit", False, k) for k in (16, 32, 64)),
    *(Case("mtg-player", "implicit", False, k) for k in (16, 32, 64)),
)


@dataclass(frozen=True)
class Point:
    """After a sweep: the factors, the objective there, and the sweeps so far, half-sweeps lost included."""

    users: SideFactors
    items: Array
    objective: float
    sweeps: float


@dataclass
class Engine:
    """The project's half-sweeps on one data set; items are stacked, the bias last where there is one."""

    data: fc.Interactions
    config: fc.TrainConfig
    objective: Objective = field(init=False)

    def __post_init__(self) -> None:
        self.objective = Objective.of(self.config, self.data)
        self.weights = self.data.item_counts.astype(np.float64)[:, None]

    def start(self) -> Array:
        """The keyed starting items."""
        return stacked(starting_items(self.data.items, self.config), self.objective).copy()

    def side(self, rows: Array) -> SideFactors:
        """The reverse of `stacked`, of either side."""
        k = self.config.factors
        bias = rows[:, k] if self.objective.biases else np.zeros(len(rows), rows.dtype)
        return SideFactors(np.ascontiguousarray(rows[:, :k]), np.ascontiguousarray(bias))

    def users(self, items: Array) -> tuple[SideFactors, float]:
        """users(V), and the objective there."""
        side = self.side(items)
        solved = half_sweep(self.data.by_user, side, self.objective)
        return solved.side, float(solved.losses.sum()) + regularisation(side, self.data.item_counts, self.objective)

    def items(self, users: SideFactors) -> tuple[Array, float]:
        """items(U), and the objective there."""
        solved = half_sweep(self.data.by_item, users, self.objective)
        scales = regularisation(users, self.data.by_user.row_counts(), self.objective)
        return stacked(solved.side, self.objective), float(solved.losses.sum()) + scales

    def gradient(self, users: SideFactors, items: Array) -> tuple[Array, Array]:
        """Half of it, by users and by items."""
        side = self.side(items)
        return self._half(self.data.by_user, users, side)[0], self._half(self.data.by_item, side, users)[0]

    def value(self, users: SideFactors, items: Array) -> float:
        losses = self._half(self.data.by_item, self.side(items), users)[1]
        return float(losses.sum()) + regularisation(users, self.data.by_user.row_counts(), self.objective)

    def _half(self, view: Csr, own: SideFactors, other: SideFactors) -> tuple[Array, NDArray[np.float64]]:
        arguments = row_arguments(view, other, self.objective, 0)
        gradient, losses, _ = _native.row_gradients(
            **arguments, factors=own.factors, bias=own.bias, rows=None, threads=0
        )
        return gradient, losses


class Plain:
    """Sweeps start where the last one ended."""

    def propose(self, start: Array, swept: Array) -> Array | None:
        return None

    def restart(self) -> None:
        pass


class Carried:
    """The project's own momentum."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._momentum = engine, Momentum()

    def propose(self, start: Array, swept: Array) -> Array | None:
        beyond = self._momentum.beyond(self._engine.side(swept))
        return None if beyond is None else stacked(beyond, self._engine.objective)

    def restart(self) -> None:
        self._momentum.restart()


class Anderson:
    """2 (m + 1) more copies of the items."""

    def __init__(self, depth: int, weights: NDArray[np.float64]) -> None:
        self._depth, self._weights = depth, weights / weights.mean()
        self._residuals: list[Array] = []
        self._swept: list[Array] = []
        self._gram = np.zeros((0, 0))

    def propose(self, start: Array, swept: Array) -> Array | None:
        kept = slice(-self._depth or None, None)
        residual = (swept - start) * np.sqrt(self._weights).astype(swept.dtype)
        residuals = [*self._residuals[kept], residual]
        self._swept = [*self._swept[kept], swept]
        n = len(residuals)
        gram = np.zeros((n, n))
        gram[: n - 1, : n - 1] = self._gram[kept, kept]
        gram[n - 1, :] = gram[:, n - 1] = [float(np.vdot(residual, other)) for other in residuals]
        self._residuals, self._gram = residuals, gram
        if n == 1:
            return None
        apart = np.concatenate([np.eye(n - 1), -np.ones((1, n - 1))])
        system, pull = apart.T @ gram @ apart, apart.T @ gram[:, -1]
        scales = np.sqrt(np.maximum(np.diag(system), np.finfo(np.float64).tiny))
        scaled = system / np.outer(scales, scales)
        change = apart @ (np.linalg.lstsq(scaled, -pull / scales, rcond=1e-6)[0] / scales)
        proposed = swept.copy()
        for weight, each in zip(change, self._swept, strict=True):
            proposed += proposed.dtype.type(weight) * each
        return proposed

    def restart(self) -> None:
        self._residuals, self._swept, self._gram = [], [], np.zeros((0, 0))


def proposed_sweeps(engine: Engine, method: Plain | Carried | Anderson, start: Array) -> Iterator[Point]:
    """Sweep after sweep, each from what the method proposes where that is no worse than the sweep before."""
    items, swept, objective, sweeps = start, start, np.inf, 0.0
    while True:
        users, value = engine.users(items)
        if value > objective:
            method.restart()
            items, sweeps = swept, sweeps + 0.5
            users, _ = engine.users(items)
        swept, objective = engine.items(users)
        sweeps += 1
        yield Point(users, swept, objective, sweeps)
        proposed = method.propose(items, swept)
        items = swept if proposed is None else proposed


def conjugate_sweeps(engine: Engine, start: Array) -> Iterator[Point]:
    """NCG: a point is the sweep at which a step begins, since no step is better before it is swept."""
    users, _ = engine.users(start)
    items, objective = engine.items(users)
    yield Point(users, items, objective, 1.0)
    direction: tuple[Array, Array] | None = None
    sweeps, slope = 1.0, 0.0
    residual: tuple[Array, Array] = (items, items)
    while True:
        swept_users, _ = engine.users(items)
        swept_items, objective = engine.items(swept_users)
        sweeps += 1
        yield Point(swept_users, swept_items, objective, sweeps)
        before, own = residual, stacked(users, engine.objective)
        residual = stacked(swept_users, engine.objective) - own, swept_items - items
        gradient = engine.gradient(users, items)
        beta = 0.0
        if direction is not None:
            beta = (_inner(gradient, residual) - _inner(gradient, before)) / slope
        slope = _inner(gradient, residual)
        carried = own.dtype.type(max(beta, 0.0))
        direction = (
            residual
            if direction is None
            else (residual[0] + carried * direction[0], residual[1] + carried * direction[1])
        )
        length = _line_minimum(engine, own, items, direction, gradient, engine.value(users, items))
        moved = own + own.dtype.type(length) * direction[0], items + own.dtype.type(length) * direction[1]
        if length > 0 and engine.value(engine.side(moved[0]), moved[1]) <= objective:
            users, items = engine.side(moved[0]), moved[1]
        else:
            users, items, direction = swept_users, swept_items, None


def _line_minimum(
    engine: Engine, users: Array, items: Array, direction: tuple[Array, Array], gradient: tuple[Array, Array], at: float
) -> float:
    """The positive length at which the objective is lowest along the direction; 0 where there is none."""
    lengths = np.array([1.0, 2.0, 4.0])
    slope = 2 * _inner(gradient, direction)
    values = [
        engine.value(
            engine.side(users + users.dtype.type(t) * direction[0]), items + items.dtype.type(t) * direction[1]
        )
        for t in lengths
    ]
    powers = lengths[:, None] ** np.array([2, 3, 4])
    polynomial = np.array([at, slope, *np.linalg.solve(powers, np.array(values) - at - slope * lengths)])
    roots = np.roots((polynomial[1:] * np.arange(1, 5))[::-1])
    positive = [float(root.real) for root in roots if abs(root.imag) < 1e-9 and root.real > 0]
    return min(positive, key=lambda t: float(np.polyval(polynomial[::-1], t)), default=0.0)


def _inner(a: tuple[Array, Array], b: tuple[Array, Array]) -> float:
    return sum(float(np.vdot(x, y)) for x, y in zip(a, b, strict=True))


Run = Callable[[Engine, Array], Iterator[Point]]
METHODS: dict[str, Run] = {
    "plain": lambda engine, start: proposed_sweeps(engine, Plain(), start),
    "momentum": lambda engine, start: proposed_sweeps(engine, Carried(engine), start),
    **{
        f"Anderson({m})": lambda engine, start, m=m: proposed_sweeps(engine, Anderson(m, engine.weights), start)
        for m in DEPTHS
    },
    "NCG": conjugate_sweeps,
}


class Mean(NamedTuple):
    """A sweep of a method, the mean over the seeds: sweeps so far, objective, and error (of rankings, 1 − NDCG@20)."""

    sweeps: float
    objective: float
    error: float


@dataclass(frozen=True)
class Mark:
    """What a method has to reach: a point of plain ALS."""

    objective: float
    error: float

    def reached(self, curve: Sequence[Mean]) -> tuple[float | None, float | None]:
        """The sweeps until the objective is that low, and the error, but for AS_GOOD; None where it never is."""
        by_objective = (each.sweeps for each in curve if each.objective <= self.objective)
        by_error = (each.sweeps for each in curve if each.error <= self.error + AS_GOOD)
        return next(by_objective, None), next(by_error, None)


def measured(engine: Engine, heldout: fc.Heldout) -> Callable[[Point], float]:
    """The held-out error at a point."""
    data, config = engine.data, engine.config
    values = data.by_user.values
    clip = float(values.min()), float(values.max())

    def factors(point: Point) -> Factors:
        return Factors(point.users, engine.side(point.items), engine.objective.global_mean)

    if config.objective == "explicit":
        return lambda point: rating_metrics(factors(point), heldout, clip=clip)["rmse"]
    relevant = Relevant.of(heldout, data)
    some = np.random.default_rng(0).permutation(len(relevant.users))[:RANKED_USERS]
    relevant = relevant.take(np.sort(some))

    def error(point: Point) -> float:
        model = Model(config, factors(point), data.users, data.items, (), data)
        return 1 - ranking_metrics(model, relevant, ("ndcg@20",))["ndcg@20"]

    return error


def means(engines: Sequence[Engine], starts: Sequence[Array], heldout: fc.Heldout, run: Run) -> Iterator[Mean]:
    """A method's sweeps, the seeds side by side."""
    errors = [measured(engine, heldout) for engine in engines]
    for points in zip(*(run(engine, start) for engine, start in zip(engines, starts, strict=True)), strict=True):
        rows = [(point.sweeps, point.objective, error(point)) for point, error in zip(points, errors, strict=True)]
        yield Mean(*np.mean(rows, axis=0).tolist())


def curve(sweeps: Iterator[Mean], marks: Sequence[Mark], most: int) -> list[Mean]:
    """The sweeps until all marks are reached, at most so many."""
    done: list[Mean] = []
    for each in islice(sweeps, most):
        done.append(each)
        if all(None not in mark.reached(done) for mark in marks):
            break
    return done


def read(case: Case, path: Path, seeds: int) -> tuple[list[Engine], fc.Heldout]:
    """One engine a seed."""
    training, heldout = split(
        path / f"{case.data}.parquet", 0.1 if case.objective == "explicit" else 0.2, case.objective
    )
    options = {"factors": case.rank, "biases": case.biases}
    return [
        Engine(training, fc.TrainConfig.for_objective(case.objective, seed=seed, **options)) for seed in range(seeds)
    ], heldout


def warmed(engines: Sequence[Engine], heldout: fc.Heldout) -> tuple[list[Engine], list[Array], fc.Heldout]:
    """The engines without some of the records, the items of models that were trained with them, and the held-out pairs
    whose user and item are left."""
    data = engines[0].data
    gone = np.flatnonzero(np.random.default_rng(0).random(len(data)) < LOST_SHARE)
    left = data.without(Removal(gone))
    starts = []
    for engine in engines:
        *_, last = islice(METHODS["plain"](engine, engine.start()), TRAINED_SWEEPS)
        starts.append(last.items[left.item_rows])
    user_rows, item_rows = (np.full(n, -1, np.int32) for n in (data.n_users, data.n_items))
    user_rows[left.user_rows], item_rows[left.item_rows] = (
        np.arange(len(left.user_rows)),
        np.arange(len(left.item_rows)),
    )
    users, items = user_rows[heldout.user_rows], item_rows[heldout.item_rows]
    known = (users >= 0) & (items >= 0)
    still = fc.Heldout(users[known], items[known], heldout.values[known], heldout.left_out + int((~known).sum()))
    return [Engine(left.interactions, engine.config) for engine in engines], starts, still


def print_accuracy(cases: Sequence[Case], path: Path, seeds: int, warm: bool, names: Sequence[str]) -> None:
    """The table of sweeps."""
    wanted = WARM_MARKS if warm else COLD_MARKS
    print("| | |" + "".join(f" objective at {n} | held out at {n} |" for n in wanted) + "\n|---|---" + "|---" * 4 + "|")
    for case in cases:
        engines, heldout = read(case, path, seeds)
        starts = [engine.start() for engine in engines]
        if warm:
            engines, starts, heldout = warmed(engines, heldout)
        plain = list(islice(means(engines, starts, heldout, METHODS["plain"]), wanted[-1]))
        marks = [Mark(plain[n - 1].objective, plain[n - 1].error) for n in wanted]
        for name in names:
            own = plain
            if name != "plain":
                own = curve(means(engines, starts, heldout, METHODS[name]), marks, wanted[-1])
            cells = []
            for mark in marks:
                objective, error = mark.reached(own)
                shown = f"{1 - mark.error if case.objective == 'implicit' else mark.error:.4f}"
                cells += [_sweeps(objective), _sweeps(error) + (f" ({shown})" if name == "plain" else "")]
            print(f"| {case if name == names[0] else ''} | {name} | " + " | ".join(cells) + " |", flush=True)


def _sweeps(reached: float | None) -> str:
    return "–" if reached is None else f"{reached:.3g}"


def print_times(cases: Sequence[Case], path: Path, rounds: int, names: Sequence[str]) -> None:
    """The table of seconds a sweep: sweeps 4 to 12 of each method, in turns; lost half-sweeps count as such."""
    print("| s a sweep | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 1) + "|")
    for case in cases:
        (engine,), _ = read(case, path, 1)
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(rounds):
            for name in names:
                points = METHODS[name](engine, engine.start())
                first = next(islice(points, 2, None))
                begin = time.perf_counter()
                *_, last = islice(points, 9)
                seconds[name].append((time.perf_counter() - begin) / (last.sweeps - first.sweeps))
        cells = (f"{statistics.median(each):.3g} ({min(each):.3g} to {max(each):.3g})" for each in seconds.values())
        print(f"| {case} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--data-sets", nargs="+", default=["ml-100k", "ml-1m", "gowalla", "mtg-player"])
    parser.add_argument("--only", choices=("explicit", "implicit"))
    parser.add_argument("--ranks", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--warm", action="store_true")
    parser.add_argument("--times", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cases = [
        case
        for case in CASES
        if case.data in options.data_sets
        and case.rank in options.ranks
        and options.only in (None, case.objective)
        and (options.data / f"{case.data}.parquet").exists()
    ]
    if options.times:
        print_times(cases, options.data, options.rounds, options.methods)
    else:
        print_accuracy(cases, options.data, options.seeds, options.warm, options.methods)


if __name__ == "__main__":
    main()
