"""`export`: a model for serving elsewhere, without its interactions."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from forgetcli.directories import atomic_directory, check_directory_writable
from forgetcli.errors import UsageError
from forgetcli.files import StrPath, atomic_write, check_writable
from forgetcli.ids import Ids, Utf8Ids
from forgetcli.interop.implicit import implicit_arrays
from forgetcli.interop.plain import options_of
from forgetcli.interop.serving import Serving, inner_products
from forgetcli.interop.spark import spark_ids, spark_metadata
from forgetcli.model import Model
from forgetcli.npz import write_npz
from forgetcli.tables import ListKind, write_factor_table

ExportFormat: TypeAlias = Literal["implicit", "spark", "parquet", "npy"]
EXPORT_FORMATS: tuple[str, ...] = get_args(ExportFormat)

_ARRAYS = ("user_factors", "item_factors", "user_ids", "item_ids", "user_bias", "item_bias", "global_mean")
_DIRECTORIES = {
    "spark": frozenset({"metadata", "userFactors", "itemFactors"}),
    "parquet": frozenset({"users.parquet", "items.parquet"}),
    "npy": frozenset({*(f"{name}.npy" for name in _ARRAYS), "options.json"}),
}
"""What an export of each format holds at its top, and no more."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    columns:  of the factors: the model's own, and what folding and augmenting added.
    cautions: what the other program does not know of the model, in sentences.
    """

    users: int
    items: int
    columns: int
    cautions: tuple[str, ...]


@dataclass(frozen=True)
class ExportOptions:
    """fold_biases: put the mean and the biases into two more factors, so that inner products are predictions.
    augment:     of parquet: one more factor, by which cosines rank as inner products do.
    lists:       of parquet: the type of the vectors.
    overwrite:   replace a directory that an export wrote before; files are replaced anyway.
    """

    fold_biases: bool = False
    augment: bool = False
    lists: ListKind = "fixed"
    overwrite: bool = False

    def check(self, form: str) -> None:
        """Raises UsageError for an unknown format, and options that belong to another one."""
        if form not in EXPORT_FORMATS:
            raise UsageError(f"`format` must be {', '.join(EXPORT_FORMATS)}, not {form!r}")
        if form != "parquet" and (self.augment or self.lists != "fixed"):
            raise UsageError('`augment` and `lists` belong to `format="parquet"`')


def export_model(model: Model, path: StrPath, form: ExportFormat, options: ExportOptions | None = None) -> Exported:
    """Writes the model's factors and ids for another program: all of it or nothing.

    form "implicit": an .npz that `AlternatingLeastSquares.load` reads; rows are in the order of the ids, which go along
                     as `user_ids` and `item_ids`.
    form "spark":    a directory that `ALSModel.load` reads; ids must be 32-bit integers, factors become float32.
    form "parquet":  a directory with users.parquet and items.parquet: id, factors and, unless folded, bias; the mean is
                     in the files' metadata, `global_mean`.
    form "npy":      an .npz, where the path ends so, or a directory of .npy files, which `import_model` reads again.

    Raises UsageError where the format cannot hold the model, with what to do about it; nothing is dropped in silence.
    """
    options = options or ExportOptions()
    options.check(form)
    serving, cautions = _outgoing(model, form, options)
    if form == "implicit":
        arrays = implicit_arrays(model.config, serving.user_factors, serving.item_factors)
        _write_archive(path, arrays | _ids_arrays(serving))
    elif form == "npy" and is_archive(path):
        kept = {} if options.fold_biases else {"options": np.array(options_of(model.config))}
        _write_archive(path, _plain_arrays(serving) | kept)
    else:
        with atomic_directory(path, overwrite=options.overwrite, known=_DIRECTORIES[form]) as place:
            _write_directory(place, model, serving, form, options)
    columns = serving.user_factors.shape[1]
    return Exported(len(model.users), len(model.items), columns, cautions)


def check_export(path: StrPath, form: ExportFormat, options: ExportOptions) -> None:
    """Raises what `export_model` would raise of the path, before any work; leaves no trace."""
    options.check(form)
    if form == "implicit" or is_archive(path):
        if form == "implicit" and not is_archive(path):
            raise UsageError("implicit loads only files that end in .npz", hint="give the output such a name")
        if form in ("spark", "parquet"):
            raise UsageError(f"`format={form}` writes a directory, and {os.fspath(path)} is the name of a file")
        check_writable(path)
    else:
        check_directory_writable(path, overwrite=options.overwrite, known=_DIRECTORIES[form])


def is_archive(path: StrPath) -> bool:
    """Whether the path asks for one file."""
    return os.fspath(path).lower().endswith(".npz")


def _outgoing(model: Model, form: ExportFormat, options: ExportOptions) -> tuple[Serving, tuple[str, ...]]:
    if form in ("implicit", "spark") or options.augment:
        serving = inner_products(model, "a cosine" if options.augment else form, fold_biases=options.fold_biases)
    else:
        serving = Serving.of(model).folded() if options.fold_biases else Serving.of(model)
    if form == "spark":
        spark_ids(serving.user_ids, "user")
        spark_ids(serving.item_ids, "item")
    cautions: tuple[str, ...] = ()
    config = model.config
    if form == "implicit" and (
        config.objective == "explicit" or config.reg_scaling == "count" or config.confidence_base
    ):
        cautions = (
            "implicit cannot express the objective of this model: its recommendations are the same there, but users "
            "that it calculates anew (recalculate_user, partial_fit_users) are not.",
        )
    return serving.augmented() if options.augment else serving, cautions


def _write_directory(place: Path, model: Model, serving: Serving, form: ExportFormat, options: ExportOptions) -> None:
    if form == "npy":
        for name, array in _plain_arrays(serving).items():
            np.save(place / f"{name}.npy", array, allow_pickle=False)
        if not options.fold_biases:
            (place / "options.json").write_text(options_of(model.config) + "\n", encoding="utf-8")
        return
    sides: tuple[tuple[Literal["user", "item"], Ids, Any, Any], ...] = (
        ("user", serving.user_ids, serving.user_factors, serving.user_bias),
        ("item", serving.item_ids, serving.item_factors, serving.item_bias),
    )
    if form == "parquet":
        metadata = {} if serving.global_mean is None else {"global_mean": repr(serving.global_mean)}
        for side, ids, factors, bias in sides:
            with (place / f"{side}s.parquet").open("wb") as file:
                write_factor_table(file, ids, factors, bias=bias, lists=options.lists, metadata=metadata)
        return
    (place / "metadata").mkdir()
    (place / "metadata" / "part-00000").write_text(
        json.dumps(spark_metadata(serving.user_factors.shape[1]), separators=(",", ":")) + "\n", encoding="ascii"
    )
    (place / "metadata" / "_SUCCESS").touch()
    for side, ids, factors, _ in sides:
        (place / f"{side}Factors").mkdir()
        with (place / f"{side}Factors" / "part-00000.snappy.parquet").open("wb") as file:
            write_factor_table(
                file,
                ids,
                factors.astype(np.float32, copy=False),
                factor_column="features",
                id_type="int32",
                lists="variable",
            )
        (place / f"{side}Factors" / "_SUCCESS").touch()


def _plain_arrays(serving: Serving) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        "user_factors": serving.user_factors,
        "item_factors": serving.item_factors,
        **_ids_arrays(serving),
    }
    if serving.user_bias is not None and serving.item_bias is not None:
        arrays |= {"user_bias": serving.user_bias, "item_bias": serving.item_bias}
    if serving.global_mean is not None:
        arrays["global_mean"] = np.array(serving.global_mean)
    return arrays


def _ids_arrays(serving: Serving) -> dict[str, NDArray[Any]]:
    """Ids as arrays: int64, or text of a fixed length."""
    pairs = (("user_ids", serving.user_ids), ("item_ids", serving.item_ids))
    return {name: np.array(ids.to_list()) if isinstance(ids, Utf8Ids) else ids for name, ids in pairs}


def _write_archive(path: StrPath, arrays: dict[str, NDArray[Any]]) -> None:
    with atomic_write(path) as file:
        write_npz(file, arrays)
