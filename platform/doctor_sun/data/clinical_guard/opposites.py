"""Words of opposite meaning that no list names: hypo- and hyper-, 升 and 降 in one place."""

import re
from collections import defaultdict
from collections.abc import Mapping

Contexts = Mapping[tuple[str, str], frozenset[str]]

WORD = re.compile(r"[a-z]{4,}")
SHARED_ENDING = 4  # letters
NEGATIVE = ("un", "in", "im", "ir", "non", "dis", "a", "an", "dys")
OPPOSED = (
    *(("hyper", "hypo"), ("hyper", "iso"), ("hypo", "iso"), ("tachy", "brady"), ("pre", "post")),
    *(("intra", "extra"), ("supra", "infra"), ("ab", "ad"), ("in", "ex"), ("endo", "exo")),
    *(("inter", "intra"), ("super", "infra"), ("macro", "micro"), ("mono", "poly"), ("uni", "bi")),
    *(("ante", "retro"), ("epi", "sub"), ("sub", "supra"), ("ad", "de"), ("over", "under")),
)
# Characters on two ends of one scale; the same neighbour with another end is a contradiction.
SCALES = (
    *(
        "高低",
        "升降",
        "增减",
        "大小",
        "多少",
        "上下",
        "前后",
        "内外",
        "阳阴",
        "急慢",
        "轻重",
        "男女",
    ),
    *(
        "良恶",
        "深浅",
        "快慢",
        "远近",
        "粗细",
        "软硬",
        "强弱",
        "长短",
        "早晚",
        "新旧",
        "开闭",
        "亢减",
    ),
    *(
        "动静",
        "收舒",
        "厚薄",
        "宽窄",
        "甲乙丙丁",
        "干湿",
        "胖瘦",
        "左右",
        "冷热",
        "颈胸腰骶",
        "松紧",
    ),
)
SCALE_OF = {character: scale for scale in SCALES for character in scale}
SCALED = re.compile(f"(.?)([{''.join(SCALE_OF)}])(?=(.?))")
# Words that hold such a character without meaning it.
NEUTRAL = re.compile(
    "大小|多少|前后|上下|内外|目前|以上|以下|左右|上述|如下|之前|大便|小便|大夫|大家|小时|主动脉|多发|"
    "高血压|减少|增多|早期|晚期|大脑|小脑|大约|较前|前片|小心|内科|外科"
)


def words(text: str) -> frozenset[str]:
    """The English words of a text."""
    return frozenset(WORD.findall(text))


def contexts(text: str) -> Contexts:
    """The characters of opposite scales in a text by what stands beside them."""
    if text.isascii():
        return {}
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for before, character, after in SCALED.findall(NEUTRAL.sub(" ", text)):
        scale = SCALE_OF[character]
        if "一" <= before <= "鿿":
            found[scale, before + "_"].add(character)
        if "一" <= after <= "鿿":
            found[scale, "_" + after].add(character)
    return {place: frozenset(characters) for place, characters in found.items()}


def contradiction(
    words_a: frozenset[str], words_b: frozenset[str], at_a: Contexts, at_b: Contexts
) -> tuple[str, str] | None:
    """A word of either text that contradicts one of the other; None when there is none."""
    for place in at_a.keys() & at_b.keys():
        if not at_a[place] & at_b[place]:
            return "".join(sorted(at_a[place])), "".join(sorted(at_b[place]))
    only_a, only_b = words_a - words_b, words_b - words_a
    by_ending: dict[str, list[str]] = defaultdict(list)
    for b in sorted(only_b):
        by_ending[b[-SHARED_ENDING:]].append(b)
    for a in sorted(only_a):
        for b in by_ending.get(a[-SHARED_ENDING:], ()):
            if _opposite(a, b):
                return a, b
    return None


def _opposite(a: str, b: str) -> bool:
    """Whether two words of one ending differ in an opposing prefix only."""
    if any(a == prefix + b or b == prefix + a for prefix in NEGATIVE):
        return True
    return any(
        (a.startswith(p) and b.startswith(q) and a[len(p) :] == b[len(q) :])
        or (a.startswith(q) and b.startswith(p) and a[len(q) :] == b[len(p) :])
        for p, q in OPPOSED
    )
