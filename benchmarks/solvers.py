"""Where the inexact solver pays: held-out accuracy within equal time of exact sweeps and of `--solver cg`, by rank.

    python benchmarks/solvers.py ml-1m.parquet --objective explicit --ranks 64 128 256
    python benchmarks/solvers.py ml-1m.parquet --objective implicit --ranks 64 128 256

DATA has the columns user, item and rating; held_out.py holds out 10 %. The solvers take turns, sweep by sweep, and are
judged after each: by the RMSE of an explicit model, by the NDCG@10 over some users of an implicit one. A
solver's time is its median sweep's, so that one slow sweep does not decide; the budgets are what 1, 2, 4, ... exact
sweeps take.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from held_out import split

import forgetcli as fc
from forgetcli import als
from forgetcli.evaluate import evaluator
from forgetcli.model import Factors, SideFactors
from forgetcli.objective import Objective

METRIC = {"explicit": "rmse", "implicit": "ndcg@10"}
CLIP = (1.0, 5.0)
BUDGETS = (1, 2, 4, 8, 16)


@dataclass
class Solver:
    """One model, trained sweep by sweep. steps: of the conjugate gradients; None solves exactly."""

    steps: int | None
    items: SideFactors
    users: SideFactors | None = None
    seconds: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        return "exact" if self.steps is None else f"cg, {self.steps} steps"

    def sweep(self, data: fc.Interactions, objective: Objective, threads: int) -> Factors:
        begin = time.perf_counter()
        if self.steps is None:
            factors, _ = als.sweep(data, self.items, objective, threads=threads)
        else:
            factors, _ = als.conjugate_sweep(data, self.users, self.items, objective, steps=self.steps, threads=threads)
        self.seconds.append(time.perf_counter() - begin)
        self.users, self.items = factors.user, factors.item
        return factors

    def best_within(self, budget: float, lower_is_better: bool) -> float | None:
        reached = self.accuracy[: int(budget * 1.001 / statistics.median(self.seconds))]
        return None if not reached else min(reached) if lower_is_better else max(reached)


def compare(
    data: fc.Interactions, heldout: fc.Heldout, config: fc.TrainConfig, steps: list[int], sweeps: int, threads: int
) -> list[Solver]:
    objective = Objective.of(config, data)
    metric = METRIC[config.objective]
    evaluate = evaluator(config, data, heldout, clip=CLIP, threads=threads)
    start = als.starting_items(data.items, config)
    solvers = [Solver(each, start) for each in (None, *steps)]
    for _ in range(sweeps):
        for solver in solvers:
            solver.accuracy.append(evaluate(solver.sweep(data, objective, threads))[metric])
    return solvers


def print_rank(rank: int, solvers: list[Solver], lower_is_better: bool) -> None:
    exact = statistics.median(solvers[0].seconds)
    for solver in solvers:
        best = [solver.best_within(exact * budget, lower_is_better) for budget in BUDGETS]
        cells = " | ".join("–" if value is None else f"{value:.4f}" for value in best)
        spread = f"{min(solver.seconds):.3g} to {max(solver.seconds):.3g}"
        print(f"| {rank} | {solver.name} | {statistics.median(solver.seconds):.3g} ({spread}) | {cells} |", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path, metavar="DATA", help="Parquet with the columns user, item and rating")
    parser.add_argument("--objective", choices=tuple(METRIC), default="explicit")
    parser.add_argument("--ranks", type=int, nargs="+", default=(64, 128, 256))
    parser.add_argument("--steps", type=int, nargs="*", default=(3,), help="of each inexact solver")
    parser.add_argument("--reg", type=float, help="default: the objective's own")
    parser.add_argument("--sweeps", type=int, default=max(BUDGETS), help="of each solver")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    data, heldout = split(options.data, 0.1, options.objective)
    metric = METRIC[options.objective]
    print(f"| rank | solver | s a sweep | {metric} within 1 exact sweep | " + " | ".join(map(str, BUDGETS[1:])) + " |")
    print("|---" * (3 + len(BUDGETS)) + "|")
    for rank in options.ranks:
        given = {} if options.reg is None else {"reg": options.reg}
        config = fc.TrainConfig.for_objective(options.objective, factors=rank, **given)
        solvers = compare(data, heldout, config, options.steps, options.sweeps, options.threads)
        print_rank(rank, solvers, lower_is_better=metric == "rmse")


if __name__ == "__main__":
    main()
