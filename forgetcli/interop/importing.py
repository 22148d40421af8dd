"""`import`: a model that another trainer made, with the data it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

from forgetcli.errors import UsageError
from forgetcli.files import StrPath
from forgetcli.ids import as_ids
from forgetcli.interactions import Interactions
from forgetcli.interop.adopting import Imported, OnMismatch, adopt
from forgetcli.interop.cmfrec import read_cmfrec
from forgetcli.interop.foreign import ForeignModel, Stated
from forgetcli.interop.implicit import read_implicit
from forgetcli.interop.lenskit import read_lenskit
from forgetcli.interop.plain import read_plain
from forgetcli.interop.spark import read_spark

ImportFormat: TypeAlias = Literal["implicit", "spark", "npy", "lenskit", "cmfrec"]
IMPORT_FORMATS: tuple[str, ...] = get_args(ImportFormat)


def import_model(
    source: StrPath | Sequence[StrPath],
    form: ImportFormat,
    interactions: Interactions,
    *,
    user_ids: object = None,
    item_ids: object = None,
    estimator: StrPath | None = None,
    stated: Stated | None = None,
    on_mismatch: OnMismatch = "fail",
    threads: int = 0,
) -> Imported:
    """A model of this program from another trainer's, ready to forget.

    source:             the file, directory or pair of files; see the format's module.
    interactions:       what it was trained on, duplicates merged as the trainer took them.
    user_ids, item_ids: of the rows, in their order, where the source does not have them: what `as_ids` takes; None is
                        their positions.
    estimator:          of Spark, the directory of the ALS estimator that trained the model.
    stated:             the objective, where the source does not say it.
    on_mismatch:        see `adopting.adopt`.

    The factors are taken as they are, in their dtype. Raises DataError for a source that is not what it should be, or
    whose objective cannot be expressed, with the reason.
    """
    paths = [source] if isinstance(source, (str, bytes)) or not isinstance(source, Sequence) else list(source)
    if form not in IMPORT_FORMATS:
        raise UsageError(f"`format` must be {', '.join(IMPORT_FORMATS)}, not {form!r}")
    if estimator is not None and form != "spark":
        raise UsageError('an estimator belongs to `format="spark"`')
    if form != "npy" and len(paths) != 1:
        raise UsageError(f"`format={form}` takes one source, not {len(paths)}")
    stated = stated or Stated()
    users, items = (None if ids is None else as_ids(ids) for ids in (user_ids, item_ids))
    foreign: ForeignModel
    if form == "npy":
        foreign = read_plain(paths, users, items)
    elif form == "spark":
        foreign = read_spark(paths[0], users, items, stated, estimator)
    else:
        read = {"implicit": read_implicit, "lenskit": read_lenskit, "cmfrec": read_cmfrec}[form]
        foreign = read(paths[0], users, items)
    return adopt(foreign, interactions, stated, on_mismatch=on_mismatch, threads=threads)
