"""Factors as plain NumPy arrays: two .npy files, or one .npz with everything under this program's names.

The .npz has `user_factors` and `item_factors`, and may have `user_bias`, `item_bias`, `global_mean`, `user_ids` and
`item_ids`. The objective is stated beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

from forgetcli.errors import DataError, UsageError
from forgetcli.files import StrPath
from forgetcli.ids import Ids
from forgetcli.interop.arrays import ForeignArchive, checked_matrix, open_archive, read_array
from forgetcli.interop.foreign import ForeignModel, sides


def read_plain(paths: Sequence[StrPath], users: Ids | None, items: Ids | None) -> ForeignModel:
    """The model in one .npz file, or in a .npy of users and one of items."""
    if len(paths) == 2:
        factors = [checked_matrix(read_array(path), str(path)) for path in paths]
        return ForeignModel(users, items, *sides(*factors), global_mean=None)
    if len(paths) != 1:
        raise UsageError("plain arrays are one .npz file, or two .npy files, the users' first")
    with open_archive(paths[0]) as archive:
        return read_neutral(archive, users, items)


def read_neutral(archive: ForeignArchive, users: Ids | None, items: Ids | None) -> ForeignModel:
    """The arrays of an open .npz. Raises DataError when ids are in the file and given beside it."""
    for key, given in (("user_ids", users), ("item_ids", items)):
        if given is not None and key in archive:
            raise DataError(f"{archive.name} has {key} of its own", hint=f"leave --{key.replace('_', '-')} out")
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
        global_mean=archive.number("global_mean"),
        biases=biases[0] is not None,
    )
