"""MedQA (USMLE): 1,273 test questions with five options.

Jin et al. 2020 (github.com/jind11/MedQA): data_clean/questions/US/test.jsonl with question,
options {A: text, ...}, answer (the text), answer_idx, meta_info.
"""

from collections.abc import Iterator

from upath import UPath

from doctor_sun.data.benchmarks.files import Record, find, json_records
from doctor_sun.data.benchmarks.item import Benchmark, BenchmarkItem


def load(folder: UPath) -> Iterator[BenchmarkItem]:
    """The test questions in English."""
    nested = "questions/US/test.jsonl"
    (file, *_) = find(folder, "test.jsonl", nested, f"data_clean/{nested}")
    for number, record in enumerate(json_records(file)):
        yield BenchmarkItem(
            id=str(number),
            language="en",
            question=record.text("question"),
            answer=record.text("answer"),
            options=tuple(_options(record).values()),
            letters="".join(_options(record)),
            keys=record.text("answer_idx", ""),
            groups={"step": record.text("meta_info", "")},
        )


def _options(record: Record) -> dict[str, str]:
    """The options by their letters, from a mapping or from a list of {key, value}."""
    given = record["options"]
    if isinstance(given, list):
        parts = [Record(part, record.place) for part in given]
        return {part.text("key"): part.text("value") for part in parts}
    return {key: str(text).strip() for key, text in Record(given, record.place).fields.items()}


BENCHMARK = Benchmark(
    name="medqa",
    version="USMLE, 5 options, test",
    layout="data_clean/questions/US/test.jsonl: question, options, answer",
    source="https://github.com/jind11/MedQA",
    load=load,
)
