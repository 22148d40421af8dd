"""`forget forget`: a model that has forgotten, in place of the one that had not."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forgetcli.cli.limits import load_scipy
from forgetcli.cli.options import (
    add_column_options,
    add_data_option,
    add_output_options,
    add_request_options,
    data_of,
    request_of,
)
from forgetcli.cli.parser import Parser, number, positive_count
from forgetcli.cli.receipts import Evidence, add_receipt_option
from forgetcli.cli.session import Session
from forgetcli.cli.targets import (
    LOCK_TIMEOUT,
    is_same_file,
    locked_for_replacing,
    require_output_is_no_input,
)
from forgetcli.errors import CheckFailed, UsageError

if TYPE_CHECKING:
    from forgetcli.interactions import Interactions
    from forgetcli.model import Model
    from forgetcli.records import ForgetRequest, RequestCounts
    from forgetcli.unlearn import ForgetResult

SYNOPSIS = "MODEL [--records FILE] [--user ID] [--item ID] [options]"

DETAILS = """
Removes records from a model without retraining it: from its data, from its
ids, and from its factors, which move to where the remaining data would have
put them. A small model is trained anew where that costs no more, and a model
that is to forget more than 40 % of its records; --no-retrain forbids it.

A row of a forget-list with a user and an item means that pair; one with only a
user, everything of that user; one with only an item, everything of that item.
A user or an item with nothing left disappears from the model.

Without -o the model itself is replaced, all of it or nothing, and the old one
is gone. Nothing of what was forgotten is kept: no list, no count, no digest.
Asking again changes nothing. Runs on the same model at the same time wait for
each other. Copies, backups and the data the model came from are not touched.

--receipt keeps a record of what was done: a new file for each run.

--verify then trains a few models that never saw the records, and says how much
of them the new model remembers beside those. It takes as many retrains, and
exits with 0 whatever it finds; a verdict as an exit code is what compare has.
"""

EXAMPLES = """
forget forget model.npz --records deletions.csv
forget forget model.npz --user 42 --user 1317
forget forget model.npz --item 4 -o without-4.npz
forget forget model.npz --records deletions.csv --verify
forget forget model.npz --records deletions.csv --receipt receipt.json
psql -c "copy withdrawn to stdout csv header" | forget forget model.npz \\
    --records - --on-unknown ignore --quiet
forget forget model.npz --records deletions.csv --dry-run --json
"""

METHODS = ("auto", "response", "sweeps", "retrain")
DEFAULT_SWEEPS = 5
DEFAULT_SEEDS = 3
ON_UNKNOWN = ("warn", "ignore", "fail")


def add_arguments(parser: Parser) -> None:
    """The command's own arguments, and the shared ones."""
    add_request_options(parser, purpose="what to forget")
    files = parser.add_argument_group("files")
    files.add_argument("model", metavar="MODEL", help="the model; replaced unless -o is given")
    files.add_argument("-o", "--output", metavar="OUT", help="write the model that has forgotten here instead")
    add_data_option(files)
    add_receipt_option(files)
    how = parser.add_argument_group("how")
    how.add_argument(
        "--method",
        choices=METHODS,
        default=METHODS[0],
        help="response: a second-order step to the level of a retrain; sweeps: ALS sweeps over what remains; "
        "retrain: train anew; auto: response, unless a retrain costs no more or the request is very large "
        "(default: auto)",
    )
    how.add_argument(
        "--sweeps", type=positive_count, metavar="N", help=f"of --method sweeps (default: {DEFAULT_SWEEPS})"
    )
    how.add_argument("--no-retrain", action="store_true", help="with --method auto: a response step whatever it costs")
    how.add_argument("--verify", action="store_true", help="measure what is left, beside retrains made for the purpose")
    how.add_argument(
        "--verify-seeds",
        type=positive_count,
        metavar="N",
        help=f"so many retrains, each of its own seed; at least {DEFAULT_SEEDS} (default: {DEFAULT_SEEDS})",
    )
    how.add_argument(
        "--on-unknown",
        choices=ON_UNKNOWN,
        default="warn",
        help="about records that the model does not have; fail leaves the model alone (default: warn)",
    )
    how.add_argument("--dry-run", action="store_true", help="do everything but write")
    how.add_argument(
        "--lock-timeout",
        type=number,
        default=LOCK_TIMEOUT,
        metavar="SECONDS",
        help=f"wait so long for another run on this model (default: {LOCK_TIMEOUT:g})",
    )
    add_column_options(parser, of="forget-lists and --data", rating=True)
    add_output_options(parser, profile=True)


def run(arguments: argparse.Namespace) -> None:
    """Loads, forgets, saves, all under the model's lock when it is to be replaced; then verifies, and reports."""
    from forgetcli import files

    session = Session(arguments)
    _require_sensible(arguments)
    if arguments.verify:
        load_scipy()
    target: str = arguments.output or arguments.model
    require_output_is_no_input(target, [*arguments.records, *arguments.data])
    evidence = Evidence(arguments, target)
    if not arguments.dry_run:
        files.check_writable(target)
    with session.stage("reading", "reading the request"):  # before the lock: standard input may take its time
        request = request_of(arguments, evidence.on_list)
    if arguments.dry_run:
        done = _forget(session, arguments, request, target, evidence, lambda: None)
    else:
        with locked_for_replacing(arguments.model, target, arguments.lock_timeout, session.say) as require_unchanged:
            done = _forget(session, arguments, request, target, evidence, require_unchanged)
    evidence.write(session, done.members)
    verified = _verify(session, arguments, request, done) if arguments.verify else None
    if verified is not None:
        evidence.write(session, done.members, verified)
    session.finish(
        {
            "dry_run": arguments.dry_run,
            "asked_method": arguments.method,
            **done.members,
            "sweeps": session.sweeps,
            "verify": verified,
            "receipt": arguments.receipt,
        }
    )


def _require_sensible(arguments: argparse.Namespace) -> None:
    if not (arguments.records or arguments.user or arguments.item):
        raise UsageError("nothing to forget was named", hint="give --records FILE, --user ID or --item ID")
    if arguments.sweeps is not None and arguments.method != "sweeps":
        raise UsageError(f"--sweeps belongs to --method sweeps, not to --method {arguments.method}")
    if arguments.no_retrain and arguments.method == "retrain":
        raise UsageError("--method retrain and --no-retrain contradict each other")
    if arguments.verify_seeds is not None and not arguments.verify:
        raise UsageError("--verify-seeds belongs to --verify")
    if arguments.verify_seeds is not None and arguments.verify_seeds < DEFAULT_SEEDS:
        raise UsageError(f"--verify-seeds must be at least {DEFAULT_SEEDS}: fewer do not show their own noise")
    if arguments.receipt and arguments.dry_run:
        raise UsageError("--receipt and --dry-run contradict each other: nothing is done that it could tell of")
    if arguments.lock_timeout < 0:
        raise UsageError("--lock-timeout must be at least 0")


@dataclass(frozen=True)
class _Done:
    """What was there, what became of it, and what the JSON object says of that."""

    original: Model
    data: Interactions | None
    result: ForgetResult
    members: dict[str, Any]


def _forget(
    session: Session,
    arguments: argparse.Namespace,
    request: ForgetRequest,
    target: str,
    evidence: Evidence,
    require_unchanged: Callable[[], None],
) -> _Done:
    from forgetcli import checkpoint, unlearn
    from forgetcli.report import documents, summaries

    with session.stage("reading", f"reading {arguments.model}"):
        model = checkpoint.load(arguments.model, on_digest=evidence.on_before)
        interactions = data_of(arguments, model)
    if arguments.on_unknown == "fail":
        _require_known(request.resolve(unlearn.training_data(model, interactions)).counts)
    carries_data = model.interactions is not None
    handed = [interactions]
    if not arguments.verify:  # which needs what there was
        interactions = None
    with session.stage("sweeping", "forgetting"):
        result = unlearn.forget(
            model,
            request,
            method="response" if arguments.method == "auto" and arguments.no_retrain else arguments.method,
            sweeps=arguments.sweeps or DEFAULT_SWEEPS,
            interactions=handed.pop(),  # so that nobody else holds it when the records are out of it
            in_place=not arguments.verify,
            threads=arguments.threads,
            on_progress=session.on_sweep,
            on_step=session.on_step,
        )
    require_unchanged()
    written = _write(session, arguments, result, target, evidence, carries_data=carries_data)
    session.say(summaries.forget_summary(result, session.seconds["sweeping"]))
    if arguments.method == "auto" and result.method == "retrain":
        session.say(summaries.retrained_summary(result))
    if arguments.on_unknown == "warn" and (unknown := summaries.unknown_text(result.counts)):
        session.warn(f"not in the model: {unknown}")
    if written:
        session.say(summaries.saved_summary(target, os.path.getsize(target)))
    elif arguments.dry_run:
        session.say("Nothing was written: this was a dry run.")
    model_members = documents.model_members(target if written else None, result.model)
    return _Done(model, interactions, result, {**documents.forget_members(result), "model": model_members})


def _verify(
    session: Session, arguments: argparse.Namespace, request: ForgetRequest, done: _Done
) -> dict[str, Any] | None:
    """After the new model is in place: whoever interrupts the retrains has not stopped the forgetting."""
    from forgetcli.report import summaries
    from forgetcli.verification import verify

    if done.result.method is None:
        return None
    with session.stage("verifying", "retraining to verify"):
        found = verify(
            done.result.model,
            done.original,
            request,
            seeds=arguments.verify_seeds or DEFAULT_SEEDS,
            data=done.data,
            trained_anew=done.result.method == "retrain",
            threads=arguments.threads,
            on_step=session.on_step,
        )
    session.say(summaries.verify_summary(found, session.seconds["verifying"]))
    return found.to_dict()


def _write(
    session: Session,
    arguments: argparse.Namespace,
    result: ForgetResult,
    target: str,
    evidence: Evidence,
    *,
    carries_data: bool,
) -> bool:
    """Saves the model unless that would change nothing; whether it did."""
    from forgetcli import checkpoint, files

    in_place = is_same_file(target, arguments.model)
    if arguments.dry_run:
        return False
    if in_place and result.method is None:
        files.settle(target)  # a run that was killed may have got so far
        return False
    links = files.hard_links(target) if in_place else 0
    with session.stage("writing", f"writing {target}"):
        checkpoint.save(result.model, target, interactions=carries_data, on_digest=evidence.on_after)
    if links:
        session.warn(
            f"{target} had {links} other name{'s' * (links > 1)} (hard links), which still hold the model that has "
            "not forgotten"
        )
    if arguments.data and result.method is not None:
        session.warn("the --data files still hold what was forgotten; remove it there before the next run")
    return True


def _require_known(counts: RequestCounts) -> None:
    from forgetcli.report.summaries import unknown_text

    if unknown := unknown_text(counts):
        raise CheckFailed(
            f"not in the model: {unknown}; nothing was forgotten", hint="--on-unknown warn forgets what is there"
        )
