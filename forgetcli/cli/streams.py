"""The standard streams as the program needs them, whatever the process was started with."""

from __future__ import annotations

import codecs
import io
import os
import sys
from contextlib import suppress

PLAIN = {"→": "->", "−": "-", "–": "-", "±": "+-", "─": "-", "…": "..."} | dict.fromkeys("▁▂▃▄▅▆▇█", "")
"""What stands for the program's own signs where the terminal's encoding lacks them."""

_HANDLER = "forgetcli.plain"


def prepare() -> None:
    """Mends what a crontab, a daemon or an old locale may have left:

    - Talk goes to standard error, and keeps no work from being done where nobody reads it or the log's disk is full:
      the exit code says how it ended. (A log's reader that leaves would otherwise pass for one of the result.)
    - Standard output that is closed is an error only where something is to be written there, as `ls >&-` has it.
    - What the streams' encoding lacks is spelt otherwise.
    """
    codecs.register_error(_HANDLER, _spelt_otherwise)
    sys.stdout = sys.stdout or _closed_output()
    sys.stdout.reconfigure(errors=_HANDLER)  # type: ignore[union-attr]
    buffer = sys.stderr.buffer if sys.stderr else open(os.devnull, "wb")  # noqa: SIM115 -- as long as the process
    encoding = sys.stderr.encoding if sys.stderr else "utf-8"
    sys.stderr = _Talk(buffer, encoding=encoding, errors=_HANDLER, line_buffering=True)


class _Talk(io.TextIOWrapper):
    """A stream that what cannot be written is lost on."""

    def write(self, text: str, /) -> int:
        with suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def _closed_output() -> io.TextIOWrapper:
    """Takes descriptor 1, so that no file which is opened later becomes standard output; writing fails."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    with suppress(OSError):
        os.fstat(1)
        return open(descriptor, "w", encoding="utf-8")
    os.dup2(descriptor, 1)
    os.close(descriptor)
    return open(1, "w", encoding="utf-8")


def _spelt_otherwise(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    missing = error.object[error.start : error.end]
    known = [PLAIN.get(sign, sign.encode("ascii", "backslashreplace").decode()) for sign in missing]
    return "".join(known), error.end
