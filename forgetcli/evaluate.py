"""How well a model predicts interactions that it was not trained on.

Explicit models are judged by their ratings' errors, RMSE and MAE; implicit ones by their rankings, with binary
relevance: a user's held-out items are the relevant ones. Every item that the user has in the training data is left
out of the ranking, and out of the relevant ones should it be held out as well. Users without a relevant item are left
out of the mean.

    ndcg@n:      DCG over the ideal DCG, which is that of min(n, relevant) hits at the top; the item at rank j counts
                 1 / log2(1 + j) (Järvelin & Kekäläinen 2002).
    recall@n:    hits among the first n over the number of relevant items.
    precision@n: hits among the first n over n.
    hr@n:        the share of users with a hit among the first n.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgetcli.config import TrainConfig
from forgetcli.errors import DataError
from forgetcli.interactions import Heldout, Interactions
from forgetcli.model import Factors, Model
from forgetcli.recommending import recommend

RATING_METRICS = ("rmse", "mae")
RANKING_METRICS = ("ndcg@10", "ndcg@20", "recall@20", "precision@10", "precision@20", "hr@20")
SWEEP_RANKING_METRICS = ("ndcg@10", "recall@20")
"""Those that training reports after each sweep."""

SWEEP_RANKED_USERS = 20_000
"""Users ranked after each sweep. Ranking everyone of a large model takes longer than the sweep itself; a mean over so
many users has a standard error below 0.003, and the same users are ranked every time."""

Range = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Relevant:
    """The relevant items of the users that are ranked.

    users:  (m,) int64, row numbers, increasing.
    counts: (m,) int64, the number of each one's relevant items, at least 1.
    cells:  (sum of counts,) int64, increasing: place in `users` · n_items + item.
    """

    users: NDArray[np.int64]
    counts: NDArray[np.int64]
    cells: NDArray[np.int64]
    n_items: int

    @classmethod
    def of(cls, heldout: Heldout, training: Interactions) -> Relevant:
        """The held-out items of every user that has some, without those of the training data."""
        new = training.by_user.find(heldout.user_rows, heldout.item_rows) < 0
        n_items = training.n_items
        cells = np.unique(heldout.user_rows[new].astype(np.int64) * n_items + heldout.item_rows[new])
        users, places, counts = np.unique(cells // n_items, return_inverse=True, return_counts=True)
        return cls(users, counts, places * n_items + cells % n_items, n_items)

    def take(self, places: NDArray[np.int64]) -> Relevant:
        """Those of the users at these increasing places."""
        new_place = np.full(len(self.users), -1, np.int64)
        new_place[places] = np.arange(len(places))
        owners, items = np.divmod(self.cells, self.n_items)
        kept = new_place[owners] >= 0
        cells = new_place[owners[kept]] * self.n_items + items[kept]
        return Relevant(self.users[places], self.counts[places], cells, self.n_items)

    def hits(self, items: NDArray[np.int32]) -> NDArray[np.bool_]:
        """(m, n) which of the n items listed for each user are relevant; -1 is no item."""
        listed = np.arange(len(self.users))[:, None] * self.n_items + items
        at = np.minimum(np.searchsorted(self.cells, listed), len(self.cells) - 1)
        return np.asarray((self.cells[at] == listed) & (items >= 0))


def held_out_metrics(
    model: Model,
    heldout: Heldout,
    *,
    users: NDArray[np.int64] | None = None,
    clip: Range | None = None,
    threads: int = 0,
) -> dict[str, float]:
    """RATING_METRICS of an explicit model, RANKING_METRICS of an implicit one; empty when nothing is held out.

    heldout: in the model's row numbers.
    users:   (m,) row numbers: only these users' pairs count; None is everyone's.
    clip:    the lowest and the highest rating, to which predictions are clipped. By default they are not, so that the
             figures are those of what the model holds.

    Raises DataError for an implicit model without its interactions.
    """
    if users is not None:
        heldout = _of_users(heldout, np.isin(heldout.user_rows, users))
    if model.config.objective == "explicit":
        return rating_metrics(model.factors, heldout, clip=clip)
    return ranking_metrics(model, Relevant.of(heldout, training_data(model)), RANKING_METRICS, threads=threads)


def evaluator(
    config: TrainConfig,
    training: Interactions,
    heldout: Heldout,
    *,
    clip: Range | None = None,
    threads: int = 0,
) -> Callable[[Factors], dict[str, float]]:
    """What `als.train` calls after each sweep: RATING_METRICS of an explicit model, SWEEP_RANKING_METRICS of an
    implicit one, those over at most SWEEP_RANKED_USERS users. Who they are depends on their ids alone.

    training: the data that is trained on; heldout is in its row numbers.
    """
    if config.objective == "explicit":
        return lambda factors: rating_metrics(factors, heldout, clip=clip)
    relevant = Relevant.of(heldout, training)
    keys = training.users.keys()[relevant.users]
    relevant = relevant.take(np.sort(np.argsort(keys)[:SWEEP_RANKED_USERS]))

    def evaluate(factors: Factors) -> dict[str, float]:
        model = Model(config, factors, training.users, training.items, (), training)
        return ranking_metrics(model, relevant, SWEEP_RANKING_METRICS, threads=threads)

    return evaluate


def rating_metrics(factors: Factors, heldout: Heldout, *, clip: Range | None = None) -> dict[str, float]:
    """RMSE and MAE in rating units; see `held_out_metrics`."""
    if len(heldout) == 0:
        return {}
    predictions = factors.predict(heldout.user_rows, heldout.item_rows)
    errors = (predictions if clip is None else np.clip(predictions, *clip)) - heldout.values
    return {"rmse": float(np.sqrt(np.mean(errors * errors))), "mae": float(np.mean(np.abs(errors)))}


def ranking_metrics(model: Model, relevant: Relevant, names: Sequence[str], *, threads: int = 0) -> dict[str, float]:
    """The named metrics' means over the users; empty when there is none.

    names: of ndcg, recall, precision and hr, each with its n, such as "ndcg@10".
    """
    if len(relevant.users) == 0:
        return {}
    asked = {name: (_RANKING[name.partition("@")[0]], int(name.partition("@")[2])) for name in names}
    depth = max(n for _, n in asked.values())
    hits = relevant.hits(recommend(model, relevant.users, depth, threads=threads).items)
    return {name: float(np.mean(metric(hits[:, :n], relevant.counts, n))) for name, (metric, n) in asked.items()}


def training_data(model: Model) -> Interactions:
    """The model's interactions. Raises DataError when it has none."""
    if model.interactions is None:
        raise DataError(
            "the model was saved without its interactions, and a ranking leaves out what users have seen",
            hint="use a model saved with them",
        )
    return model.interactions


def _of_users(heldout: Heldout, kept: NDArray[np.bool_]) -> Heldout:
    return Heldout(heldout.user_rows[kept], heldout.item_rows[kept], heldout.values[kept], heldout.left_out)


def _ndcg(hits: NDArray[np.bool_], counts: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    discounts = 1 / np.log2(np.arange(2, n + 2))
    ideal = np.cumsum(discounts)[np.minimum(counts, n) - 1]
    return np.asarray(np.einsum("nk,k->n", hits, discounts[: hits.shape[1]]) / ideal)


def _recall(hits: NDArray[np.bool_], counts: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    return np.asarray(hits.sum(axis=1) / counts)


def _precision(hits: NDArray[np.bool_], counts: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    return np.asarray(hits.sum(axis=1) / n)


def _hit_rate(hits: NDArray[np.bool_], counts: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    return np.asarray(hits.any(axis=1), np.float64)


_RANKING = {"ndcg": _ndcg, "recall": _recall, "precision": _precision, "hr": _hit_rate}
