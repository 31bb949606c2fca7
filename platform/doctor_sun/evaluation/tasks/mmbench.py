"""MMBench dev: general pictures, every rotation of the options asked, in English and Chinese.

Prompt and published scoring are XTuner's (0.1.18, xtuner/tools/mmbench.py): the first run of the
letters A to D anywhere in the answer is the choice. A question is right only when all its rotations
are (circular); the mean over questions is the published "Average".
"""

import re
from collections.abc import Callable, Iterator

from upath import UPath

from doctor_sun.data.benchmarks.item import BenchmarkItem
from doctor_sun.data.benchmarks.mmbench import BENCHMARK, rotations
from doctor_sun.evaluation.scoring import Row, Score
from doctor_sun.evaluation.scoring.choice import chosen_option, gold_keys
from doctor_sun.evaluation.tasks.task import Item, Prompts, Task, item_of
from doctor_sun.records import Language

LETTERS = re.compile(r"([A-D]+)")
INSTRUCTIONS: dict[Language, str] = {
    "en": "Answer with the option's letter from the given choices directly.",
    "zh": "请直接回答选项字母。",
}


def prompt(item: BenchmarkItem) -> str:
    """Hint, question, options and the instruction, a line each."""
    options = [f"{key}. {text}" for key, text in item.keyed_options.items()]
    hint = [item.context] if item.context else []
    return "\n".join([*hint, item.question, *options, INSTRUCTIONS[item.language]])


def loader(language: Language) -> Callable[[UPath, Prompts], Iterator[Item]]:
    """A reader of all rotations of one language."""

    def load(folder: UPath, prompts: Prompts) -> Iterator[Item]:
        for item in rotations(folder):
            if item.language == language:
                yield item_of(BENCHMARK, item, prompt(item), item.keys)

    return load


def _score(chosen: str, row: Row) -> Score:
    right = float(bool(chosen) and chosen == gold_keys(row))
    return Score(metrics={"accuracy": right, "rotation_accuracy": right}, parsed=bool(chosen))


def published(row: Row) -> Score:
    """The whole first run of letters: "AB" is neither A nor B, "CT" is C."""
    found = LETTERS.search(row.prediction)
    return _score(found[1] if found else "", row)


def corrected(row: Row) -> Score:
    """The one option that is named."""
    return _score(chosen_option(row.prediction, row.options), row)


NAMES = ("accuracy", "rotation_accuracy")


def task(name: str, title: str, language: Language) -> Task:
    """The task of one language."""
    return Task(
        name=name,
        title=title,
        benchmark=BENCHMARK.name,
        source=BENCHMARK.source,
        split="1.0, dev, every rotation",
        items="4,329 rotations of 1,164 questions",
        prompt=f"[{{hint}}\n]{{question}}\n{{options}}\n{INSTRUCTIONS[language]}",
        published_by="XTuner 0.1.18",
        load=loader(language),
        published=published,
        corrected=corrected,
        metrics={"published": NAMES, "corrected": NAMES},
        together="number",
        cuts=(("ability",), ("category",)),
        majority=False,  # one letter is never right in every rotation
        max_tokens=100,
    )


TASKS = (
    task("mmbench-dev", "MMBench (en)", "en"),
    task("mmbench-dev-zh", "MMBench (zh)", "zh"),
)
