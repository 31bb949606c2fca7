"""Dates that are tied to a person: of birth, admission, operation, examination; ages over 89.

A date alone says nothing about anybody: it counts when words for an event in a person's care stand
by it in its sentence, or when its sentence names a person. The dates of guidelines, trials and
approvals stay.
"""

import re
from collections.abc import Iterable, Iterator

from doctor_sun.data.privacy.identifier import Identifier, Label, Rule, Shape, Text

_DAY, _MONTH = r"(?:[12]\d|3[01]|0?[1-9])", r"(?:1[0-2]|0?[1-9])"
_NAMED = (
    r"(?:[Jj]an(?:uary)?|[Ff]eb(?:ruary)?|[Mm]ar(?:ch)?|[Aa]pr(?:il)?|[Mm]ay|[Jj]une?|[Jj]uly?"
    r"|[Aa]ug(?:ust)?|[Ss]ept?(?:ember)?|[Oo]ct(?:ober)?|[Nn]ov(?:ember)?|[Dd]ec(?:ember)?"
    r"|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)\.?"
)
_WEEKDAY = r"(?:(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?\.?,? )?"
_ORDINAL = rf"{_DAY}(?:st|nd|rd|th)?"
_HAN = "[〇零○一二三四五六七八九十]"
_YEAR_LIKE = "(?:18|19|20)\\d{2}"
_SLASHED = r"\d{1,2}(?P<s1>[/.-])\d{1,2}(?P=s1)(?:\d{4}|\d{2})"
_NUMERIC = rf"{_YEAR_LIKE}(?P<s2>[-/.])\s?{_MONTH}(?P=s2)\s?{_DAY}|{_SLASHED}"
_CHINESE = (
    rf"(?:(?:{_YEAR_LIKE}|\d{{2}})\s?年\s?)?{_MONTH}\s?月\s?{_DAY}\s?[日号]"
    rf"|{_YEAR_LIKE}\s?年\s?{_MONTH}\s?月(?:份|[初中底末]|[上中下]旬)?"
    rf"|{_HAN}{{4}}年(?:[正一二三四五六七八九十冬腊]{{1,3}}月(?:初?{_HAN}{{1,3}}[日号]?|廿{_HAN}?)?)"
)
_WORDED = (
    rf"{_WEEKDAY}(?:{_ORDINAL}[ -](?:of )?{_NAMED}(?:,?[ -](?:'?\d{{2}}(?!\d)|\d{{4}}))?"
    rf"|{_NAMED} {_ORDINAL}(?:,? (?:18|19|20)\d{{2}})?(?! ?(?:mg|ml|cm|mm|days?|weeks?)))"
)
FULL = rf"(?<![\dA-Za-z.-])(?:{_CHINESE}|(?:{_NUMERIC}|{_WORDED})(?![\dA-Za-z]|[-/.]\d))"
DATE = re.compile(FULL)
_PARTIAL = (
    rf"(?:{_YEAR_LIKE}[-/.]{_MONTH}|{_YEAR_LIKE}年{_MONTH}月|{_MONTH}/{_YEAR_LIKE}"
    rf"|{_NAMED} (?:18|19|20)\d\d)"
)
LABELLED = re.compile(rf"(?P<it>{FULL}|(?<![\d.]){_PARTIAL}(?![\d/.-]\d))")
_DIGIT_OR_HAN = re.compile(r"\d|年")

# --- Births ---

BIRTHS: tuple[Rule, ...] = (
    Label(
        "BIRTH_DATE",
        re.compile(
            r"(?:出生日期|出生时间|出生年月日?|出生于|生日|出生[:]|(?<![一-鿿])出生|(?<![产出先学医新再共])生于"
            r"|(?<![a-z])(?:d\.?o\.?b\.?|date of birth|birth ?date|birthday|born(?: on)?|born in))"
            r"\s*(?:\([a-z/-]{2,12}\))?\s*(?:为|是|is|was|on|[:#])?\s*"
        ),
        LABELLED,
    ),
    Shape(
        "BIRTH_DATE",
        re.compile(
            rf"(?P<it>{FULL}|{_YEAR_LIKE}年{_MONTH}月)(?=\s?(?:出生|生(?![物长化命理活成存])))"
        ),
        digits=5,
    ),
)

# --- Other dates ---

CARE = re.compile(
    r"入院|出院|住院|就诊|复诊|初诊|急诊|来诊|门诊|收治|收入|转入|转出|转院|手术|术日|行.{0,14}术|切除|植入|置入|分娩|剖宫产|顺产|剖产"
    r"|足月|检查|检验|送检|采样|取材|会诊|查房|随访|复查|末次月经|预产期|确诊|就医|体检|住进|抢救|化疗|放疗|接种|发病|摄片"
    r"|术后|(?<![a-z])(?:admi(?:tted|ssion)|discharged?|surgery|underw|operated|biops"
    r"|hospitali[sz]|follow-?up|consent"
    r"|implant|vaccinat|lmp|edd|intubat|extubat|appointment|date of|on arrival|transcri|dictated)"
)
"""Words for care: a date in their sentence is a patient's."""
EVENT = re.compile(
    r"死亡|去世|病逝|签[字名署]|报告|记录|日期|预约|受伤|摔伤|拍摄|开具|入组|出现|生育|产于|采集|诊断|挂号|因.{1,12}(?:入|来|就)"
    r"|测量|给予|(?<![a-z])(?:seen|present|died|death|deceased|visit|exam|report|transfer"
    r"|deliver|sign|transcri|dictat"
    r"|schedul|procedure|collected|received|performed|diagnos|evaluat|called|discussed"
    r"|communicat|clinic|review|injur"
    r"|started|scan|mri|ct |x-ray|treated|returned|due|expired|referred|brought|labs?|drawn|dated?)"
)
"""Words for what may happen to anybody: a date in their sentence is a person's if one is meant."""
PERSON = re.compile(
    r"患者|患儿|病人|家属|本人|姓名|新生儿|产妇|伤者|医[师生]|护士|(?<![a-z])(?:patient|pt|he|she|his|her|mr"
    r"|mrs|ms|dr|baby|i)(?![a-z])"
)
PUBLIC = re.compile(
    r"指南|共识|发布|发表|出版|颁布|上市|获批|批准|注册|纳入|启动|截至|截止|施行|修订|文献|研究|数据库|疫情|世卫|卫健委|法规|标准|版本"
    r"|有效期|生产|批号"
    r"|(?<![a-z])(?:publish|guideline|approv|releas|updat|enrol|recruit|database"
    r"|literature|search|registr|trial|cohort"
    r"|epidemic|pandemic|accessed|retrieved|copyright|version|lot |expir(?:y|ation)"
    r"|who declared|fda|patients were|patients with)"
)
_SENTENCE = re.compile(r"[。!?;\n]|(?<![DM][rs])(?<!Mrs)(?<!Prof)(?<! [A-Z])[.](?:\s+(?=[A-Z])|$)")


def dates(text: Text, persons: Iterable[Identifier]) -> Iterator[Identifier]:
    """Full dates in sentences that speak of a person's care, or that name a person."""
    if text.digits < 2 or not _DIGIT_OR_HAN.search(text.text):
        return
    people = list(persons)
    for match in DATE.finditer(text.text):
        start, end = _sentence(text.text, *match.span())
        said = text.lower[start:end]
        if PUBLIC.search(said):
            continue
        named = any(start <= person.start < end for person in people)
        if CARE.search(said) or (EVENT.search(said) and (named or PERSON.search(said))):
            yield Identifier("DATE", *match.span())


def _sentence(text: str, start: int, end: int) -> tuple[int, int]:
    """Where the sentence around a span begins and ends, at most 120 characters either way."""
    begin = max(0, start - 120)
    for match in _SENTENCE.finditer(text, begin, start):
        begin = match.end()
    after = _SENTENCE.search(text, end, end + 120)
    return begin, after.start() if after else min(len(text), end + 120)


DATED: tuple[Rule, ...] = (
    Label(
        "DATE",
        re.compile(
            r"(?:(?:入院|出院|手术|检查|报告|送检|采集|就诊|死亡|会诊|记录|随访|复查|植入|签字|签署|预约|住院|检验|接种|化验|采样|打印|转科"
            r"|分娩|末次月经|预产期|上次就诊|确诊)(?:日期|时间|日)?|日期|预产期|末次月经|lmp|edc"
            r"|(?<![a-z])(?:(?:admission|discharge|exam|examination|report|surgery"
            r"|procedure|visit|service|study|scan|collection"
            r"|operation|death) date|date of (?:admission|discharge|surgery|death"
            r"|service|exam(?:ination)?|operation|procedure"
            r"|visit|injury|onset|report|study|scan)|last seen|next visit|last visit"
            r"|admitted|discharged|date))"
            r"\s*(?:为|是|is|was|on|in|[:#])?\s*"
        ),
        LABELLED,
        lambda text, start, end: (
            not PUBLIC.search(text.lower, max(0, start - 30), min(len(text.lower), end + 15))
        ),
        digits=2,
    ),
)

# --- Ages ---

_OLD = r"(?P<it>9\d|1[01]\d|12[0-5])"
_OLD_WORDS = (
    r"(?P<it>[Nn]inety(?:[- ](?:one|two|three|four|five|six|seven|eight|nine))?"
    r"|(?:[Oo]ne|[Aa]) hundred(?: and \w+)?)"
)
_GROUP = re.compile(
    r"以上|以下|及以|人群|组|[~-]\d|至\d|\s*(?:and|or) (?:over|older|above)|\s*years? (?:and|or"
    r"|of age (?:and|or|were))|\s*\+"
)


def of_one_person(text: Text, start: int, end: int) -> bool:
    """Whether an age is a person's, not a group's or a bound."""
    before = text.lower[max(0, start - 14) : start]
    bound = re.search(
        r"(?:over|under|above|aged?d? (?:of|between)|than|to"
        r"|至|到|在|[<>≥≤~-]|超过|大于|小于|满|近)\s*$",
        before,
    )
    return not bound and not _GROUP.match(
        text.lower, end + (1 if text.lower[end : end + 1] == "岁" else 0)
    )


AGES: tuple[Rule, ...] = (
    Shape("AGE", re.compile(rf"(?<![\d.]){_OLD}(?=\s?周?岁)"), of_one_person, digits=2),
    Shape(
        "AGE",
        re.compile(
            rf"(?<![\d.A-Za-z-]){_OLD}(?=(?:\s|-)?(?:years?(?:\s|-)old(?!s)"
            rf"|year-old(?!s)|y/?o\b|yo\b|yrs?(?:\s|-)old))"
        ),
        of_one_person,
        digits=2,
    ),
    Shape(
        "AGE", re.compile(rf"(?<![A-Za-z]){_OLD_WORDS}(?=(?:\s|-)years?(?:\s|-)old)"), of_one_person
    ),
    Label(
        "AGE",
        re.compile(r"(?:年龄|(?<![a-z])age)\s*(?:为|is|[:#])?\s*"),
        re.compile(rf"{_OLD}(?!\d|\.\d|%|\s?(?:and|or|以上|[-~])|个?月|天)"),
        digits=2,
    ),
)
