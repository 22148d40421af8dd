"""Imports point one way: each module knows only those named beside it, all of which stand above it in the table."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import forgetcli

PACKAGE = Path(forgetcli.__file__).parent

ALLOWED = {
    "errors": "",
    "printable": "",
    "_native": "",
    "profiling": "",
    "config": "errors",
    "seeding": "",
    "ids": "_native errors",
    "csr": "_native",
    "interactions": "_native csr errors ids profiling",
    "records": "errors ids interactions",
    "system": "",
    "files": "errors profiling system",
    "directories": "errors files system",
    "stored_zip": "errors",
    "npz": "errors files profiling stored_zip",
    "digests": "errors files system",
    "json_schema": "errors",
    "receipt": "digests errors files json_schema system",
    "tables": "digests errors files ids interactions printable profiling records",
    "model": "_native config csr interactions",
    "objective": "config interactions",
    "layout": "config errors model npz",
    "checkpoint": "config csr digests errors files interactions layout model npz profiling",
    "products": "",
    "momentum": "model",
    "moments": "_native csr model objective",
    "conjugate": "_native csr model moments objective products",
    "als": "_native config conjugate errors interactions model momentum objective products profiling seeding",
    "gradient": "_native als csr interactions model objective products",
    "krylov": "_native model",
    "linearised": "_native als csr model moments objective products",
    "drift": "krylov linearised model",
    "drift_free": "_native als csr drift gradient interactions krylov linearised model objective",
    "response": "als drift_free errors gradient interactions krylov linearised model objective products",
    "interop": "als config csr directories errors files ids interactions model npz objective tables",
    "unlearn": "als errors gradient interactions model momentum objective records response",
    "recommending": "_native csr errors model profiling",
    "evaluate": "config errors interactions model recommending",
    "common": "csr errors ids interactions model records",
    "differences": "model",
    "comparison": "",
    "comparing": "common comparison differences errors evaluate gradient interactions model objective profiling"
    " recommending records",
    "membership": "common csr model",
    "runs": "comparison errors files",
    "scores": "",
    "verdict": "comparison scores",
    "revival": "als common csr ids model objective",
    "auditing": "common comparison errors interactions membership model records revival scores verdict",
    "verification": "als auditing errors interactions model records verdict",
    "api": "als config ids interactions model recommending records tables unlearn",
    "report": "als checkpoint comparison config digests errors ids interactions interop model printable profiling"
    " gradient receipt recommending records response runs scores system tables unlearn verdict verification",
}
"""By module or package. `cli`, which may import everything, and the package's entrance, which lists everything, are
left out."""

SPECIALISTS = {"pyarrow": "tables", "rich": "report", "matplotlib": "report", "argparse": "cli"}
"""Libraries that one package alone knows."""


@cache
def trees() -> dict[str, ast.Module]:
    """The syntax tree of every module, by its dotted name without the package's; `x.__init__` is that of package x."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8"))
        for path in paths
    }


def modules() -> Iterator[tuple[str, ast.Module]]:
    """The top-level name and the syntax tree of every module."""
    return ((name.partition(".")[0], tree) for name, tree in trees().items())


def imported_names(tree: ast.Module) -> set[str]:
    """Every module that is imported anywhere in the tree, also for types only or inside a function."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a module stands"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_modules(tree: ast.Module) -> set[str]:
    """Every module that is imported from, also inside a function."""
    froms = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {
        name for node in froms for name in (node.module or "", *(f"{node.module}.{each.name}" for each in node.names))
    }


def own_imports(tree: ast.Module) -> set[str]:
    """The modules and packages of forgetcli that the tree imports."""
    parts = [name.split(".") for name in imported_names(tree)]
    return {part[1] for part in parts if part[0] == "forgetcli" and part[1] != "__version__"}


def test_the_table_names_exactly_the_modules_that_exist() -> None:
    assert {name for name, _ in modules()} - {"__init__", "__main__", "cli"} == set(ALLOWED)


def test_the_table_points_upwards_only() -> None:
    order = list(ALLOWED)
    for name, allowed in ALLOWED.items():
        assert all(order.index(other) < order.index(name) for other in allowed.split()), name


@pytest.mark.parametrize("name", ALLOWED)
def test_a_module_imports_only_what_the_table_allows(name: str) -> None:
    found = {other for module, tree in modules() if module == name for other in own_imports(tree)}
    assert found - {name} == set(ALLOWED[name].split())


def test_no_modules_import_one_another_in_a_circle() -> None:
    named = {f"forgetcli.{name}": tree for name, tree in trees().items() if not name.endswith("__init__")}
    known = {name: {each for each in imported_modules(tree) if each in named} for name, tree in named.items()}
    TopologicalSorter(known).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("library", SPECIALISTS)
def test_one_package_alone_knows_a_library(library: str) -> None:
    users = {name for name, tree in modules() if any(each.split(".")[0] == library for each in imported_names(tree))}
    assert users == {SPECIALISTS[library]}
