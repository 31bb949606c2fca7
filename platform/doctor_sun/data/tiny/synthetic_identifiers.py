"""Synthetic personal identifiers in sentences, for planting. None belongs to a person."""

from collections.abc import Callable

import numpy as np
from stdnum.cn import ric

FIRST = ("Mary", "John", "Linda", "Robert", "Susan", "David", "Karen", "Peter", "Alice", "Thomas")
LAST = ("Smith", "Miller", "Garcia", "Walker", "Hughes", "Turner", "Bennett", "Foster", "Price")
SURNAMES = "王李张刘陈杨赵周吴徐孙马朱胡郭何林高罗郑"
GIVEN = ("伟", "芳", "秀英", "敏", "静", "建国", "丽娟", "志强", "晓明", "桂花", "海燕", "文博")
REGIONS = ("110101", "310104", "440305", "320106", "510107", "330106")

Maker = Callable[[np.random.Generator], str]


def _digits(rng: np.random.Generator, count: int) -> str:
    return "".join(str(d) for d in rng.integers(0, 10, count))


def _choice(rng: np.random.Generator, options: tuple[str, ...] | str) -> str:
    return options[rng.integers(len(options))]


def _full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if c.isdigit() else c for c in text)


def _person(rng: np.random.Generator) -> str:
    return f"{_choice(rng, FIRST)} {_choice(rng, LAST)}"


def _us_phone(rng: np.random.Generator) -> str:
    area, rest = _choice(rng, ("212", "312", "415", "617")), _digits(rng, 2)
    forms = (f"({area}) 555-01{rest}", f"{area}-555-01{rest}", f"+1 {area} 555 01{rest}")
    return _choice(rng, forms)


def _email(rng: np.random.Generator) -> str:
    return f"{_choice(rng, FIRST).lower()}.{_choice(rng, LAST).lower()}@example.org"


def _ssn(rng: np.random.Generator) -> str:
    return f"{rng.integers(100, 660)}-{rng.integers(10, 99)}-{rng.integers(1000, 9999)}"


def _mrn(rng: np.random.Generator) -> str:
    return str(rng.integers(10**6, 10**8))


def _name_zh(rng: np.random.Generator) -> str:
    return _choice(rng, SURNAMES) + _choice(rng, GIVEN)


def _mobile(rng: np.random.Generator) -> str:
    number = _choice(rng, ("138", "159", "186", "177")) + _digits(rng, 8)
    spaced = f"{number[:3]} {number[3:7]} {number[7:]}"
    return _choice(rng, (number, number, spaced, _full_width(number)))


def _landline(rng: np.random.Generator) -> str:
    return f"{_choice(rng, ('010', '021', '0571'))}-{rng.integers(2, 9)}{_digits(rng, 7)}"


def resident_id(rng: np.random.Generator) -> str:
    """A resident identity number (GB 11643) with a valid date and check digit."""
    year, month, day = rng.integers(1940, 2005), rng.integers(1, 13), rng.integers(1, 29)
    body = f"{_choice(rng, REGIONS)}{year}{month:02d}{day:02d}{_digits(rng, 3)}"
    return body + ric.calc_check_digit(body + "0")


TEMPLATES: dict[str, tuple[tuple[str, str, Maker], ...]] = {
    "en": (
        ("Patient name: {}.", "NAME", _person),
        ("Call back at {}.", "PHONE", _us_phone),
        ("Contact {}.", "EMAIL", _email),
        ("SSN {}.", "ID_NUMBER", _ssn),
        ("MRN: {}.", "RECORD_NUMBER", _mrn),
        ("Reported by Dr. {}.", "NAME", _person),
    ),
    "zh": (
        ("患者姓名：{}。", "NAME", _name_zh),
        ("联系电话{}。", "PHONE", _mobile),
        ("家庭电话：{}。", "PHONE", _landline),
        ("身份证号{}已登记。", "ID_NUMBER", resident_id),
        ("住院号：{}。", "RECORD_NUMBER", _mrn),
        ("邮箱{}。", "EMAIL", _email),
        ("检查号{}。", "RECORD_NUMBER", _mrn),
    ),
}


def sentence_with_identifiers(
    language: str, rng: np.random.Generator
) -> tuple[str, list[tuple[str, int, int]]]:
    """One to three short sentences with an identifier each, and its (kind, start, end)."""
    text, spans = "", []
    templates = TEMPLATES[language]
    for number in rng.permutation(len(templates))[: rng.integers(1, 4)]:
        template, kind, make = templates[number]
        text += " " if text and language == "en" else ""
        start = len(text) + template.index("{}")
        value = make(rng)
        text += template.format(value)
        spans.append((kind, start, start + len(value)))
    return text, spans
