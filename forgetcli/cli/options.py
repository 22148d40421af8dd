"""Options that several commands share, and what becomes of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from forgetcli.cli.parser import Parser, belongs_to, threads
from forgetcli.errors import UsageError

if TYPE_CHECKING:
    from forgetcli.digests import OnDigest
    from forgetcli.interactions import Interactions
    from forgetcli.model import Model
    from forgetcli.records import ForgetRequest
    from forgetcli.tables import ColumnOptions, Filter

DUPLICATES = ("last", "sum", "mean", "max")
BAD_ROWS = ("stop", "drop")


def add_help_options(parser: Parser) -> None:
    """What a command has that does nothing but print a text."""
    group = parser.add_argument_group("help")
    group.add_argument("--debug", action="store_true", help="show where in the program an error arose")
    group.add_argument("-h", "--help", action="store_true", help="show this help")


def add_output_options(parser: Parser, *, profile: bool = False) -> None:
    """How a command talks, and how much of the machine it takes.

    profile: whether it can tell where the time goes.
    """
    group = parser.add_argument_group("output and help")
    group.add_argument("--json", action="store_true", help="print one JSON object on standard output, nothing else")
    group.add_argument(
        "--json-schema", action="store_true", help="print the JSON Schema of that object, and do no more"
    )
    group.add_argument("-q", "--quiet", action="store_true", help="say nothing but warnings and errors")
    group.add_argument("--progress", action="store_true", help="log progress also where there is no terminal")
    if profile:
        group.add_argument(
            "--profile",
            action="store_true",
            help="show each stage's time and the peak memory, on standard error or in the JSON object",
        )
    group.add_argument("--debug", action="store_true", help="show where in the program an error arose")
    group.add_argument(
        "--threads", type=threads, default=0, metavar="N", help="processors to use (default: 0, all); changes no result"
    )
    group.add_argument("-h", "--help", action="store_true", help="show this help")


def add_new_model_option(group: argparse._ArgumentGroup) -> None:
    """Where a model that did not exist before goes."""
    group.add_argument(
        "-o", "--output", default="model.npz", metavar="MODEL", help="the file to write (default: model.npz)"
    )


def add_bad_rows_option(group: argparse._ArgumentGroup) -> None:
    """What becomes of rows that cannot be used."""
    group.add_argument(
        "--bad-rows", choices=BAD_ROWS, default="stop", help="at a row that cannot be used (default: stop)"
    )


def add_column_options(parser: Parser, *, of: str, rating: bool = False, title: bool = False) -> None:
    """Where the columns of input tables are.

    of: the tables that are meant, for the help.
    """
    group = parser.add_argument_group(
        f"columns of {of}", "Found by their usual names (user, userId, item, movieId, rating, ...)\nunless named."
    )
    group.add_argument("--user-col", metavar="NAME", help="the user's id")
    group.add_argument("--item-col", metavar="NAME", help="the item's id")
    if rating:
        group.add_argument("--rating-col", metavar="NAME", help="the rating, or a count of plays, purchases, ...")
        group.add_argument("--timestamp-col", metavar="NAME", help="the time, for --duplicates last")
    if title:
        group.add_argument("--title-col", metavar="NAME", help="the item's title, in --item-names")
    group.add_argument(
        "--columns",
        metavar="NAMES",
        help="the columns of text files without a header, in order, such as user,item,rating,timestamp; - skips one",
    )
    group.add_argument(
        "--delimiter", metavar="TEXT", help="between two fields, such as ';', '\\t' or '::' (default: as found)"
    )


def add_where_option(
    group: argparse._ArgumentGroup,
    of: str,
    name: str = "--where",
    example: str = "rating >= 4",
    owner: str | None = None,
) -> None:
    """Which rows of a table to read.

    of:    the tables that are meant, for the help.
    owner: the option that names them; None where there always are some.
    """
    action = group.add_argument(
        name,
        type=_filter(name),
        metavar="FILTER",
        help=f'read only those rows of {of} that it holds of, such as "{example}"',
    )
    if owner is not None:
        belongs_to(owner, action)


def _filter(option: str) -> Callable[[str], Filter]:
    def parse(text: str) -> Filter:
        from forgetcli.tables import Filter

        return Filter.parse(text, option.lstrip("-").replace("-", "_"))

    return parse


def add_request_options(parser: Parser, *, purpose: str) -> None:
    """What is to be forgotten."""
    group = parser.add_argument_group(purpose)
    group.add_argument(
        "--records",
        action="append",
        default=[],
        metavar="FILE",
        help="a forget-list: CSV or Parquet with a user column, an item column or both; - is standard input; "
        "repeatable",
    )
    add_where_option(group, "the forget-lists", example="status = 'approved'", owner="--records")
    group.add_argument("--user", action="append", default=[], metavar="ID", help="everything of this user; repeatable")
    group.add_argument("--item", action="append", default=[], metavar="ID", help="everything of this item; repeatable")


def add_data_option(group: argparse._ArgumentGroup, model: str = "MODEL") -> None:
    """The data of a model that does not carry it."""
    group.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="FILE",
        help=f"the data that {model} was trained on, if it was saved with --no-interactions; repeatable",
    )
    duplicates = group.add_argument("--duplicates", choices=DUPLICATES, help="as given in training, for --data")
    where = group.add_argument(
        "--data-where", type=_filter("--data-where"), metavar="FILTER", help="the --where of the training, for --data"
    )
    for action in (duplicates, where):
        belongs_to("--data", action)


def columns_of(arguments: argparse.Namespace) -> ColumnOptions:
    """The column options, as the readers want them."""
    from forgetcli.tables import ColumnOptions

    names = arguments.columns
    return ColumnOptions(
        user=arguments.user_col,
        item=arguments.item_col,
        rating=getattr(arguments, "rating_col", None),
        timestamp=getattr(arguments, "timestamp_col", None),
        title=getattr(arguments, "title_col", None),
        columns=None if names is None else tuple(names.split(",")),
        delimiter=arguments.delimiter,
    )


def request_of(arguments: argparse.Namespace, on_digest: OnDigest | None = None) -> ForgetRequest:
    """What the forget-lists and the options ask for together.

    on_digest: is told each forget-list's digest.
    """
    from forgetcli.records import ForgetRequest

    named = ForgetRequest.of(users=arguments.user, items=arguments.item)
    if not arguments.records:
        return named
    from forgetcli.tables import read_records

    return read_records(arguments.records, columns_of(arguments), where=arguments.where, on_digest=on_digest) | named


def data_of(arguments: argparse.Namespace, model: Model | None = None) -> Interactions | None:
    """The interactions that --data names, or None without it.

    model: the one that they are for. Raises UsageError when it has its own.
    """
    if not arguments.data:
        return None
    if model is not None and model.interactions is not None:
        raise UsageError("--data is for a model without its interactions, and this one has them")
    from forgetcli.tables import read_interactions

    read = read_interactions(
        arguments.data,
        columns_of(arguments),
        duplicates=arguments.duplicates,
        where=arguments.data_where,
        threads=arguments.threads,
    )
    return read.interactions
