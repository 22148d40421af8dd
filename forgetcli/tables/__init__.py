"""Tables in and out: Parquet, Arrow and delimited text. The only package that knows pyarrow."""

from forgetcli.tables.batches import BadRows
from forgetcli.tables.columns import ColumnOptions
from forgetcli.tables.factors import ListKind, read_factor_table, write_factor_table
from forgetcli.tables.filters import Filter
from forgetcli.tables.frames import ArrowTable, is_frame
from forgetcli.tables.lists import ItemNames, read_ids, read_item_names, read_records
from forgetcli.tables.reading import ReadResult, read_heldout, read_interactions
from forgetcli.tables.sources import Sources
from forgetcli.tables.writing import (
    RecommendationRows,
    RecommendationWriter,
    TableFormat,
    check_output,
    open_output,
    place_name,
    table_format,
)

__all__ = [
    "ArrowTable",
    "BadRows",
    "ColumnOptions",
    "Filter",
    "ItemNames",
    "ListKind",
    "ReadResult",
    "RecommendationRows",
    "RecommendationWriter",
    "Sources",
    "TableFormat",
    "check_output",
    "is_frame",
    "open_output",
    "place_name",
    "read_factor_table",
    "read_heldout",
    "read_ids",
    "read_interactions",
    "read_item_names",
    "read_records",
    "table_format",
    "write_factor_table",
]
