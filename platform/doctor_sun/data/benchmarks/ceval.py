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
    return split_items(folder, "test", "val")


def split_items(folder: UPath, *splits: str) -> Iterator[BenchmarkItem]:
    """The questions of some splits (dev, val, test), subject by subject."""
    patterns = [f"{split}/*_{split}.csv" for split in splits]
    found = find(folder, *patterns, *(f"*/{pattern}" for pattern in patterns))
    root = found[0].parent.parent
    for file in sorted((file for name in patterns for file in root.glob(name)), key=str):
        for record in csv_records(file):
            options = {name: record.text(name) for name in LETTERS}
            letter = record.text("answer", "")
            yield BenchmarkItem(
                id=f"{file.stem}/{record.text('id')}",
                language="zh",
                question=record.text("question"),
                answer=options.get(letter, ""),
                options=tuple(options.values()),
                keys=letter,
                groups=dict(zip(("subject", "split"), file.stem.rsplit("_", 1), strict=True)),
            )


BENCHMARK = Benchmark(
    name="ceval",
    version="ceval-exam, test and val",
    layout="test/*_test.csv, val/*_val.csv: id, question, A to D, answer",
    source="hf.co/datasets/ceval/ceval-exam",
    load=load,
)
