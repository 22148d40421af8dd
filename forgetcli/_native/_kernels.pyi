"""What the extension module offers. Arrays are C-contiguous; a wrong shape raises ValueError, a wrong dtype
TypeError."""

# Instruction sets (variant.cpp)

def instruction_sets() -> list[str]:
    """Those that this machine can run, best first; the last is always "portable"."""

def instruction_set() -> str:
    """The one in use: the best, until `use_instruction_set` says otherwise."""

def use_instruction_set(name: str) -> None:
    """For tests and benchmarks: use this one from now on. Raises ValueError for one that the machine lacks."""
