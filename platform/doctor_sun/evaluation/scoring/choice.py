"""Questions with options: which option an answer names, in English or Chinese.

Used by every corrected scoring of such questions. What an answer says outright ("the answer is B",
"故选AC") counts before a letter that it begins with, that before an option that it speaks of, and
that before an option's text that stands in it. An answer that names none, or several where one is
asked for, is unparsable.
"""

import re
from collections.abc import Mapping

from doctor_sun.evaluation.cleaning import normalise_answer
from doctor_sun.evaluation.scoring.row import Row, Score, hit

SINGLE = r"[A-Z](?![A-Za-z])"
LETTERS = rf"({SINGLE}(?:\s*(?:[、,，;；/和及与&\s]|and|or)\s*{SINGLE})*|[A-Z]{{2,7}}(?![A-Za-z]))"
FILLER = (
    r"(?:[\s:：*_】」\])()（\[【{\"'$\\]|(?i:is|are|be|would|should|option|choice|boxed|text)"
    r"|应|该|是|为|选|择|项)*?"
)
OUTRIGHT = re.compile(
    r"(?:(?i:answers?|(?:correct|right|best)\s+(?:choice|option)s?)|答案|正确(?:的)?选项|故选|应选|选择)"
    rf"{FILLER}{LETTERS}"
)
SPOKEN_OF = re.compile(
    rf"(?:(?i:options?|choose|it\s+is)|选项?){FILLER}{LETTERS}"
    rf"|{LETTERS}\s*(?i:is\s+(?:the\s+)?(?:correct|right|best))"
    rf"|{LETTERS}\s*(?:选项)?(?:是)?正确"
)
LEADING = re.compile(rf"^\W*{LETTERS}(?!-\w)(?=\s*(?:$|[^\w\s]|\n|[\u4e00-\u9fff]))")
LISTED = re.compile(r"(?:^|[\n、，,;；])\s*([A-Z])\s*[.．、:：)）]")
INITIAL = re.compile(r"^\s*\.\s+(?=[a-z])")  # "E. coli"
DENIED = frozenset({"not", "isn't", "neither", "nor", "except"})
DENIED_ZH = ("不是", "并非", "而非", "排除")


def named_options(prediction: str, options: Mapping[str, str]) -> set[str]:
    """The keys that an answer names."""
    normal = {key: normalise_answer(text) for key, text in options.items()}
    said = normalise_answer(prediction)
    exact = {key for key, text in normal.items() if text and text == said}
    if exact:
        return exact
    if len(bare := re.sub(r"\W", "", prediction)) == 1 and bare.upper() in options:
        return {bare.upper()}
    if found := _letters(OUTRIGHT, prediction, options):
        return found
    if found := _leading(prediction, options, normal):
        return found
    return _letters(SPOKEN_OF, prediction, options) or _held_texts(said, normal)


def _letters(pattern: re.Pattern[str], text: str, options: Mapping[str, str]) -> set[str]:
    """The letters that a pattern finds, those of finds that are all options."""
    found: set[str] = set()
    for match in pattern.finditer(text):
        letters = {c for c in "".join(filter(None, match.groups())) if c.isupper()}
        found |= letters if letters <= set(options) else set()
    return found


def _leading(text: str, options: Mapping[str, str], normal: Mapping[str, str]) -> set[str]:
    """The letters that an answer begins with, and those of the lines of a list."""
    match = LEADING.match(text)
    if not match:
        return set()
    letters = {c for c in match[1] if c.isupper()}
    rest = text[match.end() :]
    if len(letters) == 1 and INITIAL.match(rest):
        own = normal.get(next(iter(letters)), "")
        if not (own and normalise_answer(rest).startswith(own)):
            return set()
    listed = {letter for letter in LISTED.findall(text) if letter in options}
    return letters | listed if letters <= set(options) else set()


def _held_texts(said: str, normal: Mapping[str, str]) -> set[str]:
    """The options whose text stands in an answer that denies nothing."""
    if DENIED & set(said.split()) or any(word in said.replace(" ", "") for word in DENIED_ZH):
        return set()
    held = {key for key, option in normal.items() if option and f" {option} " in f" {said} "}
    # "type 2 diabetes" also holds "diabetes": an option inside a longer named one does not count.
    return {
        key
        for key in held
        if not any(o != key and f" {normal[key]} " in f" {normal[o]} " for o in held)
    }


def chosen_option(prediction: str, options: Mapping[str, str]) -> str:
    """The key of the one option that an answer names; "" where it is not clear."""
    named = named_options(prediction, options)
    return named.pop() if len(named) == 1 else ""


def gold_keys(row: Row) -> str:
    """The right options' keys in order, also where the gold answer is an option's text."""
    answer = row.answer.strip()
    by_text = {text.strip(): key for key, text in row.options.items()}
    if answer in by_text and answer not in row.options:
        return by_text[answer]
    return "".join(sorted(answer)) if set(answer) <= set(row.options) else answer


def one_option(row: Row) -> Score:
    """Whether the one option named is the right one."""
    chosen = chosen_option(row.prediction, row.options)
    return hit(bool(chosen) and chosen == gold_keys(row), bool(chosen))


def all_options(row: Row) -> Score:
    """Whether exactly the right options are named; for questions with several right options."""
    named = "".join(sorted(named_options(row.prediction, row.options)))
    return hit(bool(named) and named == gold_keys(row), bool(named))
