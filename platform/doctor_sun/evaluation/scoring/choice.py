"""Questions with options: which option an answer names, in English or Chinese.

Used by every corrected scoring of such questions. An answer that names none, or several where one
is asked for, is unparsable; it never lands on an option by accident.
"""

import re
from collections.abc import Mapping

from doctor_sun.evaluation.cleaning import normalise_answer
from doctor_sun.evaluation.scoring.row import Row, Score, hit

SAID = (
    r"(?i:(?:answer|choice|option)s?\s*(?:is|are|:|：)?"
    r"|答案\s*(?:应该?)?\s*(?:是|为|选|:|：)?|选项?|应选|故选)"
)
LETTERS = r"([A-Z](?:(?:\s*(?:[、,，和及&]|and|or)\s*)?[A-Z])*)(?![A-Za-z])"
NAMED = re.compile(rf"{SAID}\s*[*(\[（【\"']*{LETTERS}")
LEADING = re.compile(rf"^\W*{LETTERS}(?=[\W_]|$|[\u4e00-\u9fff])")
ARTICLE = re.compile(r"^\W*A\s+[a-z]")  # "A nodule is seen" names no option


def named_options(prediction: str, options: Mapping[str, str]) -> set[str]:
    """The keys that an answer names, by letter first, else by the options' texts."""
    for pattern in (NAMED, LEADING):
        found = pattern.findall(prediction)
        if pattern is LEADING and ARTICLE.match(prediction):
            continue
        letters = {letter for group in found for letter in group if letter.isupper()}
        if letters and letters <= set(options):
            return letters
    text = f" {normalise_answer(prediction)} "
    normal = {key: normalise_answer(option) for key, option in options.items()}
    held = {key for key, option in normal.items() if option and f" {option} " in text}
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
