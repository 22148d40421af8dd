"""The program inside the tests' own process: a run takes milliseconds, and every warning is an error."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from forgetcli.cli import main
from tests.program import Run

Inside = Callable[..., Run]


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Inside:
    """Runs `forget` with these arguments in tmp_path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*arguments: str | os.PathLike[str]) -> Run:
        capfdbinary.readouterr()
        code = main([os.fspath(argument) for argument in arguments])
        out, err = capfdbinary.readouterr()
        return Run(code, out.decode(), err.decode())

    return run
