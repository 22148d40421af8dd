"""What can go wrong, as values with an exit code and a remedy."""

from __future__ import annotations

from typing import ClassVar


class ForgetError(Exception):
    """A failure that the user can understand and mend.

    message: what is wrong and where (file, column, row). It names no user's or item's id, since a log outlives
             what was forgotten; errors about one id that the user typed may repeat it.
    hint:    what to try, or None where there is nothing to say.

    Both name parameters as Python has them, in backquotes: `reg`, `bad_rows="drop"`. The program turns these into its
    own options.
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class CheckFailed(ForgetError):
    """A check that the user asked for did not hold."""

    exit_code = 1


class UsageError(ForgetError):
    """Options or arguments that make no sense, alone or together."""

    exit_code = 2


class DataError(ForgetError):
    """Input data that cannot be used."""

    exit_code = 3


class ModelFileError(DataError):
    """A file that is not a model, or a model that is damaged."""


class NumericalError(ForgetError):
    """Arithmetic that cannot go on: a singular system, a value that is not finite."""

    exit_code = 4


class FileSystemError(ForgetError):
    """The file system refused: no such file, no permission, disk full, locked."""

    exit_code = 5
