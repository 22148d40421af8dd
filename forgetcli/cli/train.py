"""`forget train`: a model from interactions."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args

from forgetcli.cli.options import (
    DUPLICATES,
    add_bad_rows_option,
    add_column_options,
    add_new_model_option,
    add_output_options,
    add_where_option,
    columns_of,
)
from forgetcli.cli.parser import Parser, number, positive_count, whole_number
from forgetcli.cli.session import Session
from forgetcli.cli.targets import require_output_is_no_input
from forgetcli.config import Acceleration, Dtype, Objective, RegScaling, Solver, TrainConfig
from forgetcli.errors import UsageError

if TYPE_CHECKING:
    from forgetcli.als import Evaluate
    from forgetcli.interactions import Heldout, Interactions
    from forgetcli.tables import ReadResult

SYNOPSIS = "DATA... [-o MODEL] [options]"

DETAILS = """
Trains a model on interactions and writes it to a file.

DATA are Parquet or Arrow files, directories of them, CSV or TSV files (also
.gz, .zst, .bz2), or - for standard input; together they are one table with a
user and an item a row. With ratings that differ the model is explicit and
predicts ratings; without, it is implicit and ranks what was not seen yet. Every
option has a good default. The same data and options give the same bytes,
whatever the order of the rows and the number of processors.
"""

EXAMPLES = """
forget train ratings.parquet
forget train ml-100k/u.data --columns user,item,rating,timestamp
forget train ml-1m/ratings.dat --columns user,item,rating,timestamp \\
    --delimiter ::
forget train plays/ --where "country = 'DE' and day >= 2024-06-01"
forget train plays.csv --objective implicit --rating-col plays --alpha 40 \\
    --factors 128 --holdout 0.1 -o plays.npz
zcat logs/*.csv.gz | forget train - --json > training.json
"""

DEFAULTS = {objective: TrainConfig.for_objective(objective) for objective in ("explicit", "implicit")}
CONFIG_OPTIONS = (
    "factors", "sweeps", "reg", "reg_scaling", "biases", "global_mean", "alpha", "confidence_base",
    "unobserved_weight", "solver", "cg_steps", "seed", "dtype", "acceleration", "tol"
)  # fmt: skip


def add_arguments(parser: Parser) -> None:
    """The command's own arguments, and the shared ones."""
    files = parser.add_argument_group("files")
    files.add_argument("data", nargs="+", metavar="DATA", help="tables of interactions; - is standard input")
    add_new_model_option(files)
    files.add_argument(
        "--no-interactions",
        action="store_true",
        help="leave the data out of the model: a small file to serve, which needs --data to forget",
    )
    _add_model_options(parser)
    _add_validation_options(parser)
    rows = parser.add_argument_group("rows")
    add_where_option(rows, "DATA and --validation")
    rows.add_argument(
        "--duplicates",
        choices=DUPLICATES,
        help="what becomes of several rows of one pair (default: last, by time where there is a time column)",
    )
    add_bad_rows_option(rows)
    add_column_options(parser, of="DATA and --validation", rating=True)
    add_output_options(parser, profile=True)


def _add_model_options(parser: Parser) -> None:
    explicit, implicit = DEFAULTS["explicit"], DEFAULTS["implicit"]
    group = parser.add_argument_group("the model")
    group.add_argument(
        "--objective",
        choices=get_args(Objective),
        help="predict ratings, or rank what was not seen (default: explicit where there are ratings that differ, else "
        "implicit)",
    )
    group.add_argument("--factors", type=positive_count, metavar="K", help=f"the rank (default: {explicit.factors})")
    group.add_argument(
        "--sweeps", type=positive_count, metavar="N", help=f"over users and items (default: {explicit.sweeps})"
    )
    group.add_argument(
        "--reg",
        type=number,
        metavar="LAMBDA",
        help=f"regularisation (default: {explicit.reg:g}; implicit: {implicit.reg:g})",
    )
    group.add_argument(
        "--reg-scaling",
        choices=get_args(RegScaling),
        help="times each row's number of interactions, or not "
        f"(default: {explicit.reg_scaling}; implicit: {implicit.reg_scaling})",
    )
    group.add_argument(
        "--biases",
        action=argparse.BooleanOptionalAction,
        help="learn a bias for each user and item (default: yes; explicit only)",
    )
    group.add_argument(
        "--global-mean",
        action=argparse.BooleanOptionalAction,
        help="predict around the mean of the ratings (default: yes; explicit only)",
    )
    group.add_argument(
        "--alpha",
        type=number,
        metavar="A",
        help=f"confidence is 1 + A times the value (default: {implicit.alpha:g}; implicit only)",
    )
    group.add_argument(
        "--confidence-base",
        type=number,
        metavar="C",
        help=f"instead of that 1 (default: {implicit.confidence_base:g}; implicit only)",
    )
    group.add_argument(
        "--unobserved-weight",
        type=number,
        metavar="W",
        help=f"of pairs not observed (default: {implicit.unobserved_weight:g}; implicit only)",
    )
    group.add_argument(
        "--solver",
        choices=get_args(Solver),
        help="of each row's equations: exact, or a few conjugate gradient steps, which come as far in a third of "
        f"the time at 128 factors, and in a fifth at 256 (default: {explicit.solver})",
    )
    group.add_argument(
        "--cg-steps", type=positive_count, metavar="N", help=f"of --solver cg (default: {explicit.cg_steps})"
    )
    group.add_argument("--seed", type=whole_number, metavar="S", help="of the starting factors (default: 0)")
    group.add_argument("--dtype", choices=get_args(Dtype), help="of factors and arithmetic (default: float32)")
    group.add_argument(
        "--acceleration",
        choices=get_args(Acceleration),
        help="start each sweep beyond where the last one ended: fewer sweeps to the same objective; not with "
        "--solver cg (default: none)",
    )


def _add_validation_options(parser: Parser) -> None:
    group = parser.add_argument_group(
        "validation", "After each sweep: RMSE and MAE, or NDCG@10 and recall@20 of an implicit model."
    )
    held_out = group.add_mutually_exclusive_group()
    held_out.add_argument("--validation", metavar="FILE", help="interactions to measure the model on")
    held_out.add_argument(
        "--holdout",
        type=number,
        metavar="FRACTION",
        help="keep so much of DATA, by --seed, from training to measure on it",
    )
    group.add_argument(
        "--tol",
        type=number,
        metavar="T",
        help="stop when a sweep lowers the objective by a smaller fraction (default: 0)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Reads, trains, saves."""
    from forgetcli import als, checkpoint, files
    from forgetcli.report import documents, summaries
    from forgetcli.tables import place_name

    session = Session(arguments)
    output: str = arguments.output
    _config(arguments, arguments.objective or "explicit")  # a mistake is told before the reading, not after
    require_output_is_no_input(output, [*arguments.data, arguments.validation])
    files.check_writable(output)
    with session.stage("reading", f"reading {' '.join(map(place_name, arguments.data))}"):
        read = _read(arguments, on_encoding=lambda: session.turn_to("encoding"))
        session.turn_to("reading")
        interactions, held_out = _held_out(arguments, read)
    config = _config(arguments, arguments.objective or read.suited_objective)
    _require_options_of(config.objective, arguments)
    if read.has_ratings and read.interactions.suited_objective == "implicit":
        _tell_of_one_value(session, arguments.objective)
    session.say(summaries.read_summary(read, held_out))
    with session.stage("sweeping", "training"):
        model = als.train(
            interactions,
            config,
            evaluate=_evaluate(config, interactions, held_out, arguments.threads),
            threads=arguments.threads,
            on_progress=session.on_sweep,
        )
    with session.stage("writing", f"writing {output}"):
        checkpoint.save(model, output, interactions=not arguments.no_interactions)
    session.say(summaries.train_summary(model, session.seconds["sweeping"]))
    session.say(summaries.saved_summary(output, os.path.getsize(output)))
    session.finish(
        {
            "input": documents.input_members(read, 0 if held_out is None else len(held_out)),
            "model": documents.model_members(output, model),
            "sweeps": session.sweeps,
        }
    )


def _tell_of_one_value(session: Session, asked: Objective | None) -> None:
    if asked == "explicit":
        session.warn("all ratings are equal, so there is nothing to predict; --objective implicit suits such data")
    elif asked is None:
        session.warn(
            "all ratings are equal: they say who had what, and not how it was liked, so the model is implicit; "
            "--objective explicit insists"
        )


def _config(arguments: argparse.Namespace, objective: Objective) -> TrainConfig:
    if arguments.cg_steps is not None and arguments.solver != "cg":
        raise UsageError("--cg-steps belongs to --solver cg", hint="add --solver cg")
    given: dict[str, Any] = {name: getattr(arguments, name) for name in CONFIG_OPTIONS}
    return TrainConfig.for_objective(objective, **given)


def _require_options_of(objective: Objective, arguments: argparse.Namespace) -> None:
    """That no option is given that the objective would ignore."""
    for name in ("alpha", "confidence_base", "unobserved_weight") if objective == "explicit" else ("global_mean",):
        if getattr(arguments, name) is not None:
            other = "implicit" if objective == "explicit" else "explicit"
            raise UsageError(f"--{name.replace('_', '-')} belongs to {other} models", hint=f"add --objective {other}")


def _read(arguments: argparse.Namespace, on_encoding: Callable[[], None]) -> ReadResult:
    from forgetcli.tables import read_interactions

    return read_interactions(
        arguments.data,
        columns_of(arguments),
        duplicates=arguments.duplicates,
        where=arguments.where,
        bad_rows=arguments.bad_rows,
        threads=arguments.threads,
        on_encoding=on_encoding,
    )


def _held_out(arguments: argparse.Namespace, read: ReadResult) -> tuple[Interactions, Heldout | None]:
    from forgetcli.interactions import split_holdout
    from forgetcli.tables import read_heldout

    interactions = read.interactions
    if arguments.holdout is not None:
        return split_holdout(interactions, arguments.holdout, arguments.seed or 0)
    if arguments.validation is None:
        return interactions, None
    return interactions, read_heldout(
        arguments.validation,
        interactions.users,
        interactions.items,
        columns_of(arguments),
        where=arguments.where,
        bad_rows=arguments.bad_rows,
        threads=arguments.threads,
    )


def _evaluate(
    config: TrainConfig, interactions: Interactions, held_out: Heldout | None, threads: int
) -> Evaluate | None:
    if held_out is None:
        return None
    from forgetcli.evaluate import evaluator

    return evaluator(config, interactions, held_out, threads=threads)
