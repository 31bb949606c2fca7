"""One spelling for what is written in many: full-width forms, signs, hyphens, Chinese numerals."""

import re
import unicodedata

SUPERSCRIPT = re.compile("[⁰¹²³⁴-⁹]+")  # NFKC would make 10⁹ into 109
# "3.2x4.1 cm", "3 cm * 4 cm"
TIMES = re.compile(r"(?<=[\dm])\s*[x*]\s*(?=\d)")
QUOTES = dict.fromkeys(map(ord, '"“”„'))
DASH = str.maketrans("‐‑‒–—−~～*×⁄", "--------xx/")
RESULT = re.compile(r"[(\[]\s*(-|\+{1,4}|±)\s*[)\]]")
PREFIX = re.compile(r"\b(post|pre|non|hyper|hypo|anti|sub|re|un|de|extra|intra|inter)-(?=[a-z])")
POWER = re.compile(r"\s*x\s*10\s*(?:\^\s*(\d{1,2})|(12|9|6|3)(?=\s*/))")
# "1、" or "2." before an item of a list, where no number stands after it (but "2.2型" is an item).
ITEM = re.compile(
    r"(?:^\W*|(?<=[:;。\n,])(?<!\d:)\s*|(?<=\.)\s+)\(?\d{1,2}(?:[、)]|\.(?!\d)|\.(?=\d型))\s*"
)
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
VALUES = {word: str(n) for n, word in enumerate(WORDS, 2)} | {"half": "0.5"}
# "one" counts only where a unit follows: "one nodule" is "a nodule".
WORD_VALUE = re.compile(
    rf"\b(?:({'|'.join(VALUES)})|one(?=\s+(?:tablet|capsule|day|week|month|year|hour|unit|dose)))\b"
    r"(?:\s+an?\b)?"
)
NUMERAL = "零〇一二三四五六七八九十百千万两半"
MEASURE = (
    "个月|[个枚片粒支处次天日周月年岁度级期型倍滴喷瓶袋根块椎人例]|疗程|小时|分钟|毫|厘米|微克|克|升|单位|公|"
    "千克|国际|秒|周期"
)
CHINESE_NUMBER = re.compile(rf"第[{NUMERAL}]+|(?<![{NUMERAL}])[{NUMERAL}]+(?=(?:多)?(?:{MEASURE}))")
VARIANTS = str.maketrans("粘癥嵴瘀", "黏症脊淤")  # characters written in two ways
ARTICLE = re.compile(r"一(?=[个枚处种例项位条块])|一次(?!/)(?<!日一次)(?<!天一次)(?<!周一次)")
STOP = re.compile(r"(?<=[一-鿿])\.(?=\d)")  # no decimal point stands behind a Chinese character


def normal_form(text: str) -> str:
    """Lower case, half width, one sign for each meaning, numbers in Arabic digits."""
    text = SUPERSCRIPT.sub(lambda m: "^" + unicodedata.normalize("NFKC", m[0]), text)
    text = unicodedata.normalize("NFKC", text).lower().translate(DASH).replace("''", "")
    text = text.translate(QUOTES)
    text = RESULT.sub(_result, text)
    text = THOUSANDS.sub("", PREFIX.sub(r"\1", text))
    text = POWER.sub(lambda m: f"e{m[1] or m[2]}", text)
    text = TIMES.sub("×", text)
    text = WORD_VALUE.sub(lambda m: VALUES.get(m[1], "1"), text)
    if not text.isascii():
        text = ARTICLE.sub("", text.translate(VARIANTS))
        text = CHINESE_NUMBER.sub(lambda m: _chinese_number(m[0]), text)
        text = STOP.sub("。", text)
    return ITEM.sub("", text.replace("首日", "第1天").replace("首次", "第1次"))


def _result(match: re.Match[str]) -> str:
    """A laboratory's (+), (-), (++) in words."""
    sign = match[1]
    if sign == "-":
        return " negative "
    return " positive " if sign == "+" else f" positive {len(sign)}plus "


def _chinese_number(numeral: str) -> str:
    """第十二 -> 第12; the numerals' values are those of Unicode."""
    if numeral[0] == "第":
        return "第" + _chinese_number(numeral[1:])
    if numeral == "半":
        return "0.5"
    total, section, digit = 0.0, 0.0, 0.0
    for character in numeral.replace("两", "二").replace("半", ""):
        value = unicodedata.numeric(character)
        if value < 10:
            digit = value
        elif value < 10_000:
            section, digit = section + (digit or 1) * value, 0
        else:
            total, section, digit = (section + digit) * value, 0, 0
    half = 0.5 if numeral.endswith("半") else 0
    return f"{total + section + digit + half:g}"
