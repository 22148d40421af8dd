"""The comparison that recommender unlearning asks for: completeness, consistency, accuracy and time.

    pip install . implicit
    python benchmarks/recommender_unlearning.py DIR --document docs/evidence.md

After AltEraser (Liu et al. 2022, arXiv 2208.06875) and CURE4Rec (Chen et al. 2024, arXiv 2408.14393): 5 % of the users
go, at random, the most active ("core") or the least active ("edge"). DIR holds ml-100k.parquet, ml-1m.parquet and
gowalla.parquet, with the columns user, item and rating; one that is missing is passed over. Results are kept and
checked as `unlearn_als.py` does. It takes a quarter of an hour and 3 GB.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from evidence import FEWEST_RETRAINS, WARM_SWEEPS, Case, liked, whole_users
from evidence_report import Cells, fill_in, floor_text, marked, measured, plain, span, table

from forgetcli import als
from forgetcli.config import TrainConfig
from forgetcli.interactions import Interactions, split_holdout
from forgetcli.tables import read_interactions

DATASETS = ("ml-100k", "ml-1m", "gowalla")
SHARE, HELD_OUT = 0.05, 0.2
CONFIG = TrainConfig.for_objective("implicit", factors=32, alpha=10.0, reg=10.0, sweeps=15)
REQUESTS = ("random", "core", "edge")
MARK = "recommender_unlearning"


def users_of(name: str, data: Interactions) -> np.ndarray[Any, np.dtype[np.int64]]:
    """5 % of the users: at random, or the most or the least active, among equals at random."""
    rng = np.random.default_rng(REQUESTS.index(name))
    shuffled = rng.permutation(data.n_users)
    if name != "random":
        counts = data.by_user.row_counts()[shuffled]
        shuffled = shuffled[np.argsort(-counts if name == "core" else counts, kind="stable")]
    return shuffled[: round(SHARE * data.n_users)]


def cases(directory: Path, dataset: str, names: Sequence[str], threads: int) -> Any:
    """Trains the model once, then yields each request's name and case."""
    data = liked(read_interactions([directory / f"{dataset}.parquet"]).interactions, None)
    training, test = split_holdout(data, HELD_OUT, seed=0)
    original = als.train(training, CONFIG, threads=threads)
    for name in names:
        yield name, Case.of(original, whole_users(training, users_of(name, training)), test, None)


def markdown(cells: Cells) -> str:
    """A table for each data set and request."""
    figures = (
        ("memory", marked),
        ("attack", marked),
        ("divergence", plain),
        ("overlap", plain),
        ("ndcg@20", plain),
        ("hr@20", plain),
    )
    ways = ("nothing", "user rows", *(f"{n} warm" for n in WARM_SWEEPS), "response")
    head = ("", "memory", "attack", "divergence", "overlap@20", "NDCG@20", "HR@20", "seconds", "of a retrain")
    parts = []
    for (dataset, request), cell in cells.items():
        rows = [["retrains", *(floor_text(cell, figure) for figure, _ in figures), *times(cell, "retrain")]]
        for way in ways:
            own = cell["ways"][way]
            rows.append([way, *(form(cell, figure, own[figure]) for figure, form in figures), *times(cell, way)])
        note = f"{cell['records']:,} records, {cell['probed']:,} of them looked at"
        parts.append(f"### {dataset}, {request}: {note}\n\n{table(head, rows)}")
    return "\n\n".join(parts) + "\n"


def times(cell: dict[str, Any], way: str) -> tuple[str, str]:
    """The seconds, and as a fraction of a retrain's."""
    if way not in cell["seconds"]:
        return "–", "–"
    seconds = cell["seconds"][way]
    return span(seconds), f"{statistics.median(seconds) / statistics.median(cell['seconds']['retrain']):.2f}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path, metavar="DIR", help="where the Parquet files are")
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=DATASETS)
    parser.add_argument("--requests", nargs="+", choices=REQUESTS, default=REQUESTS)
    parser.add_argument("--retrains", type=int, default=FEWEST_RETRAINS, help=f"at least {FEWEST_RETRAINS}")
    parser.add_argument("--results", type=Path, metavar="FILE", help="JSON lines to go on from and to add to")
    parser.add_argument("--document", type=Path, metavar="FILE", help="Markdown, whose part between marks is replaced")
    parser.add_argument("--times-anew", action="store_true", help="of the results that there are, only the seconds")
    parser.add_argument("--threads", type=int, default=0, help="0 is one for each processor")
    options = parser.parse_args()
    if options.retrains < FEWEST_RETRAINS:
        parser.error(f"--retrains must be at least {FEWEST_RETRAINS}")
    return options


def main() -> None:
    options = arguments()
    text = markdown(measured(options, cases))
    print(text)
    if options.document:
        fill_in(options.document, MARK, text)


if __name__ == "__main__":
    main()
