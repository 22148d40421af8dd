"""Time exact ALS sweeps against what the machine can do: its matrix product's arithmetic and its memory.

    python benchmarks/synthetic.py -o /tmp/synth25m.parquet
    python benchmarks/roofline.py /tmp/synth25m.parquet
    python benchmarks/roofline.py /tmp/synth25m.parquet --ranks 64 --dtypes float32 --kinds explicit --clock processor

A sweep at rank k does Σ_rows n k (k + 1) + k³ / 3 multiplications and additions at least (n entries in a row, both
sides): what has to be done, so that padding, a bias's additional column and anything computed twice count as loss. It
reads a row of k factors, an index and a value for each entry, twice. The rate of that arithmetic is compared with
NumPy's matrix product of 3000 × 3000 in the same dtype, measured before and after each sweep, and the bytes with
NumPy's `take` of the same rows into a small buffer, by as many threads. What takes longer of the two bounds the sweep.

Before a time is printed, rows of each side are solved anew in float64 by NumPy and compared.

--clock processor counts the processor time of all threads over their number instead of the wall time, for a machine
that others use too (set OPENBLAS_NUM_THREADS=1: the waiting threads of a matrix product count as busy).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import forgetcli as fc
from forgetcli import als
from forgetcli.interactions import Csr
from forgetcli.model import SideFactors
from forgetcli.objective import Objective

RANKS = (16, 32, 33, 48, 64, 96, 128, 256)
KINDS = ("explicit", "biased", "implicit")
"""Without biases, with them (one more column), and with confidences and a dense Gram."""
PRODUCT_SIZE, PRODUCT_RUNS = 3000, 3
PAUSE = 0.1
"""Seconds after a product: its threads wait for more in a busy loop."""
GATHER_ROWS = 512
"""Rows that are taken at a time: the buffer stays in a core's own cache."""
CHECKED_ROWS = 40
TOLERANCE = {"float32": 2e-3, "float64": 1e-9}
"""Of a solution's norm: a row's normal equations have a condition of at most some thousands here."""


@dataclass(frozen=True)
class Clock:
    """Seconds, by the wall or of this process's threads over their number."""

    name: str
    threads: int

    def now(self) -> float:
        return time.perf_counter() if self.name == "wall" else time.process_time() / self.threads

    def of(self, work: Callable[[], object]) -> float:
        begin = self.now()
        work()
        return self.now() - begin


def configuration(kind: str, rank: int, dtype: str) -> fc.TrainConfig:
    if kind == "implicit":
        return fc.TrainConfig(objective="implicit", factors=rank, dtype=dtype, biases=False)
    return fc.TrainConfig(factors=rank, dtype=dtype, biases=kind == "biased")


def flops(view: Csr, k: int) -> float:
    return len(view.indices) * k * (k + 1) + len(view.indptr) * k**3 / 3


def product_rate(dtype: str, clock: Clock) -> float:
    """Flops a second of NumPy's matrix product by `clock.threads` threads; by one, times their number, for processor
    time."""
    a = np.random.default_rng(0).random((PRODUCT_SIZE, PRODUCT_SIZE)).astype(dtype)
    a @ a
    return 2 * PRODUCT_SIZE**3 / statistics.median(clock.of(lambda: a @ a) for _ in range(PRODUCT_RUNS))


def gather_rate(view: Csr, table: NDArray[Any], clock: Clock) -> float:
    """Bytes a second of copying the rows of `table` that up to 4 million entries stand for, by all threads."""
    indices = view.indices[:4_000_000].astype(np.intp)
    share = (len(indices) + clock.threads - 1) // clock.threads

    def copy(first: int) -> None:
        buffer = np.empty((GATHER_ROWS, table.shape[1]), table.dtype)
        for at in range(first, min(first + share, len(indices)), GATHER_ROWS):
            some = indices[at : at + GATHER_ROWS]
            table.take(some, axis=0, out=buffer[: len(some)], mode="clip")

    with ThreadPoolExecutor(clock.threads) as pool:
        seconds = clock.of(lambda: list(pool.map(copy, range(0, len(indices), share))))
    return len(indices) * table.shape[1] * table.itemsize / seconds


def check(view: Csr, other: SideFactors, solved: SideFactors, objective: Objective) -> None:
    """Raises SystemExit unless some rows are what NumPy makes of their normal equations in float64."""
    x = other.factors.astype(np.float64)
    k = x.shape[1]
    gram = objective.background * (x.T @ x)
    if objective.biases:
        x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    counts = view.row_counts()
    ridges = objective.row_scales(counts)
    for row in np.unique(np.linspace(0, len(counts) - 1, CHECKED_ROWS).astype(int)):
        entries = slice(view.indptr[row], view.indptr[row + 1])
        own, values = x[view.indices[entries]], view.values[entries].astype(np.float64)
        confidence = objective.confidence[0] * values + objective.confidence[1]
        target = objective.target[0] * values + objective.target[1]
        if objective.biases:
            target = target - other.bias[view.indices[entries]]
        lhs = own.T @ (own * (confidence - objective.background)[:, None]) + ridges[row] * np.eye(x.shape[1])
        if objective.background:
            lhs[:k, :k] += gram
        expected = np.linalg.solve(lhs, own.T @ (confidence * target)) if len(values) else np.zeros(x.shape[1])
        actual = np.append(solved.factors[row], solved.bias[row : row + 1] if objective.biases else [])
        tolerance = TOLERANCE[str(solved.factors.dtype)] * max(float(np.linalg.norm(expected)), 1e-3)
        if float(np.linalg.norm(actual - expected)) > tolerance:
            raise SystemExit(f"row {row}, k = {k}, {solved.factors.dtype}: {actual} instead of {expected}")


@dataclass(frozen=True)
class Measured:
    """Sweeps of one kind, rank and dtype.

    seconds:   of each sweep.
    work:      flops of a sweep.
    gathered:  bytes of a sweep.
    products:  flops a second of the matrix products measured around the sweeps.
    gathering: bytes a second of gathering alone, mean of the two sides by time.
    """

    kind: str
    rank: int
    dtype: str
    seconds: list[float]
    work: float
    gathered: float
    products: list[float]
    gathering: float

    def line(self) -> str:
        seconds, product = statistics.median(self.seconds), statistics.median(self.products)
        bounds = {"arithmetic": self.work / product, "gather": self.gathered / self.gathering}
        bound = max(bounds, key=bounds.__getitem__)
        cells = (
            self.kind,
            f"k = {self.rank}",
            self.dtype,
            f"{seconds:.2f} ({min(self.seconds):.2f} to {max(self.seconds):.2f})",
            f"{self.work / 1e9:.0f}",
            f"{self.work / seconds / 1e9:.0f}",
            f"{product / 1e9:.0f}",
            f"**{100 * self.work / seconds / product:.0f} %**",
            f"{self.gathered / 1e9:.1f}",
            f"{self.gathered / seconds / 1e9:.1f}",
            f"{self.gathering / 1e9:.1f}",
            f"{bound}, {100 * bounds[bound] / seconds:.0f} %",
        )
        return "| " + " | ".join(cells) + " |"


HEAD = (
    "| objective | rank | dtype | s a sweep | GFLOP | GFLOP/s | product's GFLOP/s | share of it | GB gathered | GB/s "
    "| `take`'s GB/s | bound, share of its rate |\n" + "|---" * 12 + "|"
)


def measure(data: fc.Interactions, kind: str, rank: int, dtype: str, runs: int, clock: Clock) -> Measured:
    config = configuration(kind, rank, dtype)
    objective = Objective.of(config, data)
    items = als.starting_items(data.items, config)
    als.sweep(data, items, objective, threads=clock.threads)  # brings both views, memory and caches into use
    seconds, products = [], []
    for _ in range(runs):
        products.append(product_rate(dtype, clock))
        time.sleep(PAUSE)
        begin = clock.now()
        users = als.half_sweep(data.by_user, items, objective, threads=clock.threads).side
        solved = als.half_sweep(data.by_item, users, objective, threads=clock.threads).side
        seconds.append(clock.now() - begin)
        products.append(product_rate(dtype, clock))
        check(data.by_user, items, users, objective)
        check(data.by_item, users, solved, objective)
        items = solved
    rates = [gather_rate(view, side.factors, clock) for view, side in ((data.by_user, items), (data.by_item, users))]
    entry = rank * np.dtype(dtype).itemsize + data.by_user.indices.itemsize + data.by_user.stored.itemsize
    return Measured(
        kind,
        rank,
        dtype,
        seconds,
        flops(data.by_user, rank) + flops(data.by_item, rank),
        2.0 * len(data) * entry,
        products,
        statistics.harmonic_mean(rates),
    )


def plan(options: argparse.Namespace) -> Iterator[tuple[str, int, str]]:
    for dtype in options.dtypes:
        for kind in options.kinds:
            for rank in options.ranks:
                yield kind, rank, dtype


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path, metavar="DATA", help="Parquet, as benchmarks/synthetic.py makes it")
    parser.add_argument("--ranks", type=int, nargs="+", default=RANKS)
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "float64"), default=("float32", "float64"))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    data = fc.read_interactions(options.data).interactions
    clock = Clock(options.clock, options.threads)
    print(
        f"{len(data):,} ratings, {len(data.users):,} users × {len(data.items):,} items, {options.threads} threads, "
        f"{options.clock} time, {options.runs} sweeps each: median (lowest to highest)\n\n{HEAD}"
    )
    for kind, rank, dtype in plan(options):
        print(measure(data, kind, rank, dtype, options.runs, clock).line(), flush=True)


if __name__ == "__main__":
    main()
