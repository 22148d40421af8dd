"""The program as a process, and the files that it is run on."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastjsonschema

import forgetcli
from forgetcli.report.schemas import schema

SAMPLES = Path(__file__).resolve().parent.parent / "sample_data"
COMMANDS = ("train", "forget", "retrain", "compare", "recommend", "info", "import", "export", "completion")
SMALL = ("--factors", "8", "--sweeps", "3")
"""Options of a model that is trained in no time."""

LONGEST_LINE = 80


@dataclass(frozen=True)
class Run:
    """How a process ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as the one JSON object that it must be, which its command's schema describes."""
        document = json.loads(self.out)
        check_schema(document)
        return document

    @property
    def rows(self) -> list[dict[str, str]]:
        """Standard output as CSV."""
        return list(csv.DictReader(self.out.splitlines()))


def check_schema(document: Any) -> None:
    """That a --json object is what its command's schema says, and has no member of which the schema says nothing.

    A new member belongs into forgetcli/report/schemas.py; one that comes from a dataclass is there by itself.
    """
    validate = fastjsonschema.compile(only_described(schema(document["command"])))
    try:
        validate(document)
    except fastjsonschema.JsonSchemaValueException as error:
        raise AssertionError(error.message[:500]) from None


def only_described(part: Any) -> Any:
    """A schema that forbids members which it does not describe."""
    if isinstance(part, list):
        return [only_described(each) for each in part]
    if not isinstance(part, dict):
        return part
    closed = {"additionalProperties": False} if "properties" in part and part.get("type") == "object" else {}
    return closed | {key: only_described(value) for key, value in part.items()}


def command_line(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "forgetcli", *arguments]


def environment(**extra: str) -> dict[str, str]:
    """That of a process which finds the same package as the tests, wherever it is run."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR") and not name.startswith("FORGET_")
    }
    return {**kept, "FORGET_CONFIG": "", "PYTHONPATH": str(Path(forgetcli.__file__).resolve().parents[1]), **extra}


def forget(*arguments: str, cwd: Path, stdin: bytes = b"", **extra: str) -> Run:
    """Runs `forget` to its end."""
    done = subprocess.run(
        command_line(*arguments), cwd=cwd, input=stdin, capture_output=True, env=environment(**extra), check=False
    )
    return Run(done.returncode, done.stdout.decode(), done.stderr.decode())


def forget_well(*arguments: str, cwd: Path, stdin: bytes = b"") -> Run:
    """Runs `forget`, which must succeed."""
    run = forget(*arguments, cwd=cwd, stdin=stdin)
    assert run.code == 0, run.err
    return run


def forget_on_terminal(*arguments: str, cwd: Path, **extra: str) -> tuple[int, str]:
    """The exit code and all that `forget` shows on a terminal of 80 columns."""
    import pty

    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command_line(*arguments),
        cwd=cwd,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(**{"TERM": "xterm", **extra}),
    ) as process:
        os.close(theirs)
        shown = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    return process.returncode, shown.decode().replace("\r\n", "\n")


def check_error(run: Run, code: int, *parts: str) -> None:
    """That a run failed as it should: its exit code, nothing on standard output, one block on standard error."""
    assert run.code == code, run.err
    assert run.out == ""
    assert run.err.startswith("forget: error: ")
    assert "Traceback" not in run.err
    assert longest_line(run.err) <= LONGEST_LINE
    flat = " ".join(run.err.split())
    assert all(part in flat for part in parts), run.err


def longest_line(text: str) -> int:
    """Of those that could be broken: a long path has a line of its own."""
    return max((len(line) for line in text.splitlines() if len(line.split()) > 1), default=0)


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # Linux's way to say that the other end is closed
        return b""
