"""Time the recommendations of every user against implicit's, in turns, after checking that both give the same.

    python -m venv /tmp/peers && /tmp/peers/bin/pip install implicit . && /tmp/peers/bin/python benchmarks/recommend.py
    /tmp/peers/bin/python benchmarks/recommend.py --users 20000 --rounds 5

By default MovieLens-25M's shape: 162,541 users × 59,047 items, k = 64, the top 10 without what a user has seen. The
factors are random, of about equal norm, so that forgetcli must score every pair. A trained model's items differ, and
those of small norm can be passed over: --norm-spread 1 shows that. Without implicit only forgetcli is timed. Needs
2 GB.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

# implicit runs its own threads and asks that BLAS be held to one; read when NumPy is loaded.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray

from forgetcli import _native
from forgetcli.config import TrainConfig
from forgetcli.interactions import Csr, Interactions, Vocabulary
from forgetcli.model import Factors, Model, SideFactors
from forgetcli.recommending import recommend

Items = NDArray[np.integer[Any]]
Scores = NDArray[np.floating[Any]]
Answer = Callable[[int], tuple[Items, Scores]]
"""The best items and their scores for the first so many users."""

SEEN_A_USER, POPULARITY = 136, 3.0
"""Interactions a user, about MovieLens-25M's; of N items number N · uniform ** 3 is drawn, so that the first hundredth
of them has a fifth of the interactions."""
CHECKED_USERS = 2000
SCORE_TOLERANCE = 1e-4
"""Two float32 sums of 64 products of about 1 in different orders; items this close may change places."""


def make_model(n_users: int, n_items: int, rank: int, norm_spread: float, seed: int) -> Model:
    rng = np.random.default_rng(seed)
    users, items = Vocabulary(np.arange(n_users)), Vocabulary(np.arange(n_items))
    item_rows = (n_items * rng.random(n_users * SEEN_A_USER) ** POPULARITY).astype(np.int64)
    pairs = np.unique(np.repeat(np.arange(n_users), SEEN_A_USER) * n_items + item_rows)
    indptr = np.searchsorted(pairs, np.arange(n_users + 1) * n_items)
    seen = Csr(indptr, (pairs % n_items).astype(np.int32), np.ones(len(pairs), np.float32), n_items)
    user, item = (rng.standard_normal((n, rank), np.float32) for n in (n_users, n_items))
    item *= np.exp(norm_spread * rng.standard_normal((n_items, 1), np.float32) - norm_spread**2)
    factors = Factors(SideFactors.without_bias(user), SideFactors.without_bias(item), 0.0)
    config = TrainConfig.for_objective("implicit", factors=rank)
    return Model(config, factors, users, items, (), Interactions(users, items, seen))


def forgetcli_answer(model: Model, n: int, threads: int) -> Answer:
    def answer(n_users: int) -> tuple[Items, Scores]:
        result = recommend(model, np.arange(n_users), n, threads=threads)
        return result.items, result.scores

    return answer


def implicit_answer(model: Model, n: int, threads: int) -> Answer | None:
    try:
        implicit = importlib.import_module("implicit.cpu.als")
    except ImportError:
        return None
    from scipy.sparse import csr_matrix

    assert model.interactions is not None
    by_user = model.interactions.by_user
    seen = csr_matrix((by_user.values, by_user.indices, by_user.indptr), (by_user.n_rows, by_user.n_columns))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its check of the BLAS settings cannot see the variable above
        peer = implicit.AlternatingLeastSquares(factors=model.factors.rank, num_threads=threads)
    peer.user_factors, peer.item_factors = model.factors.user.factors, model.factors.item.factors

    def answer(n_users: int) -> tuple[Items, Scores]:
        items, scores = peer.recommend(np.arange(n_users), seen[:n_users], N=n, filter_already_liked_items=True)
        return items, scores

    return answer


def check(ours: Answer, theirs: Answer, n_users: int) -> float:
    """The share of places with the same item. Raises SystemExit unless all scores agree."""
    (our_items, our_scores), (their_items, their_scores) = ours(n_users), theirs(n_users)
    gap = float(np.abs(our_scores - their_scores).max())
    if not gap <= SCORE_TOLERANCE:
        raise SystemExit(f"the answers differ: scores by {gap:.3g}")
    return float((our_items == their_items).mean())


def seconds(answer: Answer, n_users: int) -> float:
    begin = time.perf_counter()
    answer(n_users)
    return time.perf_counter() - begin


def report(name: str, times: list[float], flops: float) -> None:
    median = statistics.median(times)
    print(f"{name:10} {median:8.2f} s   ({min(times):.2f} to {max(times):.2f})   {flops / median / 1e9:6.0f} GFLOP/s")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--users", type=int, default=162_541)
    parser.add_argument("--items", type=int, default=59_047)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("-n", type=int, default=10)
    parser.add_argument("--norm-spread", type=float, default=0.0, help="of the items, a log-normal's sigma")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0 is one for each processor")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    model = make_model(options.users, options.items, options.factors, options.norm_spread, options.seed)
    answers = {"forgetcli": forgetcli_answer(model, options.n, options.threads)}
    peer = implicit_answer(model, options.n, options.threads)
    if peer is None:
        print("implicit is not installed here: pip install implicit")
    else:
        answers["implicit"] = peer
        same = check(answers["forgetcli"], peer, min(options.users, CHECKED_USERS))
        print(f"the scores agree; {same:.2%} of the places hold the same item")
    flops = 2.0 * options.users * options.items * options.factors
    print(
        f"{options.users} users × {options.items} items, k = {options.factors}, top {options.n}, "
        f"{flops / 1e12:.2f} TFLOP, {_native.instruction_set()}, {options.rounds} rounds in turns"
    )
    times: dict[str, list[float]] = {name: [] for name in answers}
    for _ in range(options.rounds):
        for name, answer in answers.items():
            times[name].append(seconds(answer, options.users))
    for name in answers:
        report(name, times[name], flops)
    if peer is not None:
        ratios = [theirs / ours for ours, theirs in zip(times["forgetcli"], times["implicit"], strict=True)]
        print(f"forgetcli is {statistics.median(ratios):.1f}× as fast ({min(ratios):.1f} to {max(ratios):.1f})")


if __name__ == "__main__":
    main()
