"""Unlearn-ALS's comparison (Xu et al. 2023, arXiv 2302.06676): unlearned beside retrained, pass by pass.

    pip install '.[report]' implicit
    python benchmarks/unlearn_als.py DIR --document docs/evidence.md --picture docs/figures/unlearn_als.svg

DIR holds ml-100k.parquet and ml-1m.parquet, with the columns user, item and rating; one that is missing is passed
over. Ratings of 4 and 5 are interactions, 1 % of all cells of the matrix is held out, and 1, 5, 10 and 20 % of the
records, or of the users, are forgotten. The figures of every way to forget go to --results as JSON lines, and are taken
from there by a later run. What is printed was checked first: the memory against its formula, the retrain against
`retrain`, the unlearned model's data, and, where implicit is installed, the users' rows. It takes ten minutes and 2 GB.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from evidence import FEWEST_RETRAINS, WARM_SWEEPS, Case, hold_out_cells, liked, some_records, whole_users
from evidence_report import Cells, draw_courses, fill_in, floor_text, has_matplotlib, marked, measured, plain, table

from forgetcli import als
from forgetcli.config import TrainConfig
from forgetcli.interactions import Heldout, Interactions
from forgetcli.records import ForgetRequest
from forgetcli.tables import read_interactions

DATASETS = ("ml-100k", "ml-1m")
LIKED = 4.0
HELD_OUT = 0.01
CONFIG = TrainConfig.for_objective("implicit", factors=32, alpha=10.0, reg=10.0, sweeps=15)
SHARES = (0.01, 0.05, 0.1, 0.2)
REQUESTS = {f"{100 * share:g} % of {what}": (what, share) for what in ("records", "users") for share in SHARES}
MARK = "unlearn_als"


def request_for(name: str, data: Interactions) -> ForgetRequest:
    """The same one each time, for the same data."""
    what, share = REQUESTS[name]
    rng = np.random.default_rng(list(REQUESTS).index(name))
    if what == "records":
        return some_records(data, share, rng)
    return whole_users(data, rng.choice(data.n_users, round(share * data.n_users), replace=False))


def cases(directory: Path, dataset: str, names: Sequence[str], threads: int) -> Any:
    """Trains the model once, then yields each request's name and case."""
    data = liked(read_interactions([directory / f"{dataset}.parquet"]).interactions, LIKED)
    training, cells = hold_out_cells(data, HELD_OUT, np.random.default_rng(0))
    original = als.train(training, CONFIG, threads=threads)
    none = np.zeros(0, np.int32)
    test = Heldout(none, none, none.astype(np.float32), 0)
    for name in names:
        yield name, Case.of(original, request_for(name, training), test, cells)


def markdown(cells: Cells) -> str:
    """Four tables for each data set."""
    ways = ("nothing", "user rows", *(f"{n} warm" for n in WARM_SWEEPS), "response")
    parts = []
    for dataset in DATASETS:
        own = {request: cell for (name, request), cell in cells.items() if name == dataset}
        if not own:
            continue
        parts.append(f"### {dataset}")
        for figure, title, form in (
            ("memory", "Memory left, 1 in the original model", marked),
            ("attack", "AUC of the membership attack", marked),
            ("auc", "AUC over the held-out cells", plain),
            ("objective", "Objective above the retrains' mean, %", above),
        ):
            floor = [floor_text(cell, figure) if figure != "objective" else spread_above(cell) for cell in own.values()]
            rows = [["retrains", *floor]]
            rows += [[way, *(form(cell, figure, cell["ways"][way][figure]) for cell in own.values())] for way in ways]
            parts.append(f"{title}:\n\n{table(['', *own], rows)}")
    return "\n\n".join(parts) + "\n"


def above(cell: dict[str, Any], figure: str, value: float) -> str:
    mean = sum(each[figure] for each in cell["floor"]) / len(cell["floor"])
    return f"{100 * (value / mean - 1):+.2f}".replace("-", "−")


def spread_above(cell: dict[str, Any]) -> str:
    values = [each["objective"] for each in cell["floor"]]
    mean = sum(values) / len(values)
    return f"{100 * (min(values) / mean - 1):+.2f} to {100 * (max(values) / mean - 1):+.2f}".replace("-", "−")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path, metavar="DIR", help="where the Parquet files are")
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=DATASETS)
    parser.add_argument("--requests", nargs="+", choices=tuple(REQUESTS), default=tuple(REQUESTS))
    parser.add_argument("--retrains", type=int, default=FEWEST_RETRAINS, help=f"at least {FEWEST_RETRAINS}")
    parser.add_argument("--results", type=Path, metavar="FILE", help="JSON lines to go on from and to add to")
    parser.add_argument("--document", type=Path, metavar="FILE", help="Markdown, whose part between marks is replaced")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="SVG; needs matplotlib")
    parser.add_argument("--times-anew", action="store_true", help="of the results that there are, only the seconds")
    parser.add_argument("--threads", type=int, default=0, help="0 is one for each processor")
    options = parser.parse_args()
    if options.retrains < FEWEST_RETRAINS:
        parser.error(f"--retrains must be at least {FEWEST_RETRAINS}")
    if options.picture and not has_matplotlib():
        parser.error("--picture needs matplotlib: pip install 'forgetcli[report]'")
    return options


def main() -> None:
    options = arguments()
    cells = measured(options, cases)
    text = markdown(cells)
    print(text)
    if options.document:
        fill_in(options.document, MARK, text)
    if options.picture:
        last = [dataset for dataset in DATASETS if any(name == dataset for name, _ in cells)][-1]
        shown = {request: cell for (name, request), cell in cells.items() if name == last}
        draw_courses(shown, f"Unlearned beside retrained, pass by pass, on {last}", options.picture)


if __name__ == "__main__":
    main()
