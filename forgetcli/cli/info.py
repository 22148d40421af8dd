"""`forget info`: what a model file is, or a receipt."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from forgetcli.cli.options import add_output_options
from forgetcli.cli.parser import Parser
from forgetcli.cli.session import Session
from forgetcli.errors import CheckFailed

if TYPE_CHECKING:
    from forgetcli.receipt import Match

SYNOPSIS = "FILE [options]"

DETAILS = """
Says what a model file is: how it was trained, on how much, and how that went.
The arrays are not read, so the answer comes at once however large the file is.

Of a receipt, as forget --receipt writes it, says what was done; with --model,
whether that is the model that had forgotten, byte for byte. If not, it exits 1.
"""

EXAMPLES = """
forget info model.npz
forget info model.npz --json | jq .config.factors
forget info receipt.json --model model.npz
"""


def add_arguments(parser: Parser) -> None:
    """The command's own arguments, and the shared ones."""
    files = parser.add_argument_group("files")
    files.add_argument("file", metavar="FILE", help="a model, or a receipt")
    files.add_argument("--model", metavar="MODEL", help="the model to hold the receipt against")
    add_output_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Inspects and shows, and checks a receipt."""
    from forgetcli.receipt import looks_like_receipt

    session = Session(arguments)
    if arguments.model is not None or looks_like_receipt(arguments.file):
        _show_receipt(session, arguments.file, arguments.model)
    else:
        _show_model(session, arguments.file)


def _show_model(session: Session, path: str) -> None:
    from forgetcli import checkpoint
    from forgetcli.report import documents, summaries

    info = checkpoint.inspect(path)
    session.finish(documents.info_document(path, info), summaries.info_text(path, info))


def _show_receipt(session: Session, path: str, model: str | None) -> None:
    from forgetcli.digests import digest_of
    from forgetcli.receipt import read_receipt
    from forgetcli.report import documents, summaries

    receipt = read_receipt(path)
    match: Match | None = None
    if model is not None:
        with session.stage("hashing", f"hashing {model}"):
            match = receipt.match(digest_of(model))
    session.finish(
        documents.receipt_info_document(path, receipt, model, match),
        summaries.receipt_text(path, receipt, model, match),
    )
    if model is not None and match is not None and match.value != "after":
        raise CheckFailed(*summaries.mismatch(path, model, match))
