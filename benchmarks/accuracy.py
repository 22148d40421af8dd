"""Held-out accuracy beside cmfrec's and implicit's exact solvers, over several seeds.

    python -m venv /tmp/peers && /tmp/peers/bin/pip install cmfrec==3.5.1.post14 implicit==0.7.3 .
    /tmp/peers/bin/python benchmarks/accuracy.py DATA_DIR
    /tmp/peers/bin/python benchmarks/accuracy.py DATA_DIR --only gowalla --seeds 10

DATA_DIR holds ml-1m.parquet (MovieLens-1M's ratings) and gowalla.parquet (its check-ins), with the columns user, item
and rating. benchmarks/held_out.py holds out 10 % and 20 %. Each table says what is compared; every program gets the
same training pairs, and is judged on the same held-out pairs by the same function. Without a program its figures for
one seed stand in, measured with the versions above on these splits. Exits 1 when forgetcli's RMSE with biases is worse
than cmfrec's by more than 0.002, or its NDCG@20 worse than implicit's.

Half an hour on two cores, most of it cmfrec's.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

# implicit and cmfrec run their own threads and ask that BLAS be held to one; read when NumPy is loaded.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from held_out import split
from numpy.typing import NDArray
from scipy.sparse import coo_matrix

import forgetcli as fc
from forgetcli.gradient import gradients
from forgetcli.objective import Objective

SWEEPS = 15
STARS = (1.0, 5.0)
"""Predictions are clipped to the ratings' range."""
RANKS, REGS = (32, 64), (0.05, 0.07, 0.1)
RMSE_MARGIN = 0.002
"""How much worse than cmfrec's the RMSE may be; single seeds vary by about 0.001."""

RANKED, GOWALLA_RANK, ALPHA, GOWALLA_REG = 20, 64, 40.0, 10.0

CMFREC_RMSE = {
    (32, True, 0.05): 0.8543, (32, True, 0.07): 0.8488, (32, True, 0.1): 0.8587,
    (64, True, 0.05): 0.8556, (64, True, 0.07): 0.8480,
    (32, False, 0.05): 0.8580, (32, False, 0.07): 0.8539, (32, False, 0.1): 0.8654,
}  # fmt: skip
"""One seed, by rank, biases and λ: what stands in for cmfrec 3.5.1 where it is not installed."""
IMPLICIT_RANKING = {"NDCG@20": 0.1245, "precision@20": 0.1522}
"""One seed: what stands in for implicit 0.7.3 where it is not installed."""

Rows = NDArray[np.integer[Any]]
RatingFit = Callable[[int, bool, float, int], float]
"""From rank, biases, λ and seed to the held-out RMSE."""


@dataclass(frozen=True)
class Ranking:
    """What one trained model comes to.

    metrics:   by name.
    objective: what it has reached of the objective with confidence 1 + (ALPHA − 1), which implicit minimises.
    """

    metrics: dict[str, float]
    objective: float


def forgetcli_ratings(training: fc.Interactions, heldout: fc.Heldout) -> RatingFit:
    def fit(rank: int, biases: bool, reg: float, seed: int) -> float:
        config = fc.TrainConfig(factors=rank, biases=biases, reg=reg, seed=seed, sweeps=SWEEPS)
        factors = fc.train(training, config).factors
        return rmse(factors.predict(heldout.user_rows, heldout.item_rows), heldout)

    return fit


def cmfrec_ratings(training: fc.Interactions, heldout: fc.Heldout) -> RatingFit | None:
    """cmfrec's CMF by Cholesky, λ and the biases' λ times each row's count, in its default float32."""
    try:
        cmfrec = importlib.import_module("cmfrec")
    except ImportError:
        return None
    by_user = training.by_user
    rows = by_user.rows_of(np.arange(len(training)))
    ratings = coo_matrix((by_user.values, (rows, by_user.indices)), (by_user.n_rows, by_user.n_columns))

    def fit(rank: int, biases: bool, reg: float, seed: int) -> float:
        peer = cmfrec.CMF(
            k=rank,
            lambda_=reg,
            scale_lam=True,
            user_bias=biases,
            item_bias=biases,
            niter=SWEEPS,
            use_cg=False,
            random_state=seed + 1,
            verbose=False,
        )
        return rmse(peer.fit(ratings).predict(heldout.user_rows, heldout.item_rows), heldout)

    return fit


def rmse(predictions: NDArray[np.floating[Any]], heldout: fc.Heldout) -> float:
    errors = np.clip(predictions.astype(np.float64), *STARS) - heldout.values
    return float(np.sqrt(np.mean(errors * errors)))


def compare_ratings(data: Path, seeds: int) -> list[str]:
    """Prints the table of ml-1m; returns what misses its target."""
    training, heldout = split(data / "ml-1m.parquet", 0.1, "explicit")
    ours, theirs = forgetcli_ratings(training, heldout), cmfrec_ratings(training, heldout)
    print(f"\nml-1m, RMSE over {len(heldout)} held-out ratings ({heldout.left_out} of unknown items left out),")
    print(f"{SWEEPS} sweeps, mean of {seeds} seeds (lowest to highest)\n")
    print("| biases | k | λ | forgetcli | cmfrec | difference |\n|---|---|---|---|---|---|")
    misses = []
    for biases, rank, reg in product((True, False), RANKS, REGS):
        mine = [ours(rank, biases, reg, seed) for seed in range(seeds)]
        if theirs is not None:
            peer = [theirs(rank, biases, reg, seed) for seed in range(seeds)]
        else:
            peer = [CMFREC_RMSE[rank, biases, reg]] if (rank, biases, reg) in CMFREC_RMSE else []
        gap = statistics.mean(mine) - statistics.mean(peer) if peer else float("nan")
        answer = "yes" if biases else "no"
        print(f"| {answer} | {rank} | {reg} | {spread(mine)} | {spread(peer)} | {gap:+.4f} |", flush=True)
        if biases and gap > RMSE_MARGIN:
            misses.append(f"RMSE with biases at k = {rank}, λ = {reg} is worse than cmfrec's by {gap:.4f}")
    return misses


def forgetcli_ranking(training: fc.Interactions, heldout: fc.Heldout, alpha: float, seed: int) -> Ranking:
    model = fc.train(training, gowalla_config(alpha, seed))
    items = fc.recommend(model, np.unique(heldout.user_rows), RANKED).items
    metrics = ranking_metrics(items, heldout, training.n_items)
    own = fc.held_out_metrics(model, heldout)["ndcg@20"]
    if not np.isclose(metrics["NDCG@20"], own):
        raise SystemExit(f"forgetcli says NDCG@20 {own}, and the benchmark {metrics['NDCG@20']}")
    return Ranking(metrics, reached(training, model.factors))


def implicit_ranking(training: fc.Interactions, heldout: fc.Heldout, seed: int) -> Ranking | None:
    """implicit's ALS by Cholesky with alpha = ALPHA; its confidence is ALPHA itself, without the 1."""
    try:
        als = importlib.import_module("implicit.cpu.als")
    except ImportError:
        return None
    by_user = training.by_user
    seen = coo_matrix(
        (by_user.values, (by_user.rows_of(np.arange(len(training))), by_user.indices)),
        (by_user.n_rows, by_user.n_columns),
    ).tocsr()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its check of the BLAS settings cannot see the variable above
        peer = als.AlternatingLeastSquares(
            factors=GOWALLA_RANK,
            regularization=GOWALLA_REG,
            alpha=ALPHA,
            iterations=SWEEPS,
            use_cg=False,
            random_state=seed,
        )
    peer.fit(seen, show_progress=False)
    users = np.unique(heldout.user_rows)
    items, _ = peer.recommend(users, seen[users], N=RANKED, filter_already_liked_items=True)
    user, item = (fc.SideFactors.without_bias(side) for side in (peer.user_factors, peer.item_factors))
    metrics = ranking_metrics(items, heldout, training.n_items)
    return Ranking(metrics, reached(training, fc.Factors(user, item, 0.0)))


def gowalla_config(alpha: float, seed: int = 0) -> fc.TrainConfig:
    return fc.TrainConfig.for_objective(
        "implicit", factors=GOWALLA_RANK, alpha=alpha, reg=GOWALLA_REG, sweeps=SWEEPS, seed=seed
    )


def reached(training: fc.Interactions, factors: fc.Factors) -> float:
    return gradients(training, factors, Objective.of(gowalla_config(ALPHA - 1), training)).objective


def ranking_metrics(items: Rows, heldout: fc.Heldout, n_items: int) -> dict[str, float]:
    """NDCG and precision at RANKED with binary relevance, as implicit's own evaluation defines them.

    NDCG is the mean over the users who have held-out items; precision is all users' hits over all users' most
    possible hits, min(RANKED, held out).

    items: (n_users, RANKED) of those users in rising order, best first.
    """
    _, owners, counts = np.unique(heldout.user_rows, return_inverse=True, return_counts=True)
    relevant = owners.astype(np.int64) * n_items + heldout.item_rows
    hits = np.isin(np.arange(len(counts))[:, None] * n_items + items.astype(np.int64), relevant)
    discounts = 1 / np.log2(np.arange(RANKED) + 2)
    most = np.minimum(counts, RANKED)
    return {
        "NDCG@20": float(np.mean(hits @ discounts / np.cumsum(discounts)[most - 1])),
        "precision@20": float(hits.sum() / most.sum()),
    }


def compare_rankings(data: Path, seeds: int) -> list[str]:
    """Prints the table of gowalla; returns what misses its target."""
    training, heldout = split(data / "gowalla.parquet", 0.2, "implicit")
    print(f"\ngowalla, {len(heldout)} held-out check-ins ({heldout.left_out} of unknown users or items left out),")
    print(f"k = {GOWALLA_RANK}, λ = {GOWALLA_REG:g}, {SWEEPS} sweeps, mean of {seeds} seeds (lowest to highest)\n")
    print("| | confidence | NDCG@20 | precision@20 | objective at c = 40 |\n|---|---|---|---|---|")
    runs = [forgetcli_ranking(training, heldout, ALPHA, seed) for seed in range(seeds)]
    best = print_ranking(f"forgetcli, α = {ALPHA:g}", f"1 + {ALPHA:g}", runs)
    same = [forgetcli_ranking(training, heldout, ALPHA - 1, seed) for seed in range(seeds)]
    print_ranking(f"forgetcli, α = {ALPHA - 1:g}", f"1 + {ALPHA - 1:g}", same)
    peers = [run for seed in range(seeds) if (run := implicit_ranking(training, heldout, seed)) is not None]
    target = print_ranking(
        "implicit" if peers else "implicit (reference)",
        f"{ALPHA:g}",
        peers or [Ranking(IMPLICIT_RANKING, float("nan"))],
    )
    return [f"NDCG@20 {best:.4f} is worse than implicit's {target:.4f}"] if best < target else []


def print_ranking(name: str, confidence: str, runs: Sequence[Ranking]) -> float:
    """One row of the table; returns the mean NDCG@20."""
    ndcg, precision = ([run.metrics[metric] for run in runs] for metric in IMPLICIT_RANKING)
    objective = statistics.mean(run.objective for run in runs)
    print(f"| {name} | {confidence} | {spread(ndcg)} | {spread(precision)} | {objective:.6g} |", flush=True)
    return statistics.mean(ndcg)


def spread(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.4f}" if values else "–"
    return f"{statistics.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=("ml-1m", "gowalla"))
    options = parser.parse_args()
    misses = [] if options.only == "gowalla" else compare_ratings(options.data, options.seeds)
    misses += [] if options.only == "ml-1m" else compare_rankings(options.data, options.seeds)
    if misses:
        raise SystemExit("\n" + "\n".join(misses))


if __name__ == "__main__":
    main()
