"""What stands in an identifier's place: of the same shape and language, the same each time, unreal.

A keyed hash (HMAC-SHA256) of source, kind and identifier decides, so that nobody without the key
can try names and numbers until one fits. No surrogate is valid: identity numbers have a province
that does not exist and a wrong check digit, cards fail Luhn's check, phones lie in ranges that are
kept free (555-01xx, Ofcom's drama ranges) or are never dialled, addresses and hosts are those
reserved for examples. Record numbers follow no public rule; theirs are any digits.
"""

import hashlib
import hmac
import re
from collections.abc import Callable

from stdnum import luhn
from stdnum.cn import ric

from doctor_sun.data.privacy.date_shift import shifted
from doctor_sun.data.privacy.identifier import HALF_WIDTH, Identifier

_FULL_WIDTH = {code: code + 0xFEE0 for code in range(ord("0"), ord("9") + 1)}
_FULL_DIGIT = re.compile("[０-９]")
SURNAMES = "王李张刘陈杨赵周吴徐孙马朱胡郭何林高罗郑梁宋谢唐许韩冯邓曹彭曾肖田董袁潘蒋蔡余杜"
INVENTED = ("例", "样", "拟", "虚", "假")
GIVEN_SECOND = "安宁文嘉和平清明远志恒心怡然思源若谷乐天知行之初可为以诺言书墨竹松柏梅兰"
_GIVEN = """
    Alex Jordan Taylor Morgan Casey Riley Avery Quinn Rowan Sage Robin Jamie Skyler Emery Finley
    Harper Kendall Logan Parker Reese Blake Drew Ellis Frankie Hollis Jules Kai Lane Marlow Noel
"""
GIVEN = _GIVEN.split()
_FAMILY = """
    Sampleton Examplar Testerman Mockridge Fauxley Demoworth Placeholt Nonesuch Anyman Dummett
    Fictley Imagin Pseudley Shamwell Specimer Standinger Templar Trialson Whatsby Sampleford
    Exempler Testwood Mockham Fauxton Demoville Placeman Nonsworth Anywell Dummery Fictmore
"""
FAMILY = _FAMILY.split()
_PARTICLE_WORDS = "van von de der den la le di da dos del bin ibn al el ter and"
_PARTICLES = frozenset(_PARTICLE_WORDS.split())


class Surrogates:
    """The surrogates of one source."""

    def __init__(self, key: bytes, source: str) -> None:
        """Surrogates that a secret key decides on; another source gets others."""
        self.key = key
        self.source = source

    def replace(self, text: str, identifiers: list[Identifier], row: str) -> str:
        """The text with each identifier replaced.

        Args:
            text: what the identifiers were found in.
            identifiers: none overlapping.
            row: the row's id; the dates of one row move by the same number of days.
        """
        for found in sorted(identifiers, key=lambda i: -i.start):
            said = text[found.start : found.end]
            text = text[: found.start] + self.of(found.kind, said, row) + text[found.end :]
        return text

    def of(self, kind: str, said: str, row: str) -> str:
        """What stands for one identifier."""
        half = said.translate(HALF_WIDTH)
        if kind in ("DATE", "BIRTH_DATE"):
            days = self.number("days", row) % 1400 - 700
            surrogate = shifted(half, days or 365) or f"[{kind}]"
        else:
            surrogate = MAKERS[kind](self, kind, half)
        return surrogate.translate(_FULL_WIDTH) if _FULL_DIGIT.search(said) else surrogate

    def number(self, kind: str, said: str) -> int:
        """A number that only the key's holder can foretell."""
        message = "\x1f".join((self.source, kind, said)).encode()
        return int.from_bytes(hmac.new(self.key, message, hashlib.sha256).digest(), "big")

    def shaped(self, kind: str, said: str, letters: str = "ABCDEFGHJKLMNPQRSTUVWXYZ") -> str:
        """Digits for digits and letters for letters, everything else as it stands."""
        number, made = self.number(kind, said.upper()), []
        for character in said:
            choices = "0123456789" if character.isdecimal() else letters
            if character.isascii() and character.isalnum():
                number, place = divmod(number, len(choices))
                chosen = choices[place]
                made.append(chosen.lower() if character.islower() else chosen)
            else:
                made.append(character)
        return "".join(made)


def _with_digits(shape: str, digits: str) -> str:
    """The shape with its digits (and a check character X) set, from the left."""
    left = iter(digits)
    return "".join(
        next(left, c) if c.isdecimal() or (c in "Xx" and c == shape[-1]) else c for c in shape
    )


def _wrong(check: str) -> str:
    """A check digit that is not the right one."""
    return str((int(check) + 1) % 10) if check.isdecimal() else "0"


def _identity(given: Surrogates, kind: str, said: str) -> str:
    shape = given.shaped(kind, said)
    digits = "".join(c for c in shape if c.isdecimal())
    count = sum(c.isdecimal() for c in said)
    if count == 9:
        return _with_digits(shape, f"000{digits[3:]}")
    if count >= 15:
        month, day = 1 + int(digits[10]) % 9, 1 + int(digits[11]) % 2
        body = f"99{digits[2:6]}19{digits[8:10]}0{month}{day}{digits}"[:17]
        return _with_digits(said, body + _wrong(ric.calc_check_digit(body + "0")))
    return shape


def _card(given: Surrogates, kind: str, said: str) -> str:
    shape = given.shaped(kind, said)
    digits = f"0{''.join(c for c in shape if c.isdecimal())[1:-1]}"
    return _with_digits(shape, digits + _wrong(luhn.calc_check_digit(digits)))


def _provider(given: Surrogates, kind: str, said: str) -> str:
    shape = given.shaped(kind, said)
    return _with_digits(shape, f"00{''.join(c for c in shape if c.isdecimal())[2:]}")


def _phone(given: Surrogates, kind: str, said: str) -> str:
    digits = "".join(c for c in given.shaped(kind, said) if c.isdecimal())
    old = "".join(c for c in said if c.isdecimal())
    if re.fullmatch(r"(?:86)?1[3-9]\d{9}", old):
        new = f"{old[:-11]}10{digits[-9:]}"  # 10x is of the services, no subscriber has it
    elif re.fullmatch(r"(?:44|0)7\d{9}", old):
        new = f"{old[:-10]}7700900{digits[-3:]}"
    elif re.fullmatch(r"(?:44|0)20\d{8}", old):
        new = f"{old[:-10]}2079460{digits[-3:]}"
    elif re.fullmatch(r"1?[2-9]\d{9}", old) or (len(old) == 7 and "-" in said):
        new = (
            f"{digits[:-7]}55501{digits[-2:]}"
            if len(old) == 7
            else f"{old[:-10]}20055501{digits[-2:]}"
        )
    elif len(old) >= 7:
        area = f"0{digits[1:-7]}" if old[0] == "0" else digits[:-7]
        new = f"{area}0{digits[-6:]}"  # no subscriber's number begins with 0
    else:
        new = digits
    return _with_digits(said, new)


def _email(given: Surrogates, kind: str, said: str) -> str:
    return f"user{given.number(kind, said.lower()) % 10**6:06d}@example.org"


def _url(given: Surrogates, kind: str, said: str) -> str:
    scheme = said[: said.find("//") + 2] if "//" in said else ""
    return f"{scheme}example.org/user{given.number(kind, said.lower()) % 10**6:06d}"


def _ip(given: Surrogates, kind: str, said: str) -> str:
    number = given.number(kind, said.lower())
    if ":" in said:
        return f"2001:db8::{number % 0xFFFF:x}"
    return f"{('192.0.2', '198.51.100', '203.0.113')[number % 3]}.{number // 3 % 254 + 1}"


def _plate(given: Surrogates, kind: str, said: str) -> str:
    return given.shaped(kind, said, letters="IO")  # which plates never have


def _record(given: Surrogates, kind: str, said: str) -> str:
    return given.shaped(kind, said)


def _address(given: Surrogates, kind: str, said: str) -> str:
    number = given.number(kind, said)
    if re.fullmatch(r"[\d-]+", said):
        return "0" * len(said.partition("-")[0])
    if said.isascii():
        street = f"{number % 899 + 100} Example Street" if said[0].isdecimal() else "Sampleton"
        return street if "," not in said else f"{street}, Exampleville"
    return f"示例市样本区虚构路{number % 899 + 100}号"


def _age(given: Surrogates, kind: str, said: str) -> str:
    return "90" if said[0].isdecimal() else "Ninety" if said[0].isupper() else "ninety"


def _name(given: Surrogates, kind: str, said: str) -> str:
    return _chinese_name(given, said) if not said.isascii() else _english_name(given, said)


def _chinese_name(given: Surrogates, said: str) -> str:
    """Surname for surname and given name for given name, each of its length.

    The family of a person is replaced alike wherever it stands, alone before a title too.
    """
    if "·" in said:
        return "·".join(_chinese_name(given, part)[1:] for part in said.split("·"))
    surname = SURNAMES[given.number("surname", said[0]) % len(SURNAMES)]
    number = given.number("given name", said[1:])
    first, second = INVENTED[number % len(INVENTED)], GIVEN_SECOND[number // 7 % len(GIVEN_SECOND)]
    return (surname + first + second)[: min(3, len(said))]


def _english_name(given: Surrogates, said: str) -> str:
    """Word for word; the last (before a comma, the first) is the family name."""
    words = re.findall(r"[A-Za-z'-]+", said)
    family = words[0] if "," in said or "^" in said else words[-1] if len(words) > 1 else ""

    def one(match: re.Match[str]) -> str:
        word = match[0]
        if word.lower() in _PARTICLES:
            return word
        pool = FAMILY if word == family or not family else GIVEN
        number = given.number("name", word.lower())
        new = pool[number % len(pool)]
        if len(word) == 1:
            return new[0]
        return new.upper() if word.isupper() else new

    return re.sub(r"[A-Za-z'-]+", one, said)


Maker = Callable[[Surrogates, str, str], str]
MAKERS: dict[str, Maker] = {
    "ID_NUMBER": _identity,
    "TRAVEL_DOCUMENT": _provider,
    "CARD_NUMBER": _card,
    "PROVIDER_NUMBER": _provider,
    "RECORD_NUMBER": _record,
    "PHONE": _phone,
    "EMAIL": _email,
    "URL": _url,
    "IP": _ip,
    "ACCOUNT": _record,
    "PLATE": _plate,
    "NAME": _name,
    "ADDRESS": _address,
    "AGE": _age,
}
