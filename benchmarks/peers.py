"""Time a sweep of implicit ALS beside implicit's and cmfrec's solvers, and what each has learnt by then.

    python -m venv /tmp/peers && /tmp/peers/bin/pip install cmfrec==3.5.1.post14 implicit==0.7.3 matplotlib .
    /tmp/peers/bin/python benchmarks/synthetic.py -o /tmp/synth25m.parquet
    /tmp/peers/bin/python benchmarks/peers.py /tmp/synth25m.parquet --picture docs/figures/peers.svg
    /tmp/peers/bin/python benchmarks/peers.py /tmp/synth1m.parquet --ranks 32 64 128 256 512 --no-exact --learn-rank 256

All minimise Hu, Koren & Volinsky's objective with confidence 1 + α on 90 % of the pairs, in float32; each conjugate
gradient solver takes the three steps of its defaults. The programs take turns: one round times one sweep of each.
Nothing is timed before the answers agree: from the same start, implicit's
Cholesky solver must reach forgetcli's factors, and cmfrec's last half-sweep by Cholesky must be forgetcli's solution
for its other side. implicit and forgetcli are called sweep by sweep; cmfrec only fits whole models, so its sweep is the
difference between a longer fit and a shorter one, over the sweeps between them.

The second table holds out the other 10 %: NDCG@10 over some users, by the best that each solver has within so many
seconds of sweeping; so inexact solvers, whose sweeps are cheaper, get their due.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# implicit and cmfrec run their own threads and ask that BLAS be held to one; read when NumPy is loaded.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from held_out import split
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix

import forgetcli as fc
from forgetcli import als
from forgetcli.model import SideFactors
from forgetcli.objective import Objective

ALPHA, REG = 10.0, 5.0
AGREEMENT = 5e-3
"""Of the factors' norm: two float32 solutions of systems whose condition is some hundreds."""
CHECKED_USERS = 3000
CUTOFF, JUDGED_USERS = 10, 2000
SWEEPS = 8
"""Of each solver that is called sweep by sweep, for the accuracy."""
TURN = 0.2
"""Seconds at least of a solver's turn: in a training sweeps follow each other, and the first after another solver's
finds nothing of its own in the caches."""
PAUSE = 0.1
"""Seconds before each that is timed: OpenMP's threads, which the peers work with, wait for more in a busy loop."""

Factors = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Setting:
    """One rank on one data set; start: (n_items, k), the item factors that all sweeps begin from."""

    training: fc.Interactions
    confidences: csr_matrix
    confidences_by_item: csr_matrix
    rank: int
    threads: int
    start: NDArray[np.float32]

    @classmethod
    def of(cls, training: fc.Interactions, rank: int, threads: int) -> Setting:
        by_user = training.by_user
        rows = by_user.rows_of(np.arange(len(training)))
        values = np.full(len(training), 1 + ALPHA, np.float32)
        matrix = coo_matrix((values, (rows, by_user.indices)), (by_user.n_rows, by_user.n_columns)).tocsr()
        start = als.starting_items(training.items, config(rank)).factors
        return cls(training, matrix, matrix.T.tocsr(), rank, threads, np.array(start))


def config(rank: int) -> fc.TrainConfig:
    return fc.TrainConfig.for_objective("implicit", factors=rank, alpha=ALPHA, reg=REG)


class Forgetcli:
    """Exact, or by conjugate gradients."""

    def __init__(self, setting: Setting, cg: bool) -> None:
        self.name = "forgetcli, CG" if cg else "forgetcli"
        self.steps = config(setting.rank).cg_steps if cg else None
        self.setting = setting
        self.objective = Objective.of(config(setting.rank), setting.training)
        users = np.zeros((len(setting.training.users), setting.rank), np.float32)
        self.users, self.items = SideFactors.without_bias(users), SideFactors.without_bias(setting.start)

    def sweep(self) -> Factors:
        data, threads = self.setting.training, self.setting.threads
        if self.steps is None:
            factors, _ = als.sweep(data, self.items, self.objective, threads=threads)
        else:
            factors, _ = als.conjugate_sweep(
                data, self.users, self.items, self.objective, steps=self.steps, threads=threads
            )
        self.users, self.items = factors.user, factors.item
        return self.users.factors, self.items.factors


class Implicit:
    """implicit's compiled solvers, as its own fit calls them."""

    def __init__(self, setting: Setting, cg: bool) -> None:
        native = importlib.import_module("implicit.cpu._als")
        self.name = "implicit, CG" if cg else "implicit, Cholesky"
        self.solve: Callable[..., None] = native.least_squares_cg if cg else native.least_squares
        self.setting = setting
        self.items = setting.start.copy()
        self.users = np.zeros((setting.confidences.shape[0], setting.rank), np.float32)

    def sweep(self) -> Factors:
        s = self.setting
        self.solve(s.confidences, self.users, self.items, REG, num_threads=s.threads)
        self.solve(s.confidences_by_item, self.items, self.users, REG, num_threads=s.threads)
        return self.users, self.items


class Cmfrec:
    """cmfrec's CMF_implicit, which starts from its own factors."""

    def __init__(self, setting: Setting, cg: bool) -> None:
        self.module = importlib.import_module("cmfrec")
        self.name = "cmfrec, CG" if cg else "cmfrec, Cholesky"
        self.cg, self.setting = cg, setting
        ones = setting.confidences.copy()
        ones.data[:] = 1
        self.pairs = ones.tocoo()

    def fit(self, sweeps: int) -> Factors:
        model = self.module.CMF_implicit(
            k=self.setting.rank,
            lambda_=REG,
            alpha=ALPHA,
            use_cg=self.cg,
            finalize_chol=False,
            niter=sweeps,
            nthreads=self.setting.threads,
            precompute_for_predictions=False,
            produce_dicts=False,
            verbose=False,
            random_state=1,
        ).fit(self.pairs)
        return model.A_, model.B_


def gap(actual: NDArray[Any], expected: NDArray[Any]) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def check(training: fc.Interactions, rank: int, threads: int, cmfrec: bool) -> None:
    """Raises SystemExit unless the exact solvers' answers on the first CHECKED_USERS users are one."""
    by_user = training.by_user
    pairs = np.arange(by_user.indptr[min(CHECKED_USERS, by_user.n_rows)])
    part = fc.Interactions.from_arrays(by_user.rows_of(pairs), by_user.indices[pairs], by_user.values[pairs])
    setting = Setting.of(part, rank, threads)
    ours, theirs = Forgetcli(setting, cg=False).sweep(), Implicit(setting, cg=False).sweep()
    for mine, peer in zip(ours, theirs, strict=True):
        if not gap(peer, mine) < AGREEMENT:
            raise SystemExit(f"k = {setting.rank}: implicit's factors are {gap(peer, mine):.1e} from forgetcli's")
    if not cmfrec:
        return
    objective = Objective.of(config(setting.rank), setting.training)
    users, items = Cmfrec(setting, cg=False).fit(1)
    data = setting.training
    gaps = [
        gap(own, als.half_sweep(view, SideFactors.without_bias(other.copy()), objective).side.factors)
        for view, own, other in ((data.by_user, users, items), (data.by_item, items, users))
    ]
    if not min(gaps) < AGREEMENT:
        raise SystemExit(f"k = {setting.rank}: cmfrec's factors are {min(gaps):.1e} from forgetcli's")


@dataclass
class Times:
    """Seconds of each round's sweep, by solver."""

    clock: Callable[[], float]
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, sweep: Callable[[], object]) -> None:
        time.sleep(PAUSE)
        begin, sweeps = self.clock(), 0
        while sweeps == 0 or self.clock() - begin < TURN:
            sweep()
            sweeps += 1
        self.seconds.setdefault(name, []).append((self.clock() - begin) / sweeps)

    def add_fits(self, peer: Cmfrec, short: int, long: int) -> None:
        time.sleep(PAUSE)
        begin = self.clock()
        peer.fit(short)
        middle = self.clock()
        peer.fit(long)
        seconds = ((self.clock() - middle) - (middle - begin)) / (long - short)
        self.seconds.setdefault(peer.name, []).append(seconds)


def time_sweeps(setting: Setting, rounds: int, clock: Callable[[], float], exact: bool, cmfrec: bool) -> Times:
    times = Times(clock)
    solvers: list[Forgetcli | Implicit] = [
        Forgetcli(setting, cg=False),
        Forgetcli(setting, cg=True),
        Implicit(setting, cg=True),
    ]
    for solver in solvers:
        solver.sweep()
    if exact:
        solvers.append(Implicit(setting, cg=False))
    for _ in range(rounds):
        for solver in solvers:
            times.add(solver.name, solver.sweep)
        if cmfrec:
            times.add_fits(Cmfrec(setting, cg=True), 1, 3)
        if cmfrec and exact:
            times.add_fits(Cmfrec(setting, cg=False), 1, 2)
    return times


def ndcg(factors: Factors, training: fc.Interactions, heldout: fc.Heldout) -> float:
    """NDCG@CUTOFF without seen items, binary relevance, mean over JUDGED_USERS users, evenly spaced."""
    users = np.unique(heldout.user_rows)
    users = users[np.unique(np.linspace(0, len(users) - 1, JUDGED_USERS).astype(int))]
    discounts = 1 / np.log2(np.arange(CUTOFF) + 2)
    begins, ends = (np.searchsorted(heldout.user_rows, users, side) for side in ("left", "right"))
    total = 0.0
    for user, begin, end in zip(users, begins, ends, strict=True):
        scores = factors[1] @ factors[0][user]
        seen = slice(training.by_user.indptr[user], training.by_user.indptr[user + 1])
        scores[training.by_user.indices[seen]] = -np.inf
        top = np.argpartition(scores, -CUTOFF)[-CUTOFF:]
        top = top[np.argsort(-scores[top])]
        hits = np.isin(top, heldout.item_rows[begin:end])
        total += float(hits @ discounts) / float(discounts[: end - begin].sum())
    return total / len(users)


def learn(setting: Setting, times: Times, heldout: fc.Heldout) -> dict[str, list[tuple[float, float]]]:
    """For each solver, seconds of sweeping and the NDCG reached by then."""
    reached: dict[str, list[tuple[float, float]]] = {}
    data = setting.training
    seconds = {name: statistics.median(each) for name, each in times.seconds.items()}
    for solver in (*(Forgetcli(setting, cg) for cg in (False, True)), *(Implicit(setting, cg) for cg in (True, False))):
        if solver.name not in seconds:
            continue
        exact = solver.name == "implicit, Cholesky"
        reached[solver.name] = [
            (seconds[solver.name] * (sweep + 1), ndcg(solver.sweep(), data, heldout))
            for sweep in range(2 if exact else SWEEPS)
        ]
    for cg, sweeps in ((True, (1, 2, 3, 4, 6, 8)), (False, (1, 2))):
        if ("cmfrec, CG" if cg else "cmfrec, Cholesky") not in seconds:
            continue
        peer = Cmfrec(setting, cg)
        reached[peer.name] = [(seconds[peer.name] * n, ndcg(peer.fit(n), data, heldout)) for n in sweeps]
    return reached


def print_times(results: dict[int, Times]) -> None:
    """Each peer's seconds also as a multiple of forgetcli's exact sweep, and of its conjugate gradients' sweep."""
    names = list(next(iter(results.values())).seconds)
    print("| s a sweep | " + " | ".join(f"k = {rank}" for rank in results) + " |\n" + "|---" * (len(results) + 1) + "|")
    for name in names:
        cells = []
        for times in results.values():
            own, median = times.seconds[name], statistics.median(times.seconds[name])
            cell = f"{median:.3g} ({min(own):.3g} to {max(own):.3g})"
            if not name.startswith("forgetcli"):
                ours = (statistics.median(times.seconds[solver]) for solver in ("forgetcli", "forgetcli, CG"))
                cell += ", " + " / ".join(f"**{median / seconds:.1f} ×**" for seconds in ours)
            cells.append(cell)
        print(f"| {name} | " + " | ".join(cells) + " |")


def print_learnt(reached: dict[str, list[tuple[float, float]]]) -> None:
    unit = min(points[0][0] for points in reached.values())
    print("\n| NDCG@10 within | " + " | ".join(reached) + " |\n" + "|---" * (len(reached) + 1) + "|")
    for sweeps in (1, 2, 4, 8, 16, 32, 64):
        budget = unit * sweeps * 1.001
        best = [max((value for at, value in points if at <= budget), default=None) for points in reached.values()]
        cells = ("–" if value is None else f"{value:.4f}" for value in best)
        print(f"| {budget:.2g} s | " + " | ".join(cells) + " |")


def draw(results: dict[int, Times], title: str, path: Path) -> None:
    """Seconds a sweep by rank, both on logarithmic scales."""
    from matplotlib import pyplot as plt

    colours = {"forgetcli": "#c1121f", "implicit": "#1d6fa5", "cmfrec": "#3f8f4f"}
    figure, axes = plt.subplots(figsize=(7.2, 4.4), layout="constrained")
    ranks = list(results)
    for name in next(iter(results.values())).seconds:
        seconds = [statistics.median(results[rank].seconds[name]) for rank in ranks]
        exact = "CG" not in name
        axes.plot(
            ranks,
            seconds,
            color=colours[name.split(",")[0]],
            linestyle="-" if exact else "--",
            marker="o" if exact else "s",
            linewidth=2.4 if name.startswith("forgetcli") else 1.5,
            label=f"{name}{' (exact)' if name == 'forgetcli' else ''}",
        )
    axes.set(xscale="log", yscale="log", xlabel="rank k", ylabel="seconds a sweep", title=title)
    axes.set_xticks(ranks, [str(rank) for rank in ranks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(ranks[0] * 0.93, ranks[-1] * 1.07)
    axes.grid(True, which="major", color="#dddddd", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    plt.rcParams["svg.hashsalt"] = "peers"
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, facecolor="white")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path, metavar="DATA", help="Parquet, as benchmarks/synthetic.py makes it")
    parser.add_argument("--ranks", type=int, nargs="+", default=(32, 64, 128))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--learn-rank", type=int, default=64, help="rank of the table of accuracy; 0 for none")
    parser.add_argument(
        "--no-exact",
        dest="exact",
        action="store_false",
        help="leave out the peers' Cholesky solvers, which take minutes",
    )
    parser.add_argument("--no-cmfrec", dest="cmfrec", action="store_false", help="leave out cmfrec, which fits anew")
    parser.add_argument("--picture", type=Path, help="where the picture goes")
    parser.add_argument(
        "--clock", choices=("wall", "processor"), default="wall", help="processor: of all threads, over their number"
    )
    return parser.parse_args()


def main() -> None:
    options = arguments()
    warnings.simplefilter("ignore")  # the peers' checks of the BLAS settings cannot see the variable above
    clock = time.perf_counter if options.clock == "wall" else lambda: time.process_time() / options.threads
    training, heldout = split(options.data, 0.1, "implicit")
    shape = f"{len(training) / 1e6:.1f} million pairs, {len(training.users):,} users × {len(training.items):,} items"
    print(
        f"{shape}, {options.threads} threads, {options.clock} time, {options.rounds} rounds: median (lowest to highest)"
    )
    results: dict[int, Times] = {}
    for rank in options.ranks:
        check(training, rank, options.threads, options.cmfrec)
        setting = Setting.of(training, rank, options.threads)
        results[rank] = time_sweeps(setting, options.rounds, clock, options.exact, options.cmfrec)
        if rank == options.learn_rank:
            print_learnt(learn(setting, results[rank], heldout))
            print(flush=True)
    print_times(results)
    if options.picture:
        draw(
            results,
            f"One sweep of implicit ALS, {len(training) / 1e6:.1f} M pairs, {options.threads} threads",
            options.picture,
        )


if __name__ == "__main__":
    main()
