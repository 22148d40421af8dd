"""Progress: a bar on a terminal, lines in a log, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol, TextIO

from forgetcli.printable import printable
from forgetcli.report.text import duration, figure, metrics

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from forgetcli.als import SweepReport


class Display(Protocol):
    """Where progress is shown."""

    def activity(self, doing: str) -> AbstractContextManager[None]:
        """Shows that something goes on as long as the body runs."""

    def sweep(self, report: SweepReport, seconds: float) -> None:
        """Shows a finished sweep, inside an activity."""


class Silent:
    """Shows nothing."""

    def activity(self, doing: str) -> AbstractContextManager[None]:
        """See `Display`."""
        return nullcontext()

    def sweep(self, report: SweepReport, seconds: float) -> None:
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

    def _write(self, line: str) -> None:
        print(f"forget: {printable(line)}", file=self._stream, flush=True)


class TerminalDisplay:
    """A spinner, and during sweeps a bar with the objective, the metrics and the time that remains. It vanishes when
    the activity ends."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    @contextmanager
    def activity(self, doing: str) -> Iterator[None]:
        """See `Display`."""
        with self._progress:
            self._task = self._progress.add_task(printable(doing), total=None, figures="")
            yield

    def sweep(self, report: SweepReport, seconds: float) -> None:
        """See `Display`."""
        if self._task is not None:
            self._progress.update(
                self._task,
                description=f"sweep {report.sweep}/{report.sweeps}",
                total=report.sweeps,
                completed=report.sweep,
                figures=_figures(report),
            )


def on_terminal() -> Display:
    """The display for standard error when it is a terminal; NO_COLOR and COLUMNS are heeded."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.table import Column

    return TerminalDisplay(
        Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[figures]}", markup=False, table_column=Column(no_wrap=True)),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=True,
        )
    )


def _figures(report: SweepReport) -> str:
    held_out = f", {metrics(report.metrics)}" if report.metrics else ""
    return f"objective {figure(report.objective)}{held_out}"
