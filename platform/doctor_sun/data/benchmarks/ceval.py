"""C-Eval: 12,342 test and 1,346 validation questions of Chinese examinations in 52 subjects.

Huang et al. 2023 (Hugging Face ceval/ceval-exam): test/SUBJECT_test.csv and val/SUBJECT_val.csv
with id, question, A to D, and answer in val (test answers are not published). Harnesses score val
as well, so both count as held out; dev is the few-shot split.
"""

from collections.abc import Iterator

from upath import UPath

from doctor_sun.data.benchmarks.files import csv_records, find
from doctor_sun.data.benchmarks.item import Benchmark, BenchmarkItem

LETTERS = "ABCD"


def load(folder: UPath) -> Iterator[BenchmarkItem]:
    """The questions of test and val, subject by subject."""
    found = find(folder, "test/*_test.csv", "val/*_val.csv", "*/test/*_test.csv")
    root = found[0].parent.parent
    for file in sorted([*root.glob("test/*_test.csv"), *root.glob("val/*_val.csv")], key=str):
        for record in csv_records(file):
            options = {name: record.text(name) for name in LETTERS}
            letter = record.text("answer", "")
            yield BenchmarkItem(
                id=f"{file.stem}/{record.text('id')}",
                language="zh",
                question=record.text("question"),
                answer=options.get(letter, ""),
                options=tuple(options.values()),
                groups={"subject": file.stem.rsplit("_", 1)[0]},
            )


BENCHMARK = Benchmark(
    name="ceval",
    version="ceval-exam, test and val",
    layout="test/*_test.csv, val/*_val.csv: id, question, A to D, answer",
    source="hf.co/datasets/ceval/ceval-exam",
    load=load,
)
