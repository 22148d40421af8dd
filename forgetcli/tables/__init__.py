"""Tables in and out: Parquet and delimited text. The only package that knows pyarrow."""

from forgetcli.tables.batches import BadRows
from forgetcli.tables.columns import ColumnOptions
from forgetcli.tables.reading import ReadResult, read_heldout, read_interactions

__all__ = [
    "BadRows",
    "ColumnOptions",
    "ReadResult",
    "read_heldout",
    "read_interactions",
]
