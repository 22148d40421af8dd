"""Completion scripts for bash, zsh and fish, from what the parsers say.

Each function takes the commands with their summaries, in the order of the help, and the commands' options.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forgetcli.cli.described import Option

Summaries = Mapping[str, str]
Commands = Mapping[str, Sequence[Option]]

GLOBAL_FLAGS = {"--help": "show the help", "--version": "show the version"}
HELP = ("help", "explain a command, or settings")
TOPICS = {"settings": "defaults of options, from the environment or a file"}
"""What help explains besides the commands."""


def bash(summaries: Summaries, commands: Commands) -> str:
    """For bash 3.2 and later; needs no other package."""
    cases = []
    values = []
    for name, options in commands.items():
        flags = " ".join(flag for option in options for flag in option.flags)
        words = " ".join(word for option in options if not option.flags for word in option.choices)
        cases.append(f"        {name}) flags='{flags}' words='{words}' ;;")
        for option in options:
            if not option.flags or option.metavar is None:
                continue
            patterns = "|".join(f"{name}:{flag}" for flag in option.flags)
            if option.choices:
                values.append(f"        {patterns}) words='{' '.join(option.choices)}' kind=words ;;")
            else:
                values.append(f"        {patterns}) kind={'files' if option.takes_file else 'nothing'} ;;")
    return _BASH.format(
        commands=" ".join([*summaries, HELP[0]]),
        topics=" ".join([*summaries, *TOPICS]),
        flags=" ".join(GLOBAL_FLAGS),
        cases="\n".join(cases),
        values="\n".join(values),
    )


def zsh(summaries: Summaries, commands: Commands) -> str:
    """For zsh, with descriptions; after `compinit`, or as a file `_forget` on the function path."""
    listed, topics, flags = (
        "\n".join(f"        {_quoted(f'{name}:{purpose}')}" for name, purpose in described.items())
        for described in ({**summaries, HELP[0]: HELP[1]}, {**summaries, **TOPICS}, GLOBAL_FLAGS)
    )
    cases = []
    for name, options in commands.items():
        specifications = " \\\n                ".join(each for option in options for each in _zsh_option(option))
        cases.append(f"        {name})\n            _arguments -s -S : \\\n                {specifications} ;;")
    return _ZSH.format(listed=listed, topics=topics, flags=flags, cases="\n".join(cases))


def fish(summaries: Summaries, commands: Commands) -> str:
    """For fish 3 and later, with descriptions."""
    none_yet, after_help = "__forget_begins", "'__forget_command_is help'"
    lines = [_FISH]
    for name, purpose in {**summaries, HELP[0]: HELP[1]}.items():
        lines.append(f"complete -c forget -n {none_yet} -a {name} -d {_quoted(purpose)}")
    for flag, purpose in GLOBAL_FLAGS.items():
        lines.append(f"complete -c forget -n {none_yet} -l {flag[2:]} -d {_quoted(purpose)}")
    for name, purpose in {**summaries, **TOPICS}.items():
        lines.append(f"complete -c forget -n {after_help} -a {name} -d {_quoted(purpose)}")
    for name, options in commands.items():
        seen = f"complete -c forget -n '__forget_command_is {name}'"
        for option in options:
            if option.flags:
                lines.append(f"{seen} {_fish_option(option)}")
            elif option.choices:
                lines.append(f"{seen} -a {_quoted(' '.join(option.choices))}")
            elif option.takes_file:
                lines.append(f"{seen} -F")
    return "\n".join(lines) + "\n"


def _zsh_option(option: Option) -> list[str]:
    """What `_arguments` wants to know of an option: one specification a flag, since each would exclude the others."""
    value = ""
    if option.metavar is not None:
        message = option.metavar.replace(":", r"\:")
        action = f"({' '.join(option.choices)})" if option.choices else "_files" if option.takes_file else " "
        value = f":{message}:{action}"
    if not option.flags:
        return [_quoted(f"{'*' if option.repeatable else ''}{value}")]
    purpose = _escaped(_first_words(option.purpose))
    excluded = "*" if option.repeatable else f"({' '.join([*option.flags, *option.exclusive])})"
    # With = the value may follow in the same word or in the next one.
    written = [f"{flag}=" if value and flag.startswith("--") else flag for flag in option.flags]
    return [_quoted(f"{excluded}{flag}[{purpose}]{value}") for flag in written]


def _fish_option(option: Option) -> str:
    parts = [f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags]
    if option.choices:
        parts.append(f"-x -a {_quoted(' '.join(option.choices))}")
    elif option.metavar is not None:
        parts.append("-r -F" if option.takes_file else "-x")
    return " ".join([*parts, "-d", _quoted(_first_words(option.purpose))])


def _first_words(purpose: str) -> str:
    """A help text up to its first semicolon or parenthesis: what fits beside an option."""
    return purpose.partition("; ")[0].partition(" (default")[0].strip() or purpose


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("[", r"\[").replace("]", r"\]").replace(":", r"\:")


def _quoted(text: str) -> str:
    """As one word of any of the three shells."""
    return "'" + text.replace("'", "'\\''") + "'"


_BASH = """\
# Completion of forget for bash.
_forget() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}} command=${{COMP_WORDS[1]}}
    local flags='' words='' kind=files
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W '{commands} {flags}' -- "$word"))
        return
    fi
    # --option=value comes as three words
    if [ "$word" = = ]; then
        word=''
    elif [ "$previous" = = ]; then
        previous=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    case $command in
        help) words='{topics}' ;;
{cases}
    esac
    case $command:$previous in
{values}
        *)
            case $word in
                -*) words=$flags kind=words ;;
                *) [ -z "$words" ] || kind=words ;;
            esac ;;
    esac
    case $kind in
        words) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;
        nothing) type compopt >/dev/null 2>&1 && compopt +o default 2>/dev/null ;;
    esac
}}
# Where the function finds nothing, the shell completes file names itself, and quotes them.
complete -o default -F _forget forget
"""

_ZSH = """\
#compdef forget
# Completion of forget for zsh.
_forget() {{
    local -a commands topics flags
    commands=(
{listed}
    )
    topics=(
{topics}
    )
    flags=(
{flags}
    )
    if (( CURRENT == 2 )); then
        if [[ $PREFIX = -* ]]; then
            _describe -o -t options option flags
        else
            _describe -t commands command commands
        fi
        return
    fi
    shift words
    (( CURRENT-- ))
    case $words[1] in
        help) (( CURRENT == 2 )) && _describe -t topics topic topics ;;
{cases}
    esac
}}
if [ "$funcstack[1]" = _forget ]; then
    _forget "$@"
else
    compdef _forget forget
fi
"""

_FISH = """\
# Completion of forget for fish.
function __forget_begins
    test (count (commandline -opc)) -eq 1
end
function __forget_command_is
    set -l typed (commandline -opc)
    test "$typed[2]" = $argv[1]
end
complete -c forget -f"""
