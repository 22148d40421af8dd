"""The native kernels. They know arrays, and nothing of files, ids or objectives; their modules' Python twins give
them meaning."""

from forgetcli._native._kernels import instruction_set, instruction_sets, use_instruction_set

__all__ = ["instruction_set", "instruction_sets", "use_instruction_set"]
