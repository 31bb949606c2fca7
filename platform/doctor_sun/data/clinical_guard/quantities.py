"""Numbers with their units, how often, grades and stages, levels such as L4 or T2."""

import re
from collections import defaultdict
from collections.abc import Mapping

Quantities = Mapping[str, tuple[str, ...]]

# name of the unit, factor, spellings; lengths in mm, masses in mg, volumes in ml, times in days.
_UNITS = """
mm 1 mm 毫米
mm 10 cm 厘米 公分 centimeter centimeters centimetre centimetres
mm 0.001 um 微米
mg 1 mg 毫克 milligram milligrams
mg 1000 g 克 gram grams gm
mg 1e6 kg 公斤 千克
mg 0.001 ug mcg μg 微克
mg 1e-6 ng
mg 1e-9 pg
ml 1 ml 毫升 cc
ml 1000 l 升 liter liters litre litres
ml 100 dl
ml 0.001 ul μl 微升
mmol 1 mmol
mmol 0.001 umol μmol
mmol 1e-6 nmol
mmol 1e-9 pmol
mol 1 mol
meq 1 meq
u 1 u iu unit units 单位 国际单位
u 0.001 mu miu
% 1 % percent
mmhg 1 mmhg 毫米汞柱
kpa 1 kpa
°c 1 °c ℃ 摄氏度 度c
°f 1 °f
bpm 1 bpm
day 1 day days d 天 日
day 7 week weeks wk wks 周 星期
month 1 month months 月 个月
year 1 year years yr yrs 年
age 1 year-old years-old year-olds yo y/o 岁 周岁
hour 1 hour hours h hr hrs 小时
min 1 min mins minute minutes 分钟 分
s 1 sec second seconds 秒
tablet 1 tablet tablets tab tabs 片
capsule 1 capsule capsules 粒
drop 1 drop drops 滴
puff 1 puff puffs 喷 揿
ampoule 1 ampoule ampoules vial vials 支
course 1 course courses 疗程
cycle 1 cycle cycles 周期
hu 1 hu
time 1 times 次
times 1 fold 倍
plus 1 plus
"""
UNITS = {
    spelling: (name, float(factor))
    for name, factor, *spellings in map(str.split, _UNITS.split("\n")[1:-1])
    for spelling in spellings
}
COUNTED = "[个枚处块例根人]"
_ANY = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
_UNIT = rf"(?:mm\s*hg|(?:{_ANY})(?![a-z])|(?:{COUNTED}))"
_VALUE = r"\d+(?:\.\d+)?(?:e\d{1,2})?"
_BETWEEN = r"\s*(?:×|-|/|至|到|to|by)\s*"
# A chain of numbers (3-5 mm, 3 × 4 cm, 120/80 mmHg) shares the unit at its end.
QUANTITY = re.compile(
    rf"(?<![a-z\d.])({_VALUE})(?:\s*-?\s*({_UNIT}))?"
    rf"((?:{_BETWEEN}{_VALUE}(?:\s*{_UNIT})?)*)"
    rf"((?:\s*/\s*(?:{_ANY})(?![a-z]))*)"
)
FOLLOWING = re.compile(rf"({_VALUE})(?:\s*({_UNIT}))?")
PER = re.compile(rf"/\s*({_ANY})(?![a-z])")
AGE = re.compile(
    r"(?:aged? )?(\d+)\s*-?\s*years?(?:\s*-?\s*olds?| of age)\b"
    r"|\bage[ds]?(?: of)? (\d+)(?: years?)?"
)

# How often, as times a day or as "every so long".
FREQUENCY = (
    (
        re.compile(r"\b(?:once (?:daily|a day|per day|every day|each day)|qd|od|1 time daily)\b"),
        "1/d",
    ),
    (
        re.compile(r"\b(?:twice (?:daily|a day|per day)|2 times (?:a day|daily|per day)|bid)\b"),
        "2/d",
    ),
    (re.compile(r"\b(?:(?:thrice|3 times) (?:daily|a day|per day)|tid)\b"), "3/d"),
    (re.compile(r"\b(?:4 times (?:daily|a day|per day)|qid)\b"), "4/d"),
    (re.compile(r"\b(?:every other day|qod|alternate days)\b|隔[日天](?:1次|一次)?"), "1/2d"),
    (
        re.compile(
            r"\b(?:every|q)\s*(\d+)\s*(?:-?\s*hourly|hours?|hrs?|h)\b|每(?:隔)?(\d+)小时(?:1次)?"
        ),
        "h",
    ),
    (re.compile(r"(?:每|1)?\s*[日天]\s*(\d+)\s*次|(\d+)次/[日天d]"), "/d"),
    (re.compile(r"\b(?:once (?:weekly|a week|per week)|weekly|qw)\b|每周一?(?:次)?(?!\d)"), "1/w"),
    (re.compile(r"\btwice (?:weekly|a week)\b"), "2/w"),
    (re.compile(r"每分钟?\s*(\d+)\s*次|(\d+)\s*次/分钟?"), "/min"),
    (re.compile(r"每周\s*(\d+)\s*次"), "/w"),
    (re.compile(r"\b(?:daily|every day)\b|每[日天]|每晚"), "1/d"),
)
OFTEN = re.compile(
    r"[每隔次]|daily|weekly|hour|\b(?:every|each|times?|once|twice|q|qd|od|bid|tid|qid|qod|qw)\b|q\d"
)
DATE = re.compile(r"\b(\d{4})\s*[-/.年]\s*(\d{1,2})\s*[-/.月]\s*(\d{1,2})(?:日|\b)")

ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6, "vii": 7, "viii": 8, "ix": 9, "x": 10}
_ROMAN = "|".join(sorted(ROMAN, key=len, reverse=True))
_GRADES = "stage|grade|type|class|segment|phase|bi-?rads|mobitz|category|zone|group|child(?:-pugh)?"
GRADE = re.compile(
    rf"\b(?:{_GRADES})\s*-?\s*(?:({_ROMAN}|\d{{1,2}})([a-d]?)|([a-k]))\b"
    rf"|(?<![a-z\d])({_ROMAN}|\d{{1,2}})\s*-?\s*([a-d]?)\s*(?:期|级|型|度(?!数)|段)"
    r"|([甲乙丙丁戊abcde])型"
)
LETTER = re.compile(r"\b(?:hepatitis|influenza|vitamin)\s+([a-k]\d{0,2})\b|([甲乙丙丁戊])(?:肝|流)")
SPINE = re.compile(r"([颈胸腰骶])(?:椎)?(?=\d)")
SPINE_ORDINAL = re.compile(r"第?(\d{1,2})([颈胸腰骶])椎")
VERTEBRA = {"颈": "c", "胸": "t", "腰": "l", "骶": "s"}
LEVELS = re.compile(r"\b([ctls])(\d{1,2})\s*[-/]\s*(?=\d)")
CODE = re.compile(r"(?<![a-z\d])((?:[a-z]{1,6}-?\d{1,4}){1,4}[a-z]?)(?![a-z\d]|\.\d)")


def take_quantities(text: str) -> tuple[Quantities, str]:
    """The quantities of a text in normal form by unit, and the text without them."""
    found: dict[str, list[str]] = defaultdict(list)
    if not any(map(str.isdigit, text)) and not GRADE.search(text) and "ly" not in text:
        return _words_only(text, found)
    text = DATE.sub(lambda m: _note(found, "date", "-".join(m.groups())), text)
    text = SPINE_ORDINAL.sub(lambda m: f"{VERTEBRA[m[2]]}{m[1]}", text)
    text = SPINE.sub(lambda m: " " + VERTEBRA[m[1]], text)
    text = LEVELS.sub(r"\1\2 \1", text)
    text = _take_frequencies(text, found)
    text = GRADE.sub(lambda m: _note(found, "grade", _grade(m)), text)
    text = LETTER.sub(lambda m: _note(found, "grade", m[1] or m[2]), text)
    text = AGE.sub(lambda m: _note(found, "age", m[1] or m[2]), text)
    text = CODE.sub(lambda m: _note(found, "code", m[1].replace("-", "")), text)
    text = QUANTITY.sub(lambda m: _quantity(m, found), text)
    return {unit: tuple(values) for unit, values in found.items()}, text


def _words_only(text: str, found: dict[str, list[str]]) -> tuple[Quantities, str]:
    """The same for a text without any number."""
    text = _take_frequencies(text, found)
    text = LETTER.sub(lambda m: _note(found, "grade", m[1] or m[2]), text)
    return {unit: tuple(values) for unit, values in found.items()}, text


def _note(found: dict[str, list[str]], unit: str, value: str) -> str:
    found[unit].append(value)
    return " "


def _take_frequencies(text: str, found: dict[str, list[str]]) -> str:
    if not OFTEN.search(text):
        return text
    for pattern, name in FREQUENCY:
        for match in pattern.finditer(text):
            found["often"].append("".join(filter(None, match.groups())) + name)
        text = pattern.sub(" ", text)
    return text


def _grade(match: re.Match[str]) -> str:
    """Roman and Arabic numbers alike, with their letter."""
    number, letter = match[1] or match[4], match[2] or match[5] or ""
    if number is None:
        return match[3] or match[6]
    return f"{ROMAN.get(number, number)}{letter}"


def _quantity(match: re.Match[str], found: dict[str, list[str]]) -> str:
    """Note every number of a chain under its unit, or the unit at the chain's end."""
    parts = [(match[1], match[2]), *FOLLOWING.findall(match[3])]
    per = [UNITS[unit] for unit in PER.findall(match[4])]
    last = next((unit for _, unit in reversed(parts) if unit), "")
    for value, own in parts:
        name, factor = _unit(own or last)
        for below, divisor in per:
            name, factor = f"{name}/{below}", factor / divisor
        found[name].append(f"{float(value) * factor:.6g}")
    return " "


def _unit(spelling: str) -> tuple[str, float]:
    """Its name and factor; things counted (个, 枚) have none."""
    return UNITS.get(spelling.replace(" ", ""), ("", 1.0))
