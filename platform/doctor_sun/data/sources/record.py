"""One record of a publisher's file, and where its files stand."""

import fnmatch
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from upath import UPath


class Broken(ValueError):
    """A record that cannot be used; the message never holds its text."""

    def __init__(self, reason: str, key: str = "") -> None:
        """`key`: what the publisher calls the record, where that is known."""
        super().__init__(reason)
        self.key = key


@dataclass(frozen=True)
class Record:
    """One record of a file: an object's fields, a table's row, or (`line`) a line of text."""

    content: Any
    file: str
    at: int
    """Byte or row of the file where it begins: a key of its own, whatever the pieces."""

    @property
    def place(self) -> str:
        """Where it stands, as a key."""
        return f"{self.file}@{self.at}"

    @property
    def spot(self) -> str:
        """As `place`, without the folders."""
        return f"{posixpath.basename(self.file)}@{self.at}"

    @property
    def fields(self) -> Mapping[str, Any]:
        """Its fields.

        Raises:
            Broken: it could not be read, or is not an object.
        """
        if isinstance(self.content, Broken):
            raise self.content
        if not isinstance(self.content, dict):
            raise Broken("not a JSON object")
        return self.content

    def line(self, separator: str, count: int) -> list[str]:
        """The fields of a line of text, the last with what further separators there are.

        Raises:
            Broken: it has fewer, or is not UTF-8.
        """
        if isinstance(self.content, Broken):
            raise self.content
        fields = [field.strip() for field in self.content.split(separator, count - 1)]
        if len(fields) != count:
            raise Broken(f"{len(fields)} fields for {count}", fields[0] if len(fields) > 1 else "")
        return fields

    def text(self, name: str, default: str | None = None) -> str:
        """A field as stripped text; a number is one too.

        Args:
            name: the field.
            default: for a field that is missing, null or empty.

        Raises:
            Broken: there is no such field, it is no text, or it is empty.
        """
        value = self.fields.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if value is not None and not isinstance(value, str):
            raise Broken(f"field '{name}' is not a text")
        if value and value.strip():
            return value.strip()
        if default is not None:
            return default
        raise Broken(f"field '{name}' is empty" if name in self.fields else f"no field '{name}'")


def base_of(root: UPath) -> UPath:
    """The folder that pieces' files are relative to: a source may be given as one file."""
    return root.parent if root.is_file() else root


def matches(file: str, place: str) -> bool:
    """Whether a file stands at a place (the last part may hold wildcards)."""
    folder, name = posixpath.split(file)
    wanted, pattern = posixpath.split(place)
    return folder == wanted and fnmatch.fnmatchcase(name, pattern)


def find(root: UPath, *places: str) -> list[tuple[str, UPath]]:
    """The files at the first of some places that holds any, by name."""
    for place in places:
        folder, pattern = posixpath.split(place)
        where = root / folder if folder else root
        if not any(mark in pattern for mark in "*?["):
            if (where / pattern).is_file():
                return [(place, where / pattern)]
            continue
        names = [path.name for path in where.iterdir()] if where.is_dir() else []
        held = sorted(name for name in names if fnmatch.fnmatchcase(name, pattern))
        if held:
            return [(posixpath.join(folder, name), where / name) for name in held]
    return []
