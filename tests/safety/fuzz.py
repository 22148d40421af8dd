"""Feeds broken files to what reads untrusted input, as many as wanted: the long form of test_fuzzing.py.

    python tests/safety/fuzz.py model --runs 250000 --seed 1
    python tests/safety/fuzz.py native --atheris -max_total_time=3600

What was being tried is in --keep/current when the process dies, and in --keep/failure-N when a target fails. With
--atheris the choice of inputs is guided by coverage (`pip install atheris`); README.md here tells how to build the
extension with the sanitizers.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))  # behind the installed package, which has the extension

LONGEST_SECONDS = 20.0
"""Of processor time for one input."""

MOST_MEMORY = 4 << 30
"""Bytes of address space, where the sanitizers do not need more: an input that makes a process want it all is found."""

LIBFUZZERS_SHARE = 0.3
"""Of the changes to inputs, where coverage is the guide."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=("model", "text", "parquet", "arrow", "receipt", "import", "native"))
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzzing"), help="directory for inputs that fail")
    parser.add_argument("--atheris", action="store_true", help="guided by coverage; further arguments are libFuzzer's")
    arguments, others = parser.parse_known_args()
    arguments.keep.mkdir(parents=True, exist_ok=True)
    memory = Path("/dev/shm") if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        if arguments.atheris:
            return _guided(arguments, others, Path(directory))
        return _random(arguments, Path(directory))


def _random(arguments: argparse.Namespace, directory: Path) -> int:
    warnings.simplefilter("error")
    if "ASAN_OPTIONS" not in os.environ:
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    from tests.safety.targets import TARGETS, made

    target = TARGETS[arguments.target]
    seeds = target.seeds()
    signal.signal(signal.SIGPROF, _took_too_long)
    failures, seen, began = 0, set(), time.monotonic()
    for run in range(arguments.runs):
        content = made(target, seeds, random.Random(f"{arguments.seed} {run}"))
        (arguments.keep / "current").write_bytes(content)
        signal.setitimer(signal.ITIMER_PROF, LONGEST_SECONDS)
        try:
            target.use(content, directory)
        except Exception as error:
            signal.setitimer(signal.ITIMER_PROF, 0)
            failures += 1
            place = _place(error)
            if (kind := (type(error).__name__, place.filename, place.lineno)) not in seen:
                seen.add(kind)
                (arguments.keep / f"failure-{arguments.target}-{run}").write_bytes(content)
                traceback.print_exc()
        if (run + 1) % 10_000 == 0:
            print(f"{run + 1:,} runs, {failures} failures, {time.monotonic() - began:.0f} s", flush=True)
    signal.setitimer(signal.ITIMER_PROF, 0)
    print(f"{arguments.target}: {arguments.runs:,} runs with seed {arguments.seed}, {failures} failures")
    return 1 if failures else 0


def _place(error: Exception) -> traceback.FrameSummary:
    """Where in this program it was raised, or raised to."""
    calls = traceback.extract_tb(error.__traceback__)
    return next((call for call in reversed(calls) if "forgetcli/" in call.filename), calls[-1])


def _took_too_long(*_: object) -> None:
    raise TimeoutError(f"more than {LONGEST_SECONDS} s of processor time for one input")


def _guided(arguments: argparse.Namespace, others: list[str], directory: Path) -> int:
    import atheris  # type: ignore[import-not-found]

    with atheris.instrument_imports(include=["forgetcli"]):
        from tests.safety.targets import TARGETS, made
    target = TARGETS[arguments.target]
    seeds = target.seeds()
    corpus = arguments.keep / f"corpus-{arguments.target}"
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate([*seeds, *(made(target, seeds, random.Random(run)) for run in range(200))]):
        (corpus / f"seed-{number}").write_bytes(seed)

    def change(content: bytes, longest: int, seed: int) -> bytes:
        """By the target's own mutations, now and then by libFuzzer's."""
        rng = random.Random(seed)
        if rng.random() < LIBFUZZERS_SHARE:
            return bytes(atheris.Mutate(content, longest))
        return target.mutated(rng, content)[:longest]

    command = [sys.argv[0], str(corpus), f"-artifact_prefix={arguments.keep}/", *others]
    atheris.Setup(command, lambda content: target.use(content, directory), custom_mutator=change)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
