"""Models from other trainers, and models for other programs: one module a format."""

from forgetcli.interop.adopting import Agreement, Imported, OnMismatch
from forgetcli.interop.exporting import (
    EXPORT_FORMATS,
    Exported,
    ExportFormat,
    ExportOptions,
    check_export,
    export_model,
)
from forgetcli.interop.foreign import Stated
from forgetcli.interop.importing import IMPORT_FORMATS, ImportFormat, import_model
from forgetcli.interop.row_ids import read_row_ids

__all__ = [
    "EXPORT_FORMATS",
    "IMPORT_FORMATS",
    "Agreement",
    "ExportFormat",
    "ExportOptions",
    "Exported",
    "ImportFormat",
    "Imported",
    "OnMismatch",
    "Stated",
    "check_export",
    "export_model",
    "import_model",
    "read_row_ids",
]
