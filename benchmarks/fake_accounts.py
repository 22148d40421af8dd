"""Accounts that pushed an item, forgotten: what is left of their push in what the model tells everybody else.

    python benchmarks/fake_accounts.py DIR --document docs/forgetting.md

Fake accounts give one item their best rating, and thirty popular films ordinary good ones, as accounts do that are made
to push an item. A model is trained with them; then they are forgotten, whole. Nobody is left whose predictions for the
forgotten pairs could be compared, so that all other users' mean prediction for the pushed item is: what is left is how
far it lies from the mean of retrains that never saw the accounts, 1 being the model trained with them. Pushes that move
this mean by fewer than ten of the retrains' own deviations are passed over: there is nothing to take back.

DIR holds ml-1m.parquet. Checked before anything is printed: the retrain of the model's own seed is bit by bit the model
trained on data that never held the accounts. A minute on two processors.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from evidence_report import fill_in, table
from forgetting_cases import at_least

from forgetcli import als, unlearn
from forgetcli.config import TrainConfig
from forgetcli.ids import take_ids
from forgetcli.interactions import Interactions
from forgetcli.model import Model
from forgetcli.records import ForgetRequest
from forgetcli.tables import read_interactions

MARK = "fake_accounts"
CONFIGS = {
    "explicit": TrainConfig(factors=32, sweeps=15, reg=0.07),
    "implicit": TrainConfig.for_objective("implicit", factors=32, sweeps=15, alpha=10.0, reg=10.0),
}
ACCOUNTS = (20, 200)
RATED_BEFORE = (6, 50, 500)
"""The pushed items had about so many ratings."""

FILLERS, POPULAR = 30, 300
RETRAINS = 6
LEAST_PUSH = 10.0


def pushed(data: Interactions, accounts: int, item: int, *, best: float) -> tuple[Interactions, ForgetRequest]:
    """The data with so many fake accounts that push an item, a row number; and the request to forget them."""
    rng = np.random.default_rng(3)
    view = data.by_user
    popular = np.argsort(-data.item_counts, kind="stable")[: min(POPULAR, data.n_items)]
    popular = popular[popular != item]
    rated = [np.append(rng.choice(popular, min(FILLERS, len(popular)), replace=False), item) for _ in range(accounts)]
    least = 3 if best > 1 else 1
    values = [np.append(rng.integers(least, best + 1, len(each) - 1), best) for each in rated]
    fakes = np.arange(accounts) + int(data.users.ids.max()) + 1
    together = Interactions.from_arrays(
        np.concatenate([data.users.ids[view.row_numbers()], np.repeat(fakes, [len(each) for each in rated])]),
        np.concatenate([data.items.ids[view.indices], take_ids(data.items.ids, np.concatenate(rated))]),
        np.concatenate([view.values, np.concatenate(values).astype(np.float32)]),
    )
    return together, ForgetRequest.of(users=fakes.tolist())


def mean_prediction(model: Model, data: Interactions, item: int) -> float:
    """For an item of the data, a row number, over the data's users."""
    users = model.users.find(data.users.ids)
    items = np.full(len(users), model.items.find(data.items.ids[[item]])[0])
    return float(np.mean(model.factors.predict(users, items), dtype=np.float64))


def row(data: Interactions, config: TrainConfig, accounts: int, rated: int, threads: int) -> list[str] | None:
    """One line of the table; None where the push was too weak to tell."""
    item = int(np.argmin(np.abs(data.item_counts - rated)))
    together, request = pushed(data, accounts, item, best=float(data.by_user.values.max()))
    original = als.train(together, config, threads=threads)
    own, _ = unlearn.retrain(original, request, threads=threads)
    never = als.train(data, config, threads=threads)
    if not np.array_equal(own.factors.item.factors, never.factors.item.factors):
        raise SystemExit("the retrain is not the model that never saw the accounts")
    retrains = [unlearn.retrain(original, request, seed=1000 + seed, threads=threads)[0] for seed in range(RETRAINS)]
    figures = [mean_prediction(model, data, item) for model in retrains]
    mean, deviation = statistics.fmean(figures), statistics.stdev(figures)
    push = mean_prediction(original, data, item) - mean
    if abs(push) < LEAST_PUSH * deviation:
        return None
    step = unlearn.forget(original, request, method="response", threads=threads).model
    warm = unlearn.forget(original, request, method="sweeps", threads=threads).model
    left = [(mean_prediction(model, data, item) - mean) / push for model in (step, own, warm)]
    return [
        config.objective,
        str(accounts),
        str(int(data.item_counts[item])),
        f"{mean:.3f} → {mean + push:.3f}",
        f"± {deviation / abs(push):.3f}",
        *(f"{figure:+.3f}".replace("-", "−") for figure in left),
    ]


def rows(data: Interactions, threads: int) -> list[list[str]]:
    """All lines."""
    found = []
    for name, config in CONFIGS.items():
        some = data if name == "explicit" else at_least(data, 4.0)
        for accounts in ACCOUNTS:
            found += [row(some, config, accounts, rated, threads) for rated in RATED_BEFORE]
    return [line for line in found if line is not None]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--document", type=Path, help="Markdown file whose table between marks is replaced")
    options = parser.parse_args(arguments)
    data = read_interactions([options.directory / "ml-1m.parquet"]).interactions
    heads = ["model", "accounts", "ratings before", "mean prediction", "retrains", "step", "own seed", "5 warm sweeps"]
    text = table(heads, rows(data, options.threads))
    print(text)
    if options.document:
        fill_in(options.document, MARK, text)


if __name__ == "__main__":
    main()
