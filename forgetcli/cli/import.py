"""`forget import`: a model that another trainer made, ready to forget."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Literal, get_args

from forgetcli.cli.options import (
    DUPLICATES,
    add_bad_rows_option,
    add_column_options,
    add_new_model_option,
    add_output_options,
    columns_of,
)
from forgetcli.cli.parser import Parser, number, positive_count
from forgetcli.cli.session import Session
from forgetcli.cli.targets import require_output_is_no_input
from forgetcli.config import Objective, RegScaling, Side
from forgetcli.errors import DataError

if TYPE_CHECKING:
    from forgetcli.ids import Ids
    from forgetcli.interop import Imported, Stated
    from forgetcli.tables import ReadResult

SYNOPSIS = "SOURCE --format FORMAT --data FILE [-o MODEL] [options]"

DETAILS = """
Takes over a model that another trainer made, with the data that it was trained
on: factors and ids as they are, and the objective that they were trained for,
so that forgetting descends that one.

SOURCE by --format:
  implicit  the .npz of the library's model.save()
  npy       a .npz of user_factors and item_factors (and user_bias, item_bias,
            global_mean, user_ids, item_ids), or a .npy of users' and one of
            items' factors; the objective is stated with the options below
  spark     the directory of ALSModel.save(), and with --estimator that of
            ALS.save(), which says the objective
  lenskit   the .npz that the lines of docs/import-export.md write on your side
  cmfrec    from a model in memory

Nothing is unpickled. What the source does not say of its objective must be
stated. How far the factors are from their exact solutions on the data is
reported: where both sides are far off, the data or the objective are not those
of the training.
"""

EXAMPLES = """
forget import als.npz --format implicit --data listened.csv \\
    --user-ids users.txt --item-ids items.txt -o implicit.npz
forget import als-model --format spark --estimator als --data listened.csv
forget import cmfrec.npz --format cmfrec --data listened.csv
forget import factors.npz --format npy --data listened.csv \\
    --objective explicit --reg 0.05 --reg-scaling count -o plain.npz
"""

FORMATS = ("implicit", "spark", "npy", "lenskit", "cmfrec")
ON_MISMATCH = ("fail", "drop")

FAR_OFF = 0.2
"""Where both sides are further than this from their solutions, something is wrong: implicit's conjugate gradients leave
the side that they solved last within 0.02 of its solution after five sweeps on MovieLens-1M, and within 0.17 after
one."""


def add_arguments(parser: Parser) -> None:
    """The command's own arguments, and the shared ones."""
    files = parser.add_argument_group("files")
    files.add_argument("source", nargs="+", metavar="SOURCE", help="the model of the other trainer")
    files.add_argument("--format", required=True, choices=FORMATS, help="what wrote it")
    files.add_argument(
        "--data", action="append", required=True, metavar="FILE", help="the data that it was trained on; repeatable"
    )
    add_new_model_option(files)
    files.add_argument("--estimator", metavar="DIR", help="of spark: where the ALS that trained the model was saved")
    ids = parser.add_argument_group("ids", "Of the factors' rows, in their order, where SOURCE does not have them.")
    ids.add_argument("--user-ids", metavar="FILE", help="a .npy, a .txt of one id a line, or a table")
    ids.add_argument("--item-ids", metavar="FILE", help="(default for both: the rows' positions, from 0)")
    _add_objective_options(parser)
    rows = parser.add_argument_group("rows")
    rows.add_argument(
        "--duplicates",
        choices=DUPLICATES,
        help="how the trainer took several rows of one pair (default: stop at such rows)",
    )
    add_bad_rows_option(rows)
    rows.add_argument(
        "--on-mismatch",
        choices=ON_MISMATCH,
        default="fail",
        help="at users and items that only the model or only the data has (default: fail)",
    )
    add_column_options(parser, of="--data, --user-ids and --item-ids", rating=True)
    add_output_options(parser)


def _add_objective_options(parser: Parser) -> None:
    group = parser.add_argument_group("the objective", "What SOURCE does not say of it; nothing is assumed.")
    group.add_argument("--objective", choices=get_args(Objective), help="squared error of ratings, or Hu et al. 2008")
    group.add_argument("--reg", type=number, metavar="LAMBDA", help="regularisation")
    group.add_argument(
        "--reg-scaling", choices=get_args(RegScaling), help="times each row's number of interactions, or not"
    )
    group.add_argument("--alpha", type=number, metavar="A", help="implicit: confidence is C + A times the value")
    group.add_argument("--confidence-base", type=number, metavar="C", help="implicit: that C, 1 or 0")
    group.add_argument(
        "--unobserved-weight", type=number, metavar="W", help="implicit: of pairs not observed (default: 1)"
    )
    group.add_argument(
        "--sweeps",
        type=positive_count,
        metavar="N",
        help="how many the trainer did (default: 15): forgetting takes back what so many have absorbed",
    )
    group.add_argument(
        "--solved-last",
        choices=get_args(Side),
        help="which side its sweeps end with (default: the one that is nearer to its exact solution)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Reads model and data, brings them together, saves."""
    from forgetcli import checkpoint, files
    from forgetcli.interop import import_model
    from forgetcli.report import documents, summaries
    from forgetcli.tables import place_name

    session = Session(arguments)
    output: str = arguments.output
    require_output_is_no_input(
        output, [*arguments.source, *arguments.data, arguments.user_ids, arguments.item_ids, arguments.estimator]
    )
    stated = _stated(arguments)
    files.check_writable(output)
    with session.stage("reading", f"reading {' '.join(map(place_name, arguments.data))}"):
        read = _read_data(arguments)
        users, items = _ids(arguments, "user"), _ids(arguments, "item")
    with session.stage("importing", f"importing {' '.join(arguments.source)}"):
        imported = import_model(
            arguments.source,
            arguments.format,
            read.interactions,
            user_ids=users,
            item_ids=items,
            estimator=arguments.estimator,
            stated=stated,
            on_mismatch=arguments.on_mismatch,
            threads=arguments.threads,
        )
    if imported.model.config.objective == "explicit" and not read.has_ratings:
        raise DataError("an explicit model needs the ratings it was trained on", hint="name them with --rating-col")
    with session.stage("writing", f"writing {output}"):
        checkpoint.save(imported.model, output)
    session.say(summaries.read_summary(read, None))
    session.say(summaries.import_summary(imported, arguments.format))
    _warn(session, imported)
    session.say(summaries.saved_summary(output, os.path.getsize(output)))
    session.finish(
        {
            "format": arguments.format,
            "input": documents.input_members(read, 0),
            **documents.import_members(imported),
            "model": documents.model_members(output, imported.model),
        }
    )


def _stated(arguments: argparse.Namespace) -> Stated:
    from dataclasses import fields

    from forgetcli.interop import Stated

    return Stated(**{field.name: getattr(arguments, field.name) for field in fields(Stated)})


def _read_data(arguments: argparse.Namespace) -> ReadResult:
    from forgetcli.tables import read_interactions

    read = read_interactions(
        arguments.data,
        columns_of(arguments),
        duplicates=arguments.duplicates,
        bad_rows=arguments.bad_rows,
        threads=arguments.threads,
    )
    if read.duplicates and arguments.duplicates is None:
        raise DataError(
            f"{read.duplicates:,} rows of the data repeat a pair of a user and an item",
            hint="say with --duplicates what the trainer made of them; a sparse matrix from SciPy adds them up: sum",
        )
    return read


def _ids(arguments: argparse.Namespace, side: Literal["user", "item"]) -> Ids | None:
    from forgetcli.interop import read_row_ids

    path = getattr(arguments, f"{side}_ids")
    return None if path is None else read_row_ids(path, side, columns_of(arguments))


def _warn(session: Session, imported: Imported) -> None:
    agreement = imported.agreement
    if min(agreement.users, agreement.items) > FAR_OFF:
        session.warn(
            "neither side is near its solution on this data: it is not what the model was trained on, the objective is "
            "another one, or the trainer's solver stopped far from its end"
        )
