"""Models as files: one .npz that `numpy.load(path, allow_pickle=False)` opens. `layout` has its keys.

The same model gives the same bytes. A file is not trusted: every array is checked, alone and against the others,
before anything computes with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from forgetcli.config import TrainConfig
from forgetcli.csr import coded_values
from forgetcli.digests import HashingWriter, OnDigest, hashing_along
from forgetcli.errors import ModelFileError, NumericalError
from forgetcli.files import StrPath, atomic_write
from forgetcli.interactions import Csr, Interactions, Utf8Ids, Vocabulary
from forgetcli.layout import FORMAT_VERSION, read_texts, require_layout, text_arrays
from forgetcli.model import Factors, HistoryEntry, Model, SideFactors
from forgetcli.npz import Archive, Streamed, open_npz, write_npz
from forgetcli.profiling import stage

IdKind: TypeAlias = Literal["integer", "text"]

_BLOCK = 1 << 18
"""Numbers checked at once: what that takes besides stays in a core's cache."""


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says of itself.

    n_interactions:             of the data that it carries, or None when it carries none.
    user_id_kind, item_id_kind: what the ids are.
    file_size:                  in bytes.
    """

    format_version: int
    config: TrainConfig
    n_users: int
    n_items: int
    n_interactions: int | None
    user_id_kind: IdKind
    item_id_kind: IdKind
    history: tuple[HistoryEntry, ...]
    file_size: int

    @property
    def sweeps(self) -> int:
        """How many sweeps the model has had, those of forgetting among them."""
        return sum(entry.kind == "sweep" for entry in self.history)


def save(model: Model, path: StrPath, *, interactions: bool = True, on_digest: OnDigest | None = None) -> None:
    """Writes the model in one pass and replaces the file at `path`, all of it or nothing (see `files.atomic_write`).

    interactions: whether the data goes along; without it the file is small, and forgetting needs the data again.
    on_digest:    is told the file's digest when the file is safely on the disk.

    Raises FileSystemError, and NumericalError for a model with a value that is not finite; the old file stays.
    """
    arrays = _arrays_of(model, interactions)
    if on_digest is None:
        with atomic_write(path) as file:
            write_npz(file, arrays)
        return
    with atomic_write(path) as file, HashingWriter(file) as hashing:
        write_npz(hashing, arrays)
    on_digest(hashing.digest)


def save_to(model: Model, file: BinaryIO, *, interactions: bool = True) -> None:
    """Writes to an open binary file what `save` writes; it need not be seekable."""
    write_npz(file, _arrays_of(model, interactions))


def load(path: StrPath, *, on_digest: OnDigest | None = None) -> Model:
    """The model at `path`.

    on_digest: is told the digest of the same open file, when the model has been read.

    Raises FileSystemError, and ModelFileError that names the file and what is wrong with it.
    """
    with open_npz(path) as archive, hashing_along(archive.file, on_digest):
        config, history = read_texts(archive)
        require_layout(archive.members, config)
        with stage("ids"):
            users, items = _read_ids(archive, "user"), _read_ids(archive, "item")
        with stage("factors"):
            factors = _read_factors(archive, config)
        with stage("interactions"):
            interactions = _read_interactions(archive, users, items)
        return Model(config, factors, users, items, history, interactions)


def inspect(path: StrPath) -> ModelInfo:
    """What the model at `path` is, from its headers and its two short texts; the arrays are not read.

    Raises as `load` does, for what can be seen without the arrays' values.
    """
    with open_npz(path) as archive:
        config, history = read_texts(archive)
        require_layout(archive.members, config)
        indices = archive.members.get("interactions_indices")
        return ModelInfo(
            format_version=FORMAT_VERSION,
            config=config,
            n_users=archive.members["user_factors"].shape[0],
            n_items=archive.members["item_factors"].shape[0],
            n_interactions=None if indices is None else indices.shape[0],
            user_id_kind="integer" if "user_ids" in archive.members else "text",
            item_id_kind="integer" if "item_ids" in archive.members else "text",
            history=history,
            file_size=archive.size,
        )


@dataclass(frozen=True)
class _Values:
    """The values of a matrix as an array to be written."""

    matrix: Csr

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.matrix.nnz,)

    def pieces(self) -> Iterator[NDArray[np.float32]]:
        return self.matrix.value_pieces()


def _arrays_of(model: Model, interactions: bool) -> dict[str, NDArray[Any] | Streamed]:
    """By key, in the order of the file."""
    config, user, item = model.config, model.factors.user, model.factors.item
    if user.factors.dtype != config.dtype or model.factors.rank != config.factors:
        raise ValueError(f"the factors are {user.factors.dtype} of rank {model.factors.rank}, unlike {config}")
    numbers: dict[str, NDArray[Any]] = {"user_factors": user.factors, "item_factors": item.factors}
    if config.objective == "explicit":
        numbers |= {
            "user_bias": user.bias,
            "item_bias": item.bias,
            "global_mean": np.array(model.factors.global_mean, np.float64),
        }
    with stage("checking"):
        for key, array in numbers.items():
            if not _is_finite(array):
                raise NumericalError(f"the model's {key} has values that are not finite; it was not written")
    arrays: dict[str, NDArray[Any] | Streamed] = {
        **text_arrays(config, model.history),
        **_id_arrays("user", model.users),
        **_id_arrays("item", model.items),
        **numbers,
    }
    if interactions and model.interactions is not None:
        by_user = model.interactions.by_user
        arrays |= {
            "interactions_indptr": by_user.indptr,
            "interactions_indices": by_user.indices,
            "interactions_values": _Values(by_user),
        }
    return arrays


def _id_arrays(side: str, vocabulary: Vocabulary) -> dict[str, NDArray[Any]]:
    ids = vocabulary.ids
    if isinstance(ids, Utf8Ids):
        return {f"{side}_id_bytes": ids.data, f"{side}_id_offsets": ids.offsets}
    return {f"{side}_ids": ids}


def _read_ids(archive: Archive, side: str) -> Vocabulary:
    with _naming(f"{side} ids"):
        if f"{side}_ids" in archive.members:
            vocabulary = Vocabulary(archive.read(f"{side}_ids"))
        else:
            vocabulary = Vocabulary(Utf8Ids(archive.read(f"{side}_id_bytes"), archive.read(f"{side}_id_offsets")))
        vocabulary.validate()
        return vocabulary


def _read_factors(archive: Archive, config: TrainConfig) -> Factors:
    users, items = _read_side(archive, "user", config), _read_side(archive, "item", config)
    return Factors(users, items, float(_read_finite(archive, "global_mean")) if config.objective == "explicit" else 0.0)


def _read_side(archive: Archive, side: str, config: TrainConfig) -> SideFactors:
    factors = _read_finite(archive, f"{side}_factors")
    if config.objective == "implicit":
        return SideFactors.without_bias(factors)
    bias = _read_finite(archive, f"{side}_bias")
    if not config.biases and bias.any():
        raise ModelFileError(f"{side}_bias should be zero in a model without biases")
    return SideFactors(factors, bias)


def _read_finite(archive: Archive, key: str) -> NDArray[Any]:
    array = archive.read(key)
    if not _is_finite(array):
        raise ModelFileError(f"{key} has values that are not finite")
    return array


def _is_finite(array: NDArray[Any]) -> bool:
    flat = array.reshape(-1)
    return all(bool(np.isfinite(flat[start : start + _BLOCK]).all()) for start in range(0, len(flat), _BLOCK))


def _read_interactions(archive: Archive, users: Vocabulary, items: Vocabulary) -> Interactions | None:
    if "interactions_indptr" not in archive.members:
        return None
    with ThreadPoolExecutor(1) as other:
        values = other.submit(_read_values, archive, "interactions_values")
        indptr, indices = (archive.read(f"interactions_{part}") for part in ("indptr", "indices"))
        stored, levels = values.result()
    with _naming("interactions"):
        interactions = Interactions(users, items, Csr(indptr, indices, stored, len(items), levels))
        with stage("checking"):
            interactions.validate()
        return interactions


def _read_values(archive: Archive, key: str) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    """The values as `Csr` stores them: they are coded while they are read."""
    coded = coded_values(archive.members[key].shape[0], archive.pieces(key))
    return (archive.read(key), None) if coded is None else coded


@contextmanager
def _naming(what: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ModelFileError(f"{what}: {error}") from error
