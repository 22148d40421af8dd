"""`import forgetcli`: light, lazy, complete."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import forgetcli
from tests.program import environment

ENTRANCE = Path(forgetcli.__file__)


def test_importing_the_package_alone_loads_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys, forgetcli; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert not {"numpy", "scipy", "pyarrow", "rich"} & set(done.stdout.split())


@pytest.mark.parametrize("name", forgetcli.__all__)
def test_every_public_name_is_there_and_no_module(name: str) -> None:
    assert not isinstance(getattr(forgetcli, name), ModuleType)
    assert name in dir(forgetcli)


def test_type_checkers_see_what_is_loaded() -> None:
    tree = ast.parse(ENTRANCE.read_text(encoding="utf-8"))
    seen = {
        (node.module, alias.name)
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == {(home, name) for home, names in forgetcli._HOMES.items() for name in names}
    assert {name for _, name in seen} | {"__version__"} == set(forgetcli.__all__)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'unlearn_everything'"):
        forgetcli.unlearn_everything  # noqa: B018


@pytest.mark.parametrize("module", ["recommending", "comparing", "evaluate", "unlearn", "tables"])
def test_functions_stay_functions_whatever_module_is_imported_first(module: str, tmp_path: Path) -> None:
    names = ("recommend", "compare", "forget", "train")
    code = f"import forgetcli.{module} as _, forgetcli; print(*(callable(getattr(forgetcli, n)) for n in {names}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True"] * 4
