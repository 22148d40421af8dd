"""What of a figure is the response step's, and what the seed's: steps beside retrains of the same seeds.

    python benchmarks/own_seeds.py DIR --document docs/evidence.md
    python benchmarks/own_seeds.py DIR --cases "ml-100k, 1 % of records" --seeds 12 --retrains 24

A model keeps its seed's peculiarities when it forgets, and a retrain from the same start has them as well. So each case
is repeated with several seeds of the original model: the memory after the response step, and that of a retrain of the
same seed, in standard deviations of other retrains from their mean. A retrain never saw the records: what it shows is
chance. What the two differ by is the step's. The cases are those of `unlearn_als.py` and `recommender_unlearning.py`
that lay outside the band. DIR holds ml-100k.parquet, ml-1m.parquet and gowalla.parquet; a case without its file is
passed over. It takes five minutes on two processors, and 2 GB.
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
import recommender_unlearning
import unlearn_als
from evidence import FEWEST_RETRAINS, FIRST_SEED, Case, hold_out_cells, liked, whole_users
from evidence_report import fill_in, table
from numpy.typing import NDArray

from forgetcli import als, unlearn
from forgetcli.interactions import Heldout, Interactions, split_holdout
from forgetcli.model import Factors
from forgetcli.records import ForgetRequest
from forgetcli.tables import read_interactions

CASES = (
    ("ml-100k", "1 % of records"),
    ("ml-100k", "20 % of records"),
    ("ml-1m", "1 % of records"),
    ("ml-1m", "5 % of users"),
    ("gowalla", "edge"),
)
NAMES = [", ".join(case) for case in CASES]
MARK = "own_seeds"

Predictions = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """One case. band: the retrains' mean and deviation, of the memory; steps, retrains: a figure for each seed, in
    deviations from that mean."""

    name: str
    band: tuple[float, float]
    steps: list[float]
    retrains: list[float]


def read(directory: Path, dataset: str, name: str) -> tuple[Interactions, ForgetRequest]:
    """The training data and the request of a case, as its own benchmark makes them."""
    data = read_interactions([directory / f"{dataset}.parquet"]).interactions
    if name in unlearn_als.REQUESTS:
        training, _ = hold_out_cells(liked(data, unlearn_als.LIKED), unlearn_als.HELD_OUT, np.random.default_rng(0))
        return training, unlearn_als.request_for(name, training)
    training, _ = split_holdout(liked(data, None), recommender_unlearning.HELD_OUT, seed=0)
    return training, whole_users(training, recommender_unlearning.users_of(name, training))


def measure(directory: Path, case: tuple[str, str], seeds: int, retrains: int, threads: int) -> Outcome:
    """One case, for originals of the seeds from 0."""
    training, request = read(directory, *case)
    config = (unlearn_als if case[1] in unlearn_als.REQUESTS else recommender_unlearning).CONFIG
    none = np.zeros(0, np.int32)
    nobody = Heldout(none, none, none.astype(np.float32), 0)
    yardstick: list[Predictions] = []
    bands, steps, twins = [], [], []
    for seed in range(seeds):
        original = als.train(training, dataclasses.replace(config, seed=seed), threads=threads)
        each = Case.of(original, request, nobody, None)
        if not yardstick:
            starts = (dataclasses.replace(config, seed=FIRST_SEED + number) for number in range(retrains))
            models = (als.train(each.left, start, threads=threads) for start in starts)
            yardstick = [predictions(each, model.factors) for model in models]
        before = predictions(each, each.kept)
        rest = [np.mean([p for p in yardstick if p is not own], axis=0) for own in yardstick]
        scale = memory(before, np.mean(yardstick, axis=0))
        floor = [memory(own, mean) / scale for own, mean in zip(yardstick, rest, strict=True)]
        centre, deviation = statistics.mean(floor), statistics.stdev(floor)
        step = unlearn.forget(original, request, method="response", threads=threads).model
        twin, _ = unlearn.retrain(original, request, threads=threads)
        for figures, model in ((steps, step), (twins, twin)):
            found = memory(predictions(each, model.factors), np.mean(yardstick, axis=0)) / scale
            figures.append((found - centre) / deviation)
        bands.append((centre, deviation))
    band = statistics.mean(centre for centre, _ in bands), statistics.mean(deviation for _, deviation in bands)
    return Outcome(", ".join(case), band, steps, twins)


def predictions(case: Case, factors: Factors) -> Predictions:
    """Of the pairs that the memory is measured on."""
    return case.probe.people(factors, case.objective).predict(case.probe.users, case.probe.items)


def memory(own: Predictions, mean: Predictions) -> float:
    """How far predictions lean toward the forgotten interactions, 1 each, beyond the mean of retrains."""
    return float((own - mean) @ (1 - mean))


def markdown(outcomes: Sequence[Outcome]) -> str:
    """A line a case."""
    head = ("", "band", "retrain of the seed", "response step", "step less retrain", "seed 0: retrain", "step")
    return table(head, [row(outcome) for outcome in outcomes]) + "\n"


def row(outcome: Outcome) -> list[str]:
    differences = [step - twin for step, twin in zip(outcome.steps, outcome.retrains, strict=True)]
    spreads = [
        f"{statistics.mean(figures):+.1f} ± {statistics.stdev(figures):.1f}"
        for figures in (outcome.retrains, outcome.steps, differences)
    ]
    band = f"{outcome.band[0]:.3f} ± {outcome.band[1]:.3f}"
    cells = [band, *spreads, f"{outcome.retrains[0]:+.1f}", f"{outcome.steps[0]:+.1f}"]
    return [outcome.name, *(cell.replace("-", "−") for cell in cells)]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path, metavar="DIR", help="where the Parquet files are")
    parser.add_argument("--cases", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--seeds", type=int, default=6, help="of the original model, at least 2")
    parser.add_argument("--retrains", type=int, default=12, help=f"at least {FEWEST_RETRAINS}")
    parser.add_argument("--document", type=Path, metavar="FILE", help="Markdown, whose part between marks is replaced")
    parser.add_argument("--threads", type=int, default=0, help="0 is one for each processor")
    options = parser.parse_args()
    if options.seeds < 2 or options.retrains < FEWEST_RETRAINS:
        parser.error(f"--seeds must be at least 2, and --retrains at least {FEWEST_RETRAINS}")
    return options


def main() -> None:
    options = arguments()
    outcomes = []
    for case, name in zip(CASES, NAMES, strict=True):
        if name in options.cases and (options.data / f"{case[0]}.parquet").exists():
            outcomes.append(measure(options.data, case, options.seeds, options.retrains, options.threads))
            print(" ".join(row(outcomes[-1])), file=sys.stderr, flush=True)
    if not outcomes:
        raise SystemExit(f"no data: {options.data} has none of the files that the cases are of")
    text = markdown(outcomes)
    print(text)
    if options.document:
        fill_in(options.document, MARK, text)


if __name__ == "__main__":
    main()
