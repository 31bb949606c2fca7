"""What a translation must keep, English to Chinese: deterministic checks before any judge.

Numbers with units, sides, negations and option letters are read from both languages into one form
and compared. The checks err towards a finding: a row with one waits for a person.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Finding = Literal[
    "numbers", "sides", "negations", "options", "untranslated", "length", "not a translation"
]


@dataclass(kw_only=True)
class PreservationConfig:
    """Limits of the checks that have one."""

    most_latin: float = 0.1
    """Largest part of English words in a translation, among them and Chinese characters; names,
    units and abbreviations do not count."""

    least_length: float = 0.12
    """Characters of the translation by those of the source, at least."""

    most_length: float = 1.2
    """Characters of the translation by those of the source, at most."""

    length_from: int = 40
    """Characters of the source from which its length is compared."""


def findings(source: str, translation: str, config: PreservationConfig) -> list[Finding]:
    """What one text's translation does not keep; empty when nothing is wrong."""
    english, chinese = _normal(source), _normal(translation)
    found: list[Finding] = []
    if not _numbers_agree(english, chinese):
        found.append("numbers")
    if not _sides_agree(english, chinese):
        found.append("sides")
    if not _negations_agree(english, chinese):
        found.append("negations")
    if _label(english) != _label(chinese):
        found.append("options")
    if latin_share(source, translation) > config.most_latin:
        found.append("untranslated")
    ratio = len(translation) / max(len(source), 1)
    usual = config.least_length <= ratio <= config.most_length
    if len(source) >= config.length_from and not usual:
        found.append("length")
    if META.search(chinese) and not ENGLISH_META.search(english):
        found.append("not a translation")
    return found


def option_findings(translations: Sequence[str]) -> list[Finding]:
    """Whether two options of one question have become one."""
    plain = [_normal(text).strip(" 。.") for text in translations]
    return ["options"] if len(set(plain)) < len(plain) else []


def _normal(text: str) -> str:
    """NFKC (full-width to half-width), lower case, thousands without commas."""
    text = unicodedata.normalize("NFKC", text).lower()
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)


# Numbers: value in a base unit and the unit's name.
UNITS: Mapping[str, tuple[str, float]] = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "毫米"), ("mm", 1)),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "厘米", "公分"), ("mm", 10)),
    **dict.fromkeys(("mg", "milligram", "milligrams", "毫克"), ("mg", 1)),
    **dict.fromkeys(("g", "gram", "grams", "克"), ("mg", 1e3)),
    **dict.fromkeys(("kg", "kilogram", "kilograms", "公斤", "千克"), ("mg", 1e6)),
    **dict.fromkeys(("ug", "mcg", "μg", "microgram", "micrograms", "微克"), ("mg", 1e-3)),
    **dict.fromkeys(("ml", "milliliter", "milliliters", "cc", "毫升"), ("ml", 1)),
    **dict.fromkeys(("l", "liter", "liters", "litre", "升"), ("ml", 1e3)),
    **dict.fromkeys(("%", "percent"), ("%", 1)),
    **dict.fromkeys(("mmhg", "毫米汞柱"), ("mmhg", 1)),
    **dict.fromkeys(("day", "days", "天", "日"), ("day", 1)),
    **dict.fromkeys(("week", "weeks", "周", "星期"), ("day", 7)),
    **dict.fromkeys(("month", "months", "个月", "月"), ("month", 1)),
    **dict.fromkeys(("year", "years", "yr", "年", "岁"), ("year", 1)),
    **dict.fromkeys(("hour", "hours", "h", "hr", "小时"), ("hour", 1)),
    **dict.fromkeys(("minute", "minutes", "min", "分钟"), ("minute", 1)),
}
_UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
NUMBER = re.compile(rf"(\d+(?:\.\d+)?)\s*([万亿])?(?:\s*-?\s*({_UNIT})(?![a-z])(?!龄))?")
RANGE = re.compile(r"\s*(?:-|–|~|to|and|x|×|\*|至|到|或|和|乘)\s*")
SCALE = {"万": 1e4, "亿": 1e8, "": 1.0}
WORDS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
COUNTS: dict[str, int] = {
    **{word: value for value, word in enumerate(WORDS, 2)},
    **{"eleven": 11, "twelve": 12, "twice": 2, "thrice": 3},
}
ENGLISH_NUMBERS: Mapping[str, int] = COUNTS | {
    **{"double": 2, "both": 2, "half": 2, "second": 2, "third": 3, "fourth": 4, "fifth": 5},
    **{"ii": 2, "iii": 3, "iv": 4, "vi": 6},
}
ENGLISH_NUMBER = re.compile(rf"\b({'|'.join(ENGLISH_NUMBERS)})\b")
DIGITS = {digit: value for value, digit in enumerate("一二三四五六七八九", 1)} | {"两": 2}
CHINESE_NUMBER = re.compile(
    r"([一二两三四五六七八九]?)(十?)([一二三四五六七八九]?)"
    r"(?=[个次天周月年岁片枚处倍度级期型种条块颗例名位项组层段支根])"
)
# One is left out: an article in English, part of many words in Chinese.


def _numbers(text: str) -> Counter[tuple[float, str]]:
    """Numbers in digits; one without a unit in a range or product has the next one's."""
    found: list[tuple[float, str]] = []
    matches = list(NUMBER.finditer(text))
    following = ""
    for position in range(len(matches) - 1, -1, -1):
        match = matches[position]
        unit = match[3] or ""
        if not unit and position + 1 < len(matches):
            between = text[match.end() : matches[position + 1].start()]
            unit = following if RANGE.fullmatch(between) else ""
        following = unit
        name, factor = UNITS.get(unit, ("", 1.0))
        value = float(match[1]) * SCALE[match[2] or ""] * factor
        found.append((float(f"{value:.6g}"), name))
    return Counter(found)


def _english_words(text: str) -> Counter[float]:
    return Counter(float(ENGLISH_NUMBERS[word]) for word in ENGLISH_NUMBER.findall(text))


def _chinese_words(text: str) -> Counter[float]:
    values = []
    for tens, ten, ones in CHINESE_NUMBER.findall(text):
        value = (DIGITS.get(tens, 1) * 10 if ten else 0) + DIGITS.get(ones, 0)
        value = value if ten else DIGITS.get(tens or ones, 0)
        if value > 1:
            values.append(float(value))
    return Counter(values)


def _numbers_agree(english: str, chinese: str) -> bool:
    """Digits have their equals on the other side, as digits or as words; words have theirs."""
    here, there = _numbers(english), _numbers(chinese)
    missing, added = here - there, there - here
    english_words, chinese_words = _english_words(english), _chinese_words(chinese)
    left_words = chinese_words - _as_words(missing)
    right_words = english_words - _as_words(added)
    unsaid = _as_words(missing) - chinese_words
    unheard = _as_words(added) - english_words
    # "both" and ordinals have many forms; only what Chinese adds must stand in the English.
    return (
        not unsaid
        and not unheard
        and not left_words - right_words
        and _counted(right_words, left_words, english)
    )


def _as_words(numbers: Counter[tuple[float, str]]) -> Counter[float]:
    """The values as they could be said in words: in their own unit or in a base unit."""
    values: Counter[float] = Counter()
    for (value, unit), count in numbers.items():
        factor = 7 if unit == "day" and value % 7 == 0 and value > 7 else 1
        values[value / factor] += count
    return values


def _counted(english: Counter[float], chinese: Counter[float], text: str) -> bool:
    """Whether plain counts of the English ("two nodules") stand in the Chinese."""
    words = [word for word in ENGLISH_NUMBER.findall(text) if word in COUNTS]
    strict = Counter(float(ENGLISH_NUMBERS[word]) for word in words)
    return not (strict & english) - chinese


# Sides. "Both" has many forms in either language; it must only not be made up or lost.
ENGLISH_SIDE = re.compile(
    r"\b(left and right|right and left|bilateral(?:ly)?|both|either|left|right)\b"
)
CHINESE_SIDE = re.compile(
    r"左、?右(?!旋)|右、?左|双侧|双[肺肾眼耳手足上下膝髋肩踝乳卵]|两[侧肺肾眼耳旁]|左|右"
)
ABOUT = re.compile(r"(?<=[\d\w])左右(?=[,。;\s]|$)")


def _sides(text: str, pattern: re.Pattern[str]) -> list[str]:
    names = {"left": "left", "左": "left", "right": "right", "右": "right"}
    found = [names.get(match[0], "both") for match in pattern.finditer(text)]
    return [side for at, side in enumerate(found) if at == 0 or side != found[at - 1]]


def _sides_agree(english: str, chinese: str) -> bool:
    """The same sides in the same order; repeats in a row count once."""
    here = _sides(english, ENGLISH_SIDE)
    there = _sides(ABOUT.sub("", chinese), CHINESE_SIDE)
    strict_here = [side for side in here if side != "both"]
    strict_there = [side for side in there if side != "both"]
    if _collapsed(strict_here) != _collapsed(strict_there):
        return False
    two = re.search(r"\btwo\b|\bpair", english)
    lost = re.search(r"\bbilateral", english) and "both" not in there
    return not lost and not ("both" in there and "both" not in here and not two)


def _collapsed(sides: Sequence[str]) -> list[str]:
    return [side for at, side in enumerate(sides) if at == 0 or side != sides[at - 1]]


# Negations, by sentence. Words that negate by their form (irregular, 不规则) may go either way.
ENGLISH_NEGATION = re.compile(
    r"\b(?:no(?!\.\s?\d)|not(?! only)|without|denie[sd]|deny|absence of|free of|never|none|nor"
    r"|cannot|neither|negative for)\b|n't\b"
)
ENGLISH_LOOSE = re.compile(
    r"\b(?:un|in|im|ir|dis|non|a|hetero)-?[a-z]{4,}|\b(?:negative|absent|normal|clear|stable|intact"
    r"|lack\w*|fail\w*|rule[sd]? out|exclud\w*|rather than|little|few|hardly|barely|only|until"
    r"|different|other|painless|\w+less|atelecta\w+|nontender|benign|free|poor\w*|deficien\w*"
    r"|whether|if|insufficien\w*|loss|decreas\w*|limited|future|anonym\w*|sterile|deni\w+|refus\w*"
    r"|avoid\w*|prevent\w*|miss\w*|other than|except|\w+'t)\b"
)
CHINESE_COMPOUND = re.compile(
    r"是否|能否|有无|有没有|是不是|能不能|会不会|与否|可否|否则|非常|除非|不同|不断|不仅|不但|不过"
    r"|无论|不管|未来|肺不张|膨胀不全|不规则|不均|不对称|不全|不足|不良|不清|不稳|不适|不整|不孕|不典型"
    r"|非典型|非特异|非小细胞|非霍奇金|非甾体|非酒精|无名|无菌|无创|未分化|不可|不等|无力|不安|不当"
)
CHINESE_NEGATION = re.compile(r"[无未不非没否别莫勿]")
CHINESE_LOOSE = re.compile(r"阴性|正常|缺|排除|除外|难|免|少|失|清晰|完整|稳定|良性|禁|拒|避")
SENTENCE = re.compile(r"[.;!?。;！？\n]+(?!\d)")


def _sentences(text: str) -> list[str]:
    return [part for part in SENTENCE.split(text) if re.search(r"\w", part)]


def _negations_agree(english: str, chinese: str) -> bool:
    """Every sentence negates in both or in neither; unequal counts compare the whole texts."""
    here, there = _sentences(english), _sentences(chinese)
    if len(here) != len(there):
        here, there = [english], [chinese]
    return all(_negates_alike(a, b) for a, b in zip(here, there, strict=True))


def _negates_alike(english: str, chinese: str) -> bool:
    strict = bool(ENGLISH_NEGATION.search(english))
    bare = CHINESE_COMPOUND.sub(" ", chinese)
    negated = bool(CHINESE_NEGATION.search(bare))
    if strict and not negated:
        loose = CHINESE_LOOSE.search(chinese) or len(bare) < len(chinese)
        return bool(loose)
    if negated and not strict:
        return bool(ENGLISH_LOOSE.search(english))
    return True


LABEL = re.compile(r"\(?([a-j])[).:](?!\w)")


def _label(text: str) -> str:
    """The option letter that a text begins with, "" without one."""
    match = LABEL.match(text.lstrip())
    return match[1] if match else ""


LATIN = re.compile(r"[A-Za-z][A-Za-z'-]*[A-Za-z]")
CHINESE = re.compile(r"[㐀-鿿]")


def latin_share(source: str, translation: str) -> float:
    """Part of a translation that is English words, 1 when it has no Chinese at all.

    Abbreviations, units, and names that stand capitalised inside the source do not count.
    """
    names = set(re.findall(r"(?<=[a-z,] )[A-Z][a-z]+", source))
    words = [w for w in LATIN.findall(translation) if _is_word(w) and w not in names]
    chinese = len(CHINESE.findall(translation))
    if not chinese:
        return 1.0 if any(map(_is_word, LATIN.findall(source))) else 0.0
    letters = sum(map(len, words))
    return letters / (letters + chinese)


def _is_word(text: str) -> bool:
    return len(text) > 2 and not text[1:].isupper() and text.lower() not in UNITS


META = re.compile(
    r"^\W*(?:sure|certainly|of course|here is|here's|as an ai|i'm sorry|i cannot|translation:"
    r"|好的,|当然,|以下是|下面是|翻译如下|翻译:|译文|译为|抱歉|对不起|作为一个?(?:ai|人工智能|语言模型)"
    r"|我无法|我不能)|\bas an ai\b|人工智能助手"
)
ENGLISH_META = re.compile(
    r"^\W*(?:sure|certainly|of course|ok|okay|well|the following|below|here|sorry|i'm sorry|i am"
    r"|i can|as an?|translation)\b"
)


def all_findings(
    sources: Sequence[str],
    translations: Sequence[str],
    options: Sequence[Sequence[int]],
    config: PreservationConfig,
) -> list[Finding]:
    """The kinds of findings over all texts of a conversation, each once, in a fixed order."""

    def found() -> Iterator[Finding]:
        for source, translation in zip(sources, translations, strict=True):
            yield from findings(source, translation, config)
        for numbers in options:
            yield from option_findings([translations[number] for number in numbers])

    return sorted(set(found()))
