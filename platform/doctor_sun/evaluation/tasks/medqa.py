"""MedQA (USMLE): examination questions with five options.

Prompt and published scoring are MultiMedEval's (1.0.0, multimedeval/qa.py): the first option of the
highest BLEU-1. Its cleaner drops the letter A as an article, so a bare "A" is always invalid.
"""

from collections.abc import Iterator, Mapping

from upath import UPath

from doctor_sun.data.benchmarks.medqa import BENCHMARK
from doctor_sun.evaluation.cleaning import clean_published
from doctor_sun.evaluation.scoring import Row, Score, hit
from doctor_sun.evaluation.scoring.choice import gold_keys, one_option
from doctor_sun.evaluation.scoring.vqa import bleu1
from doctor_sun.evaluation.tasks.free_answers import MULTIMEDEVAL
from doctor_sun.evaluation.tasks.task import Item, Prompts, Task, item_of

PROMPT = "{question}\nOptions:\n{options}\nWhat is the correct answer?"


def prompt_with_options(question: str, options: Mapping[str, str]) -> str:
    """The question and its options, a line each."""
    lines = "\n".join(f"{key}: {text}." for key, text in options.items())
    return PROMPT.format(question=question, options=lines)


def load(folder: UPath, prompts: Prompts) -> Iterator[Item]:
    """The test questions."""
    for item in BENCHMARK.load(folder):
        prompt = prompt_with_options(item.question, item.keyed_options)
        yield item_of(BENCHMARK, item, prompt, item.keys or item.answer)


def published(row: Row) -> Score:
    """The first option of the highest BLEU-1; none above 0 is invalid."""
    predicted = clean_published(row.prediction).split()
    scores = {
        key: bleu1(predicted, clean_published(f"{key} {text}").split())
        for key, text in row.options.items()
    }
    best = max(scores, key=lambda key: scores[key]) if scores else ""
    parsed = bool(best) and scores[best] > 0
    return hit(parsed and best.lower() == gold_keys(row).lower(), parsed)


TASKS = (
    Task(
        name="medqa",
        title="MedQA",
        source=BENCHMARK.source,
        split=BENCHMARK.version,
        items="1,273",
        prompt=PROMPT,
        published_by=MULTIMEDEVAL,
        load=load,
        published=published,
        corrected=one_option,
        cuts=(("step",),),
    ),
)
