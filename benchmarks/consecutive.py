"""Many small requests, one after the other, beside one large request for the same records, and beside retrains.

    python benchmarks/consecutive.py ratings.parquet --requests 200 --pairs 10

Each request names a few pairs at random; users and items that would lose their last pair are passed over, since what is
measured needs both. Of the records forgotten up to a point it says how much is left in the model that forgot them
request by request, in one that forgot them at once, and in retrains without them: 0 is as if never seen, 1 as if never
forgotten. Beside it stand the distance of the predictions on what remains from the retrains' mean, and the error on 5 %
held out. A model that drifts from request to request shows it in these figures before anybody's recommendations do.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forgetcli import unlearn
from forgetcli.als import train
from forgetcli.config import TrainConfig
from forgetcli.ids import take_ids
from forgetcli.interactions import Heldout, Interactions, split_holdout
from forgetcli.model import Model
from forgetcli.records import ForgetRequest
from forgetcli.tables import read_interactions

HELD_OUT = 0.05
REMAINING_PAIRS = 20_000
"""Of what remains, for the distance of predictions."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=10, help="of a request")
    parser.add_argument("--retrains", type=int, default=6)
    parser.add_argument("--factors", type=int, default=32)
    parser.add_argument("--reg", type=float, default=0.07)
    parser.add_argument("--objective", choices=("explicit", "implicit"), default="explicit")
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    config = TrainConfig.for_objective(arguments.objective, factors=arguments.factors, reg=arguments.reg)
    data, held_out = split_holdout(read_interactions(arguments.data).interactions, HELD_OUT, seed=0)
    original = train(data, config, threads=arguments.threads)
    entries = chosen_entries(data, arguments.requests * arguments.pairs)
    print("| requests | records | memory: one by one | at once | retrains | distance: one by one | at once | retrains |"
          " RMSE: one by one | at once | retrains | seconds: one by one | at once |")  # fmt: skip
    print("|" + "---|" * 13)
    model, seconds = original, 0.0
    for number in range(1, arguments.requests + 1):
        request = request_of(data, entries[(number - 1) * arguments.pairs : number * arguments.pairs])
        began = time.perf_counter()
        model = unlearn.forget(model, request, method="response", threads=arguments.threads).model
        seconds += time.perf_counter() - began
        if number in {1, 10, 50, 100, arguments.requests}:
            forgotten = entries[: number * arguments.pairs]
            began = time.perf_counter()
            at_once = unlearn.forget(
                original, request_of(data, forgotten), method="response", threads=arguments.threads
            )
            once_seconds = time.perf_counter() - began
            retrains = [
                unlearn.retrain(original, request_of(data, forgotten), seed=seed, threads=arguments.threads)[0]
                for seed in range(1, arguments.retrains + 1)
            ]
            figures = row(data, held_out, forgotten, original, [model, at_once.model], retrains)
            print(f"| {number} | {len(forgotten):,} | {figures} | {seconds:.2f} | {once_seconds:.2f} |", flush=True)


def chosen_entries(data: Interactions, count: int) -> NDArray[np.int64]:
    """Entries at random, in random order; no user's and no item's last one is among them."""
    view = data.by_user
    users, items = view.row_numbers(), view.indices
    left_of_user, left_of_item = view.row_counts(), view.column_counts()
    chosen = []
    for entry in np.random.default_rng(0).permutation(view.nnz):
        if left_of_user[users[entry]] > 1 and left_of_item[items[entry]] > 1:
            left_of_user[users[entry]] -= 1
            left_of_item[items[entry]] -= 1
            chosen.append(int(entry))
            if len(chosen) == count:
                break
    return np.array(chosen)


def request_of(data: Interactions, entries: NDArray[np.int64]) -> ForgetRequest:
    users, items = data.by_user.rows_of(entries), data.by_user.indices[entries]
    nothing = np.zeros(0, np.int64)
    return ForgetRequest(take_ids(data.users.ids, users), take_ids(data.items.ids, items), nothing, nothing)


def row(
    data: Interactions,
    held_out: Heldout,
    forgotten: NDArray[np.int64],
    original: Model,
    unlearned: list[Model],
    retrains: list[Model],
) -> str:
    """The figures of two unlearned models, and of the retrains their mean and standard deviation."""
    view = data.by_user
    at_forgotten = [predictions(model, data, forgotten) for model in (original, *unlearned, *retrains)]
    values = (
        view.values[forgotten]
        if data is not None and original.config.objective == "explicit"
        else np.ones(len(forgotten))
    )
    others = np.setdiff1d(np.random.default_rng(1).choice(view.nnz, REMAINING_PAIRS), forgotten)
    at_others = [predictions(model, data, others) for model in (*unlearned, *retrains)]

    def memory(place: int) -> float:
        mean = np.mean([p for at, p in enumerate(at_forgotten) if at > len(unlearned) and at != place], axis=0)
        direction = values - mean
        return float((at_forgotten[place] - mean) @ direction / ((at_forgotten[0] - mean) @ direction))

    def distance(place: int) -> float:
        mean = np.mean([p for at, p in enumerate(at_others) if at >= len(unlearned) and at != place], axis=0)
        return float(np.sqrt(np.mean((at_others[place] - mean) ** 2)))

    def error(model: Model) -> float:
        predicted = model.factors.predict(held_out.user_rows, held_out.item_rows)
        return float(np.sqrt(np.mean((predicted - held_out.values) ** 2)))

    count = len(unlearned)
    cells = []
    for figures in (
        [memory(1 + place) for place in range(count + len(retrains))],
        [distance(place) for place in range(count + len(retrains))],
        [error(model) for model in (*unlearned, *retrains)],
    ):
        spread = figures[count:]
        cells += [f"{figure:.4f}" for figure in figures[:count]]
        cells.append(f"{np.mean(spread):.4f} ± {np.std(spread, ddof=1):.4f}")
    return " | ".join(cells)


def predictions(model: Model, data: Interactions, entries: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of the model, at entries of the data; nobody has disappeared from it."""
    assert len(model.users) == data.n_users
    assert len(model.items) == data.n_items
    return model.factors.predict(data.by_user.rows_of(entries), data.by_user.indices[entries])


if __name__ == "__main__":
    main()
