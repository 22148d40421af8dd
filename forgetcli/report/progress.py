"""Progress: a bar on a terminal, lines in a log, or nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Protocol, TextIO

from forgetcli.printable import printable
from forgetcli.report.text import WIDTH, duration, figure, metrics

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from forgetcli.als import SweepReport

BAR_AFTER = 0.5
"""Seconds. What is done sooner needs no bar, which would only flicker."""

ERASE_LINE = "\r\x1b[2K"


class Display(Protocol):
    """Where progress is shown."""

    def activity(self, doing: str) -> AbstractContextManager[None]:
        """Shows that something goes on as long as the body runs."""

    def sweep(self, report: SweepReport, seconds: float) -> None:
        """Shows a finished sweep, inside an activity."""

    def step(self, what: str) -> None:
        """Shows what comes next, inside an activity."""


class Silent:
    """Shows nothing."""

    def activity(self, doing: str) -> AbstractContextManager[None]:
        """See `Display`."""
        return nullcontext()

    def sweep(self, report: SweepReport, seconds: float) -> None:
        """See `Display`."""

    def step(self, what: str) -> None:
        """See `Display`."""


class Lines:
    """A line an event, for logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def activity(self, doing: str) -> AbstractContextManager[None]:
        """See `Display`."""
        self._write(doing)
        return nullcontext()

    def sweep(self, report: SweepReport, seconds: float) -> None:
        """See `Display`."""
        self._write(f"sweep {report.sweep}/{report.sweeps}, {_figures(report)}, {duration(seconds)}")

    def step(self, what: str) -> None:
        """See `Display`."""
        self._write(what)

    def _write(self, line: str) -> None:
        print(f"forget: {printable(line)}", file=self._stream, flush=True)


class Bar:
    """For a terminal: what is going on, and during sweeps a bar with the objective, the metrics and the time that
    remains. It vanishes when the activity ends. NO_COLOR and COLUMNS are heeded."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began = 0.0
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    @contextmanager
    def activity(self, doing: str) -> Iterator[None]:
        """See `Display`."""
        self._began = time.perf_counter()
        self.step(doing)
        try:
            yield
        finally:
            if self._progress is not None:
                self._progress.stop()
                self._progress = None
            self._write(ERASE_LINE)

    def sweep(self, report: SweepReport, seconds: float) -> None:
        """See `Display`."""
        if self._progress is None:
            if time.perf_counter() - self._began < BAR_AFTER:
                return
            self._write(ERASE_LINE)
            self._progress = _progress(self._stream)
            self._task = self._progress.add_task("", total=report.sweeps, figures="")
            self._progress.start()
        if self._task is not None:
            self._progress.update(
                self._task,
                description=f"sweep {report.sweep}/{report.sweeps}",
                completed=report.sweep,
                figures=_figures(report),
            )

    def step(self, what: str) -> None:
        """See `Display`."""
        room = min(WIDTH, get_terminal_size().columns) - len(" ...") - 1  # a line that wraps cannot be erased
        self._write(f"{ERASE_LINE}{printable(what)[:room]} ...")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _progress(stream: TextIO) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=16),
        TextColumn("{task.fields[figures]}", markup=False, table_column=Column(no_wrap=True)),
        TimeRemainingColumn(compact=True),
        console=Console(file=stream),
        transient=True,
    )


def _figures(report: SweepReport) -> str:
    held_out = f", {metrics(report.metrics)}" if report.metrics else ""
    return f"objective {figure(report.objective)}{held_out}"
