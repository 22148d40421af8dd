"""`import`: a model that another trainer made, with the data it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

from forgetcli.errors import UsageError
from forgetcli.files import StrPath
from forgetcli.ids import Ids
from forgetcli.interactions import Interactions
from forgetcli.interop.adopting import Imported, OnMismatch, adopt
from forgetcli.interop.foreign import ForeignModel, Stated
from forgetcli.interop.implicit import read_implicit
from forgetcli.interop.plain import read_plain

ImportFormat: TypeAlias = Literal["implicit", "npy"]
IMPORT_FORMATS: tuple[str, ...] = get_args(ImportFormat)


def import_model(
    source: StrPath | Sequence[StrPath],
    form: ImportFormat,
    interactions: Interactions,
    *,
    user_ids: Ids | None = None,
    item_ids: Ids | None = None,
    stated: Stated | None = None,
    on_mismatch: OnMismatch = "fail",
    threads: int = 0,
) -> Imported:
    """A model of this program from another trainer's, ready to forget.

    source:             the file, directory or pair of files; see the format's module.
    interactions:       what it was trained on, duplicates merged as the trainer took them.
    user_ids, item_ids: of the rows, in their order, where the source does not have them; None is their positions.
    stated:             the objective, where the source does not say it.
    on_mismatch:        see `adopting.adopt`.

    The factors are taken as they are, in their dtype. Raises DataError for a source that is not what it should be, or
    whose objective cannot be expressed, with the reason.
    """
    paths = [source] if isinstance(source, (str, bytes)) or not isinstance(source, Sequence) else list(source)
    return adopt(
        _read(paths, form, user_ids, item_ids),
        interactions,
        stated or Stated(),
        on_mismatch=on_mismatch,
        threads=threads,
    )


def _read(paths: Sequence[StrPath], form: ImportFormat, users: Ids | None, items: Ids | None) -> ForeignModel:
    if form == "npy":
        return read_plain(paths, users, items)
    if len(paths) != 1:
        raise UsageError(f"--format {form} takes one source, not {len(paths)}")
    return read_implicit(paths[0], users, items)
