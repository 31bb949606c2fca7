"""PubMedQA: questions that an abstract's title asks, answered yes, no or maybe.

Prompt and published scoring are MultiMedEval's (1.0.0, multimedeval/qa.py): the most frequent of
the three words, ties in their order.
"""

import re
from collections import Counter
from collections.abc import Iterator

from upath import UPath

from doctor_sun.data.benchmarks.pubmedqa import BENCHMARK
from doctor_sun.evaluation.cleaning import clean_published, normalise_answer
from doctor_sun.evaluation.scoring import Row, Score, hit
from doctor_sun.evaluation.tasks.free_answers import MULTIMEDEVAL
from doctor_sun.evaluation.tasks.task import Item, Prompts, Task, item_of

PROMPT = "Answer the question with yes, no or maybe. {context} {question}"
DECISIONS = ("yes", "no", "maybe")
CLAUSE_END = re.compile(r"[.,;:!?。，；：！？\n]")


def load(folder: UPath, prompts: Prompts) -> Iterator[Item]:
    """The labelled test questions, each with its abstract."""
    for item in BENCHMARK.load(folder):
        if not item.answer:  # without the ground truth file there is nothing to score
            continue
        prompt = PROMPT.format(context=item.context, question=item.question)
        yield item_of(BENCHMARK, item, prompt, item.answer)


def published(row: Row) -> Score:
    """The most frequent of yes, no, maybe; ties in that order."""
    counts = Counter(clean_published(row.prediction).split(" "))
    best = max(DECISIONS, key=lambda word: counts[word])
    parsed = counts[best] > 0
    return hit(parsed and best == row.answer, parsed)


def corrected(row: Row) -> Score:
    """The decision that the answer begins with, else the only one in it; two are unparsable."""
    clauses = [normalise_answer(text).split() for text in CLAUSE_END.split(row.prediction)]
    said = [word for clause in clauses for word in _decisions(clause)]
    first = next(filter(None, clauses), [])
    begun = len(first) == 1 or first[-2:-1] == ["is"]
    decided = set(said[:1]) if begun and _decisions(first) else set(said)
    decision = decided.pop() if len(decided) == 1 else ""
    return hit(bool(decision) and decision == row.answer, bool(decision))


def _decisions(clause: list[str]) -> list[str]:
    """The decisions in a clause; the "no" of "no doubt" is none."""
    return [word for word in clause if word in DECISIONS and (word != "no" or clause[-1] == "no")]


TASKS = (
    Task(
        name="pubmedqa",
        title="PubMedQA",
        source=BENCHMARK.source,
        split=BENCHMARK.version,
        items="500",
        prompt=PROMPT,
        published_by=MULTIMEDEVAL,
        load=load,
        published=published,
        corrected=corrected,
    ),
)
