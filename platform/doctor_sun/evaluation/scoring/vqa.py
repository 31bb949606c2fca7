"""Free answers to questions: the metrics of the paper's Tables 3 and 4.

`published` is MultiMedEval 1.0.0 (task_families.py, VQA.evaluate), with its cleaner and its token
*sets*. `corrected` keeps the metrics on bilingual words, counted as often as they occur, reads yes
and no in both languages, and adds exact match.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from doctor_sun.evaluation.cleaning import clean_published, corrected_tokens, normalise_answer
from doctor_sun.evaluation.scoring.row import Row, Score

PUBLISHED = ("bleu1", "closed_accuracy", "open_recall", "recall", "open_accuracy", "f1")
CORRECTED = (*PUBLISHED, "accuracy", "negated_closed_accuracy")
OPEN_HIT = 0.75  # an open answer counts as right from this recall on
CLOSED_HIT = 0.4  # of {yes}, or of {no, not}: one of the two words is enough
CLOSED_ANSWERS = frozenset(
    {
        *("yes", "是", "是的", "有", "对", "存在"),
        *("no", "否", "不是", "没有", "无", "不对", "不存在"),
    }
)
# What an answer begins with before it decides: "the answer is", "答：", "根据图像，".
HEAD = re.compile(
    r"^(?:(?:the\s+)?answer(?:\s+is)?|答案|回答|答)\s*(?:是(?=\s*[:：]))?\s*[:：]?\s*"
    r"|^(?:based on|according to|根据|从|由|基于)[^,，。]*[,，]\s*"
)
CLAUSE_END = re.compile(r"[,，。.;；!！?？\n]")
UNDECIDED = re.compile(
    r"是否|是不是|有无|有没有|不确定|不清楚|不知道|不明|不能|不好说|无法|难以|没有?办法|抱歉|对不起"
    r"|not sure|uncertain|unclear|cannot|can't|don't know|sorry"
)
# Of these the whole clause decides; a longer one ("是胸部X线片") describes.
YES_WHOLE = frozenset({"是", "是的", "对", "对的", "没错", "正确", "肯定", "肯定的", "可以", "会"})
NO_WHOLE = frozenset({"不", "不对", "不会", "错", "错误", "非", "否定"})
# These decide with whatever follows: "有结节", "未见骨折".
YES_START = ("存在", "有", "可见", "无疑是", "yes")
NO_START = ("没有", "没", "无", "未", "否", "不是", "不存在", "并非", "并无", "no")
NOT_NO = ("无疑", "没错")
DENIALS = frozenset({"no", "not", "without", "never", "absent", "negative", "0"})
DENIALS_ZH = ("没有", "无", "未", "不", "非", "否")


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
    clause = _first_clause(text)
    if not clause or UNDECIDED.search(clause):
        return ""
    tokens = normalise_answer(clause).split()
    plain = "".join(tokens)
    if tokens[:1] in (["yes"], ["no"]):
        return tokens[0]
    if plain in YES_WHOLE or plain.startswith(YES_START):
        return "yes"
    if plain in NO_WHOLE or (plain.startswith(NO_START) and not plain.startswith(NOT_NO)):
        return "no"
    said = {"yes", "no"} & set(normalise_answer(text).split())
    return said.pop() if len(said) == 1 else ""


def _first_clause(text: str) -> str:
    """The first clause that says something, without what introduces it; lower case."""
    rest = unicodedata.normalize("NFKC", text).lower().strip().lstrip("*_\"'“”")
    while (head := HEAD.match(rest)) and head.end():
        rest = rest[head.end() :]
    return next((clause for clause in CLAUSE_END.split(rest) if clause.strip()), "")


def negated(text: str) -> bool:
    """Whether a sentence without a verdict denies something ("The heart is not enlarged")."""
    if UNDECIDED.search(text.lower()):
        return False
    tokens = normalise_answer(text).split()
    denied = bool(DENIALS & set(tokens)) or any(token.endswith("n't") for token in tokens)
    return denied or any(word in "".join(tokens) for word in DENIALS_ZH)


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
