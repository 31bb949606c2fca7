"""Identifiers of English text, names apart: numbers, records, addresses, by form and label."""

import re

from doctor_sun.data.privacy import checks
from doctor_sun.data.privacy.identifier import Label, Rule, Shape, Text
from doctor_sun.data.privacy.shared import alone

IS = r"[ \t]*(?:number|no\.?|num\.?|id|#)?[ \t]*(?:is|was|[:#=])?[ \t]*#?[ \t]*"
_TOKEN = r"(?P<it>(?=[A-Za-z-]{0,8}\d)[A-Za-z\d]+(?:[-_][A-Za-z\d]+)*)(?![\w@]|[.]\d)"


def label(words: str, tail: str = IS) -> re.Pattern[str]:
    """A label in lower case, at the start of a word."""
    return re.compile(rf"(?<![a-z_])(?:{words}){tail}")


def has_three_digits(text: Text, start: int, end: int) -> bool:
    """Accept values that are long enough to tell one from another."""
    said = text.text[start:end]
    return sum(character.isdigit() for character in said) >= 3


NUMBERS: tuple[Rule, ...] = (
    Label(
        "ID_NUMBER",
        label(r"ssn|social security|ss"),
        re.compile(r"(?P<it>\d{3}[- .]?\d{2}[- .]?\d{4})(?![\dA-Za-z]|[.-]\d)"),
        checks.social_security_number,
        digits=9,
    ),
    Label(
        "ID_NUMBER",
        label(
            r"driver'?s?'? licen[sc]e|dl(?=\s*(?:#|no|number))|driving licen[sc]e"
            r"|national id|ni number|national insurance"
        ),
        re.compile(r"(?P<it>(?=[A-Z ]{0,4}\d)[A-Z\d]+(?:[- ][A-Z\d]*\d[A-Z\d]*)*)(?![A-Za-z\d])"),
        has_three_digits,
        digits=4,
    ),
    Label(
        "TRAVEL_DOCUMENT",
        label(r"passport|travel document|visa no\.?"),
        re.compile(r"(?P<it>[A-Z]{0,2}\d{6,9}[A-Z]?)(?![A-Za-z\d])"),
        digits=6,
    ),
    Label(
        "PROVIDER_NUMBER",
        label(r"npi|national provider identifier"),
        re.compile(r"(?P<it>\d{4}[- ]?\d{3}[- ]?\d{3})(?!\d)"),
        checks.npi,
        digits=10,
    ),
    Label(
        "PROVIDER_NUMBER",
        label(
            r"dea|medical licen[sc]e|licen[sc]e(?=\s*(?:no|num|#|:))|gmc"
            r"|provider(?=\s*(?:id|num|no|#))|certificate"
        ),
        re.compile(_TOKEN),
        has_three_digits,
        digits=3,
    ),
    Label(
        "CARD_NUMBER",
        label(
            r"(?:credit|debit|bank|visa|amex|mastercard|payment) ?card|visa|amex"
            r"|mastercard|iban|bank account"
        ),
        re.compile(r"(?P<it>\d{4}(?:[ -]?\d{4,6}){1,2}(?:[ -]?\d{1,5})?)(?![\dA-Za-z])"),
        digits=12,
    ),
    Label(
        "RECORD_NUMBER",
        label(
            r"mrn|mr(?=\s*(?:#|no\b))|medical record|med\.? ?rec\.?|hospital"
            r"|chart(?=\s*(?:#|no|id))|accession|patient id|pt id|patient identifier"
            r"|patient(?=\s*(?:no\.|number|#))"
            r"|record|case(?=\s*(?:number|no\.|id|#))|study(?=\s*(?:id|number))"
            r"|specimen|sample(?=\s*(?:id|number))|visit(?=\s*(?:id|no|number|#))"
            r"|encounter|account|acct|claim|member|subscriber id|group(?=\s*(?:no"
            r"|number|#))|policy|insurance(?: card)?|health plan"
            r"|beneficiary|medicare|medicaid|mbi|hicn|nhs|unit(?=\s*(?:no|number|#))"
            r"|order(?=\s*(?:no|number|#))|requisition"
            r"|prescription(?=\s*(?:no|number|#))|rx(?=\s*(?:no|number|#))|serial|s/n"
            r"|device id|registration(?=\s*(?:id|no|number))"
            r"|admission(?=\s*(?:id|no|number|#))|fin|csn|csp|barcode|id"
            r"|subject(?=\s*(?:id|no|number|#))|pathology(?=\s*(?:id|no|number|#))"
        ),
        re.compile(_TOKEN),
        lambda text, start, end: (
            has_three_digits(text, start, end) and checks.no_quantity(text, start, end)
        ),
        digits=3,
    ),
    Label(
        "RECORD_NUMBER",
        label(r"(?:medicare|mbi|nhs|insurance(?: card)?|member|medical record|hospital|mrn)", IS),
        re.compile(
            r"(?P<it>\d{3} \d{3} \d{4}|[A-Z]\d{4} \d{5}"
            r"|\d[A-Z][A-Z\d]\d-?[A-Z][A-Z\d]\d-?[A-Z]{2}\d{2})(?![A-Za-z\d])"
        ),
        digits=5,
    ),
    Label(
        "RECORD_NUMBER",
        label(r"room|bed|rm\.?", r"\s*(?:no\.?|number|#|:)?\s*"),
        re.compile(
            r"(?P<it>[A-Z]?\d{1,4}[A-Z]?|[A-Z](?=[.,;\n]|$))(?![\w%-]|\.\d"
            r"|\s*(?:hours?|days?|weeks?|air|degrees?|beds))"
        ),
        lambda text, start, end: in_a_ward(text, start),
    ),
    Label(
        "PLATE",
        label(
            r"licen[sc]e plate|plate|vehicle registration|uk registration"
            r"|registration plate|number plate|tag"
        ),
        re.compile(r"(?P<it>(?=[A-Z -]{0,4}\d)[A-Z\d]{2,7}(?:[ -][A-Z\d]{2,4})?)(?![A-Za-z\d])"),
        digits=1,
    ),
    Label(
        "PLATE",
        label(r"vin|vehicle identification"),
        re.compile(r"(?P<it>[A-HJ-NPR-Z\d]{17})(?![A-Za-z\d])"),
        digits=4,
    ),
    Label(
        "ACCOUNT",
        label(
            r"user ?name|screen name|skype|wechat|whatsapp|telegram|twitter|instagram"
            r"|snapchat|tiktok|social media",
            r"[ \t]*(?:handle|account|username|name|id|user)?[ \t]*(?:is|was|:)?[ \t]*",
        ),
        re.compile(r"(?P<it>@\w{3,30}|[A-Za-z][\w.]*[\d_.]\w+)(?![\w@])"),
    ),
)


def in_a_ward(text: Text, start: int) -> bool:
    """Whether a room or bed is where a patient lies: a label with punctuation, or a stay."""
    before = text.lower[max(0, start - 30) : start]
    return bool(
        re.search(
            r"(?:[,;:#]|\b(?:in|to|from|of|no\.?|number))\s*(?:room|bed"
            r"|rm\.?)\s*(?:no\.?|number|#|:)?\s*$",
            before,
        )
    )


_PHONE_LABEL = (
    r"phone|telephone|tel\.?|mobile|cell(?:phone)?|fax|pager|call(?: back)?(?: at| on)?"
    r"|call|contact number|text|ext\.?|extension|beeper|voicemail"
)
PHONES: tuple[Rule, ...] = (
    Label(
        "PHONE",
        label(_PHONE_LABEL, r"(?:'s)?\s*(?:number|no\.?|#)?\s*(?:is|was|at|on|:)?\s*"),
        re.compile(r"(?P<it>\+?\(?\d[\d().\- ]{5,18}\d|\d{3}-\d{4})(?![\dA-Za-z]|[.]\d)"),
        lambda text, start, end: (
            7 <= sum(c.isdigit() for c in text.text[start:end]) <= 15
            and checks.no_quantity(text, start, end)
            and not re.match(r"(?:19|20)\d\d-\d\d-\d\d", text.text[start:end])
        ),
        digits=7,
    ),
    Label(
        "PHONE",
        label(r"ext\.?|extension|pager|beeper", r"\s*(?:number|no\.?|#)?\s*(?:is|:)?\s*"),
        re.compile(r"(?P<it>\d{3,6})(?![\d-])"),
        digits=3,
    ),
    Shape(
        "PHONE",
        alone(r"(?:\+?1[-. ])?\(?[2-9]\d{2}\)?[-. ]?[2-9]\d{2}[-.]\d{4}", r"\dA-Za-z.\-/_+"),
        checks.no_quantity,
        digits=10,
    ),
)

_CAP = r"[A-Z][A-Za-z'.-]*"
_STREET = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Way"
    r"|Place|Pl|Terrace|Ter|Circle|Cir|Highway|Hwy"
    r"|Parkway|Pkwy|Square|Sq|Close|Crescent|Gardens|Grove|Row|Trail|Trl|Loop|Alley"
    r"|Mews|Hill|Broadway)\b\.?"
)
_STATE = (
    r"(?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]"
    r"|PA|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY]|Alabama"
    r"|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|Delaware|Florida"
    r"|Georgia|Hawaii|Idaho|Illinois|Indiana|Iowa|Kansas"
    r"|Kentucky|Louisiana|Maine|Maryland|Massachusetts|Michigan|Minnesota|Mississippi"
    r"|Missouri|Montana|Nebraska|Nevada"
    r"|New Hampshire|New Jersey|New Mexico|New York|North Carolina|North Dakota|Ohio"
    r"|Oklahoma|Oregon|Pennsylvania|Rhode Island"
    r"|South Carolina|South Dakota|Tennessee|Texas|Utah|Vermont|Virginia|Washington"
    r"|West Virginia|Wisconsin|Wyoming)"
)
_ZIP = r"\d{5}(?:-\d{4})?(?!\d)"
_POSTCODE = r"[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}\b"
_UNIT = r"(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Flat|Room|Floor|Fl|#)\.? ?#?[A-Za-z\d-]+)"
_CITY = rf",? {_CAP}(?: {_CAP}){{0,2}}?(?:,? (?:{_STATE}\b(?:,? {_ZIP})?|{_POSTCODE}))"
_TOWN = rf"{_CAP}(?: {_CAP}){{0,2}}, {_STATE}\b(?:,? {_ZIP})?"
ADDRESSES: tuple[Rule, ...] = (
    Shape(
        "ADDRESS",
        re.compile(
            rf"(?<![\w.-])\d{{1,5}}[A-Za-z]? (?:[NSEW]{{1,2}}\.? )?(?:{_CAP} "
            rf"|\d{{1,3}}(?:st|nd|rd|th) ){{1,3}}?{_STREET}{_UNIT}?(?:{_CITY})?"
        ),
        digits=1,
    ),
    Shape("ADDRESS", re.compile(rf"\bP\.? ?O\.? Box \d+(?:{_CITY})?"), digits=1),
    Label(
        "ADDRESS",
        label(
            r"(?:lives?|living|resides?|residing|residence|home|born|raised|grew up"
            r"|moved) (?:in|at|near|to)|residents? of|address|hometown|native of"
            r"|born .{4,24} in|(?:lives?|living|resides?) with [a-z' ]{3,30} in",
            r"\s*(?:is|[:])?\s*",
        ),
        re.compile(rf"(?P<it>{_TOWN})"),
    ),
    Label(
        "ADDRESS",
        label(r"zip(?: code)?|postal code|postcode", r"\s*(?:is|[:])?\s*"),
        re.compile(rf"(?P<it>{_ZIP}|{_POSTCODE})"),
        digits=2,
    ),
)
RULES: tuple[Rule, ...] = (*NUMBERS, *PHONES, *ADDRESSES)
