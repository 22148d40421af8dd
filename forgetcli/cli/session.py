"""What a command says while it works and when it has done."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from forgetcli.profiling import Profile, listening
from forgetcli.report.text import notice

if TYPE_CHECKING:
    from forgetcli.als import SweepReport
    from forgetcli.report.progress import Display


class Session:
    """One run of a command: talk goes to standard error, and with --json one object to standard output.

    sweeps:  what is reported of each sweep: objective, metrics, and the seconds since the one before.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.sweeps: list[dict[str, float]] = []
        self._command: str = arguments.command
        self._json: bool = arguments.json
        self._quiet: bool = arguments.quiet
        self._progress: bool = arguments.progress
        self._shows_profile: bool = getattr(arguments, "profile", False)
        self._profile = Profile(time.perf_counter, _peak_memory) if self._shows_profile else Profile(time.perf_counter)
        self._display: Display | None = None
        self._last_sweep = 0.0

    @contextmanager
    def stage(self, name: str, doing: str | None = None) -> Iterator[None]:
        """Clocks its body, and shows on a terminal that it is going on.

        name:  of the stage in the JSON object; a repeated one adds up.
        doing: for the person who waits; None where the body writes to the terminal itself.
        """
        self._last_sweep = time.perf_counter()
        self._display = self._new_display()
        try:
            with (
                self._profile.stage(name),
                listening(self._profile) if self._shows_profile else nullcontext(),
                self._display.activity(doing) if doing else nullcontext(),
            ):
                yield
        finally:
            self._display = None

    def turn_to(self, name: str) -> None:
        """Inside a stage: what follows is clocked under another name."""
        self._profile.turn_to(name)

    @property
    def seconds(self) -> dict[str, float]:
        """By stage, in the order of the stages."""
        return self._profile.seconds()

    def on_sweep(self, report: SweepReport) -> None:
        """The core's progress callback."""
        now = time.perf_counter()
        seconds, self._last_sweep = now - self._last_sweep, now
        self.sweeps.append({"objective": report.objective, "seconds": round(seconds, 6), **report.metrics})
        if self._display is not None:
            self._display.sweep(report, seconds)

    def on_step(self, what: str) -> None:
        """The core's word on what comes next."""
        if self._shows_profile:
            self._profile.step(what)
        if self._display is not None:
            self._display.step(what)

    def say(self, text: str) -> None:
        """Talk, unless --quiet."""
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)

    def confirm(self, text: str) -> None:
        """That the one thing asked for was done: for a person who waits. To a script the exit code says it."""
        if sys.stderr.isatty():
            self.say(text)

    def warn(self, message: str) -> None:
        """A warning, also with --quiet."""
        print(notice("warning", message), file=sys.stderr, flush=True)

    def finish(self, document: dict[str, Any], text: str = "") -> None:
        """The result: as JSON with --json, otherwise as text on standard output.

        document: the command's own members; those that all commands have are added.
        """
        if self._shows_profile and not self._json:
            self._show_profile()
        if self._json:
            from forgetcli.report.documents import envelope, profile_members, to_json

            seconds = self.seconds | {"total": self._profile.total()}
            profile = {"profile": profile_members(self._profile.stages())} if self._shows_profile else {}
            print(to_json(envelope(self._command, document | profile, seconds)))
        elif text:
            print(text)

    def _show_profile(self) -> None:
        from forgetcli.report.tables import profile_table

        print(profile_table(self._profile.stages(), self._profile.total()), file=sys.stderr, end="", flush=True)

    def _new_display(self) -> Display:
        from forgetcli.report import progress

        if self._quiet:
            return progress.Silent()
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            return progress.Bar(sys.stderr)
        return progress.Lines(sys.stderr) if self._progress else progress.Silent()


def _peak_memory() -> int | None:
    from forgetcli.system import peak_memory

    return peak_memory()
