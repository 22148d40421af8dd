"""The program: finds the command, runs it, and alone decides the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from forgetcli.cli import streams
from forgetcli.cli.commands import COMMANDS, module_of, parser_of
from forgetcli.cli.limits import not_enough_memory, run_within_limits, tells_of_no_memory
from forgetcli.errors import FileSystemError, ForgetError, UsageError

HELP = """\
usage: forget COMMAND ... [options]

Trains ALS recommenders and makes them forget: a record, a person's history,
an account, a title.

commands:
{commands}

Each command explains itself: forget COMMAND --help
Defaults of options are set in the environment (FORGET_THREADS=4) or in a file,
forget.toml: forget help settings

examples:
  forget train ratings.parquet
  forget forget model.npz --records deletions.csv
  forget retrain model.npz --records deletions.csv -o retrained.npz
  forget compare model.npz retrained.npz --records deletions.csv
  forget recommend model.npz --user 42 -n 10

exit codes:
    0  done
    1  a check asked for did not hold (--fail-above, --on-unknown fail,
       a receipt of another model)
    2  wrong use
    3  unusable input data or model file
    4  a numerical failure
    5  the system refused: disk full, no permission, locked, no memory
   70  an error in this program
  130  interrupted
"""

INTERNAL_ERROR = 70
"""EX_SOFTWARE of BSD's sysexits.h: Python's own 1 would read as a check that did not hold."""

INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line, by default the process's, and returns its exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if sys.platform == "win32":  # whose pipes have a code page that lacks half of what is said
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(encoding="utf-8")
    if arguments is None:
        streams.prepare()
        sys.meta_path.insert(0, _WithoutPandas)
    try:
        return run_within_limits(lambda: _guarded(given)) if arguments is None else _guarded(given)
    except FileSystemError as error:
        return _fail(error)
    except KeyboardInterrupt:
        _tell("forget: interrupted")
        return INTERRUPTED


class _WithoutPandas:
    """Keeps pyarrow from importing pandas, where that is installed, to ask whether what it is given is a data frame:
    in this program nothing is, and the import takes a quarter of a second and 40 MB."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        """Asked first for each module that is to be imported."""
        if name == "pandas":
            raise ModuleNotFoundError("this program does without pandas", name=name)


def _guarded(given: list[str]) -> int:
    try:
        run(given)
        sys.stdout.flush()
    except (ForgetError, OSError, MemoryError) as error:
        _abandon_stdout()
        if _is_broken_pipe(error):
            return 0
        _show_traceback(given)
        return _fail(_understood(error))
    except Exception as error:
        _show_traceback(given)
        if tells_of_no_memory(error):
            return _fail(not_enough_memory())
        _tell_error(f"an error in forget itself ({type(error).__name__})", "--debug shows where; please report it")
        return INTERNAL_ERROR
    return 0


def run(given: list[str]) -> None:
    """Runs the command that the arguments name."""
    name, *rest = given or ["--help"]
    if name in ("-h", "--help", "help"):
        if rest and rest[0] in COMMANDS:
            return run([rest[0], "--help"])
        if rest and rest[0] == "settings":
            from forgetcli.cli.settings import HELP as SETTINGS_HELP

            sys.stdout.write(SETTINGS_HELP)
            return None
        listed = "\n".join(f"  {command:<10} {summary}" for command, summary in COMMANDS.items())
        sys.stdout.write(HELP.format(commands=listed))
        return None
    if name == "--version":
        from forgetcli import __version__

        sys.stdout.write(f"forget {__version__}\n")
        return None
    if name not in COMMANDS:
        raise _unknown_command(name)
    _run_command(name, rest)
    return None


def _run_command(name: str, given: list[str]) -> None:
    from forgetcli.cli import settings

    parser = parser_of(name)
    if "--json-schema" in given and parser.has("--json-schema"):
        from forgetcli.report.schemas import schema_text

        print(schema_text(name))
        return
    in_force = settings.apply(parser, name, given, os.environ)
    if "-h" in given or "--help" in given:
        sys.stdout.write(parser.format_help() + settings.epilogue(name, in_force))
        return
    arguments = parser.parse(given)
    try:
        module_of(name).run(arguments)
    except UsageError as error:
        raise settings.explained(error, in_force) from None


def _unknown_command(name: str) -> UsageError:
    from difflib import get_close_matches

    if name.startswith("-"):
        return UsageError(f"the command comes before its options, and {name} is none", hint="see forget --help")
    close = get_close_matches(name, COMMANDS, n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    return UsageError(f"there is no command {name!r}", hint=f"{meant}forget --help lists the commands")


def _understood(error: ForgetError | OSError | MemoryError) -> ForgetError:
    """The error as one with an exit code. What the core could not name is the system's: there is no memory, or
    standard output cannot be written."""
    if isinstance(error, ForgetError):
        return error
    if isinstance(error, MemoryError):
        return not_enough_memory()
    where = f": {os.fsdecode(error.filename)}" if error.filename else ""
    return FileSystemError(f"the system refused{where}: {error.strerror or error}")


def _fail(error: ForgetError) -> int:
    from forgetcli.cli.wording import as_typed

    _tell_error(as_typed(error.message), None if error.hint is None else as_typed(error.hint))
    return error.exit_code


def _tell_error(message: str, hint: str | None) -> None:
    from forgetcli.report.text import error_block

    _tell(error_block(message, hint))


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _show_traceback(given: list[str]) -> None:
    if "--debug" in given:
        import traceback

        traceback.print_exc()


def _is_broken_pipe(error: BaseException | None) -> bool:
    """Whether the error, or one that it translates, is that the reader of our output has gone."""
    while error is not None:
        if isinstance(error, BrokenPipeError):
            return True
        error = error.__cause__
    return False


def _abandon_stdout() -> None:
    """Where output cannot be written, keeps the interpreter from trying it once more when it ends, and from an exit
    code of its own."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
