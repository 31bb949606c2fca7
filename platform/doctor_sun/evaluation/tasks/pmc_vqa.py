"""PMC-VQA: questions with four options on figures of PubMed Central, beyond the paper's tables.

The published scoring is PMC-VQA's own for its generating model (MedVInT_TE/test.py): the first of
the letters A, B, C, D, in that order, that stands anywhere in the answer. "C or A" is A, and so is
"An abscess".
"""

from collections.abc import Iterator

from upath import UPath

from doctor_sun.data.benchmarks.item import lettered
from doctor_sun.data.benchmarks.pmc_vqa import BENCHMARK
from doctor_sun.evaluation.scoring import Row, Score, hit
from doctor_sun.evaluation.scoring.choice import gold_keys, one_option
from doctor_sun.evaluation.tasks.medqa import PROMPT, prompt_with_options
from doctor_sun.evaluation.tasks.task import Item, Prompts, Task, item_of

LETTERS = "ABCD"


def load(folder: UPath, prompts: Prompts) -> Iterator[Item]:
    """The test questions of every version that the folder has."""
    for item in BENCHMARK.load(folder):
        prompt = prompt_with_options(item.question, lettered(item.options))
        yield item_of(BENCHMARK, item, prompt, item.keys or item.answer)


def published(row: Row) -> Score:
    """The first of the four letters that occurs."""
    said = next((letter for letter in LETTERS if letter in row.prediction), "")
    return hit(bool(said) and said == gold_keys(row), bool(said))


TASKS = (
    Task(
        name="pmc-vqa",
        title="PMC-VQA",
        source=BENCHMARK.source,
        split=BENCHMARK.version,
        items="50,000 (2,000 in test_clean)",
        prompt=PROMPT,
        published_by="PMC-VQA, MedVInT_TE",
        load=load,
        published=published,
        corrected=one_option,
        metrics={"published": ("accuracy",), "corrected": ("accuracy",)},
    ),
)
