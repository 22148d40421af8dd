"""What runs of the program cost, from the JSON objects that their `--json` printed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from forgetcli.comparison import Spread
from forgetcli.errors import DataError
from forgetcli.files import StrPath, file_system_errors

MAKERS = {"forget": "unlearned", "retrain": "retrained", "train": "original"}
"""Which model of a comparison a command makes."""

NOT_ITS_OWN = ("verifying",)
"""Stages that are no part of what a result costs."""

_MOST_BYTES = 1 << 28
"""A longer file is none of ours."""


@dataclass(frozen=True)
class Run:
    """One run of train, retrain or forget.

    model:       the path that it wrote to, as it was given then.
    whole:       seconds from start to end, but for NOT_ITS_OWN.
    sweeping:    seconds of these in training or forgetting, without reading and writing.
    """

    command: str
    model: str
    whole: float
    sweeping: float


@dataclass(frozen=True)
class Seconds:
    """Seconds of one kind: of forgetting, of each retrain, of training the original; None where no run is known."""

    unlearned: float | None
    retrained: Spread | None
    original: float | None


@dataclass(frozen=True)
class Cost:
    """whole:           seconds from start to end, without what a run takes to verify.
    sweeping:        seconds of these in training or forgetting, without reading and writing.
    runs:            how many runs of each command are known; several of forget add up.
    strangers:       models that were made by the runs and are none of those compared, by name.
    """

    whole: Seconds
    sweeping: Seconds
    runs: dict[str, int]
    strangers: tuple[str, ...]

    @classmethod
    def of(cls, runs: Sequence[Run], models: Iterable[str]) -> Cost:
        """models: the paths of the models that are compared.

        Raises DataError for more than one run of train.
        """
        if sum(run.command == "train" for run in runs) > 1:
            raise DataError("there are timings of several runs of train", hint="give those of the original alone")
        names = {_name(path) for path in models}
        return cls(
            whole=_seconds([(run.command, run.whole) for run in runs]),
            sweeping=_seconds([(run.command, run.sweeping) for run in runs]),
            runs={command: sum(run.command == command for run in runs) for command in MAKERS},
            strangers=tuple(dict.fromkeys(run.model for run in runs if _name(run.model) not in names)),
        )


def read_runs(paths: Iterable[StrPath]) -> list[Run]:
    """The runs that these files tell of: each has one JSON object, or one a line.

    Raises DataError naming the file for anything else, FileSystemError where it cannot be read.
    """
    return [run for path in paths for run in _read(path)]


def _read(path: StrPath) -> Iterator[Run]:
    with file_system_errors(path, "read"), open(path, "rb") as file:
        text = file.read(_MOST_BYTES)
    documents = _documents(text, path)
    if not documents:
        raise DataError(f"{path} is empty", hint="give what a run printed with --json")
    for document in documents:
        try:
            yield _run(document)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path} is not what train, retrain or forget print with --json",
                hint="write it with, for example: forget retrain ... --json > retrained.json",
            ) from error


def _documents(text: bytes, path: StrPath) -> list[Any]:
    try:
        try:
            return [json.loads(text)]
        except ValueError:
            return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON", hint="give what a run printed with --json") from error


def _run(document: Any) -> Run:
    """Raises KeyError, TypeError or ValueError where the document is another."""
    command, seconds = document["command"], document["seconds"]
    if command not in MAKERS or document.get("dry_run"):
        raise ValueError("makes no model")
    taken = {stage: _duration(value) for stage, value in seconds.items()}
    whole = taken["total"] - sum(taken.get(stage, 0.0) for stage in NOT_ITS_OWN)
    path = document["model"]["path"]
    return Run(command, "" if path is None else str(path), max(whole, 0.0), taken.get("sweeping", 0.0))


def _duration(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise ValueError("no duration")
    return float(value)


def _seconds(taken: Sequence[tuple[str, float]]) -> Seconds:
    by_role: dict[str, list[float]] = {role: [] for role in MAKERS.values()}
    for command, value in taken:
        by_role[MAKERS[command]].append(value)
    return Seconds(
        unlearned=sum(by_role["unlearned"]) if by_role["unlearned"] else None,
        retrained=Spread.of(by_role["retrained"]) if by_role["retrained"] else None,
        original=by_role["original"][0] if by_role["original"] else None,
    )


def _name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]
