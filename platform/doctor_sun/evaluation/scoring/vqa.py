"""Free answers to questions: the metrics of the paper's Tables 3 and 4.

`published` is MultiMedEval 1.0.0 (task_families.py, VQA.evaluate), with its cleaner and its token
*sets*. `corrected` keeps the metrics on bilingual words, counted as often as they occur, reads yes
and no in both languages, and adds exact match.
"""

import math
from collections import Counter
from collections.abc import Sequence

from doctor_sun.evaluation.cleaning import clean_published, corrected_tokens, normalise_answer
from doctor_sun.evaluation.scoring.row import Row, Score

PUBLISHED = ("bleu1", "closed_accuracy", "open_recall", "recall", "open_accuracy", "f1")
CORRECTED = (*PUBLISHED, "accuracy", "negated_closed_accuracy")
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
NEGATIONS = frozenset({"no", "not", "without", "none", "never", "absent", "negative"})
NEGATIONS_ZH = ("没有", "无", "未", "不", "非", "否")


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


def published(row: Row) -> Score:
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
    tokens = normalise_answer(text).split()
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


def negated(text: str) -> bool:
    """Whether a sentence without a verdict denies something ("The heart is not enlarged")."""
    tokens = normalise_answer(text).split()
    return bool(NEGATIONS & set(tokens)) or any(word in "".join(tokens) for word in NEGATIONS_ZH)


def is_closed(answer: str) -> bool:
    """Whether a gold answer is a bare yes or no, in either language."""
    return normalise_answer(answer).replace(" ", "") in CLOSED_ANSWERS


def corrected(row: Row) -> Score:
    """The same metrics on bilingual tokens; `accuracy` is exact match of the normalised answers.

    Of closed questions it compares verdicts. `negated_closed_accuracy` also takes a sentence that
    denies something for a no, which the published rule does for the word "not" alone.
    """
    gold, predicted = corrected_tokens(row.answer), corrected_tokens(row.prediction)
    matches = sum((Counter(gold) & Counter(predicted)).values())
    recall, f1 = overlap(matches, len(predicted), len(gold))
    metrics = {"bleu1": bleu1(predicted, gold), "recall": recall, "f1": f1}
    if is_closed(row.answer):
        said, gold_verdict = verdict(row.prediction), verdict(row.answer)
        metrics["closed_accuracy"] = metrics["accuracy"] = float(said == gold_verdict)
        denied = said or ("no" if negated(row.prediction) else "")
        metrics["negated_closed_accuracy"] = float(denied == gold_verdict)
        return Score(metrics=metrics, parsed=bool(said))
    metrics |= {"open_recall": recall, "open_accuracy": float(recall >= OPEN_HIT)}
    same = normalise_answer(row.answer) == normalise_answer(row.prediction)
    metrics["accuracy"] = float(same)
    return Score(metrics=metrics, parsed=bool(predicted))
