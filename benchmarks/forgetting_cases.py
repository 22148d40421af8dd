"""What `forgetting.py` measures: models of real interactions, and requests to forget some of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forgetcli.config import TrainConfig
from forgetcli.ids import take_ids
from forgetcli.interactions import Heldout, Interactions, split_holdout
from forgetcli.records import ForgetRequest
from forgetcli.tables import read_interactions

HELD_OUT = 0.05
RANK = 32
HALF_HISTORIES, SINGLE_RECORDS = 60, 100
HISTORIES, LEFT_OF_HISTORY, LEAST_OF_HISTORY = 20, 3, 10
"""Whole histories but for a few interactions: the user must survive for the forgotten pairs to have a prediction."""

LEFT_OF_POPULAR = 20
"""Interactions that the popular item keeps: the item must survive for its forgotten pairs to have a prediction."""

RARE_ITEMS, LEAST_OF_RARE, RARE_CANDIDATES = 10, 8, 200
"""So many items are drawn from those with the fewest interactions, but at least eight, and keep one each."""

Entries = NDArray[np.int64]
"""Positions in `Interactions.by_user`."""


@dataclass(frozen=True)
class Setting:
    """A data set and how it is learnt.

    dataset: the name of its Parquet file.
    liked:   only interactions of at least this value are kept, all as 1; None keeps all with their values.
    """

    title: str
    dataset: str
    config: TrainConfig
    liked: float | None = None

    def of_rank(self, rank: int) -> Setting:
        """With so many factors, and a title that says so where they are others."""
        if rank == self.config.factors:
            return self
        config = dataclasses.replace(self.config, factors=rank)
        return dataclasses.replace(self, title=f"{self.title}, k = {rank}", config=config)

    def read(self, directory: Path) -> tuple[Interactions, Heldout]:
        """Training data and what is held out of it."""
        data = read_interactions([directory / f"{self.dataset}.parquet"]).interactions
        return split_holdout(data if self.liked is None else at_least(data, self.liked), HELD_OUT, seed=0)


def _explicit(reg: float, biases: bool) -> Setting:
    config = TrainConfig(factors=RANK, reg=reg, biases=biases)
    return Setting(f"ml-1m, explicit, λ = {reg}, {'with' if biases else 'no'} biases", "ml-1m", config)


def _implicit(title: str, dataset: str, alpha: float, liked: float | None = None) -> Setting:
    config = TrainConfig.for_objective("implicit", factors=RANK, alpha=alpha, reg=10.0)
    return Setting(f"{title}, implicit, α = {alpha:g}, λ = 10", dataset, config, liked)


SETTINGS = (
    _explicit(0.05, biases=False),
    _explicit(0.05, biases=True),
    _explicit(0.1, biases=False),
    _explicit(0.1, biases=True),
    _implicit("ml-1m (at least 4)", "ml-1m", 10.0, liked=4.0),
    _implicit("gowalla", "gowalla", 10.0),
    _implicit("mtg-player (counts)", "mtg-player", 1.0),
)
"""With α = 10 a liked film or a check-in has the confidence 11; a card's count is its own strength."""

DATASETS = tuple(dict.fromkeys(setting.dataset for setting in SETTINGS))


def at_least(data: Interactions, least: float) -> Interactions:
    view = data.by_user
    kept = view.values >= least
    return Interactions.from_pairs(
        data.users,
        data.items,
        view.row_numbers()[kept].astype(np.int32),
        view.indices[kept],
        np.ones(int(kept.sum()), np.float32),
    )


def single_records(data: Interactions, rng: np.random.Generator) -> Entries:
    """One record each of a hundred users."""
    view = data.by_user
    users = rng.choice(data.n_users, SINGLE_RECORDS, replace=False)
    return view.indptr[users] + rng.integers(view.row_counts()[users])


def half_histories(data: Interactions, rng: np.random.Generator) -> Entries:
    """Every other record, at random, of sixty users with at least four."""
    users = rng.choice(np.flatnonzero(data.by_user.row_counts() >= 4), HALF_HISTORIES, replace=False)
    entries = data.by_user.entries_of_rows(np.sort(users))
    return entries[rng.random(len(entries)) < 0.5]


def histories(data: Interactions, rng: np.random.Generator) -> Entries:
    """All but three records, at random, of twenty users with at least ten."""
    users = rng.choice(np.flatnonzero(data.by_user.row_counts() >= LEAST_OF_HISTORY), HISTORIES, replace=False)
    return np.concatenate(
        [rng.permutation(data.by_user.entries_of_rows(np.array([user])))[LEFT_OF_HISTORY:] for user in users.tolist()]
    )


def at_random(share: float) -> Callable[[Interactions, np.random.Generator], Entries]:
    """Each record with this chance."""
    return lambda data, rng: np.flatnonzero(rng.random(len(data)) < share)


def popular_item(data: Interactions, rng: np.random.Generator) -> Entries:
    """The most popular item's records, but for a few that stay."""
    entries = data.by_user.entries_of_columns(np.array([np.argmax(data.item_counts)]))
    return rng.permutation(entries)[LEFT_OF_POPULAR:]


def rare_items(data: Interactions, rng: np.random.Generator) -> Entries:
    """Ten rare items' records, but for one each that stays."""
    order = np.argsort(data.item_counts, kind="stable")
    candidates = order[data.item_counts[order] >= LEAST_OF_RARE][:RARE_CANDIDATES]
    items = rng.choice(candidates, RARE_ITEMS, replace=False)
    return np.concatenate(
        [rng.permutation(data.by_user.entries_of_columns(np.array([item])))[1:] for item in items.tolist()]
    )


REQUESTS: dict[str, Callable[[Interactions, np.random.Generator], Entries]] = {
    "100 records": single_records,
    "60 half histories": half_histories,
    "1 %": at_random(0.01),
    "2 %": at_random(0.02),
    "5 %": at_random(0.05),
    "10 %": at_random(0.1),
    "popular item": popular_item,
    "10 rare items": rare_items,
    "20 histories": histories,
}


def request_for(name: str, data: Interactions) -> ForgetRequest:
    """The request of this name: the same one each time, for the same data."""
    entries = np.sort(REQUESTS[name](data, np.random.default_rng(list(REQUESTS).index(name))))
    view = data.by_user
    pairs = take_ids(data.users.ids, view.rows_of(entries)), take_ids(data.items.ids, view.indices[entries])
    return ForgetRequest(*pairs, *(ForgetRequest.of().users, ForgetRequest.of().items))
