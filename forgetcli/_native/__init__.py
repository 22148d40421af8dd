"""The native kernels. They know arrays, and nothing of files, ids or objectives; their modules' Python twins give
them meaning."""

from forgetcli._native._kernels import (
    apply_kept,
    couple_rows,
    gram,
    instruction_set,
    instruction_sets,
    row_gradients,
    solve_rows,
    use_instruction_set,
)

__all__ = [
    "apply_kept",
    "couple_rows",
    "gram",
    "instruction_set",
    "instruction_sets",
    "row_gradients",
    "solve_rows",
    "use_instruction_set",
]
