"""The package's functions as `import forgetcli` has them: they take data from wherever it is.

The core works on `Interactions` and `ForgetRequest`. These functions read them first where they are given a path, a
data frame, a relation, or a sparse matrix, and are otherwise the core's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeGuard, cast

import numpy as np

from forgetcli import als, recommending, unlearn
from forgetcli.als import Evaluate, Progress
from forgetcli.config import TrainConfig
from forgetcli.ids import as_ids
from forgetcli.interactions import Duplicates, Interactions, SparseMatrix
from forgetcli.model import Model
from forgetcli.records import ForgetRequest, Resolution
from forgetcli.tables import (
    ArrowTable,
    ColumnOptions,
    Filter,
    ItemNames,
    ReadResult,
    RecommendationRows,
    RecommendationWriter,
    Sources,
    check_output,
    open_output,
    read_interactions,
    read_records,
    table_format,
)

if TYPE_CHECKING:
    from forgetcli.unlearn import ForgetResult, Method

Data: TypeAlias = Interactions | ReadResult | Sources | SparseMatrix
"""Interactions, or where they can be read from: a path or several, a data frame of pandas or Polars, a relation of
DuckDB, a table of PyArrow (whatever has `__arrow_c_stream__`), or a SciPy sparse matrix: its positions are the ids."""

Request: TypeAlias = ForgetRequest | Sources
"""What is to be forgotten, or a forget-list: a path or a table as for `Data`, with a user column, an item column, or
both."""

_NOTHING = ForgetRequest.of()


def train(
    data: Data,
    config: TrainConfig | None = None,
    *,
    columns: ColumnOptions | None = None,
    where: Filter | str | None = None,
    duplicates: Duplicates | None = None,
    evaluate: Evaluate | None = None,
    threads: int = 0,
    on_progress: Progress | None = None,
) -> Model:
    """Trains a model from keyed starting factors: the same data and configuration give the same bits, whatever the
    order of the rows and the number of threads.

    config:      None is the defaults of the objective that suits the data, see `ReadResult.suited_objective`.
    columns, where, duplicates:
                 of data that has to be read, see `read_interactions`.
    evaluate:    called with the factors after each sweep; its metrics go into the history.
    threads:     0 is one for each processor.
    on_progress: called after each sweep.

    Raises DataError when there is nothing to train on, NumericalError when the equations cannot be solved, and as
    reading does.
    """
    read = _read(data, columns, where, duplicates, threads)
    config = config or TrainConfig.for_objective(read.suited_objective)
    training = read.interactions if isinstance(read, ReadResult) else read
    return als.train(training, config, evaluate=evaluate, threads=threads, on_progress=on_progress)


def forget(
    model: Model,
    request: Request,
    *,
    columns: ColumnOptions | None = None,
    where: Filter | str | None = None,
    method: Method = "auto",
    sweeps: int = unlearn.DEFAULT_SWEEPS,
    interactions: Data | None = None,
    in_place: bool = False,
    threads: int = 0,
    on_progress: Progress | None = None,
    on_step: Callable[[str], None] | None = None,
) -> ForgetResult:
    """Removes the requested records from the model and its data, and moves the factors to where the remaining data
    would have put them. The given model stays what it is, unless that is asked for.

    columns, where: of a forget-list that has to be read, see `read_records`.
    method:         "response" is a second-order step, to the level of a retrain; "sweeps" are warm ALS sweeps on what
                    remains (Unlearn-ALS: Xu et al. 2023); "retrain" trains anew with the model's own seed; "auto" takes
                    the step, or trains anew where that costs no more or more than 40 % of the records go.
                    `ForgetResult.method` says which it was.
    sweeps:         of "sweeps", at least 1.
    interactions:   the training data of a model that was saved without it.
    in_place:       in the memory of the model and its data, where that is possible: neither can be used afterwards,
                    unless nothing of the request was found.
    threads:        0 is one for each processor.
    on_progress:    called after each sweep; on_step: with a word or two on what comes next.

    A request of which nothing is found changes nothing. Raises DataError when the model has no data and none is given,
    and when the request leaves nothing; UsageError for another method; NumericalError; and as reading does.
    """
    return unlearn.forget(
        model,
        as_request(request, columns, where=where),
        method=method,
        sweeps=sweeps,
        interactions=_given(interactions, threads),
        in_place=in_place,
        threads=threads,
        on_progress=on_progress,
        on_step=on_step,
    )


def retrain(
    model: Model,
    request: Request = _NOTHING,
    *,
    columns: ColumnOptions | None = None,
    where: Filter | str | None = None,
    seed: int | None = None,
    interactions: Data | None = None,
    evaluate: Evaluate | None = None,
    threads: int = 0,
    on_progress: Progress | None = None,
) -> tuple[Model, Resolution]:
    """Trains anew on what the request leaves, with the model's configuration: the same bits as training on data that
    never held the records.

    columns, where: of a forget-list that has to be read, see `read_records`.
    seed:           of the starting factors; None is the model's own.
    interactions:   the training data of a model that was saved without it.
    evaluate:       called with the factors after each sweep; its metrics go into the history.
    threads:        0 is one for each processor.
    on_progress:    called after each sweep.

    Raises as `forget` does.
    """
    return unlearn.retrain(
        model,
        as_request(request, columns, where=where),
        seed=seed,
        interactions=_given(interactions, threads),
        evaluate=evaluate,
        threads=threads,
        on_progress=on_progress,
    )


def recommendations(
    model: Model,
    users: object = None,
    n: int = 10,
    *,
    exclude_seen: bool = True,
    item_names: ItemNames | None = None,
    threads: int = 0,
) -> ArrowTable:
    """The n best items for each of these users as a PyArrow table with the columns user, item, rank (from 1), score
    and, with names, title. `polars.DataFrame(table)`, `table.to_pandas()` and DuckDB take it from there.

    users: ids as `as_ids` takes them, or as `read_ids` reads them from a table; None is every user of the model. Those
           that the model does not know have no rows.
    """
    rows = RecommendationRows(model.users, model.items, item_names)
    batches = _batches(model, users, n, exclude_seen, threads)
    table: ArrowTable = rows.join((batch.users, batch.items, batch.scores) for batch in batches)
    return table


def write_recommendations(
    model: Model,
    output: str | Path,
    users: object = None,
    n: int = 10,
    *,
    exclude_seen: bool = True,
    item_names: ItemNames | None = None,
    threads: int = 0,
) -> None:
    """Writes the same to a .csv, .parquet or .jsonl file, all of it or nothing, without holding it in memory.

    output: a path, or a URI of s3://, gs:// or hdfs://.

    Raises UsageError for another ending, and FileSystemError.
    """
    form = table_format(output)
    check_output(output)
    with open_output(output) as file, RecommendationWriter(file, form, model.users, model.items, item_names) as writer:
        for batch in _batches(model, users, n, exclude_seen, threads):
            writer.write(batch.users, batch.items, batch.scores)


def as_interactions(
    data: Data,
    columns: ColumnOptions | None = None,
    *,
    where: Filter | str | None = None,
    duplicates: Duplicates | None = None,
    threads: int = 0,
) -> Interactions:
    """The interactions of whatever holds them.

    columns, where, duplicates: of tables, see `read_interactions`; interactions and matrices are taken as they are.
    """
    read = _read(data, columns, where, duplicates, threads)
    return read.interactions if isinstance(read, ReadResult) else read


def as_request(
    request: Request, columns: ColumnOptions | None = None, *, where: Filter | str | None = None
) -> ForgetRequest:
    """The request that a forget-list makes; see `read_records`. A request is taken as it is."""
    return request if isinstance(request, ForgetRequest) else read_records(request, columns, where=where)


def _read(
    data: Data,
    columns: ColumnOptions | None,
    where: Filter | str | None,
    duplicates: Duplicates | None,
    threads: int,
) -> Interactions | ReadResult:
    if isinstance(data, (Interactions, ReadResult)):
        return data
    if _is_sparse(data):
        return Interactions.from_sparse(data, duplicates=duplicates or "sum", threads=threads)
    tables = cast(Sources, data)
    return read_interactions(tables, columns, where=where, duplicates=duplicates, threads=threads)


def _is_sparse(data: object) -> TypeGuard[SparseMatrix]:
    return hasattr(data, "tocoo")


def _given(data: Data | None, threads: int) -> Interactions | None:
    return None if data is None else as_interactions(data, threads=threads)


def _batches(
    model: Model, users: object, n: int, exclude_seen: bool, threads: int
) -> Iterator[recommending.Recommendations]:
    rows = np.arange(len(model.users)) if users is None else model.users.find(as_ids(users))
    return recommending.recommend_in_batches(model, rows[rows >= 0], n, exclude_seen=exclude_seen, threads=threads)
