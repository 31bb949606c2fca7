"""What an identifier is, and how a recogniser is written: a kind and a pattern, or a label."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

KINDS = (
    *("ID_NUMBER", "TRAVEL_DOCUMENT", "CARD_NUMBER", "PROVIDER_NUMBER", "RECORD_NUMBER"),
    *("PHONE", "EMAIL", "URL", "IP", "ACCOUNT", "PLATE"),
    *("NAME", "ADDRESS", "BIRTH_DATE", "DATE", "AGE"),
)
"""Every kind, in order of preference where two of equal length overlap."""


@dataclass(frozen=True, order=True)
class Identifier:
    """One identifier: its kind and where it stands (character offsets, end excluded)."""

    kind: str
    start: int
    end: int


class Text:
    """A text in the forms that recognisers read; offsets are the same in all."""

    def __init__(self, text: str) -> None:
        """Prepare a text."""
        self.text = text.translate(HALF_WIDTH) if not text.isascii() else text
        """Half-width digits, letters and punctuation."""
        self.lower = self.text.translate(LOWER) if not text.isascii() else self.text.lower()
        """The same, ASCII letters in lower case, for labels."""
        self.digits = sum(map(self.text.count, "0123456789"))
        """How many digits there are."""


# Character by character, so that offsets stay; a middle dot stays as it is, it stands in names.
HALF_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {
    **dict.fromkeys((0x3000, 0xA0, 0x2002, 0x2003, 0x2009, 0x202F), 0x20),
    **dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2013, 0x2014, 0x2212), 0x2D),
    **{0x201C: 0x22, 0x201D: 0x22, 0x2019: 0x27},
}
LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}

Accept = Callable[[Text, int, int], bool]


def always(text: Text, start: int, end: int) -> bool:
    """Accept whatever the pattern found."""
    return True


@dataclass(frozen=True)
class Shape:
    """An identifier that its own form, or the words in its pattern, give away."""

    kind: str
    pattern: re.Pattern[str]
    """Read on the half-width text; the group `it`, where there is one, is the identifier."""
    accept: Accept = always
    digits: int = 0
    """Texts with fewer digits are not searched."""
    holds: str = ""
    """Texts without it, in lower case, are not searched."""

    def find(self, text: Text) -> Iterator[Identifier]:
        """The identifiers of this shape."""
        group = "it" if "it" in self.pattern.groupindex else 0
        for match in self.pattern.finditer(text.text):
            if self.accept(text, *match.span(group)):
                yield Identifier(self.kind, *match.span(group))


@dataclass(frozen=True)
class Label:
    """An identifier that the label before it gives away."""

    kind: str
    label: re.Pattern[str]
    """Read on the lower-case text."""
    value: re.Pattern[str]
    """Read where the label ends; the group `it`, where there is one, is the identifier."""
    accept: Accept = always
    digits: int = 0
    """Texts with fewer digits are not searched."""
    holds: str = ""
    """Texts without it, in lower case, are not searched."""

    def find(self, text: Text) -> Iterator[Identifier]:
        """The identifiers that stand behind the label."""
        group = "it" if "it" in self.value.groupindex else 0
        for match in self.label.finditer(text.lower):
            value = self.value.match(text.text, match.end())
            if value and self.accept(text, *value.span(group)):
                yield Identifier(self.kind, *value.span(group))


Rule = Shape | Label


def apply(rules: Iterable[Rule], text: Text) -> Iterator[Identifier]:
    """What the rules find, overlaps included."""
    for rule in rules:
        if text.digits >= rule.digits and rule.holds in text.lower:
            yield from rule.find(text)


def without_overlaps(found: Iterable[Identifier]) -> list[Identifier]:
    """The longest of overlapping identifiers (the earlier of `KINDS` among equals), by position."""
    chosen: list[Identifier] = []
    for item in sorted(found, key=lambda i: (i.start - i.end, KINDS.index(i.kind), i.start)):
        if all(item.end <= other.start or item.start >= other.end for other in chosen):
            chosen.append(item)
    return sorted(chosen, key=lambda i: i.start)


def mask(text: str, identifiers: Iterable[Identifier]) -> str:
    """The text with each identifier replaced by its kind in brackets."""
    for found in sorted(identifiers, key=lambda i: -i.start):
        text = f"{text[: found.start]}[{found.kind}]{text[found.end :]}"
    return text
