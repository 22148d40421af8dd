"""`forget compare`: is it gone, and at what price?"""

from __future__ import annotations

import argparse
import dataclasses
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forgetcli.cli.limits import load_scipy
from forgetcli.cli.options import (
    add_column_options,
    add_data_option,
    add_output_options,
    add_request_options,
    add_where_option,
    columns_of,
    data_of,
    request_of,
)
from forgetcli.cli.parser import Parser, number
from forgetcli.cli.session import Session
from forgetcli.errors import CheckFailed, UsageError
from forgetcli.profiling import stage

if TYPE_CHECKING:
    from forgetcli.comparison import Comparison
    from forgetcli.interactions import Heldout, Interactions
    from forgetcli.model import Model
    from forgetcli.records import ForgetRequest
    from forgetcli.runs import Cost, Run
    from forgetcli.verdict import Audit

SYNOPSIS = "UNLEARNED RETRAINED... [--records FILE] [options]"

DETAILS = """
Compares a model that has forgotten with models retrained without the records,
on the users and items that all have: predictions, recommendations, factors,
objective. Two retrains differ as well, by their seeds. So give several, and
read how far the unlearned model is from them beside how far they are from each
other: only what goes beyond that is the unlearning's.

With --records and --original it says first what is left of the records in the
predictions (1 in the original model, 0 in one that never saw them, up to the
noise that the retrains show), and how well an attacker could still tell who
was in the data. A verdict takes three retrains or more.
"""

EXAMPLES = """
for seed in 1 2 3; do forget retrain model.npz --records deletions.csv \\
    --seed $seed -o retrained-$seed.npz; done
forget compare forgotten.npz retrained-*.npz --records deletions.csv \\
    --original model.npz
forget compare forgotten.npz retrained-*.npz --records deletions.csv \\
    --original model.npz --fail-above 0.05 --fail-above still-held=0
forget compare forgotten.npz retrained-*.npz --records deletions.csv \\
    --original model.npz --test held-out.parquet --timings runs.jsonl \\
    --report audit.html
"""

DEFAULT_FIGURE = "memory"

CHECKS = """
Exit code 1 when a figure is above its limit. The figures:
  memory          what is left of the records, as a fraction of the original's
  memory-excess   its distance from the retrains' mean, on either side
  attack-auc      of an attacker who asks whether a pair was in the data, and
  attack-excess   how far that is above the same against the retrains
  informed-auc, informed-excess
                  the same for one who also holds the original model
  prediction-rms  how far predictions on the forgotten pairs are from the
                  retrains', over how far those are from each other
  overlap-loss    1 - overlap of the top 10, over the retrains' own
  objective-gap   how far the objective on the remaining data is above the
                  retrains' mean, as a fraction of it
  still-held      records of the request that the model still carries
"""

OF_THE_AUDIT = ("memory", "memory-excess", "attack-auc", "attack-excess", "informed-auc", "informed-excess")
"""The figures that take --records (or ids) and --original; `still-held` takes the first of these."""

FIGURES = (*OF_THE_AUDIT, "still-held", "prediction-rms", "overlap-loss", "objective-gap")


def add_arguments(parser: Parser) -> None:
    """The command's own arguments, and the shared ones."""
    files = parser.add_argument_group("files")
    files.add_argument("unlearned", metavar="UNLEARNED", help="the model that has forgotten")
    files.add_argument("retrained", nargs="+", metavar="RETRAINED", help="retrains without the records")
    files.add_argument("--original", metavar="MODEL", help="the model before it forgot, to show how far off that was")
    files.add_argument("--test", metavar="FILE", help="held-out interactions, to compare how accurate the models are")
    add_where_option(files, "--test", name="--test-where", owner="--test")
    files.add_argument(
        "--timings",
        action="append",
        default=[],
        metavar="FILE",
        help="what a run of train, forget or retrain printed with --json, for its seconds; one object, or one a line; "
        "repeatable",
    )
    files.add_argument(
        "--report",
        action="append",
        default=[],
        metavar="FILE",
        help="write the comparison with pictures: FILE.html is one file that needs nothing else, FILE.md has its "
        "pictures beside it, FILE-memory.svg and so on; repeatable. Needs forgetcli[report]",
    )
    add_data_option(files, model="the original model")
    add_request_options(parser, purpose="what was to be forgotten")
    checks = parser.add_argument_group("checks", CHECKS.strip())
    checks.add_argument(
        "--fail-above",
        action="append",
        type=_limit,
        default=[],
        metavar="[FIGURE=]X",
        help=f"the limit of a figure, by default of {DEFAULT_FIGURE}; repeatable",
    )
    add_column_options(parser, of="forget-lists, --test and --data", rating=True)
    add_output_options(parser, profile=True)


def run(arguments: argparse.Namespace) -> None:
    """Loads, compares, shows, and checks."""
    from forgetcli.report.comparison import comparison_text

    session = Session(arguments)
    _check_limits(arguments)
    _check_reports(arguments)
    load_scipy()
    with session.stage("reading", "reading the models"):
        inputs = _read(arguments)
    with session.stage("comparing", "comparing"):
        comparison = _compare(inputs, arguments)
        with stage("what is left"):
            audited = _audit(inputs)
        cost = _cost(inputs, arguments)
    figures = comparison.figures() | (audited.figures() if audited else {})
    limits = dict(arguments.fail_above)
    _require_known(limits, figures)
    exceeded = [name for name, limit in limits.items() if not figures[name] <= limit]
    if arguments.report:
        with session.stage("reporting", "drawing the report"):
            _write_reports(arguments, comparison, audited, cost, figures)
    try:
        session.finish(
            {
                "unlearned": arguments.unlearned,
                "retrained": arguments.retrained,
                "original": arguments.original,
                "audit": audited.to_dict() if audited else None,
                **comparison.to_dict(),
                "cost": dataclasses.asdict(cost) if cost else None,
                "figures": figures,
                "limits": limits,
                "exceeded": exceeded,
            },
            comparison_text(comparison, audited, cost),
        )
    finally:  # a reader who left early must not make the check hold
        if exceeded:
            told = ", ".join(f"{name} is {figures[name]:.4g}, above {limits[name]:g}" for name in exceeded)
            raise CheckFailed(f"the check does not hold: {told}")


@dataclass(frozen=True)
class _Inputs:
    unlearned: Model
    retrained: list[Model]
    original: Model | None
    request: ForgetRequest | None
    data: Interactions | None
    test: Heldout | None
    runs: list[Run]


def _read(arguments: argparse.Namespace) -> _Inputs:
    from forgetcli import checkpoint
    from forgetcli.runs import read_runs
    from forgetcli.tables import read_heldout

    unlearned = checkpoint.load(arguments.unlearned)
    asked = arguments.records or arguments.user or arguments.item
    return _Inputs(
        unlearned=unlearned,
        retrained=[checkpoint.load(path) for path in arguments.retrained],
        original=checkpoint.load(arguments.original) if arguments.original else None,
        request=request_of(arguments) if asked else None,
        data=data_of(arguments),
        test=read_heldout(
            arguments.test, unlearned.users, unlearned.items, columns_of(arguments), where=arguments.test_where
        )
        if arguments.test
        else None,
        runs=read_runs(arguments.timings),
    )


def _compare(inputs: _Inputs, arguments: argparse.Namespace) -> Comparison:
    from forgetcli.comparing import compare

    return compare(
        inputs.unlearned,
        inputs.retrained,
        original=inputs.original,
        request=inputs.request,
        data=inputs.data,
        test=inputs.test,
        threads=arguments.threads,
    )


def _audit(inputs: _Inputs) -> Audit | None:
    """What is left of the records, where it is known what they were and what the original made of them."""
    from forgetcli.auditing import audit

    if inputs.original is None or inputs.request is None:
        return None
    return audit(inputs.unlearned, inputs.retrained, inputs.original, inputs.request, data=inputs.data)


def _cost(inputs: _Inputs, arguments: argparse.Namespace) -> Cost | None:
    from forgetcli.runs import Cost

    return Cost.of(inputs.runs, _names(arguments)) if inputs.runs else None


def _names(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The models' paths, in the order of `Comparison.models`."""
    original = [arguments.original] if arguments.original else []
    return (arguments.unlearned, *arguments.retrained, *original)


def _check_reports(arguments: argparse.Namespace) -> None:
    """What would keep a report from being written, before the long work."""
    from forgetcli.files import check_writable
    from forgetcli.report import formats

    inputs = {os.path.realpath(path) for path in (*_names(arguments), *arguments.timings, *arguments.records)}
    for path in arguments.report:
        formats.check(path)
        if os.path.realpath(path) in inputs:
            raise UsageError(f"{path} is read by this comparison and cannot be its report too")
        check_writable(path)


def _write_reports(
    arguments: argparse.Namespace,
    comparison: Comparison,
    audited: Audit | None,
    cost: Cost | None,
    figures: dict[str, float],
) -> None:
    from forgetcli.files import atomic_write
    from forgetcli.report import formats
    from forgetcli.report.findings import Findings

    findings = Findings(comparison, audited, cost, _names(arguments), dict(arguments.fail_above), figures)

    for path in arguments.report:
        for target, content in formats.files(path, findings):
            with atomic_write(target) as file:
                file.write(content)


def _limit(text: str) -> tuple[str, float]:
    """A figure's name and its limit."""
    name, given, limit = text.rpartition("=")
    if given and name not in FIGURES:
        raise argparse.ArgumentTypeError(f"must be of one of {', '.join(FIGURES)}, not {name[:40]!r}")
    return (name if given else DEFAULT_FIGURE), number(limit)


def _check_limits(arguments: argparse.Namespace) -> None:
    """That the figures with a limit are not sure to be missing, before the long work."""
    asked = arguments.records or arguments.user or arguments.item
    for name, _ in arguments.fail_above:
        if name in OF_THE_AUDIT and not (asked and arguments.original):
            raise UsageError(f"--fail-above: there is no {name} without --records and --original")
        if name == "still-held" and not asked:
            raise UsageError("--fail-above: there is no still-held without --records")


def _require_known(limits: dict[str, float], figures: dict[str, float]) -> None:
    """That every limit has its figure: a check that cannot be made has not held."""
    for name in limits:
        if name not in figures:
            known = ", ".join(sorted(figures))
            raise UsageError(
                f"--fail-above: there is no figure {name} in this comparison",
                hint=f"those there are: {known}; ratios to the retrains need two retrains or more",
            )
