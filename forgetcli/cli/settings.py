"""Defaults of options from the environment and from a file.

What is given on the command line comes first, then `FORGET_<COMMAND>_<OPTION>`, then `FORGET_<OPTION>`, then the file's
table of the command, then what stands in the file above the tables, and last the program's own default.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from forgetcli.cli.commands import COMMANDS, parser_of
from forgetcli.errors import DataError, FileSystemError, UsageError

if TYPE_CHECKING:
    from forgetcli.cli.described import Option
    from forgetcli.cli.parser import Parser

PREFIX = "FORGET_"
FILE_VARIABLE = "FORGET_CONFIG"
FILE_NAME = "forget.toml"

HELP = """\
Settings: defaults of options

What is not given on the command line is looked for, in this order,
  1. in the environment, as FORGET_<COMMAND>_<OPTION>, such as
     FORGET_TRAIN_FACTORS=64: for one command,
  2. in the environment, as FORGET_<OPTION>, such as FORGET_THREADS=4: for
     every command that has the option,
  3. in the settings file's table of the command,
  4. in the settings file above its tables: for every command that has it,
and last comes the default that the command's help states.

The settings file is TOML. Keys are the options' long names:

  threads = 4
  quiet = true

  [train]
  factors = 64
  holdout = 0.1

  [forget]
  on-unknown = "fail"

It is the file that FORGET_CONFIG names; without that forget.toml in the
working directory; without that forget/forget.toml in $XDG_CONFIG_HOME, which
is ~/.config where it is not set. FORGET_CONFIG= (empty) means none.

Options that take no value are true or false; in the environment also 1 and 0,
yes and no. Options that say what a run is about have no defaults from here:
files, ids of users and items, --dry-run. A key or a FORGET_ variable that no
command knows is an error. forget COMMAND --help lists what is in force.
"""

_ABOUT_THE_RUN = {"help", "json_schema", "dry_run", "all_users", "debug", "user", "item"}
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


@dataclass(frozen=True)
class Setting:
    """A default that was set.

    option: the option's long name.
    value:  as it was written.
    source: where it stands, for messages.
    """

    option: str
    value: Any
    source: str

    def __str__(self) -> str:
        shown = str(self.value).lower() if isinstance(self.value, bool) else self.value
        return f"{self.option} = {shown} ({self.source})"


def apply(parser: Parser, command: str, given: Sequence[str], environment: Mapping[str, str]) -> list[Setting]:
    """Sets the parser's defaults, and returns those that were set.

    given: the command line, which wins.

    Raises UsageError for a setting that no command knows or whose value is none, DataError for a settings file that
    is no TOML, FileSystemError for one that cannot be read.
    """
    path = _file(environment)
    variables = {
        name: value for name, value in environment.items() if name.startswith(PREFIX) and name != FILE_VARIABLE
    }
    if path is None and not variables:
        return []
    from forgetcli.cli.described import options_of

    options = {option.name: option for option in options_of(parser) if is_settable(option)}
    found: dict[str, Setting] = {}
    if path is not None:
        found |= _from_file(path, command, options)
    found |= _from_environment(variables, command, options)
    typed = {argument.partition("=")[0] for argument in given}
    in_force = []
    for name, setting in found.items():
        option = options[name]
        if typed.intersection(option.flags + option.exclusive):
            continue
        parser.set_defaults(**{option.dest: _value(parser, option, setting)})
        in_force.append(setting)
    return in_force


def is_settable(option: Option) -> bool:
    """Whether an option may have its default set: not those that say what a run is about."""
    return bool(option.flags) and not option.takes_file and option.dest not in _ABOUT_THE_RUN


def epilogue(command: str, in_force: Sequence[Setting]) -> str:
    """What a command's help says of settings."""
    name = f"{PREFIX}{command.upper().replace('-', '_')}_<OPTION>"
    lines = ["", "settings:", f"  Defaults of options come from {name} or FORGET_<OPTION>"]
    lines.append("  in the environment, then from forget.toml: see forget help settings")
    if in_force:
        lines += ["  In force here:", *(f"    {setting}" for setting in in_force)]
    return "\n".join(lines) + "\n"


def explained(error: UsageError, in_force: Sequence[Setting]) -> UsageError:
    """A mistake in the use of options, with the settings that may be its reason."""
    if not in_force:
        return error
    told = "settings in force: " + ", ".join(map(str, in_force))
    return UsageError(error.message, f"{error.hint}; {told}" if error.hint else told)


def _file(environment: Mapping[str, str]) -> str | None:
    """The settings file's path, or None where there is none."""
    named = environment.get(FILE_VARIABLE)
    if named is not None:
        return named or None
    home = environment.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    places = (FILE_NAME, os.path.join(home, "forget", FILE_NAME))
    return next((place for place in places if os.path.isfile(place)), None)


def _from_file(path: str, command: str, options: Mapping[str, Option]) -> dict[str, Setting]:
    document = _read(path)
    tables = {key: value for key, value in document.items() if isinstance(value, dict)}
    for name in tables:
        if name not in COMMANDS:
            raise _unknown(f"{path}: [{name}] is no command", name, COMMANDS)
    general = {key: value for key, value in document.items() if key not in tables}
    found = {}
    for where, keys in ((path, general), (f"{path} [{command}]", tables.get(command, {}))):
        for key, value in keys.items():
            if key in options:
                found[key] = Setting(key, value, where)
            elif keys is not general or key not in _all_options():
                raise _unknown(f"{where}: there is no option {key!r} to set", key, options)
    for name, keys in tables.items():
        if name != command and keys:
            known = _settable(name)
            for key in keys:
                if key not in known:
                    raise _unknown(f"{path} [{name}]: there is no option {key!r} to set", key, known)
    return found


def _from_environment(variables: Mapping[str, str], command: str, options: Mapping[str, Option]) -> dict[str, Setting]:
    own = {_variable(command, name): name for name in options}
    general = {_variable("", name): name for name in options}
    found: dict[str, Setting] = {}
    for names in (general, own):
        for variable, name in names.items():
            if variable in variables:
                found[name] = Setting(name, variables[variable], variable)
    for variable in variables.keys() - own.keys() - general.keys():
        known = set(_all_variables())
        if variable not in known:
            raise _unknown(f"{variable} in the environment is no option's default", variable, known)
    return found


def _value(parser: Parser, option: Option, setting: Setting) -> Any:
    """The setting as the option's value."""
    action = next(action for action in parser._actions if action.dest == option.dest)
    value = setting.value
    if option.metavar is None:
        flag = (
            value
            if isinstance(value, bool)
            else {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}.get(str(value).lower())
        )
        if flag is None:
            raise UsageError(f"{setting.source}: {option.name} must be true or false, not {str(value)[:40]!r}")
        return flag
    if isinstance(value, (dict, list)) and not option.repeatable:
        raise UsageError(f"{setting.source}: {option.name} takes one value")
    values = [_typed(action, option, setting, str(each)) for each in (value if isinstance(value, list) else [value])]
    return values if option.repeatable else values[0]


def _typed(action: argparse.Action, option: Option, setting: Setting, text: str) -> Any:
    if option.choices and text not in option.choices:
        raise UsageError(
            f"{setting.source}: {option.name} must be one of {', '.join(option.choices)}, not {text[:40]!r}"
        )
    try:
        return action.type(text) if callable(action.type) else text
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{setting.source}: {option.name} {error}") from None


def _read(path: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no TOML: {error}", hint="forget help settings shows what it may hold") from None
    except OSError as error:
        raise FileSystemError(f"cannot read the settings file {path}: {error.strerror}") from None


def _settable(command: str) -> dict[str, Option]:
    from forgetcli.cli.described import options_of

    return {option.name: option for option in options_of(parser_of(command)) if is_settable(option)}


def _all_options() -> set[str]:
    return {name for command in COMMANDS for name in _settable(command)}


def _all_variables() -> Iterator[str]:
    for command in COMMANDS:
        for name in _settable(command):
            yield _variable(command, name)
            yield _variable("", name)


def _variable(command: str, option: str) -> str:
    return PREFIX + "_".join(filter(None, (command, option))).upper().replace("-", "_")


def _unknown(message: str, name: str, known: Mapping[str, object] | set[str]) -> UsageError:
    close = get_close_matches(name, known, n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    return UsageError(message, hint=f"{meant}see forget help settings")
