"""Drugs by generic name: a lexicon of common ones in English and Chinese with brands, and the
endings by which generic names show their family (INN stems) for all others.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from doctor_sun.data.clinical_guard.lexicon import LEXICON

ONE_OF = {
    form.replace("_", " "): names[0]
    for line in LEXICON.split("\n")[1:-1]
    for names in map(str.split, line.split(";"))
    for form in names
}
_STEMS = (
    "pril olol statin sartan cillin mycin micin azole dipine floxacin prazole tinib gliptin "
    "gliflozin glutide formin cycline caine tidine parin xaban setron triptan azepam zolam asone "
    "solone profen oxetine mab vir platin taxel rubicin bactam penem oxacin coxib dronate lukast "
    "terol barbital grel teplase kinra mustine citabine trexed fibrate glitazone thiazide"
)
STEMS = tuple(_STEMS.split())
_CHINESE_STEMS = (
    "普利|洛尔|他汀|沙坦|西林|霉素|地平|沙星|拉唑|单抗|替尼|列汀|列净|双胍|西泮|唑仑|替丁|"
    "沙班|司琼|洛芬|西汀|培南|韦林|洛韦|替韦|康唑|硝唑|磺胺|奈德|特罗|司特|贝特|格雷|格列酮|膦酸|铂|比星|他赛|他滨"
)
_BY_LENGTH = sorted((f for f in ONE_OF if not f.isascii()), key=len, reverse=True)
CHINESE_DRUG = re.compile("|".join(_BY_LENGTH).lower())
CHINESE_FAMILY = re.compile(
    rf"头孢[一-鿿]{{2}}|[一-鿿]{{1,2}}(?:{_CHINESE_STEMS})|[一-鿿]{{2}}(?:(?<!睾)丸|颗粒|口服液|冲剂)"
)
_WITH_BLANK = "|".join(form for form in ONE_OF if " " in form)
SALT = re.compile(rf"\b(?:{_WITH_BLANK})\b")
WORD = re.compile(r"[a-z]{2,}")
# A word before a dose is a drug whatever it is: "zyban 150 mg".
BEFORE_DOSE = re.compile(r"(?<![a-z])[a-z]{5,}(?= \d+(?:\.\d+)? ?(?:mg|mcg|ug|μg|units?|iu)\b)")
_NOT_DRUGS = (
    "estimated measured total approximately given taking glucose protein about every daily level "
    "tablet tablets orally dosage started around least maximum initial followed another"
)
NOT_DRUGS = frozenset(_NOT_DRUGS.split())
VERBS = "予服用给注静口改加以及与和或联合换射滴推泵吸入行使"
CHANGE = re.compile(
    r"\b(?:from|instead|replac\w+|switch\w*|chang\w+ to|rather than|but not|substitut\w+)\b"
    r"|改为|改用|换成|换用|替代|代替|而非|而不是"
)


def take_drugs(text: str) -> tuple[tuple[str, ...], str]:
    """The drugs of a text in normal form, in order, and the text without them."""
    found = [(m.start(), m.end(), ONE_OF[m[0]]) for m in SALT.finditer(text)]
    doses = {m.start() for m in BEFORE_DOSE.finditer(text)} if " " in text else set()
    for word in WORD.finditer(text):
        if _is_drug(word[0]) or (word.start() in doses and word[0] not in NOT_DRUGS):
            found.append((word.start(), word.end(), ONE_OF.get(word[0], word[0])))
    if not text.isascii():
        listed = [(m.start(), m.end(), ONE_OF[m[0]]) for m in CHINESE_DRUG.finditer(text)]
        rest = _without(text, listed, filler="\0")
        families = CHINESE_FAMILY.finditer(rest)
        found += [*listed, *((m.start(), m.end(), m[0].lstrip(VERBS)) for m in families)]
    found.sort()
    return tuple(dict.fromkeys(name for *_, name in found)), _without(text, found)


@lru_cache(65536)
def _is_drug(word: str) -> bool:
    return word in ONE_OF or (len(word) > 5 and word.endswith(STEMS))


def _without(text: str, spans: Sequence[tuple[int, int, str]], filler: str = " ") -> str:
    """A text with spans blanked, its length kept."""
    for start, end, _ in spans:
        text = text[:start] + filler * (end - start) + text[end:]
    return text


def changes_drug(text: str) -> bool:
    """Whether a text says that one drug takes the place of another."""
    return bool(CHANGE.search(text))
