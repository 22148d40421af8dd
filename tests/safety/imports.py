"""Models of other trainers as untrusted input: files and directories, packed into one byte string to be fed."""

from __future__ import annotations

import io
import json
import random
import shutil
import struct
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgetcli.errors import ForgetError
from forgetcli.interactions import Interactions
from forgetcli.interop import Stated, import_model
from tests.interop.make_fixtures import FIXTURES, ratings
from tests.safety import mutations, typed
from tests.safety.models import work_with

Files = dict[str, bytes]
"""By name; that of the first begins with the format."""

STATED = Stated(objective="explicit", reg=0.1, reg_scaling="count")


def use_import(content: bytes, directory: Path) -> None:
    """Imports a model and, if that is allowed, works with it."""
    files = unpacked(content)
    if not files:
        return
    place = directory / "import"
    shutil.rmtree(place, ignore_errors=True)
    for name, each in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(each)
    form = next(iter(files)).partition("/")[0]
    options: dict[str, Any] = {}
    match form:
        case "spark":
            source: Any = place / form
            options = {"estimator": place / "estimator"}
        case "plain":  # a directory of arrays
            source, form = place / form, "npy"
        case "npy":
            source = [place / name for name in files]
            options = {"stated": STATED}
        case _:
            source = place / next(iter(files))
            if form == "npz":
                form = "npy"
    with suppress(ForgetError):
        work_with(import_model(source, form, _data(), on_mismatch="drop", threads=1, **options).model, directory)


def packed(files: Files) -> bytes:
    """Each file's name and content, both with their length before them."""
    parts = [part for name, content in files.items() for part in (name.encode(), content)]
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def unpacked(content: bytes) -> Files:
    """The reverse; of what nobody packed, as much as can be read."""
    parts: list[bytes] = []
    while len(content) >= 4:
        (length,) = struct.unpack_from("<I", content)
        parts.append(content[4 : 4 + length])
        content = content[4 + length :]
    names = [name.decode("utf-8", "replace") for name in parts[::2]]
    return {name: each for name, each in zip(names, parts[1::2], strict=False) if _is_safe(name)}


def _is_safe(name: str) -> bool:
    """Whether a file of that name lies below the directory that it is written to: the names are the test's own."""
    return name.partition("/")[0] in FORMS and not set(name.split("/")) & {"", ".", ".."} and name.isprintable()


FORMS = ("implicit", "cmfrec", "lenskit", "spark", "estimator", "npy", "npz", "plain")


@cache
def _data() -> Interactions:
    """What all the fixtures were trained on."""
    return Interactions.from_arrays(*ratings())


@cache
def seed_imports() -> list[bytes]:
    """Each library's own files, the neutral ones, and plain arrays."""
    users, items, _ = ratings()
    rng = np.random.default_rng(0)
    arrays = {
        "user_factors": rng.random((len(np.unique(users)), 3), np.float32),
        "item_factors": rng.random((len(np.unique(items)), 3), np.float32),
        "user_ids": np.unique(users),
        "item_ids": np.unique(items),
    }
    biases = {f"{side}_bias": rng.random(len(arrays[f"{side}_ids"]), np.float32) for side in ("user", "item")}
    stated = {"objective": "explicit", "reg": 0.1, "reg_scaling": "count"}
    archive = io.BytesIO()
    np.savez(archive, **arrays, **biases, global_mean=3.0, options=json.dumps(stated))  # type: ignore[arg-type]
    made: list[Files] = [
        {f"npz/{'x' * 3}.npz": archive.getvalue()},
        {f"npy/{side}.npy": _npy(arrays[f"{side}_factors"]) for side in ("user", "item")},
        {"plain/options.json": json.dumps(stated).encode()}
        | {f"plain/{name}.npy": _npy(array) for name, array in arrays.items()},
    ]
    for path in sorted(FIXTURES.glob("*.npz")):
        form = path.name.partition("_")[0]
        made.append({f"{form}/{path.name}": path.read_bytes()})
    for name in ("explicit", "implicit"):
        parts = {"spark": FIXTURES / f"spark_{name}", "estimator": FIXTURES / f"spark_{name}_als"}
        made.append(
            {
                f"{form}/{path.relative_to(directory)}": path.read_bytes()
                for form, directory in parts.items()
                for path in sorted(directory.rglob("part-*"))
            }
        )
    return [packed(files) for files in made]


def _npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def mutated_import(rng: random.Random, content: bytes) -> bytes:
    """The same files, one of them changed with its own structure in mind, or missing."""
    files = unpacked(content)
    if not files or rng.random() < 0.02:
        return mutations.mutated_bytes(rng, content)
    name = rng.choice(list(files))
    if rng.random() < 0.03:
        del files[name]
    else:
        files[name] = _changed(rng, name, files[name])
    return packed(files)


def _changed(rng: random.Random, name: str, content: bytes) -> bytes:
    if rng.random() < 0.1:
        return mutations.mutated_bytes(rng, content)
    match name.rpartition(".")[2]:
        case "npz":
            return mutations.mutated_archive(rng, content)
        case "npy":
            return mutated_npy(rng, content)
        case "parquet":
            return typed.mutated_factors(rng, content)
        case _:
            return mutations.mutated_json(rng, content.decode("utf-8", "replace")).encode("utf-8", "replace")


def mutated_npy(rng: random.Random, content: bytes) -> bytes:
    """An array like this one of other values, another shape or type, or a header that says what is not there."""
    if rng.random() < 0.5:
        try:
            array = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError):
            return mutations.mutated_bytes(rng, content)
        arrays = {"array": array}
        mutations.change_an_array(rng, arrays)
        return _npy(next(iter(arrays.values())))
    head, brace, rest = content.partition(b"}")
    header = bytearray(head + brace)
    for _ in range(rng.randint(1, 2)):
        old = rng.choice((b"<f4", b"<f8", b"<i8", b"False", b"(", b",", b")", b"descr", b"shape", b"'", b"3", b"{"))
        new = rng.choice(HEADER_PIECES)
        header = header.replace(old, new, 1)
    # The header keeps its length, so that what is wrong is what it says.
    space = rest[: max(0, rest.find(b"\n"))]
    change = len(header) - len(head + brace)
    rest = (space[change:] if change >= 0 else space + b" " * -change) + rest[len(space) :]
    return bytes(header) + rest


HEADER_PIECES = (
    b"|O", b"<f4", b">f8", b"<f2", b"<c8", b"|V8", b"<U3", b"|S2", b"<M8[s]", b"True", b"None", b"1e9", b"()", b"(-1, ",
    b"(0, ", b"(2, 2, ", b"(1.5, ", b"('a', ", b"(4611686018427387904,", b"{'a': 1}", b"[('a', '<f4')]",
    b"__import__('os')",
)  # fmt: skip
