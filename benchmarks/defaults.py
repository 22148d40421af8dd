"""Held-out accuracy of `TrainConfig`'s defaults and of the settings around them, on several data sets.

    python benchmarks/defaults.py DATA_DIR
    python benchmarks/defaults.py DATA_DIR --only implicit --data-sets sample gowalla

DATA_DIR holds ml-100k, ml-1m, gowalla and mtg-player as Parquet files with the columns user, item and rating; sample is
the project's own. benchmarks/held_out.py holds out 10 % for explicit models, judged by RMSE clipped to the ratings'
range, and 20 % for implicit ones, judged by NDCG@20. A file that is missing is passed over. One seed each; the
defaults are in bold. Explicit models take three minutes on two cores, implicit ones twenty.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from typing import Any, Literal

from held_out import split

import forgetcli as fc

ObjectiveName = Literal["explicit", "implicit"]
Options = dict[str, Any]

SAMPLE = Path(__file__).parent.parent / "sample_data" / "ratings.parquet"
DATA_SETS: dict[ObjectiveName, tuple[str, ...]] = {
    "explicit": ("sample", "ml-100k", "ml-1m"),
    "implicit": ("sample", "ml-100k", "ml-1m", "gowalla", "mtg-player"),
}
HELD_OUT = {"explicit": 0.1, "implicit": 0.2}
WITH_COUNTS = ("mtg-player",)
"""Data whose values are counts, and count in an implicit model too; elsewhere every value is 1 there."""

SETTINGS: dict[ObjectiveName, tuple[Options, ...]] = {
    "explicit": (
        *({"factors": k, "reg": reg} for k, reg in product((32, 64, 128), (0.05, 0.07, 0.1, 0.15))),
        *({"sweeps": sweeps} for sweeps in (5, 10, 30)),
    ),
    "implicit": (
        *({"alpha": alpha, "reg": reg} for alpha, reg in product((1.0, 10.0, 40.0), (10.0, 30.0, 100.0))),
        *(
            {"reg_scaling": "count", "alpha": alpha, "reg": reg}
            for alpha, reg in product((3.0, 10.0, 40.0), (0.1, 0.3, 0.5, 1.0))
        ),
        *({"sweeps": sweeps} for sweeps in (5, 10)),
    ),
}


def accuracy(config: fc.TrainConfig, training: fc.Interactions, heldout: fc.Heldout) -> float:
    """RMSE of an explicit model, NDCG@20 of an implicit one."""
    model = fc.train(training, config)
    values = training.by_user.values
    clip = (float(values.min()), float(values.max())) if config.objective == "explicit" else None
    metrics = fc.held_out_metrics(model, heldout, clip=clip)
    return metrics["rmse" if config.objective == "explicit" else "ndcg@20"]


def named(config: fc.TrainConfig) -> str:
    alpha = "" if config.objective == "explicit" else f"α = {config.alpha:g}, "
    scaling = " times the count" if config.reg_scaling == "count" else ""
    return f"k = {config.factors}, {config.sweeps} sweeps, {alpha}λ = {config.reg:g}{scaling}"


def print_table(objective: ObjectiveName, data: Path, wanted: list[str]) -> None:
    paths = {name: SAMPLE if name == "sample" else data / f"{name}.parquet" for name in DATA_SETS[objective]}
    present = {name: path for name, path in paths.items() if name in wanted and path.exists()}
    splits = {
        name: split(path, HELD_OUT[objective], "explicit" if name in WITH_COUNTS else objective)
        for name, path in present.items()
    }
    print(f"\n| {objective} | " + " | ".join(splits) + " |\n" + "|---" * (len(splits) + 1) + "|")
    default = fc.TrainConfig.for_objective(objective)
    configs = dict.fromkeys((default, *(fc.TrainConfig.for_objective(objective, **s) for s in SETTINGS[objective])))
    for config in configs:
        cells = " | ".join(f"{accuracy(config, training, heldout):.4f}" for training, heldout in splits.values())
        name = f"**{named(config)}**" if config == default else named(config)
        print(f"| {name} | {cells} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--only", choices=tuple(DATA_SETS))
    every = list(dict.fromkeys(name for names in DATA_SETS.values() for name in names))
    parser.add_argument("--data-sets", nargs="+", choices=every, default=every)
    options = parser.parse_args()
    for objective in DATA_SETS:
        if options.only in (None, objective):
            print_table(objective, options.data, options.data_sets)


if __name__ == "__main__":
    main()
