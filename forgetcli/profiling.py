"""Where the time goes: stages that name themselves, and who listens clocks them.

Library code marks a stage by `with stage("transposing"):` and knows nothing more. A caller that wants to know listens
with a `Profile`, whose clock and memory gauge are the caller's. Without one a mark costs the look at a context
variable, about a tenth of a microsecond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """What one stage of a run took, all times that it came up in the same place together.

    path:    its name, behind the names of the stages that it is a part of.
    times:   how often it came up.
    seconds: of wall time, its parts included.
    share:   of the whole run's seconds.
    peak_memory_bytes:
             the most that the process had held when the stage was last left; null where that is not known.
    """

    path: tuple[str, ...]
    times: int
    seconds: float
    share: float
    peak_memory_bytes: int | None


class Profile:
    """Clocks stages, which may have parts; of one thread.

    clock: seconds from any start.
    gauge: the most memory that the process has held so far, in bytes, where that is known.
    """

    def __init__(self, clock: Callable[[], float], gauge: Callable[[], int | None] = lambda: None) -> None:
        self._clock, self._gauge = clock, gauge
        self._began = clock()
        self._open: list[_Open] = []
        self._totals: dict[tuple[str, ...], _Total] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """The body is a stage, or a part of the stage that is open."""
        depth = len(self._open)
        self._begin(name, follows=False)
        try:
            yield
        finally:
            while len(self._open) > depth:
                self._end()

    def turn_to(self, name: str) -> None:
        """The innermost open stage ends, and the rest of its body is this one."""
        follows = self._open[-1].follows
        self._end()
        self._begin(name, follows)

    def step(self, name: str) -> None:
        """A part of the open stage, up to the next step or that stage's end."""
        if self._open and self._open[-1].follows:
            self._end()
        self._begin(name, follows=True)

    def seconds(self) -> dict[str, float]:
        """Of each stage that is no part of another, in the order of their beginnings."""
        return {path[0]: total.seconds for path, total in self._totals.items() if len(path) == 1}

    def total(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._began

    def stages(self) -> list[Stage]:
        """Each stage in the order of their beginnings, its parts behind it."""
        whole, totals = self.total(), self._totals
        places = {path: place for place, path in enumerate(totals)}

        def order(path: tuple[str, ...]) -> list[int]:
            return [places[path[:depth]] for depth in range(1, len(path) + 1)]

        return [
            Stage(path, total.times, total.seconds, total.seconds / whole if whole > 0 else 0.0, total.peak)
            for path, total in ((path, totals[path]) for path in sorted(totals, key=order))
        ]

    def _begin(self, name: str, follows: bool) -> None:
        path = (*self._open[-1].path, name) if self._open else (name,)
        self._totals.setdefault(path, _Total())
        self._open.append(_Open(path, self._clock(), follows))

    def _end(self) -> None:
        ended = self._open.pop()
        total = self._totals[ended.path]
        total.times += 1
        total.seconds += self._clock() - ended.began
        total.peak = self._gauge()


@dataclass(frozen=True)
class _Open:
    """A stage that is going on; follows: until another step follows it."""

    path: tuple[str, ...]
    began: float
    follows: bool


@dataclass
class _Total:
    times: int = 0
    seconds: float = 0.0
    peak: int | None = None


_NOBODY: AbstractContextManager[None] = nullcontext()

_LISTENER: ContextVar[Profile | None] = ContextVar("listener", default=None)
"""Threads begin without one: what they do is a part of what started them."""


def stage(name: str) -> AbstractContextManager[None]:
    """Marks the body of a with statement as a stage of the work, for whoever listens."""
    listener = _LISTENER.get()
    return _NOBODY if listener is None else listener.stage(name)


@contextmanager
def listening(profile: Profile) -> Iterator[None]:
    """The body's stages, but not those of the threads it starts, go into the profile."""
    token = _LISTENER.set(profile)
    try:
        yield
    finally:
        _LISTENER.reset(token)
