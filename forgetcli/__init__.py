"""Train ALS recommenders, make them forget records without retraining, and measure what is left.

    import forgetcli as fc

    model = fc.train("ratings.parquet", fc.TrainConfig.for_objective("explicit", factors=32))
    result = fc.forget(model, fc.ForgetRequest.of(users=[42]))
    fc.save(result.model, "model.npz")

Every name is loaded when it is first used: importing the package alone costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forgetcli.als import SweepReport
    from forgetcli.api import (
        as_interactions,
        as_request,
        forget,
        recommendations,
        retrain,
        train,
        write_recommendations,
    )
    from forgetcli.auditing import audit
    from forgetcli.checkpoint import ModelInfo, inspect, load, save
    from forgetcli.comparing import compare
    from forgetcli.comparison import Comparison
    from forgetcli.config import TrainConfig
    from forgetcli.errors import (
        CheckFailed,
        DataError,
        FileSystemError,
        ForgetError,
        ModelFileError,
        NumericalError,
        UsageError,
    )
    from forgetcli.evaluate import evaluator, held_out_metrics
    from forgetcli.files import lock
    from forgetcli.gradient import Standing
    from forgetcli.ids import Vocabulary, as_ids
    from forgetcli.interactions import Heldout, Interactions, split_holdout
    from forgetcli.interop import (
        Exported,
        ExportOptions,
        Imported,
        Stated,
        export_model,
        import_model,
        read_row_ids,
    )
    from forgetcli.model import Factors, HistoryEntry, Model, SideFactors
    from forgetcli.recommending import Recommendations, recommend
    from forgetcli.records import ForgetRequest, RequestCounts, Resolution
    from forgetcli.tables import (
        ColumnOptions,
        Filter,
        ItemNames,
        ReadResult,
        read_heldout,
        read_ids,
        read_interactions,
        read_item_names,
        read_records,
    )
    from forgetcli.unlearn import ForgetResult
    from forgetcli.verdict import Audit, Finding
    from forgetcli.verification import Verification, verify

__version__ = "0.1.0"

_HOMES = {
    "forgetcli.als": ("SweepReport",),
    "forgetcli.api": (
        "as_interactions",
        "as_request",
        "forget",
        "recommendations",
        "retrain",
        "train",
        "write_recommendations",
    ),
    "forgetcli.auditing": ("audit",),
    "forgetcli.checkpoint": ("ModelInfo", "inspect", "load", "save"),
    "forgetcli.comparing": ("compare",),
    "forgetcli.comparison": ("Comparison",),
    "forgetcli.config": ("TrainConfig",),
    "forgetcli.errors": (
        "CheckFailed",
        "DataError",
        "FileSystemError",
        "ForgetError",
        "ModelFileError",
        "NumericalError",
        "UsageError",
    ),
    "forgetcli.evaluate": ("evaluator", "held_out_metrics"),
    "forgetcli.files": ("lock",),
    "forgetcli.gradient": ("Standing",),
    "forgetcli.ids": ("Vocabulary", "as_ids"),
    "forgetcli.interactions": ("Heldout", "Interactions", "split_holdout"),
    "forgetcli.interop": (
        "ExportOptions",
        "Exported",
        "Imported",
        "Stated",
        "export_model",
        "import_model",
        "read_row_ids",
    ),
    "forgetcli.model": ("Factors", "HistoryEntry", "Model", "SideFactors"),
    "forgetcli.recommending": ("Recommendations", "recommend"),
    "forgetcli.records": ("ForgetRequest", "RequestCounts", "Resolution"),
    "forgetcli.tables": (
        "ColumnOptions",
        "Filter",
        "ItemNames",
        "ReadResult",
        "read_heldout",
        "read_ids",
        "read_interactions",
        "read_item_names",
        "read_records",
    ),
    "forgetcli.unlearn": ("ForgetResult",),
    "forgetcli.verdict": ("Audit", "Finding"),
    "forgetcli.verification": ("Verification", "verify"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Audit",
    "CheckFailed",
    "ColumnOptions",
    "Comparison",
    "DataError",
    "ExportOptions",
    "Exported",
    "Factors",
    "FileSystemError",
    "Filter",
    "Finding",
    "ForgetError",
    "ForgetRequest",
    "ForgetResult",
    "Heldout",
    "HistoryEntry",
    "Imported",
    "Interactions",
    "ItemNames",
    "Model",
    "ModelFileError",
    "ModelInfo",
    "NumericalError",
    "ReadResult",
    "Recommendations",
    "RequestCounts",
    "Resolution",
    "SideFactors",
    "Standing",
    "Stated",
    "SweepReport",
    "TrainConfig",
    "UsageError",
    "Verification",
    "Vocabulary",
    "__version__",
    "as_ids",
    "as_interactions",
    "as_request",
    "audit",
    "compare",
    "evaluator",
    "export_model",
    "forget",
    "held_out_metrics",
    "import_model",
    "inspect",
    "load",
    "lock",
    "read_heldout",
    "read_ids",
    "read_interactions",
    "read_item_names",
    "read_records",
    "read_row_ids",
    "recommend",
    "recommendations",
    "retrain",
    "save",
    "split_holdout",
    "train",
    "verify",
    "write_recommendations",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
