"""Scores of one answer: the published definitions to the digit, and corrected ones.

`published` is MultiMedEval 1.0.0 (task_families.py VQA.evaluate, qa.py MedQA and PubMedQA), the
tool behind the paper's Table 3. `corrected` keeps the same metrics and removes the faults: letters
and Chinese count as tokens, tokens count as often as they occur, "not" is no "no", and an answer
that cannot be read is counted as unparsable instead of landing on an option by accident.

Each scorer takes one row and returns its metrics; a metric that does not apply to the row (an open
metric of a closed question) is absent. Aggregates are plain means over the rows that have it.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from doctor_sun.evaluation.cleaning import clean_published, corrected_tokens, normalise_answer

Scoring = Literal["published", "corrected"]
Family = Literal["vqa", "medqa", "pubmedqa"]
METRICS: dict[Family, tuple[str, ...]] = {
    "vqa": ("bleu1", "closed_accuracy", "open_recall", "recall", "open_accuracy", "f1"),
    "medqa": ("accuracy",),
    "pubmedqa": ("accuracy",),
}
OPEN_HIT = 0.75  # an open answer counts as right from this recall on
CLOSED_HIT = 0.4  # of {yes}, or of {no, not}: one of the two words is enough
YES = ("yes", "是", "有", "对", "存在")
NO = ("no", "否", "没", "不", "无", "未", "非")
CLOSED_ANSWERS = frozenset(
    {
        *("yes", "是", "是的", "有", "对", "存在"),
        *("no", "否", "不是", "没有", "无", "不对", "不存在"),
    }
)
UNDECIDED = ("是否", "是不是", "有无", "有没有", "不确定", "不清楚", "无法")
DECISIONS = ("yes", "no", "maybe")
LETTER = re.compile(
    r"(?i:answer\s*(?:is|:|：)|option|答案\s*(?:是|为|应为|:|：)?|选项?)\s*[(\[（*\"']*([A-Z])(?![A-Za-z])"
)
CLAUSE_END = re.compile(r"[.,;:!?。，；：！？\n]")
LEADING_LETTER = re.compile(r"^\W*([A-Z])(?:[\W_]|$)")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One answered question."""

    answer: str
    """The gold answer; of a question with options: the key of the right option, or its text."""

    prediction: str
    """What the model said, untouched."""

    options: Mapping[str, str] = field(default_factory=dict)
    """The options' texts by their keys (A, B, ...); empty for other questions."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One answer's metrics, and whether an answer could be read at all."""

    metrics: dict[str, float]
    parsed: bool


def bleu1(prediction: Sequence[str], gold: Sequence[str]) -> float:
    """Clipped unigram precision times the brevity penalty (BLEU with n = 1, no smoothing)."""
    matches = sum((Counter(prediction) & Counter(gold)).values())
    if matches == 0:
        return 0.0
    penalty = min(1.0, math.exp(1 - len(gold) / len(prediction)))
    return penalty * matches / len(prediction)


def overlap(matches: int, predicted: int, gold: int) -> tuple[float, float]:
    """Recall and F1 of `matches` common tokens; the small constant is the original's."""
    precision = matches / predicted if predicted else 0.0
    recall = matches / gold if gold else 0.0
    return recall, 2 * precision * recall / (precision + recall + 1e-8)


def vqa_published(row: Row) -> Score:
    """MultiMedEval's VQA: token *sets*; closed iff the cleaned gold is "yes" or "no"."""
    gold_text = clean_published(row.answer.lower().strip())
    text = clean_published(row.prediction)
    gold, predicted = set(gold_text.split()), set(text.split())
    recall, f1 = overlap(len(gold & predicted), len(predicted), len(gold))
    metrics = {"bleu1": bleu1(text.split(), gold_text.split()), "recall": recall, "f1": f1}
    if gold_text in ("yes", "no"):
        accepted = {"no", "not"} if gold_text == "no" else gold
        hit = len(predicted & accepted) / len(accepted) >= CLOSED_HIT
        metrics["closed_accuracy"] = float(hit)
    else:
        metrics |= {"open_recall": recall, "open_accuracy": float(recall >= OPEN_HIT)}
    return Score(metrics=metrics, parsed=bool(text))


def verdict(text: str) -> str:
    """What an answer decides in either language: yes, no, or "" for neither, or for both."""
    tokens = corrected_tokens(text)
    if not tokens:
        return ""
    head = "".join(tokens)
    if tokens[0] in ("yes", "no"):
        return tokens[0]
    if head.startswith(UNDECIDED):
        return ""
    if head.startswith(NO):
        return "no"
    if head.startswith(YES):
        return "yes"
    said = {"yes", "no"} & set(tokens)
    return said.pop() if len(said) == 1 else ""


def is_closed(answer: str) -> bool:
    """Whether a gold answer is a bare yes or no, in either language."""
    return normalise_answer(answer).replace(" ", "") in CLOSED_ANSWERS


def vqa_corrected(row: Row) -> Score:
    """The same metrics on bilingual tokens, counted as often as they occur; and `accuracy`.

    `accuracy` is exact match of the normalised answers; of closed questions, of the verdicts.
    """
    gold, predicted = corrected_tokens(row.answer), corrected_tokens(row.prediction)
    matches = sum((Counter(gold) & Counter(predicted)).values())
    recall, f1 = overlap(matches, len(predicted), len(gold))
    metrics = {"bleu1": bleu1(predicted, gold), "recall": recall, "f1": f1}
    if is_closed(row.answer):
        said = verdict(row.prediction)
        metrics["closed_accuracy"] = metrics["accuracy"] = float(said == verdict(row.answer))
        return Score(metrics=metrics, parsed=bool(said))
    metrics |= {"open_recall": recall, "open_accuracy": float(recall >= OPEN_HIT)}
    metrics["accuracy"] = float(gold == predicted)
    return Score(metrics=metrics, parsed=bool(predicted))


def gold_key(row: Row) -> str:
    """The right option's key, also where the gold answer is given as the option's text."""
    if row.answer in row.options:
        return row.answer
    by_text = {text.strip(): key for key, text in row.options.items()}
    return by_text.get(row.answer.strip(), row.answer.strip())


def medqa_published(row: Row) -> Score:
    """MultiMedEval's MedQA: the first option of the highest BLEU-1; none above 0 is invalid.

    Its cleaner drops the letter A as an article, so a bare "A" is always invalid.
    """
    predicted = clean_published(row.prediction).split()
    scores = {
        key: bleu1(predicted, clean_published(f"{key} {text}").split())
        for key, text in row.options.items()
    }
    best = max(scores, key=lambda key: scores[key]) if scores else ""
    parsed = bool(best) and scores[best] > 0
    hit = parsed and best.lower() == gold_key(row).lower()
    return Score(metrics={"accuracy": float(hit)}, parsed=parsed)


def chosen_option(prediction: str, options: Mapping[str, str]) -> str:
    """The key of the option an answer names, by letter or by its text; "" where it is not clear."""
    for pattern in (LETTER, LEADING_LETTER):
        named = {key for key in pattern.findall(prediction) if key in options}
        if len(named) == 1:
            return named.pop()
    text = f" {normalise_answer(prediction)} "
    named = {
        key
        for key, option in options.items()
        if normalise_answer(option) and f" {normalise_answer(option)} " in text
    }
    return named.pop() if len(named) == 1 else ""


def medqa_corrected(row: Row) -> Score:
    """Exact choice: the option named by letter ("A", "The answer is B.", "答案：C") or by text."""
    chosen = chosen_option(row.prediction, row.options)
    return Score(metrics={"accuracy": float(chosen == gold_key(row))}, parsed=bool(chosen))


def pubmedqa_published(row: Row) -> Score:
    """MultiMedEval's PubMedQA: the most frequent of yes, no, maybe; ties in that order."""
    counts = Counter(clean_published(row.prediction).split(" "))
    best = max(DECISIONS, key=lambda word: counts[word])
    parsed = counts[best] > 0
    hit = parsed and best == row.answer.lower().strip()
    return Score(metrics={"accuracy": float(hit)}, parsed=parsed)


def pubmedqa_corrected(row: Row) -> Score:
    """The one decision in the answer's first clause, else in all of it; two are unparsable."""
    decision = ""
    for text in (row.prediction, CLAUSE_END.split(row.prediction, maxsplit=1)[0]):
        said = set(DECISIONS) & set(corrected_tokens(text))
        decision = said.pop() if len(said) == 1 else decision
    hit = decision == row.answer.lower().strip()
    return Score(metrics={"accuracy": float(hit)}, parsed=bool(decision))


SCORERS: dict[tuple[Family, Scoring], Callable[[Row], Score]] = {
    ("vqa", "published"): vqa_published,
    ("vqa", "corrected"): vqa_corrected,
    ("medqa", "published"): medqa_published,
    ("medqa", "corrected"): medqa_corrected,
    ("pubmedqa", "published"): pubmedqa_published,
    ("pubmedqa", "corrected"): pubmedqa_corrected,
}
