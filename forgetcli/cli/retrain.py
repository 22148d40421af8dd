"""`forget retrain`: what a model would be that had never seen the records."""

from __future__ import annotations

import argparse
import os

from forgetcli.cli.options import (
    add_column_options,
    add_data_option,
    add_output_options,
    add_request_options,
    data_of,
    request_of,
)
from forgetcli.cli.parser import Parser, whole_number
from forgetcli.cli.receipts import Evidence, add_receipt_option
from forgetcli.cli.session import Session
from forgetcli.cli.targets import LOCK_TIMEOUT, locked_for_replacing, require_output_is_no_input

SYNOPSIS = "MODEL [--records FILE] -o OUT [options]"

DETAILS = """
Trains anew, with the model's own configuration, on what is left of its data
without the named records: byte for byte the model that training on such data
would have given. This is what forgetting is measured against, and what it
saves. Two retrains that differ in --seed alone show how far apart such models
are anyway.
"""

EXAMPLES = """
forget retrain model.npz --records deletions.csv -o retrained.npz
forget retrain model.npz --records deletions.csv -o other.npz --seed 1
# Of a model that has forgotten, the records are gone already:
forget retrain forgotten.npz -o retrained.npz
"""


def add_arguments(parser: Parser) -> None:
    """The command's own arguments, and the shared ones."""
    add_request_options(parser, purpose="what to leave out")
    files = parser.add_argument_group("files")
    files.add_argument("model", metavar="MODEL", help="the model whose configuration and data are used")
    files.add_argument("-o", "--output", required=True, metavar="OUT", help="the file to write")
    add_data_option(files)
    add_receipt_option(files)
    training = parser.add_argument_group("training")
    training.add_argument(
        "--seed", type=whole_number, metavar="S", help="of the starting factors (default: the model's own)"
    )
    add_column_options(parser, of="forget-lists and --data", rating=True)
    add_output_options(parser, profile=True)


def run(arguments: argparse.Namespace) -> None:
    """Loads, retrains, saves."""
    from forgetcli import checkpoint, files, unlearn
    from forgetcli.report import documents, summaries

    session = Session(arguments)
    source, target = arguments.model, arguments.output
    require_output_is_no_input(target, [*arguments.records, *arguments.data])
    evidence = Evidence(arguments, target)
    files.check_writable(target)
    with session.stage("reading", f"reading {source}"):
        request = request_of(arguments, evidence.on_list)
    with locked_for_replacing(source, target, LOCK_TIMEOUT, session.say) as require_unchanged:
        with session.stage("reading", f"reading {source}"):
            model = checkpoint.load(source, on_digest=evidence.on_before)
            interactions = data_of(arguments, model)
        with session.stage("sweeping", "training"):
            retrained, resolution = unlearn.retrain(
                model,
                request,
                seed=arguments.seed,
                interactions=interactions,
                threads=arguments.threads,
                on_progress=session.on_sweep,
            )
        require_unchanged()
        with session.stage("writing", f"writing {target}"):
            checkpoint.save(retrained, target, interactions=model.interactions is not None, on_digest=evidence.on_after)
    session.say(summaries.retrain_summary(retrained, resolution, session.seconds["sweeping"]))
    if unknown := summaries.unknown_text(resolution.counts):
        session.warn(f"not in the model: {unknown}")
    session.say(summaries.saved_summary(target, os.path.getsize(target)))
    request_members = documents.request_members(resolution.counts)
    left_out = documents.removed_members(resolution.counts, resolution.erased_users, resolution.erased_items)
    evidence.write(session, documents.retrain_members(retrained, request_members, left_out))
    session.finish(
        {
            "request": request_members,
            "left_out": left_out,
            "model": documents.model_members(target, retrained),
            "sweeps": session.sweeps,
            "receipt": arguments.receipt,
        }
    )
