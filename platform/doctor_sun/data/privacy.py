"""Personal identifiers in English and Chinese text, found by rules and masked.

Pattern recognizers of presidio-analyzer find phones, social security and card numbers; resident
identity numbers are checked by python-stdnum (GB 11643: birth date and check digit); numbers of
records, names and birth dates are found by the words around them. No statistical model is used,
so a name without a title or a label before it is not found.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pyarrow as pa
import ray.data
from stdnum.cn import ric
from stdnum.exceptions import ValidationError

from doctor_sun.data.ledger import Decision, StepResult
from doctor_sun.data.rows import Row, gather, verdicts

KINDS = ("NAME", "PHONE", "EMAIL", "ID_NUMBER", "RECORD_NUMBER", "BIRTH_DATE", "CARD_NUMBER")


@dataclass(frozen=True, order=True)
class Identifier:
    """One identifier: its kind and where it stands (character offsets, end excluded)."""

    kind: str
    start: int
    end: int


@dataclass(kw_only=True)
class PrivacyConfig:
    """Which identifiers are masked."""

    kinds: list[str] = field(default_factory=lambda: list(KINDS))
    """Kinds to mask, each as [KIND]."""

    actors: int = 1
    """Processes that search, one core each."""


# Full-width forms to half-width, character by character, so that offsets stay.
_HALF_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20, 0x2013: 0x2D}
_CJK = re.compile(r"[^\x00-\x7f]")


def find_identifiers(text: str, language: str) -> list[Identifier]:
    """All identifiers in a text, none overlapping, by position.

    Args:
        text: any text; full-width digits and letters are understood.
        language: `en` or `zh`; decides which name rules apply first, numbers are found in both.
    """
    half = text.translate(_HALF_WIDTH)
    found = [*_numbers(half), *_by_label(half), *_names(half, language)]
    found += _presidio(_CJK.sub("|", half), half)
    return _without_overlaps(found)


def mask(text: str, identifiers: list[Identifier]) -> str:
    """The text with each identifier replaced by its kind in brackets."""
    for found in sorted(identifiers, key=lambda i: -i.start):
        text = f"{text[: found.start]}[{found.kind}]{text[found.end :]}"
    return text


def _without_overlaps(found: list[Identifier]) -> list[Identifier]:
    """The longest of overlapping identifiers (the earlier kind in `KINDS` among equals)."""
    chosen: list[Identifier] = []
    for item in sorted(found, key=lambda i: (i.start - i.end, KINDS.index(i.kind), i.start)):
        if all(item.end <= other.start or item.start >= other.end for other in chosen):
            chosen.append(item)
    return sorted(chosen, key=lambda i: i.start)


# A quantity, not a phone: what follows a laboratory value.
QUANTITY = re.compile(
    r"\s*(?:/|\*10|x10|×10|\^|%|个|例|人|元|万|亿|次|株|拷贝|copies|cells|mg|ml|ug|ng|pg|mm|cm|u/|iu)",
    re.IGNORECASE,
)
# Digits alone, not a longer number's part, decimals and identifiers of studies included.
_ALONE = r"(?<![\dA-Za-z.\-]){}(?![\dA-Za-z]|[.\-]\d)"
RESIDENT_ID = re.compile(_ALONE.format(r"[1-9]\d{5}[ -]?\d{8}[ -]?\d{3}[\dXx]"))
OLD_RESIDENT_ID = re.compile(
    r"身份证\D{0,6}([1-9]\d{5}\d{2}(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])\d{3})(?!\d)"
)
MOBILE = re.compile(
    _ALONE.format(r"(?:\+?86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}").replace(r"\-]", "]")
)
LANDLINE = re.compile(_ALONE.format(r"\(?0\d{2,3}\)?[ -]\d{7,8}"))
EMAIL = re.compile(
    r"(?<![A-Za-z0-9_.+-])[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"
)
SSN = re.compile(_ALONE.format(r"(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}"))


def is_resident_id(number: str) -> bool:
    """Whether 18 characters are a resident identity number: a real birth date, the check digit.

    The region is not asked for: tables of regions lack those that were renamed.
    """
    try:
        ric.get_birth_date(number)
    except ValidationError:
        return False
    return bool(ric.calc_check_digit(number) == number[-1].upper())


def _numbers(text: str) -> Iterator[Identifier]:
    """Identifiers that their own form gives away."""
    for match in EMAIL.finditer(text):
        yield Identifier("EMAIL", *match.span())
    for match in SSN.finditer(text):
        yield Identifier("ID_NUMBER", *match.span())
    for match in RESIDENT_ID.finditer(text):
        if is_resident_id(re.sub(r"[ -]", "", match[0])):
            yield Identifier("ID_NUMBER", *match.span())
    for match in OLD_RESIDENT_ID.finditer(text):
        yield Identifier("ID_NUMBER", *match.span(1))
    for pattern in (MOBILE, LANDLINE):
        for match in pattern.finditer(text):
            if not QUANTITY.match(text, match.end()):
                yield Identifier("PHONE", *match.span())


_RECORD_LABEL = (
    r"(?:住院|门诊|病历|病案|检查|影像|登记|就诊|就诊卡|病理|标本|床|X线|CT|MR)号(?:码)?|"
    r"(?i:\bMRN|\bmedical record (?:number|no\.?)|\baccession(?: number| no\.?)?|\bpatient id"
    r"|\brecord (?:number|no\.?))"
)
RECORD_NUMBER = re.compile(
    rf"(?:{_RECORD_LABEL})\s*(?:为|是|is)?\s*[:#]?\s*([A-Za-z]{{0,4}}-?\d[\d-]{{2,14}}\d|\d{{1,4}}床?)(?!\d)"
)
BIRTH_DATE = re.compile(
    r"(?:出生日期|出生年月|生日|(?i:\bDOB|\bdate of birth|\bborn on))\s*(?:为|是|is)?\s*:?\s*"
    r"(\d{4}[-/.年]\d{1,2}[-/.月]\d{1,2}日?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})"
)


def _by_label(text: str) -> Iterator[Identifier]:
    """Identifiers that the label before them gives away."""
    for kind, pattern in (("RECORD_NUMBER", RECORD_NUMBER), ("BIRTH_DATE", BIRTH_DATE)):
        for match in pattern.finditer(text):
            yield Identifier(kind, *match.span(1))


SURNAMES = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡"
    "贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文"
)
_NAME_ZH = rf"(?:欧阳|上官|司马|诸葛|[{SURNAMES}])[一-鿿]{{1,2}}"
LABELLED_NAME_ZH = re.compile(
    r"(?:姓名|患者|病人|联系人|家属|(?:主治|报告|审核|送检|经治)?(?:医师|医生))\s*[:]\s*"
    rf"({_NAME_ZH})(?![一-鿿])"
)
TITLED_NAME_ZH = re.compile(rf"(?<![一-鿿])({_NAME_ZH})(?=先生|女士|小姐|医生|医师|主任|护士|教授)")
_CAPITAL = r"[A-Z][a-z]+(?:[-'][A-Z][a-z]+)?"
_NAME_EN = rf"{_CAPITAL}(?: [A-Z]\.)?(?: {_CAPITAL}){{0,2}}"
TITLED_NAME_EN = re.compile(rf"\b(?:Dr|Mr|Mrs|Ms|Miss|Prof)\.? ({_NAME_EN})")
LABELLED_NAME_EN = re.compile(
    rf"\b(?i:patient(?:'s)? name|patient|name|physician|radiologist|referred by|contact)\s*:\s*"
    rf"({_CAPITAL}(?: [A-Z]\.)? {_CAPITAL})"
)
# What looks like a name but is a disease, a drug or a plan.
NOT_NAMES = re.compile(r"[病症炎癌瘤压糖素酮酸肝肺肾胃肠血痛疹热案剂药片胶囊]$")


def _names(text: str, language: str) -> Iterator[Identifier]:
    """Names by the label or title beside them."""
    chinese = (LABELLED_NAME_ZH, TITLED_NAME_ZH)
    english = (LABELLED_NAME_EN, TITLED_NAME_EN)
    for pattern in (*chinese, *english) if language == "zh" else (*english, *chinese):
        for match in pattern.finditer(text):
            if not NOT_NAMES.search(match[1]):
                yield Identifier("NAME", *match.span(1))


PRESIDIO_KINDS = {"PHONE_NUMBER": "PHONE", "US_SSN": "ID_NUMBER", "CREDIT_CARD": "CARD_NUMBER"}
PHONE_REGIONS = ("US", "GB", "CA", "CN")
LEAST_SCORE = 0.4


@cache
def _recognizers() -> list[Any]:
    """Presidio's pattern recognizers; loading them takes seconds."""
    from presidio_analyzer.predefined_recognizers import (
        CreditCardRecognizer,
        PhoneRecognizer,
        UsSsnRecognizer,
    )

    phones = PhoneRecognizer(supported_regions=PHONE_REGIONS)
    return [phones, UsSsnRecognizer(), CreditCardRecognizer()]


PUNCTUATED_PHONE = re.compile(r"[()+ -]")


def _presidio(latin: str, text: str) -> Iterator[Identifier]:
    """What Presidio finds in a text whose other than ASCII characters are bars (`latin`).

    A bare run of digits is a phone only by the Chinese rules above: laboratory values, study
    numbers and dates are runs of digits too.
    """
    if sum(character.isdigit() for character in latin) < 7:
        return
    for recognizer in _recognizers():
        for result in recognizer.analyze(latin, recognizer.supported_entities, None):
            kind = PRESIDIO_KINDS[result.entity_type]
            said = latin[result.start : result.end]
            quantity = QUANTITY.match(text, result.end)
            bare = kind == "PHONE" and not PUNCTUATED_PHONE.search(said.strip())
            if result.score >= LEAST_SCORE and not quantity and not bare:
                yield Identifier(kind, result.start, result.end)


class _Search:
    """A process that masks rows; it loads Presidio once."""

    def __init__(self, kinds: list[str]) -> None:
        self.kinds = set(kinds)

    def __call__(self, table: pa.Table) -> pa.Table:
        return verdicts(table, map(self.judge, table.to_pylist()))

    def judge(self, row: Row) -> Decision | None:
        """An edit that masks the row's identifiers, or None where it has none."""
        turns, kinds = [], Counter[str]()
        for turn in row["turns"]:
            found = find_identifiers(turn["text"], row["language"])
            found = [identifier for identifier in found if identifier.kind in self.kinds]
            kinds.update(identifier.kind for identifier in found)
            turns.append({"role": turn["role"], "text": mask(turn["text"], found)})
        if not kinds:
            return None
        return Decision(
            id=row["id"],
            source=row["source"],
            verdict="edited",
            reason="identifiers masked",
            evidence={"kinds": dict(kinds)},
            turns=turns,
        )


def decide(rows: ray.data.Dataset, config: PrivacyConfig) -> StepResult:
    """Mask the identifiers of every row; the ledger keeps their kinds only."""
    searched = rows.map_batches(
        _Search,
        fn_constructor_args=(config.kinds,),
        compute=ray.data.ActorPoolStrategy(size=config.actors),
        num_cpus=1,
        batch_size=None,
        batch_format="pyarrow",
    )
    return gather(searched)
