"""Runs `forget` many times, each in a fresh copy of a process that has imported everything, with a fault armed.

Started by `faults.Program` with shim.c loaded before libc. A run is one line of JSON on standard input, and how it
ended one line on standard output.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import pkgutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from forgetcli.cli.program import main


def run(task: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """How one run ended: `status` as os.waitpid has it, what it wrote, and the calls that were counted."""
    child = os.fork()
    if child == 0:
        _be_the_program(task, scratch)
    _, status = os.waitpid(child, 0)
    ended = {"code": os.waitstatus_to_exitcode(status)}
    return ended | {name: (scratch / name).read_text() for name in ("out", "err", "calls")}


def _be_the_program(task: dict[str, Any], scratch: Path) -> NoReturn:
    (scratch / "calls").write_text("")
    os.chdir(task["directory"])
    null = os.open(os.devnull, os.O_RDONLY)
    out, err = (os.open(scratch / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for name in ("out", "err"))
    for number, descriptor in enumerate((null, out, err)):
        os.dup2(descriptor, number)
    shim = ctypes.CDLL(None)
    shim.shim_names.restype = ctypes.c_char_p
    at, how = ctypes.c_long(task["at"]), [task[name] for name in ("action", "with_reads", "unnamed")]
    shim.shim_arm(os.fsencode(task["directory"]), at, *how)
    code = main(task["arguments"])
    names = shim.shim_names()
    shim.shim_arm(b"", ctypes.c_long(-1), 0, 0, 1)
    (scratch / "calls").write_bytes(names)
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
        print(json.dumps(run(json.loads(line), Path(sys.argv[1]))), flush=True)
