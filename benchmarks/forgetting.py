"""Measure what forgetting leaves of the records, and at what price, beside models that never saw them.

    pip install '.[report]'
    python benchmarks/forgetting.py --data DIR --table docs/forgetting.md --picture docs/figures/forgetting.svg
    python benchmarks/forgetting.py --data DIR --datasets ml-1m --requests "1 %" "popular item" --quick
    python benchmarks/forgetting.py --data DIR --rank 64

DIR holds ml-1m.parquet, gowalla.parquet and mtg-player.parquet, each with the columns user, item and rating; those that
are missing are passed over. For every model and request: several retrains of different seeds on what remains, warm
sweeps, and the response step, timed in turns; the memory of each (see `forgetcli.verdict.Memory`), which is checked
against the formula computed pair by pair from ids and factors; and the held-out error. Figures go to --results as they
come and are taken from there by a later run. The Markdown goes to standard output, too. With eight retrains it takes
about six minutes on two processors, and 3 GB.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from forgetting_cases import DATASETS, RANK, REQUESTS, SETTINGS, Setting, request_for
from forgetting_report import Cell, Run, draw, fill_in, has_matplotlib, markdown
from numpy.typing import NDArray

from forgetcli import als, unlearn
from forgetcli.auditing import residual_memory
from forgetcli.common import CommonGround, ForgottenPairs
from forgetcli.evaluate import held_out_metrics
from forgetcli.ids import Ids
from forgetcli.interactions import Heldout, Interactions
from forgetcli.model import Factors, Model
from forgetcli.objective import Objective
from forgetcli.records import ForgetRequest
from forgetcli.verdict import Memory

WARM_SWEEPS = (1, 2, 3, 5, 8, 12, 15)
RESPONSE_ROUNDS = 3
"""The response step is timed so often, between the retrains, and the median counts."""

AGREEMENT = 1e-6
"""How near the figure must be to the formula's own: both sum some 10⁵ products in float64."""

RANKED_USERS = 5_000
"""Users whose rankings are judged, the same ones for every model of a request."""

FEWEST_RETRAINS = 6

T = TypeVar("T")


def measure(
    setting: Setting, name: str, original: Model, test: Heldout, request: ForgetRequest, retrains: int, threads: int
) -> Cell:
    """One line of the table."""
    retrained: list[Model] = []
    retrain_seconds: list[float] = []
    responses: list[float] = []
    for seed in range(1, retrains + 1):
        (model, _), seconds = clocked(unlearn.retrain, original, request, seed=1000 + seed, threads=threads)
        retrained.append(model)
        retrain_seconds.append(seconds)
        if len(responses) < RESPONSE_ROUNDS:
            result, seconds = clocked(unlearn.forget, original, request, method="response", threads=threads)
            responses.append(seconds)
    warm, warm_seconds = warm_sweeps(original, request, threads)
    assert original.interactions is not None
    pairs = ForgottenPairs.of(request, original.interactions)
    twin, _ = unlearn.retrain(original, request, threads=threads)
    unlearned = [*warm.values(), twin, result.model]
    memories, mean, deviation, left_out = remembered(unlearned, retrained, original, pairs)
    held = held_out(setting, [result.model, *retrained], original, test, threads)
    retrain_time = statistics.median(retrain_seconds)
    return Cell(
        setting=setting.title,
        request=name,
        records=len(pairs),
        left_out=left_out,
        retrains=retrains,
        mean=mean,
        deviation=deviation,
        twin=memories[-2],
        warm={
            number: Run(memory, seconds / retrain_time)
            for number, memory, seconds in zip(warm, memories, warm_seconds, strict=False)
        },
        response=Run(memories[-1], statistics.median(responses) / retrain_time),
        path=str(result.path),
        vectors=result.vectors,
        exact_sweeps=result.sweeps,
        retrain_seconds=retrain_time,
        metric=metric_of(setting),
        held_out=held[0],
        worst_retrain=(max if metric_of(setting) == "rmse" else min)(held[1:]),
    )


def clocked(function: Callable[..., T], *arguments: object, **options: object) -> tuple[T, float]:
    """A call's result, and the seconds it took."""
    begin = time.perf_counter()
    result = function(*arguments, **options)
    return result, time.perf_counter() - begin


def warm_sweeps(original: Model, request: ForgetRequest, threads: int) -> tuple[dict[int, Model], list[float]]:
    """The models after each of WARM_SWEEPS, and the seconds that each would have taken."""
    first, seconds = clocked(unlearn.forget, original, request, method="sweeps", sweeps=1, threads=threads)
    left = first.model.interactions
    assert left is not None
    found: list[Factors] = [first.model.factors]
    clock = [time.perf_counter()]
    als.descend(
        left,
        first.model.factors.item,
        Objective.of(original.config, left),
        sweeps=max(WARM_SWEEPS) - 1,
        evaluate=lambda factors: found.append(factors) or {},  # type: ignore[func-returns-value]
        threads=threads,
        on_progress=lambda _: clock.append(time.perf_counter()),
    )
    models = {number: dataclasses.replace(first.model, factors=found[number - 1]) for number in WARM_SWEEPS}
    return models, [seconds + clock[number - 1] - clock[0] for number in WARM_SWEEPS]


def remembered(
    unlearned: Sequence[Model], retrained: Sequence[Model], original: Model, pairs: ForgottenPairs
) -> tuple[list[float], float, float, int]:
    """Each unlearned model's memory; the retrains' mean and deviation; how many pairs could not be measured."""
    left = retrained[0].interactions
    assert left is not None
    ground = CommonGround.of([*unlearned, *retrained, original], left)
    forgotten = ground.pairs(pairs)
    explicit = original.config.objective == "explicit"
    values = forgotten.values if explicit else np.ones(len(forgotten))
    assert values is not None
    cut = [model.factors for model in ground.models]
    yardstick = cut[len(unlearned) :]
    memories: list[float] = []
    for model, factors in zip(unlearned, cut, strict=False):
        figures = figures_of(residual_memory([factors, *yardstick], forgotten, values))
        require_agreement(figures, by_the_formula(model, retrained, original, pairs, explicit))
        memories.append(figures[0])
    return memories, figures[1], figures[2], forgotten.left_out


def figures_of(memory: Memory | None) -> tuple[float, float, float]:
    """The model's memory, and the retrains' mean and deviation; all are there in these cases."""
    assert memory is not None
    assert memory.unlearned is not None
    assert memory.retrained is not None
    assert memory.retrained.deviation is not None
    return memory.unlearned, memory.retrained.mean, memory.retrained.deviation


def by_the_formula(
    unlearned: Model, retrained: Sequence[Model], original: Model, pairs: ForgottenPairs, explicit: bool
) -> tuple[float, float, float]:
    """Memory, and the retrains' mean and deviation, from ids and factors alone."""
    released, before, *others = (
        predictions(each, pairs.users, pairs.items) for each in (unlearned, original, *retrained)
    )
    known = np.isfinite([released, before, *others]).all(axis=0)
    assert pairs.values is not None
    value = (pairs.values.astype(np.float64) if explicit else np.ones(len(pairs)))[known]
    p, p0, r = released[known], before[known], np.array(others)[:, known]
    scale = float(np.sum((p0 - r.mean(0)) * (value - r.mean(0))))
    noise = []
    for number in range(len(r)):
        rest = np.delete(r, number, axis=0).mean(0)
        noise.append(float(np.sum((r[number] - rest) * (value - rest))) / scale)
    memory = float(np.sum((p - r.mean(0)) * (value - r.mean(0)))) / scale
    return memory, float(np.mean(noise)), float(np.std(noise, ddof=1))


def predictions(model: Model, users: Ids, items: Ids) -> NDArray[np.float64]:
    """Of the pairs of these ids, NaN where the model does not know one."""
    rows = {}
    for side, ids, vocabulary in (("user", users, model.users), ("item", items, model.items)):
        known = np.asarray(vocabulary.ids)
        rows[side] = np.searchsorted(known, np.asarray(ids)).clip(0, len(known) - 1)
        rows[f"{side} known"] = known[rows[side]] == np.asarray(ids)
    factors, u, i = model.factors, rows["user"], rows["item"]
    product = (factors.user.factors[u].astype(np.float64) * factors.item.factors[i]).sum(axis=1)
    offset = factors.user.bias[u].astype(np.float64) + factors.item.bias[i] + factors.global_mean
    return np.where(rows["user known"] & rows["item known"], product + offset, np.nan)


def require_agreement(ours: Sequence[float], theirs: Sequence[float]) -> None:
    """Raises SystemExit unless both are the same figures."""
    gap = float(np.max(np.abs(np.subtract(ours, theirs))))
    if not gap <= AGREEMENT:
        raise SystemExit(f"the memory that was measured is not that of the formula: {ours} and {theirs}")


def metric_of(setting: Setting) -> str:
    return "rmse" if setting.config.objective == "explicit" else "ndcg@20"


def held_out(setting: Setting, models: Sequence[Model], original: Model, test: Heldout, threads: int) -> list[float]:
    """Each model's error, or the quality of its rankings, on what was held out."""
    left = models[0].interactions
    assert left is not None
    ground = CommonGround.of([*models, original], left)
    pairs = ground.held_out(test, original)
    users = np.random.default_rng(0).permutation(len(ground.users))[:RANKED_USERS]
    chosen = None if metric_of(setting) == "rmse" else np.sort(users)
    return [
        held_out_metrics(model, pairs, users=chosen, threads=threads)[metric_of(setting)]
        for model in ground.models[: len(models)]
    ]


def measure_all(options: argparse.Namespace, results: Path | None) -> list[Cell]:
    """Every chosen cell, measured now or before."""
    cells = {(cell.setting, cell.request): cell for cell in read_results(results)}
    chosen = [setting.of_rank(options.rank) for setting in SETTINGS if setting.dataset in options.datasets]
    for setting in chosen:
        wanted = [name for name in options.requests if (setting.title, name) not in cells]
        if not wanted or not (options.data / f"{setting.dataset}.parquet").exists():
            continue
        data, test = setting.read(options.data)
        original, seconds = clocked(als.train, data, setting.config, threads=options.threads)
        say(f"{setting.title}: {describe(data)}; trained in {seconds:.1f} s")
        for name in wanted:
            request = request_for(name, data)
            cell, seconds = clocked(measure, setting, name, original, test, request, options.retrains, options.threads)
            cells[setting.title, name] = cell
            say(f"  {name}: {cell.response.memory:.4f} beside {cell.mean:.4f} ± {cell.deviation:.4f}; {seconds:.0f} s")
            if results is not None:
                with results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(dataclasses.asdict(cell)) + "\n")
    order = [(setting.title, name) for setting in chosen for name in options.requests]
    return [cells[key] for key in order if key in cells]


def read_results(path: Path | None) -> list[Cell]:
    """The cells of an earlier run."""
    if path is None or not path.exists():
        return []
    return [Cell.from_dict(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def describe(data: Interactions) -> str:
    return f"{len(data):,} interactions of {data.n_users:,} users and {data.n_items:,} items"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="where the Parquet files are")
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=DATASETS)
    parser.add_argument("--requests", nargs="+", choices=REQUESTS, default=tuple(REQUESTS))
    parser.add_argument("--rank", type=int, default=RANK, help=f"factors of the models (default: {RANK})")
    parser.add_argument("--retrains", type=int, default=8, help=f"at least {FEWEST_RETRAINS}")
    parser.add_argument("--quick", action="store_true", help=f"{FEWEST_RETRAINS} retrains, and two requests")
    parser.add_argument("--results", type=Path, metavar="FILE", help="JSON lines to go on from and to add to")
    parser.add_argument("--table", type=Path, metavar="FILE", help="Markdown; a file's part between marks is replaced")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="SVG or PNG; needs matplotlib")
    parser.add_argument("--threads", type=int, default=0, help="0 is one for each processor")
    options = parser.parse_args()
    if options.quick:
        options.retrains = FEWEST_RETRAINS
        options.requests = [name for name in options.requests if name in ("60 half histories", "1 %")]
    if options.retrains < FEWEST_RETRAINS:
        parser.error(f"--retrains must be at least {FEWEST_RETRAINS}: fewer do not know their own deviation")
    if options.picture and not has_matplotlib():
        parser.error("--picture needs matplotlib: pip install 'forgetcli[report]'")
    return options


def main() -> None:
    options = arguments()
    cells = measure_all(options, options.results)
    if not cells:
        raise SystemExit(f"{options.data} has none of {', '.join(f'{name}.parquet' for name in options.datasets)}")
    text = markdown(cells)
    print(text)
    if options.table:
        fill_in(options.table, text)
    if options.picture:
        draw(cells, options.picture)


if __name__ == "__main__":
    main()
