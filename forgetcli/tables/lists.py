"""Forget-lists, lists of ids, and the names of items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from forgetcli.digests import OnDigest
from forgetcli.errors import DataError
from forgetcli.ids import Ids, join_ids
from forgetcli.records import ForgetRequest
from forgetcli.tables.batches import Batch, Fault, Mask
from forgetcli.tables.columns import ColumnOptions, Role, Wanted
from forgetcli.tables.filters import Filter
from forgetcli.tables.ids import EncodedIds, encode_ids, missing_ids, plain_values
from forgetcli.tables.pipeline import read_batches
from forgetcli.tables.sources import Sources, find_sources


@dataclass(frozen=True)
class ItemNames:
    """What items are called.

    titles: by the item's id as text (`Vocabulary.label`).
    """

    titles: Mapping[str, str]

    def title(self, label: str) -> str | None:
        """The title of an item, or None where it has none."""
        return self.titles.get(label)


def read_records(
    sources: Sources,
    columns: ColumnOptions | None = None,
    *,
    where: Filter | str | None = None,
    on_digest: OnDigest | None = None,
) -> ForgetRequest:
    """What forget-lists ask for: CSV, Parquet or standard input with a user column, an item column, or both.

    A row with both asks for that pair, one with only a user for everything of that user, one with only an item for
    everything of that item. Other columns are ignored. Integers and their decimal text match the same ids, so that
    it makes no difference which of them a list's ids are read as. A list without rows asks for nothing.

    where:     the rows to read, such as "status = 'approved'"; see `Filter`.
    on_digest: is told each list's digest when all of it was read, in turn.

    Raises as `read_interactions` does, always at the first row that names neither or cannot be read: a deletion that
    is skipped quietly would be taken for done.
    """
    filtered = Filter.of(where)
    wanted = Wanted(optional=("user", "item"), at_least_one=True, private=True)
    requests = [
        request
        for file in find_sources(sources)
        for request in read_batches(
            file, columns or ColumnOptions(), wanted, _request_of, where=filtered, on_digest=on_digest
        )
    ]
    return ForgetRequest.combine(requests)


def _request_of(batch: Batch) -> ForgetRequest:
    users, items = _optional_ids(batch, "user"), _optional_ids(batch, "item")
    nothing = Fault(~users.present() & ~items.present(), f"no {' and no '.join(batch.found)} id")
    batch.usable_rows([*users.faults, *items.faults, nothing], "stop", hint=None)
    pairs = users.present() & items.present()
    return ForgetRequest(
        users.kept(pairs).to_ids(), items.kept(pairs).to_ids(), _alone(users, items), _alone(items, users)
    )


def _optional_ids(batch: Batch, role: Role) -> EncodedIds:
    if role in batch.found:
        return encode_ids(batch, role)
    return EncodedIds(pa.array([], pa.int64()), np.full(batch.length, -1, np.int32))


def _alone(ids: EncodedIds, others: EncodedIds) -> Ids:
    rows: Mask = ids.present() & ~others.present()
    return ids.kept(rows).to_ids()


def read_ids(
    source: Sources,
    side: Literal["user", "item"],
    columns: ColumnOptions | None = None,
    *,
    where: Filter | str | None = None,
) -> Ids:
    """The ids of one column of a table, in the order of the rows, repeated ones too; other columns are ignored.

    Raises as `read_interactions` does, at the first row without an id, and DataError for a table without rows.
    """

    def ids_of(batch: Batch) -> Ids:
        ids = encode_ids(batch, side)
        batch.usable_rows([*ids.faults, *missing_ids(ids, side)], "stop", hint=None)
        return ids.to_ids()

    wanted, filtered, files = Wanted((side,)), Filter.of(where), find_sources(source)
    ids = join_ids(
        [
            part
            for file in files
            for part in read_batches(file, columns or ColumnOptions(), wanted, ids_of, where=filtered)
        ]
    )
    if len(ids) == 0:
        raise DataError(f"no {side}s in {', '.join(file.name for file in files)}")
    return ids


def read_item_names(source: Sources, columns: ColumnOptions | None = None) -> ItemNames:
    """The titles in a table with an item column and a title or name column. Of several rows of one item the last that
    has a title counts. Raises as `read_interactions` does, at the first row without an item."""
    titles: dict[str, str] = {}
    for file in find_sources(source):
        for part in read_batches(file, columns or ColumnOptions(), Wanted(("item", "title")), _titles_of):
            titles |= part
    return ItemNames(titles)


def _titles_of(batch: Batch) -> dict[str, str]:
    items, titles = encode_ids(batch, "item"), plain_values(batch.columns["title"])
    if not (pa.types.is_string(titles.type) or pa.types.is_large_string(titles.type) or pa.types.is_null(titles.type)):
        raise batch.column_error("title", f"titles are text, not {titles.type}")
    batch.usable_rows([*items.faults, *missing_ids(items, "item")], "stop", hint=None)
    labels = items.distinct.cast(pa.large_string()).take(pa.array(items.codes)).to_pylist()
    return {label: title for label, title in zip(labels, titles.to_pylist(), strict=True) if title}
