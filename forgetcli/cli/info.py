"""`forget info`: what a model file is."""

from __future__ import annotations

import argparse

from forgetcli.cli.options import add_output_options
from forgetcli.cli.parser import Parser
from forgetcli.cli.session import Session

SYNOPSIS = "MODEL [options]"

DETAILS = """
Says what a model file is: how it was trained, on how much, and how that went.
The arrays are not read, so the answer comes at once however large the file is.
"""

EXAMPLES = """
forget info model.npz
forget info model.npz --json | jq .config.factors
"""


def add_arguments(parser: Parser) -> None:
    """The command's own arguments, and the shared ones."""
    parser.add_argument_group("files").add_argument("model", metavar="MODEL", help="a model file")
    add_output_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Inspects and shows."""
    from forgetcli import checkpoint
    from forgetcli.report import documents, summaries

    session = Session(arguments)
    info = checkpoint.inspect(arguments.model)
    session.finish(documents.info_document(arguments.model, info), summaries.info_text(arguments.model, info))
