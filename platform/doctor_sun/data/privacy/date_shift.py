"""Dates moved by a number of days, written as they were."""

import re
from datetime import date, timedelta

_MONTH_NAMES = """
    January February March April May June July August September October November December
"""
MONTHS = _MONTH_NAMES.split()
_IN_WORDS = re.compile("[年月A-Za-z]")
_YEAR, _MONTH, _DAY = r"(?P<year>\d{4}|\d{2})", r"(?P<month>\d{1,2})", r"(?P<day>\d{1,2})"
_WORD = r"(?P<word>[A-Za-z]{3,9})"
FORMS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?:{_YEAR}\s?年\s?)?{_MONTH}\s?月\s?{_DAY}\s?[日号]",
        rf"{_YEAR}\s?年\s?{_MONTH}\s?月\D{{0,2}}",
        rf"(?P<year>\d{{4}})[-/.]\s?{_MONTH}[-/.]\s?{_DAY}",
        rf"(?P<year>\d{{4}})[-/.]{_MONTH}",
        rf"{_MONTH}[-/.]{_DAY}[-/.]{_YEAR}",
        rf"{_DAY}[-/.]{_MONTH}[-/.]{_YEAR}",
        rf"{_MONTH}/(?P<year>\d{{4}})",
        rf"(?:\w+,? )?{_DAY}(?:st|nd|rd|th)?[ -](?:of )?{_WORD}\.?(?:,?[ -]'?{_YEAR})?",
        rf"(?:\w+\.?,? )?{_WORD}\.? {_DAY}(?:st|nd|rd|th)?(?:,? {_YEAR})?",
        rf"{_WORD}\.? (?P<year>\d{{4}})",
    )
)


def shifted(said: str, days: int) -> str | None:
    """A date `days` later in the same form; None when it is no date of a form known here."""
    for form in FORMS:
        match = form.fullmatch(said)
        if match:
            old = _date(match)
            if old:
                return _written(match, old + timedelta(days=days))
    return None


def _date(match: re.Match[str]) -> date | None:
    """The date that a form says; a missing day is the 15th, a missing year 2001."""
    parts = match.groupdict()
    year = int(parts.get("year") or 2001)
    if year < 100:
        year += 2000 if year < 30 else 1900
    month = int(parts["month"]) if parts.get("month") else _month(parts.get("word"))
    try:
        return date(year, month, int(parts.get("day") or 15))
    except ValueError:
        return None


def _month(word: str | None) -> int:
    """The number of a month's name or its beginning; 0 when it is none."""
    starts = [
        n for n, name in enumerate(MONTHS, 1) if name.lower().startswith((word or "-").lower()[:3])
    ]
    return starts[0] if starts else 0


def _written(match: re.Match[str], new: date) -> str:
    """The new date in the form's places."""
    text = match[0]
    places = [(match.span(name), name) for name, old in match.groupdict().items() if old]
    for (start, end), name in sorted(places, reverse=True):
        value = _word(text[start:end], new) if name == "word" else _part(match, name, new)
        text = text[:start] + value + text[end:]
    return text


def _word(old: str, new: date) -> str:
    """The new month's name, whole or its beginning, as the old one."""
    whole = old.capitalize() in MONTHS
    word = MONTHS[new.month - 1] if whole else MONTHS[new.month - 1][:3]
    return word.upper() if old.isupper() else word


def _part(match: re.Match[str], name: str, new: date) -> str:
    """The new year, month or day in digits, with a leading 0 where the form has one."""
    old = match[name]
    value: int = getattr(new, name)
    if name == "year" and len(old) == 2:
        value %= 100
    padded = old[0] == "0" or (len(old) == 2 and not _IN_WORDS.search(match[0]))
    return f"{value:02d}" if padded else str(value)
