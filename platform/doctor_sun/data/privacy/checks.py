"""Whether a number is what its shape says: check digits, dates, ranges, and what is a quantity."""

import re
from functools import cache

from stdnum import luhn, numdb
from stdnum.cn import ric
from stdnum.exceptions import ValidationError
from stdnum.us import ssn

from doctor_sun.data.privacy.identifier import Text

_SEPARATORS = re.compile(r"[ .\-]")


def compact(number: str) -> str:
    """A number without its separators."""
    return _SEPARATORS.sub("", number)


@cache
def region_known(code: str, county: bool) -> bool:
    """Whether a six-digit code is of a province, or of a county at any time, in stdnum's table.

    A county that was renamed or merged may be missing there, and a person keeps the number of a
    county that is no more, so that an 18-digit number needs a province only.
    """
    found = numdb.get("cn/loc").info(code)
    return len(found) > (1 if county else 0) and "province" in found[0][1]


def has_birth_date(number: str) -> bool:
    """Whether digits 7 to 14 of an 18-digit number are a date from 1900 on."""
    try:
        return int(ric.get_birth_date(number).year) >= 1900
    except ValidationError:
        return False


def is_resident_id(number: str) -> bool:
    """Whether 18 characters are a resident identity number (GB 11643).

    Province, birth date and MOD 11-2 check digit must be right.
    """
    return looks_like_resident_id(number) and ric.calc_check_digit(number) == number[-1].upper()


def looks_like_resident_id(number: str) -> bool:
    """The same without the check digit: for a number that a label calls so, mistyped or not."""
    shaped = len(number) == 18 and number[:17].isdecimal() and number[:17].isascii()
    return shaped and region_known(number[:6], county=False) and has_birth_date(number)


def is_old_resident_id(number: str, county: bool = True) -> bool:
    """Whether 15 digits are an identity number of before 1999: county and birth date."""
    shaped = len(number) == 15 and number.isdecimal() and number.isascii()
    return (
        shaped
        and region_known(number[:6], county)
        and has_birth_date(f"{number[:6]}19{number[6:]}0")
    )


# Ranges of issuers with their lengths: UnionPay, Visa, Mastercard, American Express, Discover.
_CARD = re.compile(
    r"62\d{14,17}|4(?:\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|6(?:011|5\d\d|01382)\d{12,15}"
)


def is_card(number: str) -> bool:
    """Whether digits are a payment card's: an issuer's range and length, Luhn check digit."""
    known = _CARD.fullmatch(number) and not looks_like_resident_id(number)
    return bool(known) and len(set(number)) > 2 and luhn.is_valid(number)


def is_npi(number: str) -> bool:
    """Whether ten digits are a National Provider Identifier: Luhn over them behind 80840."""
    return len(number) == 10 and number[0] in "12" and luhn.is_valid(f"80840{number}")


def is_social_security_number(number: str) -> bool:
    """Whether nine digits may be a US social security number; ranges never issued are refused."""
    return bool(ssn.is_valid(number))


# What follows a laboratory value, and what stands before a number that is no person's.
_QUANTITY = re.compile(
    r"\s*(?:/|[*x×]\s*10|\^|%|‰|±|个|例|人|元|万|亿|次|株|拷贝|copies|cells|iu|mg|ml|ug|ng|pg|mm|cm|u/)"
)
_COUNTED = re.compile(
    r"(?:计数|定量|载量|数量|总数|细胞|血小板|拷贝|批号|准字[a-z]?|金额|编码|代码|序列|(?<![a-z])(?:counts?|load)|pmid|doi"
    r"|nct|lot|isrctn|chictr)\D{0,3}$"
)


def no_quantity(text: Text, start: int, end: int) -> bool:
    """Whether a number is no measured or counted value."""
    before = text.lower[max(0, start - 12) : start]
    return not _QUANTITY.match(text.lower, end) and not _COUNTED.search(before)


def resident_id(text: Text, start: int, end: int) -> bool:
    """Accept valid resident identity numbers, separators between their parts or not."""
    number = compact(text.text[start:end])
    return is_resident_id(number) or is_old_resident_id(number)


def labelled_resident_id(text: Text, start: int, end: int) -> bool:
    """Accept numbers with a province and a birth date where the label says the rest."""
    number = compact(text.text[start:end])
    return looks_like_resident_id(number) or is_old_resident_id(number, county=False)


def card(text: Text, start: int, end: int) -> bool:
    """Accept valid payment card numbers."""
    return is_card(compact(text.text[start:end])) and no_quantity(text, start, end)


def npi(text: Text, start: int, end: int) -> bool:
    """Accept valid National Provider Identifiers."""
    return is_npi(compact(text.text[start:end]))


def social_security_number(text: Text, start: int, end: int) -> bool:
    """Accept social security numbers of ranges that are issued."""
    return is_social_security_number(compact(text.text[start:end]))
