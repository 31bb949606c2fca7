"""Terms whose translation is given: put into the prompt where they occur, checked afterwards."""

import csv
import io
import re
from collections.abc import Mapping, Sequence

import polib
from upath import UPath

from doctor_sun.errors import InputError

WORD = re.compile(r"[a-z0-9]+(?:[-'][a-z0-9]+)*")
LONGEST = 8  # words of a term; longer entries of a classification are sentences


class Glossary:
    """English terms and their Chinese translations."""

    def __init__(self, terms: Mapping[str, str]) -> None:
        """Index the terms by their words."""
        self.terms: dict[tuple[str, ...], tuple[str, str]] = {}
        for english, chinese in terms.items():
            words = tuple(WORD.findall(english.lower()))
            if words and len(words) <= LONGEST and chinese:
                self.terms.setdefault(words, (english, chinese))
        self.longest = max((len(words) for words in self.terms), default=0)

    def occurring(self, text: str) -> dict[str, str]:
        """The terms that a text holds, longest first at every place, in order."""
        words = WORD.findall(text.lower())
        found: dict[str, str] = {}
        at = 0
        while at < len(words):
            for length in range(min(self.longest, len(words) - at), 0, -1):
                term = self.terms.get(tuple(words[at : at + length]))
                if term:
                    found[term[0]] = term[1]
                    at += length
                    break
            else:
                at += 1
        return found


def missing_terms(terms: Mapping[str, str], translations: Sequence[str]) -> list[str]:
    """The English terms whose given translation stands in none of the texts."""
    together = "\n".join(translations)
    return [english for english, chinese in terms.items() if chinese not in together]


def read_glossary(location: str | None) -> Glossary:
    """A glossary from a TSV file (English, Chinese) or a PO file; empty without a location.

    Raises:
        InputError: no such file, another kind of file, a line without two columns.
    """
    if location is None:
        return Glossary({})
    path = UPath(location)
    if not path.is_file():
        raise InputError(f"glossary {location} does not exist")
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".po":
        entries = [(entry.msgid, entry.msgstr) for entry in polib.pofile(text)]
        return Glossary({" ".join(en.split()): zh.strip() for en, zh in entries})
    if path.suffix != ".tsv":
        raise InputError(f"glossary {location}: neither .tsv nor .po")
    terms = {}
    for number, row in enumerate(csv.reader(io.StringIO(text), delimiter="\t"), 1):
        if len(row) < 2:
            raise InputError(f"{location}, line {number}: needs two columns parted by a tab")
        terms[row[0].strip()] = row[1].strip()
    return Glossary(terms)
