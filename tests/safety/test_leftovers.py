"""Nothing of what was forgotten is left in anything that a run writes."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from forgetcli.npz import write_npz
from tests.program import command_line, environment, write_csv
from tests.safety.conftest import Inside

FORGOTTEN = ("Person-Zanzibar-77", "Thing-Ouagadougou-13")
"""A user and an item that are forgotten whole; no other id has a part in common with them."""

ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le")

LEARNED = ("user_factors", "item_factors", "user_bias", "item_bias")


def rows(of_the_forgotten: float = 3.0) -> list[tuple[str, str, float]]:
    """Ratings of 30 users for 12 items, among them those of FORGOTTEN; the argument is what they rated first."""
    users = [*(f"u{number}" for number in range(29)), FORGOTTEN[0]]
    items = [*(f"i{number}" for number in range(11)), FORGOTTEN[1]]
    made = [(u, i, (a * b) % 5 + 1.0) for a, u in enumerate(users) for b, i in enumerate(items) if (a + b) % 3]
    return [(u, i, of_the_forgotten if u == FORGOTTEN[0] else value) for u, i, value in made]


def occurrences(content: bytes) -> list[str]:
    """What of FORGOTTEN is in the bytes, by encoding; upper and lower case alike."""
    lowered = content.lower()
    return [
        f"{name} as {encoding}"
        for name in FORGOTTEN
        for encoding in ENCODINGS
        if name.lower().encode(encoding) in lowered
    ]


@pytest.mark.parametrize("method", ["response", "sweeps", "retrain"])
def test_no_byte_of_a_forgotten_id_is_in_anything_that_a_run_writes(
    method: str, inside: Inside, tmp_path: Path
) -> None:
    inputs, models, temporary = (tmp_path / name for name in ("inputs", "models", "temporary"))
    for directory in (inputs, models, temporary):
        directory.mkdir()
    write_csv(inputs / "data.csv", ("user", "item", "rating"), rows())
    train = ("train", inputs / "data.csv", "--factors", "4", "--sweeps", "3", "-o", models / "model.npz")
    assert inside(*train).code == 0
    assert occurrences((models / "model.npz").read_bytes())
    write_csv(inputs / "gone.csv", ("user", "item"), [(FORGOTTEN[0], ""), ("", FORGOTTEN[1]), ("Person-Unknown", "")])
    done = subprocess.run(
        command_line(
            *("forget", "model.npz", "--records", str(inputs / "gone.csv"), "--method", method),
            *("--receipt", "receipt.json", "--json", "--progress"),
        ),
        cwd=models,
        env=environment(TMPDIR=str(temporary)),
        capture_output=True,
        check=True,
    )
    written = {path.name: path.read_bytes() for path in (*models.rglob("*"), *temporary.rglob("*")) if path.is_file()}
    assert set(written) == {"model.npz", "receipt.json"}
    for name, content in {**written, "stdout": done.stdout, "stderr": done.stderr}.items():
        assert occurrences(content) == [], name
        assert b"person-unknown" not in content.lower(), name


def test_forgotten_integer_ids_are_in_no_table_of_ids(inside: Inside, tmp_path: Path) -> None:
    numbers = {name: number for number, name in enumerate(dict.fromkeys(n for u, i, _ in rows() for n in (u, i)), 1000)}
    write_csv(
        tmp_path / "data.csv", ("user", "item", "rating"), [(numbers[u], numbers[i], value) for u, i, value in rows()]
    )
    assert inside("train", "data.csv", "--factors", "4", "--sweeps", "2").code == 0
    user, item = (numbers[name] for name in FORGOTTEN)
    assert inside("forget", "model.npz", "--user", str(user), "--item", str(item)).code == 0
    with np.load(tmp_path / "model.npz", allow_pickle=False) as model:
        assert user not in model["user_ids"]
        assert item not in model["item_ids"]
        assert len(model["user_ids"]) == 29
        assert len(model["user_factors"]) == 29
        assert len(model["interactions_indptr"]) == 30


@pytest.mark.parametrize("method", ["response", "sweeps", "retrain"])
def test_what_is_not_learned_depends_on_what_remains_alone(method: str, inside: Inside, tmp_path: Path) -> None:
    """Two models whose data differ in what is forgotten: afterwards only their factors may differ, and after a retrain
    not even these. So no count, checksum or figure of the old data is kept."""
    arrays = []
    for number, value in enumerate((1.0, 5.0)):
        directory = tmp_path / str(number)
        directory.mkdir()
        data = rows(value)
        if number:  # and in how many there are
            data = [row for row in data if row[:2] != (FORGOTTEN[0], "i3")]
        write_csv(directory / "data.csv", ("user", "item", "rating"), data)
        path = directory / "model.npz"
        assert inside("train", directory / "data.csv", "--factors", "4", "--sweeps", "3", "-o", path).code == 0
        assert inside("forget", path, "--user", FORGOTTEN[0], "--method", method).code == 0
        with np.load(path, allow_pickle=False) as model:
            arrays.append({key: model[key] for key in model.files})
    first, second = arrays
    assert list(first) == list(second)
    for key in first:
        if key == "history":
            kept = [[(step["kind"], step["metrics"]) for step in json.loads(str(each[key]))] for each in arrays]
            assert kept[0] == kept[1]
        elif method == "retrain" or key not in LEARNED:
            assert first[key].tobytes() == second[key].tobytes(), key
    if method != "retrain":
        trained = json.loads(str(first["history"]))[:3]
        assert [(step["objective"], step["metrics"]) for step in trained] == [(None, {})] * 3


def test_every_byte_of_a_model_file_follows_from_its_arrays(inside: Inside, tmp_path: Path) -> None:
    """No slack, no comment, no second copy: written again, what was read gives the same file."""
    write_csv(tmp_path / "data.csv", ("user", "item", "rating"), rows())
    assert inside("train", "data.csv", "--factors", "4", "--sweeps", "2").code == 0
    assert inside("forget", "model.npz", "--user", FORGOTTEN[0]).code == 0
    again = io.BytesIO()
    with np.load(tmp_path / "model.npz", allow_pickle=False) as model:
        write_npz(again, {key: model[key] for key in model.files})
    assert again.getvalue() == (tmp_path / "model.npz").read_bytes()
