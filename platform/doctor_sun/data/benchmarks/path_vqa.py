"""PathVQA: 6,719 test questions on pathology pictures from textbooks and PEIR.

Hugging Face (flaviagiammarino/path-vqa, He et al. 2020): data/test-*.parquet with image
{bytes, path}, question, answer. The authors' own archive keeps the questions as Python pickles,
which are never opened here.
"""

from collections.abc import Iterator

from upath import UPath

from doctor_sun.data.benchmarks.files import find, parquet_records
from doctor_sun.data.benchmarks.item import Benchmark, BenchmarkItem


def load(folder: UPath) -> Iterator[BenchmarkItem]:
    """The test questions."""
    for file in find(folder, "test-*.parquet", "data/test-*.parquet"):
        for number, record in enumerate(parquet_records(file)):
            yield BenchmarkItem(
                id=f"{file.stem}/{number}",
                language="en",
                question=record.text("question"),
                answer=record.text("answer"),
                image_name=record["image"].get("path") or str(number),
                image=record["image"]["bytes"],
            )


BENCHMARK = Benchmark(
    name="path-vqa",
    version="2020 release, test",
    layout="data/test-*.parquet: image, question, answer",
    source="hf.co/datasets/flaviagiammarino/path-vqa",
    load=load,
)
