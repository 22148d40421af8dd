"""Writes the pages that the package itself has the words for: a page a command, from its parser and its JSON Schema,
and a page a module, from the docstrings of its public names."""

from __future__ import annotations

import importlib
import inspect
import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import forgetcli
from forgetcli.cli.commands import COMMANDS, module_of, parser_of
from forgetcli.cli.described import Option, options_of
from forgetcli.cli.program import HELP
from forgetcli.report import schemas

LONGEST_SIGNATURE = 88
FIELD = re.compile(r"^((?:`?\w[\w.-]*`?)(?:, ?\n?`?\w[\w.-]*`?)*):(?: +|$)")
"""A docstring's line that says what an argument or a member means."""

API_ORDER = ("tables", "config", "als", "model", "checkpoint", "records", "unlearn", "verification")
"""The modules that a reader needs first; the others follow."""


def write(docs: Path) -> None:
    """Writes docs/commands, docs/api and docs/_schemas."""
    for name in ("commands", "api", "_schemas"):
        shutil.rmtree(docs / name, ignore_errors=True)
        (docs / name).mkdir()
    (docs / "commands" / "index.md").write_text(commands_page(), encoding="utf-8")
    for command in COMMANDS:
        (docs / "commands" / f"{command}.md").write_text(command_page(command), encoding="utf-8")
    for command in schemas.commands():
        path = docs / "_schemas" / f"{command}.json"
        path.write_text(schemas.schema_text(command) + "\n", encoding="utf-8")
    homes = sorted(forgetcli._HOMES, key=_reading_order)
    (docs / "api" / "index.md").write_text(api_page(homes), encoding="utf-8")
    for home in homes:
        (docs / "api" / f"{_short(home)}.md").write_text(module_page(home), encoding="utf-8")


def commands_page() -> str:
    """The commands with their summaries, and what the program's own help says beyond."""
    rows = [f"| [forget {name}]({name}.md) | {summary} |" for name, summary in COMMANDS.items()]
    codes = re.search(r"^exit codes:\n((?:  .*\n)+)", HELP, re.MULTILINE)
    assert codes is not None
    meanings = re.findall(r"^ +(\d+)  (.*(?:\n {7}.*)*)$", codes[1], re.MULTILINE)
    exits = [f"| {code} | {' '.join(meaning.split())} |" for code, meaning in meanings]
    return "\n".join(
        [
            "# Commands\n",
            "| command | |\n|---|---|",
            *rows,
            "\nEach command explains itself: `forget COMMAND --help`.\n",
            "## Exit codes\n",
            "| code | |\n|---|---|",
            *exits,
            f"\n```{{toctree}}\n:hidden:\n\n{chr(10).join(COMMANDS)}\n```\n",
        ]
    )


def command_page(command: str) -> str:
    """What `forget COMMAND --help` says, and what --json prints."""
    module, parser = module_of(command), parser_of(command)
    parts = [
        f"# forget {command}\n",
        f"```text\nforget {command} {module.SYNOPSIS}\n```\n",
        _prose(module.DETAILS),
    ]
    groups: dict[str, list[Option]] = {}
    for option in options_of(parser):
        groups.setdefault(option.group, []).append(option)
    for title, options in groups.items():
        described = next(each.description for each in parser._action_groups if each.title == title)
        parts.append(f"## {title[:1].upper()}{title[1:]}\n")
        parts += [_prose(described)] if described else []
        parts += [_option(option) for option in options]
    parts.append(f"## Examples\n\n```sh\n{module.EXAMPLES.strip()}\n```\n")
    if command in schemas.commands():
        parts.append(_json(command))
    return "\n".join(parts)


def _option(option: Option) -> str:
    value = "" if option.metavar is None else f" {option.metavar}"
    if option.choices and option.flags:
        value = f" {{{','.join(option.choices)}}}"
    head = ", ".join(f"`{flag}{value}`" for flag in option.flags) or f"`{option.metavar}`"
    purpose = option.purpose[:1].upper() + option.purpose[1:]
    return f"{head}\n: {_text(purpose)}\n"


def _json(command: str) -> str:
    schema = schemas.schema(command)
    lines = ["## JSON\n", f"`forget {command} --json` prints one object. `forget {command} --json-schema` prints"]
    lines.append(f"its JSON Schema, which is also [a file](path:../_schemas/{command}.json).")
    shapes = schema.get("anyOf", [schema])
    for number, shape in enumerate(shapes):
        lines.append("\nIts members:\n" if number == 0 else "\nOr these:\n")
        lines.append("| member | type | |\n|---|---|---|")
        for name, member in shape["properties"].items():
            lines += _members(name, member, name not in shape["required"])
    return "\n".join(lines) + "\n"


def _members(path: str, schema: dict[str, Any], optional: bool = False) -> list[str]:
    """A row for a member, and rows for its own members."""
    inner = next((each for each in schema.get("anyOf", []) if each.get("type") != "null"), schema)
    nullable = inner is not schema or "null" in schema.get("type", ())
    meaning = schema.get("description", inner.get("description", ""))
    note = ", ".join(filter(None, ("may be missing" if optional else "", _text(meaning).replace("|", "\\|"))))
    row = f"| `{path}` | {_kind(inner)}{' or null' if nullable else ''} | {note} |"
    return [row, *_parts(path, inner)]


def _parts(path: str, schema: dict[str, Any]) -> list[str]:
    """Rows for what is in it, at any depth."""
    inner = next((each for each in schema.get("anyOf", []) if each.get("type") != "null"), schema)
    if inner.get("type") == "array":
        return _parts(f"{path}[]", inner["items"])
    rows: list[str] = []
    for name, member in inner.get("properties", {}).items():
        rows += _members(f"{path}.{name}", member, name not in inner["required"])
    others = inner.get("additionalProperties")
    if isinstance(others, dict):
        rows += _members(f"{path}.*", others) if rows else _parts(f"{path}.*", others)
    return rows


def _kind(schema: dict[str, Any]) -> str:
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type", "any")
    names = [kind] if isinstance(kind, str) else [name for name in kind if name != "null"]
    if names == ["array"]:
        return f"list of {_kind(schema['items'])}"
    return " or ".join(names)


def api_page(homes: list[str]) -> str:
    """The modules with their public names."""
    parts = [
        "# Python API\n",
        "`import forgetcli as fc` gives all names on these pages: `fc.train`, `fc.Model` and so on. Each is loaded",
        "when it is first used. Functions take and return values; nothing is printed, and no file is touched but those",
        "that are named.\n",
    ]
    for home in homes:
        names = ", ".join(f"[`{name}`](#{_target(name)})" for name in forgetcli._HOMES[home])
        parts.append(f"[{_short(home)}]({_short(home)}.md)\n: {names}\n")
    listed = "\n".join(map(_short, homes))
    return "\n".join([*parts, f"```{{toctree}}\n:hidden:\n\n{listed}\n```\n"])


def module_page(home: str) -> str:
    """The public names of a module."""
    module = importlib.import_module(home)
    entries = [_entry(name, getattr(module, name)) for name in forgetcli._HOMES[home]]
    return "\n".join([f"# {_short(home)}\n", _docstring(module), *entries])


def _entry(name: str, value: Any) -> str:
    parts = [f"({_target(name)})=\n## {name}\n"]
    if inspect.isclass(value):
        parts.append(
            f"```python\nclass fc.{name}{_bases(value)}\n```\n" if _is_plain(value) else _code(f"fc.{name}", value)
        )
        parts.append(_docstring(value))
        parts += [_member(member, each) for member, each in vars(value).items() if not member.startswith("_")]
    elif callable(value):
        parts += [_code(f"fc.{name}", value), _docstring(value)]
    return "\n".join(parts)


def _member(name: str, value: Any) -> str:
    """A method or a property with its docstring; nothing for what the class's own docstring describes."""
    if isinstance(value, (classmethod, staticmethod)):
        value = value.__func__
    if isinstance(value, property) or type(value).__name__ == "cached_property":
        return f"### {name}\n\n{_docstring(value)}"
    if inspect.isfunction(value):
        return f"### {name}()\n\n{_code(name, value)}\n{_docstring(value)}"
    return ""


def _is_plain(value: type) -> bool:
    """Whether there is nothing to know of how it is made."""
    return issubclass(value, Exception) or "__init__" not in vars(value)


def _bases(value: type) -> str:
    names = [base.__name__ for base in value.__bases__ if base is not object]
    return f"({', '.join(names)})" if names else ""


def _code(name: str, value: Any) -> str:
    """A signature, one argument a line where it is long."""
    signature = inspect.signature(value)
    if inspect.isclass(value):
        signature = signature.replace(return_annotation=inspect.Signature.empty)
    kept = [each for each in signature.parameters.values() if each.name not in ("self", "cls")]
    text = re.sub(r"'([^']*)'", r"\1", str(signature.replace(parameters=kept)))
    whole = f"{name}{text}"
    if len(whole) > LONGEST_SIGNATURE:
        lines = [f"    {each},".replace("'", "") for each in kept]
        star = next((n for n, each in enumerate(kept) if each.kind is each.KEYWORD_ONLY), None)
        if star is not None:
            lines.insert(star, "    *,")
        returned = text[text.rindex(") -> ") :] if ") -> " in text else ")"
        whole = "\n".join([f"{name}(", *lines, returned])
    return f"```python\n{whole}\n```\n"


def _docstring(value: Any) -> str:
    """A docstring as Markdown: lines that say what a name means become a list of definitions."""
    text = inspect.getdoc(value)
    if not text or (inspect.isclass(value) and text.startswith(f"{value.__name__}(")):
        return ""
    paragraphs = []
    for paragraph in text.split("\n\n"):
        lines = paragraph.split("\n")
        if FIELD.match(paragraph):
            paragraphs.append(_definitions(lines))
        elif all(line.startswith("    ") for line in lines):
            paragraphs.append(
                "```python\n" + inspect.cleandoc(paragraph) + "\n```" if not _is_module(value) else paragraph
            )
        else:
            paragraphs.append(_text(paragraph))
    return "\n\n".join(paragraphs) + "\n"


def _definitions(lines: list[str]) -> str:
    entries: list[str] = []
    pending = ""
    for line in lines:
        if line.endswith(",") and re.fullmatch(r"[\w, ]+,", line):
            pending += line + " "
            continue
        match = FIELD.match(pending + line) if not line.startswith(" ") else None
        if match:
            names = ", ".join(f"`{name.strip('` ')}`" for name in match[1].split(","))
            entries.append(f"{names}\n: {_text((pending + line)[match.end() :].strip())}")
        elif entries and line.startswith(" "):
            entries[-1] += f"\n  {_text(line.strip())}"
        else:
            entries.append(_text(line))
        pending = ""
    return "\n\n".join(entries)


def _text(text: str) -> str:
    """Running text as Markdown: what is in backticks stays, public names link to where they are described."""
    parts = re.split(r"(`[^`\n]+`)", text)
    return "".join(_linked(part) if number % 2 else _plain(part) for number, part in enumerate(parts))


def _plain(text: str) -> str:
    return re.sub(r"([*_<>\[\]|\\$])", r"\\\1", text)


def _linked(quoted: str) -> str:
    name = quoted.strip("`").rpartition(".")[2].removesuffix("()")
    return f"[{quoted}](#{_target(name)})" if name in forgetcli._HOME_OF else quoted


def _prose(text: str) -> str:
    """A help text: paragraphs, and what is indented or aligned in them as it stands."""
    parts = []
    for paragraph in text.strip("\n").split("\n\n"):
        lines = paragraph.split("\n")
        first = next((n for n, line in enumerate(lines) if line.startswith("  ")), len(lines))
        if first:
            parts.append(_text("\n".join(lines[:first])))
        if first < len(lines):
            parts.append("```text\n" + "\n".join(lines[first:]) + "\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def _is_module(value: Any) -> bool:
    return isinstance(value, ModuleType)


def _reading_order(home: str) -> tuple[int, str]:
    short = _short(home)
    return (API_ORDER.index(short) if short in API_ORDER else len(API_ORDER), short)


def _short(home: str) -> str:
    return home.removeprefix("forgetcli.")


def _target(name: str) -> str:
    """The label of a public name. Labels know no capitals, and `audit` makes an `Audit`."""
    return f"api-{'class-' * name[0].isupper()}{name.lower().replace('_', '-')}"
