"""Names of persons in English text, by label, title, relation and place in the sentence."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from doctor_sun.data.privacy.english_name_words import GIVEN, NOT_NAMES
from doctor_sun.data.privacy.identifier import Identifier, Text

TOKEN = (
    r"(?:(?:Mc|Mac|O'|D'|De|Di|La|Le|Van|Al-|El-)?[A-Z][a-z]+|(?:O'|D')?[A-Z]{2,})"
    r"(?:[-'](?:[A-Z][a-z]+|[A-Z]{2,}))*"
)
_INITIAL = r"[A-Z]\.?"
_PARTICLE = r"(?:van|von|de|der|den|la|le|di|da|dos|del|bin|ibn|al|el|ter)"
_LAST = rf"(?:{_PARTICLE} ){{0,2}}{TOKEN}"
FULL = (
    rf"(?:{TOKEN}(?: {_INITIAL}(?![A-Za-z'])){{0,2}} {_LAST}(?: {TOKEN})?"
    rf"|(?:[A-Z]\. ?){{1,2}}{_LAST}"
    rf"|{TOKEN}, {TOKEN}(?: [A-Z]\.?(?![A-Za-z]))?|[A-Z]{{2,}}(?:\^[A-Z]+){{1,3}})"
)
"""A given and a family name, in one of the orders that records have."""

ANY = re.compile(rf"\"?(?P<it>{FULL}|{TOKEN})")
_TITLES = r"(?:drs?|mrs?|ms|miss|mx|prof(?:essor)?|sister|sir|madam|rev(?:erend)?|capt|sgt|lt)\.?"
_TITLED = rf"(?:{_TITLES} )?"
_DEGREE = (
    r"(?:M\.?D\.?|D\.?O\.?|R\.?N\.?|N\.?P\.?|P\.?A\.?(?:-C)?|Ph\.?D\.?|MBBS|MBChB|FRCS"
    r"|FRCP|FACS|FRCR|LPN"
    r"|CRNA|DDS|DMD|MPH|MSN|APRN|PharmD|LCSW|MSW)(?![A-Za-z])"
)
_ROLES = (
    "attending|surgeon|radiologist|pathologist|physician|anesthesiologist|anaesthetist|cardiologist"
    "|technologist|sonographer|resident|fellow|consultant|registrar"
    "|nurse practitioner|nurse|midwife"
    "|pharmacist|therapist|interpreter|social worker|case manager|pcp|prescriber|provider|witness"
    "|guarantor|subscriber|user|driver|operator|assistant|technician|dietitian|psychologist|dentist"
    "|caregiver|guardian|insured|informant|author|clinician|doctor|coordinator"
    "|investigator|chaplain"
    "|counselor|transcriptionist|phlebotomist|scribe|cardholder|applicant"
    "|policyholder|sender|recipient"
)
_RELATIONS = (
    "wife|husband|spouse|partner|son|daughter|mother|father|mom|mum|dad|brother|sister|aunt|uncle"
    "|niece|nephew|cousin|friend|neighbou?r|grand(?:son|daughter|mother|father|parent)|guardian"
    "|caregiver|girlfriend|boyfriend|roommate|fianc[eé]e?|colleague|boss|step(?:son|daughter)"
    "|(?:son|daughter|mother|father)-in-law"
)
_BY = (
    "(?:seen|read|signed|reviewed|dictated|reported|interpreted|performed|referred"
    "|approved|verified"
    "|prepared|transcribed|authored|ordered|requested|cared for|evaluated|examined|accompanied"
    "|assisted|witnessed|attested|cosigned|entered|checked|treated|operated on) by"
)
_LABELS = (
    r"(?:patient|pt|full|legal|maiden|first|last|given|family|mother|father|child"
    r"|guardian|subscriber"
    rf"|guarantor)?(?:.s)? ?name|(?:\w+ )?(?:{_ROLES})"
    rf"|(?:emergency )?contact(?: person)?|next of kin|nok"
    rf"|{_RELATIONS}|patient|pt|(?:electronically )?signed(?: by)?|{_BY}|cc|attn|from"
    rf"|to|re|regarding"
    r"|dear|signature|client|subject"
)


@dataclass(frozen=True)
class Lead:
    """Words that a name follows."""

    words: re.Pattern[str]
    """Read on the lower-case text; the name begins where they end."""
    alone: Literal["yes", "given", "known", "no"]
    """Whether one word is a name here: always, where it is a common given name, never. `known`:
    of several words, too, the first must be such a name."""
    holds: str = ""
    """What the text must hold for the words to be looked for."""
    record: bool = False
    """Whether the text must speak of a patient."""


def _lead(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z]){words}")


LEADS = (
    Lead(_lead(rf"{_TITLES} "), "yes"),
    Lead(_lead(rf"(?:{_LABELS})\s*(?:\([^()]{{1,12}}\)\s*)?[:#]\s*{_TITLED}"), "given", ":"),
    Lead(
        _lead(rf"(?:name|surgeon|physician|radiologist|signed(?: by)?)\s*:\s*{_TITLED}"), "yes", ":"
    ),
    Lead(_lead(rf"(?:my name(?: is|'s)|name is) {_TITLED}"), "yes", "name"),
    Lead(_lead(rf"(?:i am|i'm|this is|called|known as|goes by) {_TITLED}"), "given", record=True),
    Lead(_lead(rf"(?:i am|i'm) {_TITLED}"), "known"),
    Lead(_lead(rf"my (?:\w+ )?(?:{_RELATIONS}),? "), "known"),
    Lead(_lead(rf"(?:{_RELATIONS}):? "), "known", record=True),
    Lead(_lead(r"attn\.?:? "), "no", "attn"),
    Lead(
        _lead(
            r"(?:scans?|mri|ct|x-rays?|films?|images?|records?|reports?|chart|case"
            r"|care|history|biopsy"
            r"|surgery|examination|study|results?) (?:of|for|on) "
        ),
        "known",
    ),
    Lead(_lead(rf"named {_TITLED}"), "given", "named", record=True),
    Lead(
        _lead(
            rf"(?:his|her|their|my|our|the|your) (?:\w+(?:'s)? )?(?:{_RELATIONS})(?:,"
            rf"|\s\(|:)? {_TITLED}"
        ),
        "yes",
        record=True,
    ),
    Lead(_lead(rf"(?:with|and|by) (?:{_RELATIONS})(?:,| \()? "), "yes", record=True),
    Lead(_lead(r"baby (?:boy|girl|of)(?: of)? "), "yes", "baby"),
    Lead(_lead(rf"{_BY}\s{_TITLED}"), "no", " by"),
    Lead(
        _lead(
            rf"(?:{_ROLES}|patient|pt|care (?:of|to)|c/o|signed|labell?ed|dear"
            rf"|sincerely,|regards,|yours,"
            rf"|thanks,)\s{_TITLED}"
        ),
        "no",
    ),
    Lead(
        _lead(
            rf"(?:the|his|her|our|other) (?:\w+ )?(?:{_ROLES}|patient|victim|baby|child"
            rf"|infant|newborn|neonate|toddler|twin)(?:,| was| is) "
        ),
        "no",
    ),
    Lead(_lead(r"drs\.? [a-z' -]+(?:, [a-z'-]+)*,? and "), "yes", "drs"),
)

# What follows a name: a degree, an age, numbers, an event in a person's care.
_DEGREED = re.compile(rf"(?P<it>{FULL}),? (?={_DEGREE})")
_HAS_DEGREE = re.compile(rf"[ ,]{_DEGREE}")
_AGED = re.compile(
    rf"(?<![A-Za-z.'-])(?P<it>{FULL})(?=,? \(?\d{{1,3}}\s?[MF]\b"
    r"|,? is an? (?:\w+ )?\d{1,3}[- ]?(?:year|yr|y/?o)|,? \(?(?:age|aged) \d"
    r"|, (?:an? )?\d{1,3}(?:-| )?(?:year|yr|y/?o|month|day|week)| \d{1,3}(?:-year-old"
    r"| ?y/?o\b| year old)"
    r"|,? \((?:MRN|DOB|mrn|dob|[MF][,/ )]|\d{1,3}\)|\d{1,3}[ -]?(?:[MF]|y)))"
)
_HAS_AGE = re.compile(r"\d[ -]?(?:year|yr|y/?o|month|day|week|[mf](?![a-z]))|age|\((?:mrn|dob|\d)")
_SUBJECT = re.compile(
    rf"(?<![A-Za-z.'-])(?P<given>[A-Z][a-z]+)(?: {_INITIAL})? (?P<family>{_LAST})"
    r"(?= (?:was|is|has|had|presented|presents|underwent|reports|reported|returned"
    r"|came|went|called|states"
    r"|stated|complains|denies|arrived|lives|will|did|does|received|requested|signed"
    r"|and (?:his|her))\b"
    r"|'s (?:mother|father|wife|husband|daughter|son|chart|record|family|condition|appointment)"
    r"|, (?:who|whose|was|is)\b)"
)
_BARE = re.compile(
    rf"(?<![A-Za-z.'-])(?P<given>[A-Z][a-z]+)(?: {_INITIAL})? (?P<family>{_LAST})(?![A-Za-z'^])"
)
_UPPER = re.compile(
    r"(?<![A-Za-z.'-])(?P<family>[A-Z']{3,}), (?P<given>[A-Z]{3,})(?: [A-Z]\.?)?(?![A-Za-z])"
)
_EPONYM = re.compile(
    r"(?:'s)? (?:disease|syndrome|phenomenon|sign|test|effect|lymphoma|stain(?:ing)?"
    r"|catheter|procedure"
    r"|classification|criteria|score|palsy|fracture|operation|method|reaction|law"
    r"|triad|anomaly|report"
    r"|clinic|hospital|university|center|centre|institute|foundation|street)\b",
    re.IGNORECASE,
)
_RECORD = re.compile(
    r"patient|(?<![a-z])(?:pt|mrn|dob|ed|er)(?![a-z])|admitted|discharge|hospital"
    r"|clinic|symptom|diagnos"
    r"|complain|surgery|nurse|emergency|history of|follow-up|ward|doctor|migraine|pain"
    r"|year-old|phone|fever|cough|pills|rash|headache|medication|logged in"
)
_GAPS = re.compile(r"[ ,^]+")


def is_name(said: str) -> bool:
    """Whether none of the words is one that names are not made of."""
    words = [word.strip(".,'").lower() for word in _GAPS.split(said)]
    words = [word for word in words if len(word) > 1]
    return bool(words) and NOT_NAMES.isdisjoint(words)


def _trimmed(said: str) -> str:
    """The beginning that can be a name: words that no name has end it."""
    end = len(said)
    while end and not is_name(said[:end]):
        end = max(said.rfind(" ", 0, end), said.rfind(",", 0, end), 0)
    return said[:end].rstrip(" ,")


def _named(text: Text, start: int, said: str, alone: str) -> Iterator[Identifier]:
    """The name at a place, if it is one and no disease is named after it."""
    name = _trimmed(said)
    if not name or _EPONYM.match(text.text, start + len(name)):
        return
    several, common = _GAPS.search(name), _GAPS.split(name)[0].lower() in GIVEN
    if alone == "yes" or (several and alone != "known") or (common and (alone != "no" or several)):
        yield Identifier("NAME", start, start + len(name))


def _known(text: Text, pattern: re.Pattern[str]) -> Iterator[Identifier]:
    """Common given names with a family name."""
    for match in pattern.finditer(text.text):
        known = match["given"].lower() in GIVEN and is_name(match["family"])
        if known and not _EPONYM.match(text.text, match.end()):
            yield Identifier("NAME", *match.span())


def bare_names(text: Text) -> Iterator[Identifier]:
    """Common given names with a family name, for texts known to hold other identifiers."""
    return _known(text, _BARE)


def english_names(text: Text, record: bool) -> Iterator[Identifier]:
    """Names of persons by their context.

    Args:
        text: any text.
        record: whether the text holds other identifiers; words for care say the same.
    """
    record = record or bool(_RECORD.search(text.lower))
    for lead in LEADS:
        if lead.holds in text.lower and (record or not lead.record):
            for match in lead.words.finditer(text.lower):
                name = ANY.match(text.text, match.end())
                if name:
                    yield from _named(text, name.start("it"), name["it"], lead.alone)
    trailing = [(_DEGREED, _HAS_DEGREE.search(text.text)), (_AGED, _HAS_AGE.search(text.lower))]
    for pattern in (pattern for pattern, held in trailing if held):
        for match in pattern.finditer(text.text):
            yield from _named(text, match.start("it"), match["it"], "no")
    yield from _known(text, _UPPER)
    if record:
        yield from _known(text, _SUBJECT)
