"""What a response step cannot know, and where it ends: training's early sweeps, and objectives.

    python benchmarks/early_sweeps.py DIR --document docs/forgetting.md
    python benchmarks/early_sweeps.py DIR --data-set ml-1m --seeds 2

Two tables. The first: a model has T sweeps, t of them with the records and the others without. How much of the memory
is left, 1 being that of the model which had them all the time and 0 that of a retrain from the same start? It is looked
for where retrains of other seeds are off the records: the own retrain's errors would pass for memory. Once from a
retrain's start, where the first sweeps shape the factors out of chance, and once from the trained factors, where all
sweeps do what the last one does: that is what a step of first order supposes of all of them, and what it gets of the
whole stands in the last line. Both are in parts of the memory that training from chance leaves. Means over seeds.

The second: the objective on what remains, after a response step and after warm sweeps that cost as much, above that of
a retrain from the same start.

DIR holds ml-100k.parquet or ml-1m.parquet. Checked before anything is printed: that t = T and t = 0 are the trained and
the retrained model bit by bit, and the objectives against what the finished factors have. ml-100k takes two minutes on
two processors.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from evidence_report import fill_in, table
from forgetting_cases import request_for
from numpy.typing import NDArray

from forgetcli import als, unlearn
from forgetcli.config import TrainConfig
from forgetcli.gradient import standing
from forgetcli.interactions import Interactions, Remaining
from forgetcli.model import Factors, Model, SideFactors
from forgetcli.objective import Objective
from forgetcli.records import ForgetRequest
from forgetcli.response import STEP_COST
from forgetcli.tables import read_interactions

MARK = "early_sweeps"
RANK, SWEEPS = 32, 15
SHARE = "10 %"
"""The request of the first table, one of `forgetting_cases.REQUESTS`."""

CONFIGS = {
    "explicit": TrainConfig(factors=RANK, sweeps=SWEEPS, reg=0.07),
    "implicit": TrainConfig.for_objective("implicit", factors=RANK, sweeps=SWEEPS, alpha=10.0, reg=10.0),
}
Direction = NDArray[np.float64]

RETRAINS = 6
"""Of other seeds, for the direction in which memory lies."""

WITH_RECORDS = (1, 3, 5, 7, 9, 11, 13, 14)
TRAINED_FOR = (5, 15, 40)
REQUESTS = ("60 half histories", "1 %", "10 %")

ROUNDING = 1e-5
"""Of an objective: a sum over the data in float64, of float32 factors."""


@dataclass(frozen=True)
class Split:
    """A request on a model's data: what is left, and the forgotten pairs whose user and item both are, in its rows."""

    data: Interactions
    remaining: Remaining
    users: NDArray[np.int64]
    items: NDArray[np.int64]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, data: Interactions, request: ForgetRequest, *, explicit: bool) -> Split:
        removal = request.resolve(data).removal
        remaining, view = data.without(removal), data.by_user
        rows = [np.full(n, -1, np.int64) for n in (data.n_users, data.n_items)]
        for places, kept in zip(rows, (remaining.user_rows, remaining.item_rows), strict=True):
            places[kept] = np.arange(len(kept))
        entries = removal.entries
        users, items = rows[0][view.rows_of(entries)], rows[1][view.indices[entries]]
        values = view.values[entries].astype(np.float64) if explicit else np.ones(len(entries))
        there = (users >= 0) & (items >= 0)
        return cls(data, remaining, users[there], items[there], values[there])

    def kept(self, factors: Factors) -> Factors:
        """Of the users and items that remain."""
        users, items = factors.user.take(self.remaining.user_rows), factors.item.take(self.remaining.item_rows)
        return Factors(users, items, factors.global_mean)

    def predictions(self, factors: Factors) -> NDArray[np.float64]:
        """Of the forgotten pairs. factors: of what remains."""
        return np.asarray(factors.predict(self.users, self.items), np.float64)


def mixed(split: Split, config: TrainConfig, start: SideFactors, t: int, threads: int) -> Factors:
    """Factors of what remains, after t sweeps with the records and the rest of them without."""
    after = split.remaining.interactions
    items, sweeps = start.take(split.remaining.item_rows), config.sweeps
    if t:
        factors, _ = als.descend(split.data, start, Objective.of(config, split.data), sweeps=t, threads=threads)
        if t == sweeps:
            return split.kept(factors)
        items = split.kept(factors).item
    return als.descend(after, items, Objective.of(config, after), sweeps=sweeps - t, threads=threads)[0]


def leanings(split: Split, config: TrainConfig, start: SideFactors, direction: Direction, threads: int) -> Direction:
    """How far the predictions of the forgotten pairs lean in a direction, for each t of `steps`, beyond t = 0."""
    found = [split.predictions(mixed(split, config, start, t, threads)) @ direction for t in (0, *steps(config))]
    return np.array(found[1:]) - found[0]


def steps(config: TrainConfig) -> list[int]:
    """The t that are looked at, T the last."""
    return [*(t for t in WITH_RECORDS if t < config.sweeps), config.sweeps]


def early(data: Interactions, config: TrainConfig, request: ForgetRequest, seeds: int, threads: int) -> list[list[str]]:
    """The rows of the first table."""
    split = Split.of(data, request, explicit=config.objective == "explicit")
    others = (dataclasses.replace(config, seed=seeds + number) for number in range(RETRAINS))
    retrains = (als.train(split.remaining.interactions, other, threads=threads) for other in others)
    direction = split.values - np.mean([split.predictions(model.factors) for model in retrains], axis=0)
    shares = []
    for seed in range(seeds):
        seeded = dataclasses.replace(config, seed=seed)
        chance, model = als.starting_items(data.items, seeded), als.train(data, seeded, threads=threads)
        if seed == 0:
            _check_ends(split, model, request, chance, threads)
        starts = chance, model.factors.item
        from_chance, from_trained = (leanings(split, seeded, start, direction, threads) for start in starts)
        shares.append((from_chance / from_chance[-1], from_trained / from_chance[-1]))
    return [
        [f"first {t}" if t < config.sweeps else f"all {t}", f"{100 * a:.1f} %", f"{100 * b:.1f} %"]
        for t, a, b in zip(steps(config), *np.mean(shares, axis=0), strict=True)
    ]


def _check_ends(split: Split, model: Model, request: ForgetRequest, start: SideFactors, threads: int) -> None:
    """That none and all of the sweeps with the records are the retrained and the trained model."""
    retrained, _ = unlearn.retrain(model, request, threads=threads)
    for t, expected in ((model.config.sweeps, split.kept(model.factors)), (0, retrained.factors)):
        found = mixed(split, model.config, start, t, threads)
        for ours, theirs in ((found.user, expected.user), (found.item, expected.item)):
            if not np.array_equal(ours.factors, theirs.factors):
                raise SystemExit(f"{t} sweeps with the records are not the model that training makes")


def objectives(
    data: Interactions, config: TrainConfig, request: ForgetRequest, seeds: int, threads: int
) -> tuple[list[float], list[float], int]:
    """How far above a retrain's the objective on what remains is, relatively, after the step and after warm sweeps of
    its cost, for each seed; and how many those are."""
    above: tuple[list[float], list[float]] = ([], [])
    same_cost = 0
    for seed in range(seeds):
        model = als.train(data, dataclasses.replace(config, seed=seed), threads=threads)
        step = unlearn.forget(model, request, method="response", threads=threads)
        same_cost = round(STEP_COST + step.sweeps - 1)
        warm = unlearn.forget(model, request, method="sweeps", sweeps=same_cost, threads=threads)
        retrained, _ = unlearn.retrain(model, request, threads=threads)
        floor = _objective(retrained, threads)
        for figures, result in zip(above, (step, warm), strict=True):
            figures.append(_objective(result.model, threads) / floor - 1)
    return *above, same_cost


def _objective(model: Model, threads: int) -> float:
    assert model.interactions is not None
    objective = Objective.of(model.config, model.interactions)
    value = standing(model.interactions, model.factors, objective, threads=threads).objective
    told = model.history[-1].objective
    if told is None or abs(told - value) > ROUNDING * value:
        raise SystemExit(f"the objective is {value}, and the history has {told}")
    return value


def measure(data: Interactions, configs: dict[str, TrainConfig], seeds: int, threads: int) -> str:
    """Both tables."""
    parts = []
    for name, config in configs.items():
        _say(f"{name}: {config.sweeps} sweeps, some of them with the records")
        head = (f"{name}: sweeps with the records", "from chance", "from the trained factors")
        parts.append(table(head, early(data, config, request_for(SHARE, data), seeds, threads)))
    rows = []
    for name, config in configs.items():
        for wanted in REQUESTS:
            for sweeps in TRAINED_FOR:
                _say(f"{name}, {wanted}, T = {sweeps}")
                trained = dataclasses.replace(config, sweeps=sweeps)
                step, warm, number = objectives(data, trained, request_for(wanted, data), seeds, threads)
                cells = [f"{100 * statistics.mean(figures):+.2f} %".replace("-", "−") for figures in (step, warm)]
                rows.append([f"{name}, {wanted}", str(sweeps), cells[0], cells[1], str(number)])
    parts.append(table(("objective above a retrain's", "T", "response step", "warm sweeps", "so many"), rows))
    return "\n\n".join(parts) + "\n"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path, metavar="DIR", help="where the Parquet files are")
    parser.add_argument("--data-set", default="ml-100k", metavar="NAME", help="NAME.parquet (default: ml-100k)")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--document", type=Path, metavar="FILE", help="Markdown, whose part between marks is replaced")
    parser.add_argument("--threads", type=int, default=0, help="0 is one for each processor")
    return parser.parse_args(given)


def main() -> None:
    options = arguments()
    data = read_interactions([options.data / f"{options.data_set}.parquet"]).interactions
    text = measure(data, CONFIGS, options.seeds, options.threads)
    print(text)
    if options.document:
        fill_in(options.document, MARK, text)


if __name__ == "__main__":
    main()
