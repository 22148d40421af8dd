"""Models and receipts as untrusted input."""

from __future__ import annotations

import io
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from forgetcli import checkpoint, unlearn
from forgetcli.als import train
from forgetcli.cli import main
from forgetcli.config import TrainConfig
from forgetcli.errors import ForgetError
from forgetcli.interactions import Interactions
from forgetcli.model import Model
from forgetcli.receipt import read_receipt
from forgetcli.recommending import recommend
from forgetcli.records import ForgetRequest

MOST_SWEEPS = 20
"""A model that claims more is not trained on: that would take as long as it says."""

MOST_ROWS = 200


def use_model(content: bytes, directory: Path) -> None:
    """Loads a model and, if that is allowed, inspects it, forgets with it, ranks with it, and saves it."""
    path = directory / "model.npz"
    path.write_bytes(content)
    with suppress(ForgetError):
        found = checkpoint.load(path)
        assert checkpoint.inspect(path).n_users == len(found.users)
        work_with(found, directory)


def work_with(model: Model, directory: Path) -> None:
    """What the commands do with a model that was taken: this must not fail but for numerical reasons."""
    checkpoint.save(model, directory / "again.npz")
    assert checkpoint.load(directory / "again.npz").config == model.config
    n_users, n_items = len(model.users), len(model.items)
    if max(n_users, n_items) > MOST_ROWS or len(model.history) > MOST_SWEEPS or not (n_users and n_items):
        return
    with suppress(ForgetError):
        recommend(model, np.arange(n_users), n=min(3, n_items), threads=1)
        if model.interactions is not None:
            request = ForgetRequest.of(users=[model.users.label(0)])
            unlearn.forget(model, request, method="response", threads=1)
            unlearn.forget(model, request, method="sweeps", sweeps=1, threads=1)


@cache
def small_models() -> list[Model]:
    """Of each kind of objective, id and dtype."""
    users, items, values = small_ratings()
    names = [f"u{user}" for user in users], [f"thing {item}" for item in items]
    return [
        train(Interactions.from_arrays(*ids, values), config, threads=1)
        for ids in ((users, items), names)
        for config in (
            TrainConfig(factors=3, sweeps=2),
            TrainConfig.for_objective("implicit", factors=2, sweeps=2, dtype="float64"),
        )
    ]


def seed_models() -> list[bytes]:
    """The same as files."""
    made = []
    for model in small_models():
        stream = io.BytesIO()
        checkpoint.save_to(model, stream)
        made.append(stream.getvalue())
    return made


def small_ratings() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users, items and ratings: 9 × 7, half of the pairs."""
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((9, 7)) < 0.5)
    return users, items, rng.integers(1, 6, len(users)).astype(np.float32)


def use_receipt(content: bytes, directory: Path) -> None:
    """Reads a receipt."""
    path = directory / "receipt.json"
    path.write_bytes(content)
    with suppress(ForgetError):
        read_receipt(path)


@cache
def seed_receipts() -> list[bytes]:
    """Receipts as the program writes them."""
    with TemporaryDirectory() as directory:
        made = []
        for number, options in enumerate(((), ("--verify",))):
            model, path = Path(directory) / "model.npz", Path(directory) / f"{number}.json"
            model.write_bytes(seed_models()[0])
            assert main(["forget", str(model), "--user", "1", *options, "--receipt", str(path), "--quiet"]) == 0
            made.append(path.read_bytes())
        return made
