"""The receipt that a command writes when it has forgotten."""

from __future__ import annotations

import argparse
import os
import stat
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from forgetcli.cli.targets import STANDARD_STREAM, is_same_file
from forgetcli.errors import FileSystemError, UsageError

if TYPE_CHECKING:
    from forgetcli.cli.session import Session
    from forgetcli.digests import Digest, OnDigest


def add_receipt_option(group: argparse._ArgumentGroup) -> None:
    """Whether a receipt is wanted."""
    group.add_argument(
        "--receipt",
        metavar="FILE",
        help="write here, as JSON, what was done to which model: time, counts, SHA-256 of the lists and of the "
        "models, and no ids; forget info checks it",
    )


class Evidence:
    """What a receipt tells besides the command's result, collected as it comes to be known.

    Without --receipt there is nothing to collect: nothing is hashed, and `write` does nothing.
    """

    def __init__(self, arguments: argparse.Namespace, target: str) -> None:
        """Raises UsageError and FileSystemError for a receipt that could not be written: better now than when the old
        model has gone.

        target: where the new model goes.
        """
        from forgetcli import files

        self._path: str | None = arguments.receipt
        self._command: str = arguments.command
        self._options = len(arguments.user) + len(arguments.item)
        self._replaced = is_same_file(target, arguments.model)
        self._lists: list[Digest] = []
        self._before: Digest | None = None
        self._after: Digest | None = None
        self._time = ""
        if self._path is not None:
            _require_new(self._path, target)
            files.check_writable(self._path)

    @property
    def on_list(self) -> OnDigest | None:
        """Is to be told the digest of each forget-list."""
        return None if self._path is None else self._lists.append

    @property
    def on_before(self) -> OnDigest | None:
        """Is to be told the digest of the model that was read."""
        return None if self._path is None else self._remember_before

    @property
    def on_after(self) -> OnDigest | None:
        """Is to be told the digest of the model that was written, when that is safe."""
        return None if self._path is None else self._remember_after

    def write(self, session: Session, members: dict[str, Any], verify: dict[str, Any] | None = None) -> None:
        """Writes the receipt, or writes it again with what --verify found.

        members: of the command's JSON object, those that `documents.receipt_document` names.
        """
        if self._path is None or self._before is None:
            return
        from forgetcli.receipt import write_receipt
        from forgetcli.report import documents, summaries

        document = documents.receipt_document(
            time=self._time or _now(),
            command=self._command,
            lists=self._lists,
            options=self._options,
            members=members,
            verify=verify,
            seconds=session.seconds,
            before=self._before,
            after=self._after or self._before,
            replaced=self._replaced,
        )
        try:
            write_receipt(document, self._path)
        except FileSystemError as error:
            hint = "the model has forgotten, and stays so; run it again for a receipt that says nothing was left to do"
            raise FileSystemError(error.message, hint=f"{error.hint}; {hint}" if error.hint else hint) from error
        if verify is None:
            session.say(summaries.receipt_saved_summary(self._path))

    def _remember_before(self, digest: Digest) -> None:
        self._before = digest

    def _remember_after(self, digest: Digest) -> None:
        self._after, self._time = digest, _now()


def _require_new(path: str, target: str) -> None:
    """A receipt is kept: it replaces nothing, and a run that is repeated does not replace its own. An empty file, as
    mktemp makes it, may become one."""
    if path == STANDARD_STREAM:
        raise UsageError("--receipt is written to a file", hint="name a new one for each run")
    if is_same_file(path, target):
        raise UsageError(f"{path} is the model's place, and cannot be the receipt's too")
    with suppress(FileNotFoundError):
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size:
            raise UsageError(
                f"{path} is there already, and a receipt replaces nothing", hint="name a new file for each run"
            )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
