"""The files that commands write."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from forgetcli.errors import UsageError

LOCK_TIMEOUT = 600.0
"""Seconds. Long enough for a queue of runs on a large model, short enough for a nightly job to fail before morning."""

STANDARD_STREAM = "-"


def is_same_file(first: str, second: str) -> bool:
    """Whether two paths name one file, however many links lead there."""
    return os.path.realpath(first) == os.path.realpath(second)


def require_output_is_no_input(output: str, inputs: Sequence[str | None]) -> None:
    """Raises UsageError where a slip of the finger would replace data by the result.

    inputs: paths, "-" or None for those that were not given.
    """
    for path in inputs:
        if path not in (None, STANDARD_STREAM) and is_same_file(path, output):
            raise UsageError(f"{output} is read, and cannot be the output too", hint="name another file with -o")


def locked_for_replacing(
    model: str, target: str, timeout: float, say: Callable[[str], None]
) -> AbstractContextManager[Callable[[], None]]:
    """The lock that keeps a request from being lost when several runs read and replace one model, and what to call
    before replacing it (see `files.lock`). Writing to another file needs none.

    timeout: seconds to wait.
    say:     is told when there is something to wait for.
    """
    from forgetcli import files

    if not is_same_file(model, target):
        return nullcontext(lambda: None)
    return files.lock(model, timeout, on_wait=lambda: say(f"Waiting for another process to finish with {model}"))
