"""CMB-Exam: Chinese medical examinations, one or several options right.

The prompt is OpenCompass's (cmb_gen_dfb5c4). Two published scorings: `accuracy` is CMB's own
(src/utils.py, score.py), the mean over examination classes; `opencompass_accuracy` takes every
upper-case letter of the answer, so "The answer is B." is "BT" and wrong.
"""

import re
from collections.abc import Callable, Iterator

from upath import UPath

from doctor_sun.data.benchmarks.cmb import BENCHMARK
from doctor_sun.data.benchmarks.item import BenchmarkItem
from doctor_sun.evaluation.scoring import Row, Score
from doctor_sun.evaluation.scoring.choice import all_options
from doctor_sun.evaluation.tasks.task import Item, Prompts, Task, item_of

PROMPT = (
    "以下是中国{exam_type}中{exam_class}考试的一道{question_type}，不需要做任何分析和解释，"
    "直接输出答案选项。\n{question}\n{options} \n 答案: "
)
NAMED = re.compile(r"(答案|正确选项)(?:是|：|为|应该是|应该为)(.*?)(。|\.|$)", re.DOTALL)
LETTERS = re.compile(r"[A-G]")
MULTIPLE = "多项选择题"


def loader(split: str) -> Callable[[UPath, Prompts], Iterator[Item]]:
    """A reader of one split's questions, those whose answers the folder has."""

    def load(folder: UPath, prompts: Prompts) -> Iterator[Item]:
        for item in BENCHMARK.load(folder):
            if item.keys and item.groups["split"] == split:
                yield item_of(BENCHMARK, item, prompt(item), item.keys)

    return load


def prompt(item: BenchmarkItem) -> str:
    """The question in the published form, which leaves out options of one character."""
    options = [f"{key}. {text}" for key, text in item.keyed_options.items() if len(text) > 1]
    return PROMPT.format(question=item.question, options="\n".join(options), **item.groups)


def published(row: Row) -> Score:
    """The letters after "the answer is", else all; of single choices the first."""
    kind = row.groups.get("question_type")
    several = kind == MULTIPLE if kind else len(row.answer) > 1
    named = NAMED.search(row.prediction)
    said = "".join(LETTERS.findall(named[2] if named else row.prediction))
    said = said if several else said[:1]
    capitals = "".join(sorted({letter for letter in row.prediction if letter.isupper()}))
    return Score(
        metrics={
            "accuracy": float(said == row.answer),
            "opencompass_accuracy": float(capitals == row.answer),
        },
        parsed=bool(said),
    )


SPLITS = {"cmb": ("test", "CMB", "11,200"), "cmb-val": ("val", "CMB (validation)", "280")}
TASKS = tuple(
    Task(
        name=name,
        title=title,
        benchmark=BENCHMARK.name,
        source=BENCHMARK.source,
        split=f"CMB-Exam, {split}",
        items=items,
        prompt=PROMPT,
        published_by="CMB, and OpenCompass cmb_gen_dfb5c4",
        load=loader(split),
        published=published,
        corrected=all_options,
        metrics={"published": ("accuracy", "opencompass_accuracy"), "corrected": ("accuracy",)},
        macro={"accuracy": "exam_class"},
        cuts=(("exam_type",), ("question_type",)),
        max_tokens=10,
    )
    for name, (split, title, items) in SPLITS.items()
)
