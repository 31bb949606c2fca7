"""Sentences with marked identifiers, and clinical sentences without any (tests/data/privacy)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from doctor_sun.data.privacy import Identifier

FOLDER = Path(__file__).parent / "data" / "privacy"
SETS = ("development", "holdout", "second_holdout", "third_holdout")
_MARKED = re.compile(r"\{([A-Z_]+):([^{}]*)\}")


@dataclass(frozen=True)
class Sentence:
    """A sentence, its language, and where its identifiers stand; a negative has none."""

    text: str
    language: str
    identifiers: tuple[Identifier, ...]


def read(name: str) -> list[Sentence]:
    """A set's sentences in both languages; `{KIND:text}` marks an identifier, `#` a comment."""
    return [
        _sentence(line, language)
        for language in ("zh", "en")
        for line in _lines(FOLDER / f"{name}.{language}.txt")
    ]


def read_all() -> list[Sentence]:
    """The sentences of every set."""
    return [sentence for name in SETS for sentence in read(name)]


def _lines(path: Path) -> Iterator[str]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line


def _sentence(line: str, language: str) -> Sentence:
    text, found, end = "", [], 0
    for match in _MARKED.finditer(line):
        text += line[end : match.start()]
        found.append(Identifier(match[1], len(text), len(text) + len(match[2])))
        text += match[2]
        end = match.end()
    return Sentence(text + line[end:], language, tuple(found))
