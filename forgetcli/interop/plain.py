"""Factors as plain NumPy arrays: two .npy files, or one .npz with everything under this program's names.

The .npz has `user_factors` and `item_factors`, and may have `user_bias`, `item_bias`, `global_mean`, `user_ids` and
`item_ids`; a directory may have each of them as a .npy. The objective is stated beside them, or in `options`, a JSON
object of what `Stated` has (in a directory, options.json).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from forgetcli.config import TrainConfig
from forgetcli.errors import DataError, UsageError
from forgetcli.files import StrPath
from forgetcli.ids import Ids
from forgetcli.interop.arrays import ForeignArrays, checked_matrix, open_archive, open_directory, read_array
from forgetcli.interop.foreign import ForeignModel, Stated, sides
from forgetcli.model import Array


def read_plain(paths: Sequence[StrPath], users: Ids | None, items: Ids | None) -> ForeignModel:
    """The model in one .npz file or directory, or in a .npy of users and one of items."""
    if len(paths) == 2:
        factors = [checked_matrix(read_array(path), str(path)) for path in paths]
        return ForeignModel(users, items, *sides(*factors), global_mean=None)
    if len(paths) != 1:
        raise UsageError("plain arrays are one .npz file or directory, or two .npy files, the users' first")
    with _opened(paths[0]) as arrays:
        model = read_neutral(arrays, users, items)
        options = arrays.parameters("options") if "options" in arrays else {}
    try:
        stated = Stated(**options)
    except TypeError as error:
        raise DataError(f"{paths[0]} states options of its objective that are not known") from error
    return dataclasses.replace(model, options=stated.given())


@contextmanager
def _opened(path: StrPath) -> Iterator[ForeignArrays]:
    if Path(path).is_dir():
        yield open_directory(path)
    else:
        with open_archive(path) as archive:
            yield archive


def options_of(config: TrainConfig) -> str:
    """The configuration's objective as JSON, as `read_plain` reads it."""
    stated = {field.name for field in dataclasses.fields(Stated)}
    if config.objective == "explicit":
        stated -= {"alpha", "confidence_base", "unobserved_weight"}
    return json.dumps({name: value for name, value in config.to_dict().items() if name in stated})


def read_neutral(
    archive: ForeignArrays,
    users: Ids | None,
    items: Ids | None,
    *,
    options: Mapping[str, Any] | None = None,
    centred: bool | None = None,
    with_biases: bool | None = None,
    binary: bool = False,
) -> ForeignModel:
    """The arrays of an open archive.

    options, binary: see `ForeignModel`.
    centred:         whether global_mean counts; None where it is there.
    with_biases:     whether the biases count; None where they are there.

    Raises DataError when ids are there and given beside it, and for biases of one side.
    """
    for key, given in (("user_ids", users), ("item_ids", items)):
        if given is not None and key in archive:
            raise DataError(f"{archive.name} has {key} of its own", hint=f"leave `{key}` out")
    biases: tuple[Array | None, Array | None] = (None, None)
    if with_biases is not False:
        biases = archive.vector("user_bias"), archive.vector("item_bias")
    if (biases[0] is None) != (biases[1] is None):
        raise DataError(
            f"{archive.name} has biases of one side only, and this program learns both or none",
            hint="where the other side's are known to be zero and stay so, such a model cannot be expressed",
        )
    return ForeignModel(
        users if users is not None else archive.ids("user_ids"),
        items if items is not None else archive.ids("item_ids"),
        *sides(
            archive.matrix("user_factors"),
            archive.matrix("item_factors"),
            *biases,
        ),
        global_mean=None if centred is False else archive.number("global_mean"),
        options=dict(options or {}),
        binary=binary,
        biases=biases[0] is not None,
    )
