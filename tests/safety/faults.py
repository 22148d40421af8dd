"""`forget` with a fault at one of its system calls: a helper for tests and for the long runs of benchmarks/."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.program import environment

HERE = Path(__file__).resolve().parent

NO_FAULT, KILL, KILL_HALFWAY = 0, -1, -2
"""What happens at the chosen call, besides an errno to fail with: nothing; SIGKILL before it; SIGKILL in the middle
of it, where it writes."""


def why_not() -> str | None:
    """Why faults cannot be injected on this machine, or None where they can."""
    if sys.platform != "linux":
        return "faults are injected by way of LD_PRELOAD and /proc, which are Linux's"
    if shutil.which("gcc") is None and shutil.which("cc") is None:
        return "faults are injected by a library that takes a C compiler to build"
    return None


def build_shim(directory: Path) -> Path:
    """The compiled shim.c."""
    library = directory / "shim.so"
    compiler = shutil.which("gcc") or shutil.which("cc") or "cc"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, HERE / "shim.c", "-ldl"], check=True)
    return library


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    code:  the exit code, -9 where it was killed.
    calls: the calls on the directory that it made; empty where it was killed.
    """

    code: int
    out: str
    err: str
    calls: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """A run of `forget`.

    at:         the number of the call, among those that concern files of the directory, at which there is a fault.
    action:     which: KILL, KILL_HALFWAY or an errno.
    with_reads: whether opening for reading and reading count too.
    unnamed:    whether the file system has files without a name.
    kill_after: seconds until SIGKILL, or None.
    """

    arguments: tuple[str, ...]
    directory: str
    at: int = -1
    action: int = NO_FAULT
    with_reads: bool = False
    unnamed: bool = True
    kill_after: float | None = None


class Program:
    """A process that runs `forget` in copies of itself, some thirty milliseconds each. A context manager.

    scratch:     a directory for the shim and for what the runs print.
    with_faults: whether faults can be asked for; needs a C compiler, see `why_not`.
    """

    def __init__(self, scratch: Path, *, with_faults: bool = True) -> None:
        preloaded = {"LD_PRELOAD": str(build_shim(scratch))} if with_faults else {}
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "forking.py"), str(scratch)],
            env=environment(**preloaded),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def run(self, arguments: Sequence[str], directory: Path, **how: Any) -> Ended:
        """Runs `forget` in the directory; `how` has the fields of a Task."""
        return self.run_at_once([Task(tuple(arguments), str(directory.resolve()), **how)])[0]

    def run_at_once(self, tasks: Sequence[Task]) -> list[Ended]:
        """Begins all of these runs, then waits for them."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([asdict(task) for task in tasks]), file=self._process.stdin, flush=True)
        return [
            Ended(ended["code"], ended["out"], ended["err"], tuple(ended["calls"].split()))
            for ended in json.loads(self._process.stdout.readline())
        ]
