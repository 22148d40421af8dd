"""Runs `forget` many times, each in a fresh copy of a process that has imported everything.

Started by `faults.Program`, with shim.c loaded before libc where faults are wanted. A line of JSON on standard input
is a list of runs to begin at once, and one line on standard output how they ended.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import pkgutil
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from forgetcli.cli.program import main


def run_at_once(tasks: list[dict[str, Any]], scratch: Path) -> list[dict[str, Any]]:
    """How the runs ended: their exit codes, what they wrote, and the calls that were counted."""
    places = [scratch / str(number) for number in range(len(tasks))]
    children = [_begun(task, place) for task, place in zip(tasks, places, strict=True)]
    timers = [
        threading.Timer(task["kill_after"], os.kill, (child, signal.SIGKILL))
        for task, child in zip(tasks, children, strict=True)
        if task["kill_after"] is not None
    ]
    for timer in timers:
        timer.start()
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    for timer in timers:
        timer.cancel()
    return [
        {"code": code} | {name: (place / name).read_text() for name in ("out", "err", "calls")}
        for code, place in zip(codes, places, strict=True)
    ]


def _begun(task: dict[str, Any], place: Path) -> int:
    place.mkdir(exist_ok=True)
    for name in ("out", "err", "calls"):
        (place / name).write_text("")
    child = os.fork()
    if child == 0:
        _be_the_program(task, place)
    return child


def _be_the_program(task: dict[str, Any], place: Path) -> NoReturn:
    os.chdir(task["directory"])
    null = os.open(os.devnull, os.O_RDONLY)
    out, err = (os.open(place / name, os.O_WRONLY) for name in ("out", "err"))
    for number, descriptor in enumerate((null, out, err)):
        os.dup2(descriptor, number)
    shim = ctypes.CDLL(None) if "LD_PRELOAD" in os.environ else None
    if shim is not None:
        shim.shim_names.restype = ctypes.c_char_p
        at, how = ctypes.c_long(task["at"]), [task[name] for name in ("action", "with_reads", "unnamed")]
        shim.shim_arm(os.fsencode(task["directory"]), at, *how)
    code = main(task["arguments"])
    if shim is not None:
        names = shim.shim_names()
        shim.shim_arm(b"", ctypes.c_long(-1), 0, 0, 1)
        (place / "calls").write_bytes(names)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _import_everything() -> None:
    for package in ("forgetcli", "forgetcli.cli", "forgetcli.tables", "forgetcli.report"):
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                with suppress(ImportError):  # of what is optional and not installed
                    importlib.import_module(module.name)
    with suppress(ImportError):
        importlib.import_module("pandas")  # which Arrow does at its first conversion, if it can


if __name__ == "__main__":
    _import_everything()
    for line in sys.stdin:
        print(json.dumps(run_at_once(json.loads(line), Path(sys.argv[1]))), flush=True)
