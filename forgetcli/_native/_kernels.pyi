"""What the extension module offers. Arrays are C-contiguous; a wrong shape raises ValueError, a wrong dtype
TypeError."""

# Instruction sets (variant.cpp)

def instruction_sets() -> list[str]:
    """Those that this machine can run, best first; the last is always "portable"."""

def instruction_set() -> str:
    """The one in use: the best, until `use_instruction_set` says otherwise."""

def use_instruction_set(name: str) -> None:
    """For tests and benchmarks: use this one from now on. Raises ValueError for one that the machine lacks."""

# Top-n (bind_topn.cpp)

def top_n(
    user_factors: _Factors, item_factors: _Factors, item_bias: _Factors, users: NDArray[np.int64],
    seen_offsets: NDArray[np.int64] | None, seen_items: NDArray[np.int32] | None, n: int, threads: int,
) -> tuple[NDArray[np.int32], NDArray[np.floating[Any]]]:
    """(items, scores), both (m, n)."""
