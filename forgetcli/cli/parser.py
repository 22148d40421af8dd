"""argparse as this program wants it: errors as values, help like a man page, options and files in any order."""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap
from difflib import get_close_matches
from typing import NoReturn

from forgetcli.errors import UsageError

MOST_COLUMNS = 80
"""Lines longer than this are hard to read, however wide the terminal is."""

MOST_THREADS = 1024
"""More are not started, however many are asked for."""


def columns() -> int:
    """The width of texts for the terminal at hand."""
    return min(MOST_COLUMNS, shutil.get_terminal_size().columns)


def fitted(text: str, width: int) -> str:
    """A text of lines that fit MOST_COLUMNS, for fewer: its paragraphs are wrapped anew, but for lists and examples,
    which have indented lines."""
    if width >= MOST_COLUMNS:
        return text
    return "\n\n".join(
        each if re.search("^ ", each, re.MULTILINE) else textwrap.fill(each, width, break_on_hyphens=False)
        for each in text.split("\n\n")
    )


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return super()._fill_text(fitted(text, columns()), width, indent)


class Parser(argparse.ArgumentParser):
    """Raises UsageError instead of leaving the process."""

    def parse(self, given: list[str]) -> argparse.Namespace:
        """The arguments."""
        arguments, unknown = self.parse_known_intermixed_args(given)
        if unknown:
            raise self._unknown(unknown[0])
        self._require_owners(given)
        return arguments

    def has(self, flag: str) -> bool:
        """Whether there is such an option."""
        return flag in self._option_string_actions

    def error(self, message: str) -> NoReturn:
        """argparse's way to report a mistake."""
        message = re.sub(r"^argument (\S+?)(?:/\S+)?: (must )?", _as_sentence, message)
        raise UsageError(message, hint=f"see {self.prog} --help")

    def _require_owners(self, given: list[str]) -> None:
        """That no option is typed that does nothing without another (see `belongs_to`)."""
        typed = {argument.partition("=")[0] for argument in given}
        for action in self._actions:
            owner = getattr(action, "owner", None)
            if owner and not typed.isdisjoint(action.option_strings) and owner not in typed:
                raise UsageError(f"{action.option_strings[0]} belongs to {owner}, which is not given")

    def _unknown(self, argument: str) -> UsageError:
        name = argument.partition("=")[0]
        close = get_close_matches(name, self._option_string_actions, n=1) if name.startswith("-") else []
        meant = f"did you mean {close[0]}? " if close else ""
        return UsageError(f"unknown argument {name!r}", hint=f"{meant}see {self.prog} --help")


def belongs_to(owner: str, action: argparse.Action) -> None:
    """Has the action's option refused where `owner` is not given: it would do nothing, which nobody means who types it.
    A default from the settings may stand there for the runs that have use for it."""
    action.owner = owner  # type: ignore[attr-defined]


def command_parser(name: str, synopsis: str, details: str, examples: str) -> Parser:
    """The parser of one command, without arguments yet.

    synopsis: what follows the command's name, in short.
    details:  the text before the options, its first line the command's purpose.
    examples: command lines, with comments where they need one.
    """
    width = columns()
    parser = Parser(
        prog=f"forget {name}",
        usage=f"forget {name} {synopsis}",
        description=details.strip(),
        epilog="examples:\n" + textwrap.indent(examples.strip(), "  "),
        add_help=False,
        allow_abbrev=False,
        formatter_class=lambda prog: _Formatter(prog, max_help_position=28, width=width),
    )
    parser.set_defaults(command=name)
    return parser


def whole_number(text: str) -> int:
    """The argument as an int."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text[:40]!r}") from None


def count(text: str) -> int:
    """The argument as an int that is at least 0."""
    number = whole_number(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, not {number}")
    return number


def threads(text: str) -> int:
    """The argument as a count of threads: those beyond what any kernel starts come to the same."""
    return min(count(text), MOST_THREADS)


def positive_count(text: str) -> int:
    """The argument as an int that is at least 1."""
    number = whole_number(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


def number(text: str) -> float:
    """The argument as a finite float."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value - value != 0:
        raise argparse.ArgumentTypeError(f"must be a number, not {text[:40]!r}")
    return value


def _as_sentence(match: re.Match[str]) -> str:
    return f"{match[1]} must " if match[2] else f"{match[1]}: "
