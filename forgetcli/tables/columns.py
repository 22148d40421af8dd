"""Which column of a table is the user, the item, the rating, the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from forgetcli.errors import DataError, UsageError
from forgetcli.printable import printable
from forgetcli.tables.filters import Filter

Role: TypeAlias = Literal["user", "item", "rating", "timestamp", "title"]

USUAL_NAMES: Mapping[Role, tuple[str, ...]] = {
    "user": (
        "user",
        "userid",
        "uid",
        "customer",
        "customerid",
        "member",
        "memberid",
        "visitor",
        "visitorid",
        "reviewer",
        "reviewerid",
        "account",
        "accountid",
    ),
    "item": (
        "item",
        "itemid",
        "iid",
        "movie",
        "movieid",
        "product",
        "productid",
        "track",
        "trackid",
        "song",
        "songid",
        "artist",
        "artistid",
        "book",
        "bookid",
        "isbn",
        "asin",
        "article",
        "articleid",
        "video",
        "videoid",
        "game",
        "gameid",
        "business",
        "businessid",
        "sku",
    ),
    "rating": ("rating", "score", "value", "count", "stars", "bookrating", "weight", "plays", "playcount", "quantity"),
    "timestamp": ("timestamp", "time", "ts", "date", "datetime"),
    "title": ("title", "name", "label", "itemname", "movietitle", "productname", "booktitle", "trackname"),
}
"""A column is found when its name, in lower case and without `_`, `-`, `.` and spaces, is one of these."""

SHOWN_NAMES = 20
SHOWN_CHARACTERS = 40
"""An error lists so many column names and so much of each: a table may have thousands, a name may be a page long."""


@dataclass(frozen=True)
class ColumnOptions:
    """What the user says of a table's columns; everything that is None is found by the usual names.

    user, item, rating, timestamp, title: the name of that column.
    columns:   the names, in order, of the columns of text files that have no header; "" or "-" skips a column.
    delimiter: what stands between two fields of a text file; several characters are one delimiter ("::"), and such
               files know no quoting. None takes it from the first line.

    Raises UsageError for a delimiter that cannot separate anything, or columns without a single name.
    """

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None
    columns: tuple[str, ...] | None = None
    delimiter: str | None = None
    title: str | None = None

    def __post_init__(self) -> None:
        if self.delimiter == "\\t":  # as a shell passes it on
            object.__setattr__(self, "delimiter", "\t")
        if self.delimiter is not None and (not self.delimiter or set(self.delimiter) & set('"\r\n\x1f')):
            raise UsageError("`delimiter` must be one character or more, and no quote, line end or control 0x1F")
        if self.columns is not None and not any(_is_named(name) for name in self.columns):
            raise UsageError("`columns` names no column", hint="for example `columns=user,item,rating,timestamp`")

    def named(self, role: Role) -> str | None:
        """The name that the user gave for this role, or None."""
        name: str | None = getattr(self, role)
        return name


@dataclass(frozen=True)
class Wanted:
    """Which roles a reader needs columns for.

    required: without which a file cannot be read.
    optional: that are read where they are there.
    at_least_one: whether, all being optional, one must be there all the same.
    private:  whether no message may repeat what may be an id, as in a forget-list without a header, whose first line
              is taken for one.
    """

    required: tuple[Role, ...] = ()
    optional: tuple[Role, ...] = ()
    at_least_one: bool = False
    private: bool = False


@dataclass(frozen=True)
class Column:
    """Where a role is in one file: the position from 0, and the name to use in messages."""

    position: int
    name: str


def find_columns(
    source: str, found: Sequence[str], options: ColumnOptions, wanted: Wanted, *, hidden: bool = False
) -> dict[Role, Column]:
    """The columns of a file that play the wanted roles; an optional role that nothing plays is left out, and so is the
    time where there is no rating: it would only put equal values in order.

    source: the file's name, for messages.
    found:  the file's column names in order; names that are empty or "-" play no role.
    hidden: whether messages must not repeat the names, which may be ids.

    Raises UsageError where an option names a column that is not there or two options name the same one, and
    DataError where a required role has no column or several columns could play one; both list what was found, unless
    it is hidden.
    """
    roles = wanted.required + wanted.optional
    chosen = {
        role: _position_named(source, found, role, name, hidden)
        for role in roles
        if (name := options.named(role)) is not None
    }
    if len(set(chosen.values())) < len(chosen):
        raise UsageError(f"one column cannot be two things: {_options_of(chosen)} name the same column of {source}")
    for role in roles:
        if role not in chosen:
            position = _position_by_usual_name(source, found, role, taken=set(chosen.values()))
            if position is not None:
                chosen[role] = position
            elif role in wanted.required:
                raise _missing(source, found, (role,), roles, hidden)
    if wanted.at_least_one and not chosen:
        raise _missing(source, found, roles, roles, hidden)
    return {
        role: Column(chosen[role], printable(found[chosen[role]].strip()))
        for role in roles
        if role in chosen and not (role == "timestamp" and "rating" not in chosen)
    }


def find_tested(source: str, found: Sequence[str], where: Filter | None, *, hidden: bool = False) -> dict[str, Column]:
    """The columns that a filter names, by the names it has for them: case and surrounding spaces may differ.

    Raises UsageError for one that is not there, with those that are, and DataError for one that is there twice.
    """
    tested: dict[str, Column] = {}
    for name in where.names() if where is not None else ():
        position = _only_position(source, found, name.text)
        if position is None:
            assert where is not None
            raise UsageError(
                f"{source} has no column {printable(name.text)!r} (`{where.option}`, character {name.position}); "
                f"{_what_is_there(found, hidden)}"
            )
        tested[name.text] = Column(position, printable(found[position].strip()))
    return tested


def position_of(found: Sequence[str], name: str) -> int | None:
    """Where the column of this name is, or None where it is not or not for sure."""
    candidates = _positions_of(found, name)
    return candidates[0] if len(candidates) == 1 else None


def _missing(
    source: str, found: Sequence[str], roles: Sequence[Role], all_roles: Sequence[Role], hidden: bool
) -> DataError:
    wanted = " or ".join(roles)
    columns = ",".join(all_roles)
    if any(_is_number(name) for name in found):  # no names then, and not to be repeated: they may be ids
        return DataError(
            f"{source} has no {wanted} column: its first line holds numbers, not names",
            hint=f"name the columns of a file without a header: `columns={columns}`",
        )
    return DataError(
        f"{source} has no {wanted} column; {_what_is_there(found, hidden)}",
        hint=f"say which one it is: {_options_of(roles)}; or, without a header, `columns={columns}`",
    )


def _position_named(source: str, found: Sequence[str], role: Role, name: str, hidden: bool) -> int:
    """The one column of exactly this name, or else the one that differs in case or surrounding spaces only."""
    position = _only_position(source, found, name)
    if position is not None:
        return position
    if any(_is_number(column) for column in found):
        raise _missing(source, found, (role,), (role,), hidden)
    raise UsageError(f"{source} has no column {printable(name)!r} (`{role}`); {_what_is_there(found, hidden)}")


def _only_position(source: str, found: Sequence[str], name: str) -> int | None:
    candidates = _positions_of(found, name)
    if len(candidates) > 1:
        raise DataError(
            f"{source} has {len(candidates)} columns named {printable(name)!r}",
            hint="rename one of them; `columns` can name those of a file without a header",
        )
    return candidates[0] if candidates else None


def _positions_of(found: Sequence[str], name: str) -> list[int]:
    exact = [i for i, column in enumerate(found) if column == name]
    return exact or [i for i, column in enumerate(found) if column.strip().lower() == name.strip().lower()]


def _position_by_usual_name(source: str, found: Sequence[str], role: Role, taken: set[int]) -> int | None:
    candidates = [i for i, name in enumerate(found) if i not in taken and _plain(name) in USUAL_NAMES[role]]
    if len(candidates) > 1:
        listed = _listed([found[i] for i in candidates])
        raise DataError(
            f"{source} has several columns that may be the {role}: {listed}",
            hint=f"say which one it is: `{role}=NAME`",
        )
    return candidates[0] if candidates else None


def _plain(name: str) -> str:
    return name.strip().lower().translate({ord(c): None for c in "_-. "})


def _is_named(name: str) -> bool:
    return name.strip() not in ("", "-")


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return _plain(name) not in ("nan", "inf", "infinity")


def _options_of(roles: Sequence[Role] | Mapping[Role, int]) -> str:
    return " or ".join(f"`{role}=NAME`" for role in roles)


def _what_is_there(found: Sequence[str], hidden: bool) -> str:
    if hidden:
        return f"its first line has {len(found)} field{'s' if len(found) != 1 else ''} of other names, or of ids"
    return f"its columns are: {_listed(found)}"


def _listed(names: Sequence[str]) -> str:
    shown = [printable(name.strip()) for name in names[:SHOWN_NAMES]]
    shortened = [name if len(name) <= SHOWN_CHARACTERS else name[:SHOWN_CHARACTERS] + "…" for name in shown]
    rest = len(names) - SHOWN_NAMES
    return ", ".join(shortened) + (f" and {rest} more" if rest > 0 else "")
