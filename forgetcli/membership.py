"""Membership inference: can an attacker tell forgotten pairs from pairs that were never there?

Every forgotten pair is set against a matched one: the same user, an item of like popularity, never seen. The attacker
scores both, and the area under the ROC curve (AUC) is the chance that the forgotten one scores higher: 0.5 is blind
(Shokri et al. 2017; for recommenders Zhang et al. 2021). People choose what they like, so the attack succeeds against
a model that never saw the pairs as well; only what goes beyond that is memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgetcli.common import Pairs
from forgetcli.csr import Csr
from forgetcli.model import Factors

ATTACKED_PAIRS = 10_000
"""Forgotten pairs that are attacked, a sample of more: an AUC then has a standard error of about 0.004."""

REPLICATES = 1_000
"""Of the bootstrap: usual for the 2.5 % and 97.5 % points of a distribution (Efron & Tibshirani 1993, ch. 13)."""

_WINDOW = 0.01
"""An item is of like popularity when it is within this fraction of all items in the order of popularity, at first."""

_ROUNDS_A_WINDOW, _WINDOWS = 8, 8
"""Draws before the window doubles, and how many windows are tried: the last takes in all items."""


@dataclass(frozen=True, eq=False)
class MatchedPairs:
    """Forgotten pairs, each with an item that its user never had, in the rows of a `revival.Scene`.

    users:   (n,) int64.
    items:   (n,) int64, forgotten.
    others:  (n,) int64, never seen; no two alike for one user.
    values:  (n,) float64, the forgotten pairs' values: what the attacker takes both for.
    unmatched: forgotten pairs that were left out, since their user has seen every item that would match.
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    others: NDArray[np.int64]
    values: NDArray[np.float64]
    unmatched: int

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True, eq=False)
class AttackScores:
    """What an attacker makes of the forgotten pairs and of their matches, (n,) each; higher is more likely seen."""

    forgotten: NDArray[np.float64]
    others: NDArray[np.float64]

    def __sub__(self, other: AttackScores) -> AttackScores:
        return AttackScores(self.forgotten - other.forgotten, self.others - other.others)


def match_pairs(seen: Csr, forgotten: Pairs, values: NDArray[np.float64], rng: np.random.Generator) -> MatchedPairs:
    """Matches at most ATTACKED_PAIRS of the forgotten pairs.

    seen:   the remaining interactions, users × items.
    values: (n,), the forgotten pairs'.

    An item's popularity is its number of interactions before forgetting. Candidates are drawn from the items next in
    popularity, those that the user has or had are refused, and the neighbourhood grows for the few that find none.
    """
    chosen = np.sort(rng.choice(len(forgotten), min(ATTACKED_PAIRS, len(forgotten)), replace=False))
    users, items = forgotten.users[chosen], forgotten.items[chosen]
    n_items = seen.n_columns
    counts = seen.column_counts() + np.bincount(forgotten.items, minlength=n_items)
    by_popularity = np.argsort(counts, kind="stable")
    place = np.empty(n_items, np.int64)
    place[by_popularity] = np.arange(n_items)
    had = np.sort(forgotten.users * n_items + forgotten.items)
    others = np.full(len(chosen), -1, np.int64)
    for window in np.repeat(np.ceil(n_items * _WINDOW * 2.0 ** np.arange(_WINDOWS)).astype(np.int64), _ROUNDS_A_WINDOW):
        open_pairs = np.flatnonzero(others < 0)
        if len(open_pairs) == 0:
            break
        low = np.maximum(place[items[open_pairs]] - window, 0)
        high = np.minimum(place[items[open_pairs]] + window, n_items - 1)
        drawn = by_popularity[rng.integers(low, high, endpoint=True)]
        cells = users[open_pairs] * n_items + drawn
        taken = np.union1d(had, (users * n_items + others)[others >= 0])
        new = (seen.find(users[open_pairs], drawn) < 0) & ~np.isin(cells, taken)
        _, first = np.unique(cells, return_index=True)
        accepted = np.intersect1d(np.flatnonzero(new), first)
        others[open_pairs[accepted]] = drawn[accepted]
    found = others >= 0
    unmatched = int(np.count_nonzero(~found))
    return MatchedPairs(users[found], items[found], others[found], values[chosen][found], unmatched)


def kept_pairs(
    seen: Csr, pairs: MatchedPairs, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Users, items and values of pairs that remain: for each attacked pair one of the same user, drawn from all that
    the user has left. Fewer where users have none."""
    counts = seen.row_counts()[pairs.users]
    drawn = np.floor(rng.random(len(pairs)) * counts).astype(np.int64)
    users, entries = pairs.users[counts > 0], (seen.indptr[pairs.users] + drawn)[counts > 0]
    return users, seen.indices[entries].astype(np.int64), seen.values_at(entries).astype(np.float64)


def attack_scores(factors: Factors, pairs: MatchedPairs, *, explicit: bool) -> AttackScores:
    """An attacker with the model alone. Against an explicit model it claims to know the rating, and takes a pair for
    seen that the model predicts close to it; against an implicit one it goes by the prediction.

    An attacker who also holds the original model scores by the original's score less the released one's.
    """
    scores = [factors.predict(pairs.users, items) for items in (pairs.items, pairs.others)]
    if explicit:
        scores = [-np.abs(pairs.values - predictions) for predictions in scores]
    return AttackScores(*scores)


def auc(scores: AttackScores) -> float:
    """The share of (forgotten, other) combinations in which the forgotten one scores higher, ties counting half (Mann
    & Whitney 1947)."""
    below, up_to, _ = _ranks(scores)
    n = len(scores.forgotten)
    return float((below.sum() + up_to.sum()) / (2 * n * n))


def bootstrap_aucs(
    attacks: Sequence[AttackScores], users: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """(REPLICATES, attacks) the AUCs of attacks on the same pairs, users drawn with replacement: a user's pairs are
    not independent, and the same draw for all attacks makes their differences comparable.

    users: (n,), of each pair.
    """
    people, owners = np.unique(users, return_inverse=True)
    ranked = [(below, up_to, owners[order]) for below, up_to, order in map(_ranks, attacks)]
    aucs = np.empty((REPLICATES, len(attacks)))
    for replicate in range(REPLICATES):
        times = np.bincount(rng.integers(len(people), size=len(people)), minlength=len(people)).astype(np.float64)
        weights = times[owners]
        for attack, (below, up_to, other_owners) in enumerate(ranked):
            mass = np.concatenate([[0.0], np.cumsum(times[other_owners])])
            aucs[replicate, attack] = weights @ (mass[below] + mass[up_to]) / (2 * mass[-1] ** 2)
    return aucs


def _ranks(scores: AttackScores) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """For each forgotten pair (n,) how many of the others score lower, and lower or equal; and the (n,) others in
    rising order."""
    order = np.argsort(scores.others, kind="stable")
    rising = scores.others[order]
    below = np.searchsorted(rising, scores.forgotten, side="left")
    return below, np.searchsorted(rising, scores.forgotten, side="right"), order
