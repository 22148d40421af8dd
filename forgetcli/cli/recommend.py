"""`forget recommend`: the best items for users."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from forgetcli.cli.options import add_column_options, add_output_options, add_where_option, columns_of
from forgetcli.cli.parser import Parser, positive_count
from forgetcli.cli.session import Session
from forgetcli.cli.targets import STANDARD_STREAM, require_output_is_no_input
from forgetcli.errors import DataError
from forgetcli.printable import shorten
from forgetcli.report.text import count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forgetcli.model import Model
    from forgetcli.recommending import Recommendations
    from forgetcli.report.documents import Document
    from forgetcli.tables import ItemNames, TableFormat

SYNOPSIS = "MODEL (--user ID | --users FILE | --all-users) [options]"

DETAILS = """
Lists the items with the highest predictions for users, best first, equal ones
by id, without those that the user has had already.

At a terminal that is a table to read; through a pipe, CSV with the columns
user, item, rank, score and, with --item-names, title. With -o it goes to a
file, all of it or nothing, in the format that the file's ending names.
"""

EXAMPLES = """
forget recommend model.npz --user 42 -n 10
forget recommend model.npz --user 42 --item-names items.csv
forget recommend model.npz --users active.csv -n 20 -o recs.parquet
forget recommend model.npz --all-users --include-seen -o recs.jsonl
"""

UNKNOWN_SHOWN = 5
LONGEST_SHOWN = 60
"""An error repeats so many of the ids that the user typed, and so many characters of each."""


def add_arguments(parser: Parser) -> None:
    """The command's own arguments, and the shared ones."""
    files = parser.add_argument_group("files")
    files.add_argument("model", metavar="MODEL", help="a model file")
    files.add_argument(
        "-o",
        "--output",
        default=STANDARD_STREAM,
        metavar="OUT",
        help="a .csv, .parquet or .jsonl file to write; s3://, gs:// and hdfs:// too",
    )
    files.add_argument("--item-names", metavar="FILE", help="a table of the items' ids and titles")
    group = parser.add_argument_group("whom for, and how many")
    whom = group.add_mutually_exclusive_group(required=True)
    whom.add_argument("--user", action="append", default=[], metavar="ID", help="a user; repeatable")
    whom.add_argument("--users", metavar="FILE", help="a table with a column of users; - is standard input")
    whom.add_argument("--all-users", action="store_true", help="every user of the model")
    add_where_option(group, "--users", example="last_seen >= 2024-06-01", owner="--users")
    group.add_argument("-n", type=positive_count, default=10, metavar="N", help="items for each user (default: 10)")
    group.add_argument("--include-seen", action="store_true", help="also items that the user has had already")
    add_column_options(parser, of="--users and --item-names", title=True)
    add_output_options(parser, profile=True)


def run(arguments: argparse.Namespace) -> None:
    """Loads, ranks, and writes while it ranks."""
    from forgetcli import checkpoint
    from forgetcli.recommending import recommend_in_batches
    from forgetcli.tables import check_output, place_name, read_item_names, table_format

    session = Session(arguments)
    output: str = arguments.output
    require_output_is_no_input(output, [arguments.model, arguments.users, arguments.item_names])
    form = table_format(output)
    if output != STANDARD_STREAM:
        check_output(output)
    with session.stage("reading", f"reading {arguments.model}"):
        model = checkpoint.load(arguments.model)
        users, unknown = _users(arguments, model)
        names = read_item_names(arguments.item_names, columns_of(arguments)) if arguments.item_names else None
    if unknown:
        place = "standard input" if arguments.users == STANDARD_STREAM else place_name(arguments.users)
        session.warn(f"{unknown:,} of the users in {place} are not in the model")
    batches = recommend_in_batches(
        model, users, arguments.n, exclude_seen=not arguments.include_seen, threads=arguments.threads
    )
    document: Document = {"users": len(users), "unknown_users": unknown, "n": arguments.n}
    with session.stage("ranking"):
        if output != STANDARD_STREAM:
            _write(output, form, model, names, batches)
            document["output"] = place_name(output)
        elif arguments.json:
            document["recommendations"] = _listed(model, names, batches)
        elif sys.stdout.isatty():
            _show(model, names, batches)
        else:
            _stream(sys.stdout.buffer, form, model, names, batches)
    if output != STANDARD_STREAM:
        session.confirm(f"Wrote the best {arguments.n} for {count(len(users), 'user')} to {place_name(output)}")
    session.finish(document)


def _users(arguments: argparse.Namespace, model: Model) -> tuple[NDArray[np.int64], int]:
    """The rows of the users that were asked for, and how many the model does not know.

    Raises DataError for an unknown one that was named on the command line.
    """
    import numpy as np

    from forgetcli.ids import as_ids
    from forgetcli.tables import read_ids

    if arguments.all_users:
        return np.arange(len(model.users)), 0
    if arguments.users is not None:
        rows = model.users.find(read_ids(arguments.users, "user", columns_of(arguments), where=arguments.where))
        return rows[rows >= 0], int(np.count_nonzero(rows < 0))
    rows = model.users.find(as_ids(arguments.user))
    unknown = [user for user, row in zip(arguments.user, rows, strict=True) if row < 0]
    if unknown:
        shown = ", ".join(shorten(user, LONGEST_SHOWN) for user in unknown[:UNKNOWN_SHOWN])
        shown += ", ..." if len(unknown) > UNKNOWN_SHOWN else ""
        raise DataError(f"{arguments.model} has no user {shown}")
    return rows, 0


def _write(
    output: str, form: TableFormat, model: Model, names: ItemNames | None, batches: Iterator[Recommendations]
) -> None:
    from forgetcli.tables import open_output

    with open_output(output) as file:
        _stream(file, form, model, names, batches)


def _stream(
    file: BinaryIO, form: TableFormat, model: Model, names: ItemNames | None, batches: Iterator[Recommendations]
) -> None:
    from forgetcli.tables import RecommendationWriter

    with RecommendationWriter(file, form, model.users, model.items, names) as writer:
        for batch in batches:
            writer.write(batch.users, batch.items, batch.scores)


def _show(model: Model, names: ItemNames | None, batches: Iterator[Recommendations]) -> None:
    from forgetcli.report.tables import recommendation_tables

    for batch in batches:
        sys.stdout.write(recommendation_tables(model, names, batch))


def _listed(model: Model, names: ItemNames | None, batches: Iterator[Recommendations]) -> list[Document]:
    from forgetcli.report.documents import recommendation_members

    return [member for batch in batches for member in recommendation_members(model, names, batch)]
