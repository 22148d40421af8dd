"""Broken models, tables, receipts and arrays are refused with an error of this program: a short run of fuzz.py."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from forgetcli.errors import DataError
from forgetcli.tables import read_interactions
from tests.safety import tables
from tests.safety.targets import TARGETS, made

RUNS = {"model": 300, "text": 150, "parquet": 200, "arrow": 200, "receipt": 1000, "import": 250, "native": 2000}
"""Inputs a target: less than a second each."""

TABLES = {"text": "a.csv", "parquet": "a.parquet", "arrow": "a.arrow"}

FOUND = Path(__file__).with_name("found")
"""Inputs that longer runs have found, named by their target and what was wrong."""


@pytest.mark.parametrize("name", TARGETS)
def test_valid_input_is_taken(name: str, tmp_path: Path) -> None:
    for content in TARGETS[name].seeds():
        TARGETS[name].use(content, tmp_path)


@pytest.mark.parametrize("name", TARGETS)
def test_broken_input_is_refused_or_used_and_nothing_else(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    for run in range(RUNS[name]):
        content = made(target, seeds, random.Random(f"ci {run}"))
        try:
            target.use(content, tmp_path)
        except Exception as error:
            raise AssertionError(f"input {run} of {name}") from error


@pytest.mark.parametrize("path", sorted(FOUND.iterdir()), ids=lambda path: path.name)
def test_what_was_once_taken_or_broke_something_is_refused_or_used(path: Path, tmp_path: Path) -> None:
    name, content = path.name.split("-")[0], path.read_bytes()
    if name in TABLES:
        tables.use_in_every_way(content, tmp_path, name=TABLES[name])
    else:
        TARGETS[name].use(content, tmp_path)


def test_ids_in_a_typed_table_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    """Arrow believes a file that its text is UTF-8; a model of such ids could not be read again."""
    offsets, data = np.array([0, 1, 2], np.int32), b"a\xff"
    users = pa.StringArray.from_buffers(2, pa.py_buffer(offsets), pa.py_buffer(data))
    table = pa.table({"user": users, "item": [1, 2]})
    pq.write_table(table, tmp_path / "a.parquet")
    feather.write_feather(table, tmp_path / "a.feather")
    for name in ("a.parquet", "a.feather"):
        with pytest.raises(DataError, match=rf"{name} is damaged or not what its name says: .*UTF"):
            read_interactions(tmp_path / name)
