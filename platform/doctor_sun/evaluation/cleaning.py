"""Text cleaners behind the scores: the published one with every quirk, and a corrected one.

`clean_published` follows `clean_str` of MultiMedEval 1.0.0 (multimedeval/utils.py), itself adapted
from the VQAv2 evaluation. Known consequences: the letter "A" disappears as an article, ":" sticks
to its word, at most 32 periods are removed, Chinese punctuation stays and Chinese is one token.
"""

import re
import unicodedata

PUNCTUATION = tuple(';/[]"{}()=+\\_-><@`,?!')
DIGIT_COMMA = re.compile(r"\d,\d")
PERIOD = re.compile(r"(?!<=\d)(\.)(?!\d)")
PERIODS_REMOVED = 32  # the original passes `re.UNICODE`, which is 32, where `sub` takes a count
NUMBERS = {
    **{"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4"},
    **{"five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"},
}
ARTICLES = frozenset({"a", "an", "the"})
# VQAv2's contractions: a token that lacks one of a word's apostrophes becomes the word. The
# original's entries with capitals are left out: tokens are lower-case, so they never match.
_CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've
might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
someone's something'd something'd've something'll that's there'd there'd've there're there's
they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's
won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
CONTRACTIONS = {
    word[:i] + word[i + 1 :]: word
    for word in _CONTRACTED.split()
    for i, c in enumerate(word)
    if c == "'"
} | {"somebody'd": "somebodyd"}

CJK = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
CHINESE = re.compile(rf"[{CJK}]+")
CORRECTED_TOKEN = re.compile(rf"[{CJK}]+|\d+(?:\.\d+)?%?|[^\W\d_{CJK}]+(?:'[^\W\d_]+)?")


def clean_published(text: str) -> str:
    """A text as MultiMedEval compares it: lower case, words separated by one space."""
    lowered = cleaned = text.lower()
    comma_in_number = DIGIT_COMMA.search(lowered) is not None
    for mark in PUNCTUATION:
        beside_space = mark + " " in lowered or " " + mark in lowered
        cleaned = cleaned.replace(mark, "" if beside_space or comma_in_number else " ")
    cleaned = PERIOD.sub("", cleaned, count=PERIODS_REMOVED)
    words = [NUMBERS.get(word, word) for word in cleaned.split()]
    kept = [CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES]
    return " ".join(kept).replace(",", "")


def corrected_tokens(text: str) -> list[str]:
    """Words of a text in either language: Latin words, numbers, Chinese words as jieba cuts them.

    Full-width forms are folded (NFKC), case and punctuation dropped, number words become digits,
    articles go unless they are all there is (so the answer "A" stays an answer).
    """
    import rjieba

    words = []
    for token in _plain_tokens(text):
        words += rjieba.cut(token) if CHINESE.match(token) else [token]
    return words


def normalise_answer(text: str) -> str:
    """A short answer in the form that exact matching compares; "" where there is no answer.

    Chinese characters stand apart: where words end depends on what surrounds them.
    """
    return " ".join(
        " ".join(token) if CHINESE.match(token) else token for token in _plain_tokens(text)
    )


def _plain_tokens(text: str) -> list[str]:
    """Latin words, numbers and runs of Chinese."""
    folded = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    folded = re.sub(r"(?<=\d),(?=\d{3})", "", folded)
    tokens = [NUMBERS.get(token, token) for token in CORRECTED_TOKEN.findall(folded)]
    return [token for token in tokens if token not in ARTICLES] or tokens
