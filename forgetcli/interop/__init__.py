"""Models from other trainers, and models for other programs: one module a format."""

from forgetcli.interop.adopting import Agreement, Imported, OnMismatch
from forgetcli.interop.foreign import Stated
from forgetcli.interop.importing import IMPORT_FORMATS, ImportFormat, import_model
from forgetcli.interop.row_ids import read_row_ids

__all__ = [
    "IMPORT_FORMATS",
    "Agreement",
    "ImportFormat",
    "Imported",
    "OnMismatch",
    "Stated",
    "import_model",
    "read_row_ids",
]
