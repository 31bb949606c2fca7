"""BIG-Bench Hard: 6,511 reasoning questions in 27 tasks.

Suzgun et al. 2022 (github.com/suzgunmirac/BIG-Bench-Hard): bbh/TASK.json with
{"canary", "examples": [{"input", "target"}]}. Where the input ends in "Options:" and lines such as
"(A) text" or "- text", these are the options and a target of "(A)" is their text. The whole input
is the item's context and the target as it stands its key: a model is asked and scored by these.
cot-prompts/TASK.txt holds three worked examples a task.
"""

import re
from collections.abc import Iterator

from upath import UPath

from doctor_sun.data.benchmarks.files import Record, find, read_json
from doctor_sun.data.benchmarks.item import Benchmark, BenchmarkItem

OPTION = re.compile(r"^(?:\(([A-Z])\)|-)\s*(.+)$", re.MULTILINE)


def load(folder: UPath) -> Iterator[BenchmarkItem]:
    """The questions, task by task."""
    for file in find(folder, "bbh/*.json", "*.json"):
        for number, example in enumerate(Record(read_json(file), str(file))["examples"]):
            record = Record(example, f"{file}, example {number + 1}")
            question, _, listed = record.text("input").partition("\nOptions:")
            options = dict(OPTION.findall(listed))
            target = record.text("target")
            yield BenchmarkItem(
                id=f"{file.stem}/{number}",
                language="en",
                question=question.strip(),
                answer=options.get(target.strip("()"), target),
                options=tuple(text.strip() for _, text in OPTION.findall(listed)),
                keys=target,
                context=record.text("input"),
                groups={"task": file.stem},
            )


BENCHMARK = Benchmark(
    name="bbh",
    version="2022 release, 27 tasks",
    layout="bbh/*.json: examples of input and target",
    source="https://github.com/suzgunmirac/BIG-Bench-Hard",
    load=load,
)
