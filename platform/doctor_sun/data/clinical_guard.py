"""What two texts, however alike, say differently in clinical terms (English and Chinese).

Embeddings place "nodule in the left lung" and "nodule in the right lung" side by side. Before
two texts count as the same, this guard compares what must not differ: numbers with their units,
sides, negations, signs (more or less, positive or negative), times and drugs. It errs towards
"different": a pair it cannot match is kept apart.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "side", "negation", "sign", "time", "drug"]


@dataclass(frozen=True)
class Difference:
    """One clinical difference: its kind, and what either text says."""

    kind: Kind
    first: str
    second: str


def differences(a: str, b: str) -> list[Difference]:
    """What differs clinically between two texts; empty when nothing does.

    The texts may be English, Chinese or mixed, but in the same language as each other.
    """
    a, b = _normalise(a), _normalise(b)
    found = []
    for kind, extract in EXTRACTORS.items():
        first, second = extract(a), extract(b)
        if first != second:
            found.append(Difference(kind, " ".join(first), " ".join(second)))
    negation = _negation_difference(a, b)
    return found + ([negation] if negation else [])


def _normalise(text: str) -> str:
    """NFKC (full-width to half-width), lower case."""
    return unicodedata.normalize("NFKC", text).lower()


# Numbers: value and unit, lengths in mm, masses in mg, volumes in ml.
UNITS: Mapping[str, tuple[str, float]] = {
    **{"mm": ("mm", 1), "毫米": ("mm", 1), "cm": ("mm", 10), "厘米": ("mm", 10), "m": ("mm", 1000)},
    **{"mg": ("mg", 1), "毫克": ("mg", 1), "g": ("mg", 1000), "克": ("mg", 1000)},
    **{"kg": ("mg", 1e6), "公斤": ("mg", 1e6), "千克": ("mg", 1e6)},
    **{"ug": ("mg", 1e-3), "mcg": ("mg", 1e-3), "μg": ("mg", 1e-3), "微克": ("mg", 1e-3)},
    **{"ml": ("ml", 1), "毫升": ("ml", 1), "l": ("ml", 1000), "升": ("ml", 1000)},
    **{"%": ("%", 1), "mmhg": ("mmhg", 1), "bpm": ("bpm", 1), "iu": ("iu", 1)},
    **{"day": ("day", 1), "days": ("day", 1), "天": ("day", 1), "日": ("day", 1)},
    **{"week": ("day", 7), "weeks": ("day", 7), "周": ("day", 7)},
    **{"month": ("month", 1), "months": ("month", 1), "个月": ("month", 1), "月": ("month", 1)},
    **{"year": ("year", 1), "years": ("year", 1), "年": ("year", 1), "岁": ("year", 1)},
    **{"hour": ("hour", 1), "hours": ("hour", 1), "h": ("hour", 1), "小时": ("hour", 1)},
}
_UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
NUMBER = re.compile(rf"(\d+(?:\.\d+)?)\s*-?\s*(?:({_UNIT})(?![a-z]))?")
NUMBER_WORDS = {
    **{
        w: n
        for n, w in enumerate(
            ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], 2
        )
    },
    **{"twice": 2, "once": 1, "single": 1, "double": 2},
}
WORD_NUMBER = re.compile(rf"\b({'|'.join(NUMBER_WORDS)})\b")
CHINESE_DIGITS = {c: n for n, c in enumerate("一二三四五六七八九十", 1)} | {"两": 2}
CHINESE_NUMBER = re.compile(r"([一二两三四五六七八九十])(?=[个次天周月年岁片枚处倍度级期型])")
GRADE = re.compile(
    r"\b(i{1,3}|iv|vi{0,3})\b(?=\s*(?:度|级|期|型|[,.;)]|$))|\b(?:grade|stage|type|class)\s+(\w+)"
)


def _numbers(text: str) -> list[str]:
    values = []
    for value, unit in NUMBER.findall(text):
        name, factor = UNITS.get(unit, ("", 1.0))
        values.append(f"{float(value) * factor:g}{name}")
    values += [str(NUMBER_WORDS[word]) for word in WORD_NUMBER.findall(text)]
    values += [str(CHINESE_DIGITS[digit]) for digit in CHINESE_NUMBER.findall(text)]
    values += ["".join(groups) for groups in GRADE.findall(text)]
    return sorted(values)


def _finder(words: Mapping[str, Iterable[str]], ordered: bool) -> Callable[[str], list[str]]:
    """A function from a text to the classes of words in it, in order or sorted."""
    named = {form: name for name, forms in words.items() for form in forms}
    parts = sorted(named, key=len, reverse=True)
    pattern = re.compile(
        "|".join(rf"\b{re.escape(p)}\b" if p[-1].isascii() else re.escape(p) for p in parts)
    )

    def find(text: str) -> list[str]:
        found = [named[match] for match in pattern.findall(text)]
        return found if ordered else sorted(found)

    return find


SIDES = {
    "left": ("left", "left-sided", "左"),
    "right": ("right", "right-sided", "右"),
    "both": ("bilateral", "bilaterally", "both", "双侧", "双", "两侧", "两肺"),
}
SIGNS = {
    "positive": ("positive", "阳性"),
    "negative": ("negative", "阴性"),
    "more": (
        *("increased", "increase", "increasing", "elevated", "higher", "high", "enlarged"),
        *("larger", "worsening", "worse"),
        *("升高", "增高", "增大", "增多", "加重", "偏高", "扩大"),
    ),
    "less": (
        *("decreased", "decrease", "decreasing", "reduced", "lower", "low", "smaller"),
        *("improved", "improving"),
        *("降低", "减低", "缩小", "减少", "减轻", "偏低", "好转"),
    ),
    "stable": ("stable", "unchanged", "稳定", "无变化"),
    "malignant": ("malignant", "恶性"),
    "benign": ("benign", "良性"),
    "mild": ("mild", "mildly", "轻度", "轻微"),
    "moderate": ("moderate", "moderately", "中度"),
    "severe": ("severe", "severely", "重度", "严重"),
    "above": (">", "≥", "above", "超过", "高于"),
    "below": ("<", "≤", "below", "低于", "不足"),
}
TIMES = {
    "before": ("before", "prior", "previous", "previously", "preoperative", "术前", "之前", "既往"),
    "after": ("after", "following", "postoperative", "术后", "之后"),
    "new": ("new", "newly", "新发", "新出现"),
    "old": ("old", "remote", "陈旧", "陈旧性"),
    "acute": ("acute", "急性"),
    "subacute": ("subacute", "亚急性"),
    "chronic": ("chronic", "慢性"),
    "history": ("history", "病史"),
    "daily": ("daily", "每日", "每天"),
    "weekly": ("weekly", "每周"),
}
# Generic names carry their family in the ending; a few frequent ones do not.
DRUG = re.compile(
    r"\b\w{2,}(?:pril|olol|statin|sartan|cillin|mycin|micin|azole|dipine|floxacin|prazole|mab"
    r"|tinib|gliptin|gliflozin|glutide|formin|cycline|caine|tidine|parin|xaban|setron|triptan"
    r"|pam|lam|sone|solone|profen|oxetine|vir)\b"
    r"|\b(?:aspirin|warfarin|insulin|heparin|digoxin|furosemide|morphine|acetaminophen"
    r"|paracetamol|nitroglycerin|levothyroxine|allopurinol|colchicine|lithium|codeine)\b"
    r"|[一-鿿]{1,3}(?:普利|洛尔|他汀|沙坦|西林|霉素|地平|沙星|拉唑|单抗|替尼|列汀|列净|双胍|西泮"
    r"|泼尼松|替丁|沙班|司琼|布洛芬|西汀)|阿司匹林|华法林|胰岛素|肝素|地高辛|呋塞米|吗啡|硝酸甘油"
)


def _drugs(text: str) -> list[str]:
    return sorted(DRUG.findall(text))


EXTRACTORS: Mapping[Kind, Callable[[str], list[str]]] = {
    "number": _numbers,
    "side": _finder(SIDES, ordered=True),
    "sign": _finder(SIGNS, ordered=False),
    "time": _finder(TIMES, ordered=False),
    "drug": _drugs,
}

# Negation: the cue, and what stands in its reach (to the end of the clause).
NEGATION = re.compile(
    r"\b(?:no|not|without|denies|denied|negative for|absence of|free of|never|none|nor|non"
    r"|cannot|isn't|doesn't|rule out)\b|无|未|不|否认|非|没有|没"
)
CLAUSE_END = re.compile(r"[.;:,!?\n。；：，！？、]|$")
UNIT_OF_MEANING = re.compile(r"[a-z]{3,}|[一-鿿]")
FUNCTION_WORDS = frozenset(
    [
        "the",
        "and",
        "for",
        "with",
        "are",
        "was",
        "were",
        "there",
        "this",
        "that",
        "has",
        "have",
        "had",
        "been",
        "its",
        "from",
        "into",
        "than",
    ]
)


def _units(text: str) -> list[str]:
    """Words of English, single characters of Chinese."""
    return [unit for unit in UNIT_OF_MEANING.findall(text) if unit not in FUNCTION_WORDS]


def _negated_clauses(text: str) -> list[str]:
    """What follows each negation, to the end of its clause."""
    clauses = []
    for cue in NEGATION.finditer(text):
        end = CLAUSE_END.search(text, cue.end())
        clauses.append(text[cue.end() : end.start() if end else len(text)])
    return clauses


def _negation_difference(a: str, b: str) -> Difference | None:
    """Other numbers of negations, or a word of both texts that only one of them negates."""
    clauses_a, clauses_b = _negated_clauses(a), _negated_clauses(b)
    negated_a = Counter(unit for clause in clauses_a for unit in _units(clause))
    negated_b = Counter(unit for clause in clauses_b for unit in _units(clause))
    shared = set(_units(a)) & set(_units(b))
    changed = sorted(u for u in shared if (u in negated_a) != (u in negated_b))
    if len(clauses_a) == len(clauses_b) and not changed:
        return None
    only_a = [unit for unit in changed if unit in negated_a]
    only_b = [unit for unit in changed if unit in negated_b]
    return Difference(
        "negation",
        " ".join([f"{len(clauses_a)} negations", *only_a]),
        " ".join([f"{len(clauses_b)} negations", *only_b]),
    )
