"""PMC-VQA: questions with four options on figures of PubMed Central, beyond the paper's tables.

The published scoring is PMC-VQA's own for its generating model (MedVInT_TE/test.py): the first of
the letters A, B, C, D, in that order, that stands anywhere in the answer. "C or A" is A, and so is
"An abscess".
"""

from collections.abc import Callable, Iterator

from upath import UPath

from doctor_sun.data.benchmarks.pmc_vqa import BENCHMARK
from doctor_sun.evaluation.scoring import Row, Score, hit
from doctor_sun.evaluation.scoring.choice import gold_keys, one_option
from doctor_sun.evaluation.tasks.medqa import PROMPT, prompt_with_options
from doctor_sun.evaluation.tasks.task import Item, Prompts, Task, item_of

LETTERS = "ABCD"


def loader(file: str) -> Callable[[UPath, Prompts], Iterator[Item]]:
    """A reader of one file's questions."""

    def load(folder: UPath, prompts: Prompts) -> Iterator[Item]:
        for item in BENCHMARK.load(folder):
            if item.groups["file"] == file:
                prompt = prompt_with_options(item.question, item.keyed_options)
                yield item_of(BENCHMARK, item, prompt, item.keys or item.answer)

    return load


def published(row: Row) -> Score:
    """The first of the four letters that occurs."""
    said = next((letter for letter in LETTERS if letter in row.prediction), "")
    return hit(bool(said) and said == gold_keys(row), bool(said))


FILES = {
    "pmc-vqa": ("test_clean", "PMC-VQA (clean)", "2,000, checked by hand"),
    "pmc-vqa-test": ("test", "PMC-VQA (test)", "about 50,000"),
    "pmc-vqa-2": ("test_2", "PMC-VQA (version 2)", "about 33,000"),
}
TASKS = tuple(
    Task(
        name=name,
        title=title,
        benchmark=BENCHMARK.name,
        source=BENCHMARK.source,
        split=f"{file}.csv",
        items=items,
        prompt=PROMPT,
        published_by="PMC-VQA, MedVInT_TE",
        load=loader(file),
        published=published,
        corrected=one_option,
    )
    for name, (file, title, items) in FILES.items()
)
