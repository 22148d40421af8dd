"""NumPy files from elsewhere, which are not trusted: `.npy`, and `.npz`, compressed or not.

Nothing is unpickled, no array is allocated that the file's own length does not bear out, and what is not asked for is
not read: a foreign archive may hold whatever else its program keeps there.
"""

from __future__ import annotations

import json
import math
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from forgetcli.errors import DataError
from forgetcli.files import StrPath, file_system_errors
from forgetcli.ids import Ids, as_ids
from forgetcli.model import Array

_MAX_TEXT = 1 << 16
"""Characters of a text, such as a trainer's parameters as JSON."""

_MOST_DEFLATED = 1032
"""Bytes that a byte of deflate's output can stand for: 258 by one bit of a length and one of a distance."""


@dataclass(frozen=True)
class ForeignArrays:
    """The arrays of an open .npz file, or of a directory of .npy files.

    name: for messages.
    keys: of its arrays.
    load: reads the array of one of the keys.
    """

    name: str
    keys: frozenset[str]
    load: Callable[[str], NDArray[Any]]

    def __contains__(self, key: str) -> bool:
        return key in self.keys

    def read(self, key: str) -> NDArray[Any]:
        """The array. Raises DataError where it is not there, pickled or damaged."""
        if key not in self.keys:
            raise DataError(f"{self.name} has no array {key!r}")
        return self.load(key)

    def matrix(self, key: str) -> Array:
        """A matrix of factors; see `checked_matrix`."""
        return checked_matrix(self.read(key), f"{self.name}: {key}")

    def vector(self, key: str) -> Array | None:
        """A vector of finite numbers, or None where there is none or it is empty."""
        if key not in self.keys:
            return None
        values = self.read(key)
        if values.size == 0:
            return None
        if values.ndim != 1 or values.dtype not in (np.float32, np.float64):
            raise DataError(f"{self.name}: {key} should be a vector of float32 or float64")
        return _finite(values, f"{self.name}: {key}")

    def ids(self, key: str) -> Ids | None:
        """A column of ids, or None where there is none or it is empty."""
        values = self.read(key) if key in self.keys else None
        return None if values is None or values.size == 0 else ids_of_array(values, f"{self.name}: {key}")

    def number(self, key: str) -> float | None:
        """A finite number, or None where there is none."""
        if key not in self.keys:
            return None
        value = self.read(key)
        if value.size != 1 or value.dtype.kind not in "iufb" or not np.isfinite(float(value.reshape(()))):
            raise DataError(f"{self.name}: {key} should be one finite number")
        return float(value.reshape(()))

    def text(self, key: str) -> str | None:
        """A text, or None where there is none."""
        if key not in self.keys:
            return None
        value = self.read(key)
        if value.shape != () or value.dtype.kind != "U" or value.dtype.itemsize > 4 * _MAX_TEXT:
            raise DataError(f"{self.name}: {key} should be one text")
        return str(value)

    def trainer(self, package: str, classes: Collection[str]) -> tuple[str, dict[str, Any]]:
        """The class of the package that trained the model, and its parameters, as `trainer` and `params` say.

        Raises DataError for another package or class.
        """
        given = self.text("trainer") or ""
        name = given.removeprefix(f"{package}.")
        if name == given or name not in classes:
            raise DataError(
                f"{self.name} says that {given[:60] or 'nothing'} trained it, and known of {package} are "
                f"{', '.join(classes)}",
                hint="docs/import-export.md has the lines that write such a file",
            )
        return name, self.parameters("params")

    def parameters(self, key: str) -> dict[str, Any]:
        """A JSON object of a trainer's parameters. Raises DataError where there is none."""
        text = self.text(key)
        if text is None:
            raise DataError(f"{self.name} has no {key!r}: the trainer's own parameters, as JSON")
        return json_object(text, f"{self.name}: {key}")


@contextmanager
def open_archive(path: StrPath) -> Iterator[ForeignArrays]:
    """The .npz file at `path`, open. Raises FileSystemError, and DataError for another kind of file."""
    name = os.fspath(path)
    with file_system_errors(path, "read"), _readable(name), zipfile.ZipFile(path) as archive:
        members = [member.filename for member in archive.infolist()]
        keys = {member.removesuffix(".npy") for member in members if member.endswith(".npy")}
        if not keys or len(set(members)) < len(members):
            raise DataError(f"{name} is not an .npz archive of arrays")

        def load(key: str) -> NDArray[Any]:
            member = archive.getinfo(f"{key}.npy")
            _check_packing(member, f"{name}: {key}")
            with archive.open(member) as file:
                return _read_npy(file, member.file_size, f"{name}: {key}")

        yield ForeignArrays(name, frozenset(keys), load)


def open_directory(path: StrPath) -> ForeignArrays:
    """The .npy files of a directory as arrays, and its options.json as the text `options`."""
    place = Path(path)
    with file_system_errors(path, "read"):
        files = {file.stem: file for file in place.iterdir() if file.name == "options.json" or file.suffix == ".npy"}

    def load(key: str) -> NDArray[Any]:
        if files[key].suffix == ".npy":
            return read_array(files[key])
        with file_system_errors(files[key], "read"), _readable(str(files[key])), files[key].open("rb") as file:
            return np.array(file.read(_MAX_TEXT).decode("utf-8"))

    return ForeignArrays(os.fspath(path), frozenset(files), load)


def read_array(path: StrPath) -> NDArray[Any]:
    """The array in a .npy file. Raises FileSystemError, and DataError where it is pickled or not an array."""
    name = os.fspath(path)
    with file_system_errors(path, "read"), _readable(name), open(path, "rb") as file:
        return _read_npy(file, os.fstat(file.fileno()).st_size, name)


def checked_matrix(values: NDArray[Any], name: str) -> Array:
    """The values as a contiguous float32 or float64 matrix of this machine's byte order.

    Raises DataError for another type or shape, an empty one, or a value that is not finite.
    """
    if values.dtype.newbyteorder("=") not in (np.float32, np.float64):
        raise DataError(f"{name} is of {values.dtype}, and factors are float32 or float64", hint="convert it before")
    if values.ndim != 2 or 0 in values.shape:
        raise DataError(f"{name} has the shape {values.shape}, and factors have one row a user or item")
    return _finite(np.ascontiguousarray(values, values.dtype.newbyteorder("=")), name)


def json_object(text: str | bytes, name: str) -> dict[str, Any]:
    """The members of a JSON object. Raises DataError for any other text."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is not valid JSON") from error
    if not isinstance(found, dict):
        raise DataError(f"{name} should be a JSON object")
    return found


def ids_of_array(values: NDArray[Any], name: str) -> Ids:
    """A one-dimensional array of whole numbers or of text as ids. Raises DataError for anything else."""
    if values.ndim != 1 or values.dtype.kind not in "iuU":
        raise DataError(
            f"{name} should be a one-dimensional array of whole numbers or of text, not {values.dtype} {values.shape}"
        )
    try:
        return as_ids(values)
    except DataError as error:
        raise DataError(f"{name}: {error.message}", error.hint) from error


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turns what NumPy and zipfile say of a broken file into a DataError."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        said = next(iter(str(error).splitlines()), "it ends too early")
        raise DataError(f"{name} is damaged or not a NumPy file: {said[:120]}") from error


def _check_packing(member: zipfile.ZipInfo, name: str) -> None:
    """Raises DataError where the member says that it unpacks to more than its bytes can hold."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{name} is packed in another way than NumPy packs", hint="save it with numpy.savez")
    if member.file_size > _MOST_DEFLATED * member.compress_size:
        raise DataError(f"{name} says that it unpacks to {member.file_size:,} bytes, which is more than it can hold")


def _read_npy(file: IO[bytes], size: int, name: str) -> NDArray[Any]:
    """The array of a .npy file of `size` bytes."""
    version = npy_format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise DataError(f"{name} is in version {version[0]}.{version[1]} of NumPy's format, which has no plain numbers")
    read_header = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    try:
        shape, by_columns, dtype = read_header(file)
    except OSError:
        raise
    except Exception as error:  # it has Python parse the header, which fails in many ways: SyntaxError, TokenError, ...
        raise DataError(f"{name} has a header that says neither shape nor type") from error
    if dtype.hasobject:
        raise DataError(
            f"{name} holds pickled objects, which could run anything and are never read",
            hint="save it as numbers, or as text with a fixed length: array.astype(str)",
        )
    shape = tuple(map(int, shape))  # in which True passes for 1
    wanted = math.prod(shape) * dtype.itemsize
    if wanted > size or len(shape) > 2:
        raise DataError(f"{name} says that it is {shape} of {dtype}, but has {size:,} bytes")
    content = file.read(wanted)
    if len(content) < wanted:
        raise DataError(f"{name} ends before its last value")
    values = np.frombuffer(content, dtype).reshape(shape, order="F" if by_columns else "C")
    if dtype.kind == "U" and wanted and np.frombuffer(content, dtype.byteorder + "u4").max() > sys.maxunicode:
        raise DataError(f"{name} has text that is not Unicode")
    return values


def _finite(values: NDArray[Any], name: str) -> Array:
    if not np.isfinite(values).all():
        raise DataError(f"{name} has values that are not finite")
    return values
