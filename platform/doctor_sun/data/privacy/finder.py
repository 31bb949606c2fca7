"""All recognisers together."""

import re
from collections.abc import Iterable, Iterator

from doctor_sun.data.privacy import chinese, dates, english, shared
from doctor_sun.data.privacy.chinese_names import chinese_names
from doctor_sun.data.privacy.english_names import bare_names, english_names
from doctor_sun.data.privacy.identifier import Identifier, Text, apply, without_overlaps
from doctor_sun.data.privacy.presidio import presidio

PUBLIC_KINDS = frozenset({"AGE", "DATE", "URL"})
"""Kinds that also stand in texts about nobody in particular."""

NUMBERS = (*shared.RULES, *chinese.RULES, *english.RULES, *dates.BIRTHS, *dates.DATED, *dates.AGES)


def find_identifiers(text: str, language: str) -> list[Identifier]:
    """All identifiers in a text, none overlapping, by position.

    Args:
        text: any text; full-width digits and letters are understood.
        language: `en` or `zh`; both sets of rules are applied to either, texts are often mixed.
    """
    form = Text(text)
    found = [*apply(NUMBERS, form), *presidio(form)]
    found += names(form, record=any(item.kind not in PUBLIC_KINDS for item in found))
    found += repeated(form, found)
    found += dates.dates(form, found)
    return without_overlaps(found)


def names(text: Text, record: bool) -> Iterator[Identifier]:
    """Names of persons; those without any context only where other identifiers stand."""
    yield from chinese_names(text, record)
    yield from english_names(text, record)
    if record:
        yield from bare_names(text)


def repeated(text: Text, found: Iterable[Identifier]) -> Iterator[Identifier]:
    """Where a name that the context gave away once stands again."""
    said = {text.text[i.start : i.end] for i in found if i.kind == "NAME"}
    for name in said:
        if len(name) > (3 if name.isascii() else 1):
            for match in re.finditer(rf"(?<![A-Za-z]){re.escape(name)}(?![A-Za-z])", text.text):
                yield Identifier("NAME", *match.span())
