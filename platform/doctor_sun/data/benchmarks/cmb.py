"""CMB-Exam: 11,200 test and 280 validation questions of Chinese medical examinations.

Wang et al. 2023 (github.com/FreedomIntelligence/CMB): CMB-Exam/CMB-test/
CMB-test-choice-question-merge.json (array of id, question, option {A: text, ...}, exam_class), its
answers in CMB-test-choice-answer.json (id, answer: letters) beside or above it, and
CMB-Exam/CMB-val/CMB-val-merge.json (the same with answer), which harnesses score as well.
"""

from collections.abc import Iterator, Mapping

from upath import UPath

from doctor_sun.data.benchmarks.files import Record, find, json_records, optional
from doctor_sun.data.benchmarks.item import Benchmark, BenchmarkItem

TEST = "CMB-test-choice-question-merge.json"
VALIDATION = "CMB-val-merge.json"


def load(folder: UPath) -> Iterator[BenchmarkItem]:
    """The test questions, then the validation questions, of what the folder has."""
    files = [
        *optional(folder, TEST, f"**/{TEST}"),
        *optional(folder, VALIDATION, f"**/{VALIDATION}"),
    ]
    if not files:
        find(folder, TEST, VALIDATION)
    answers = {}
    for file in optional(folder, "CMB-test-choice-answer.json", "**/CMB-test-choice-answer.json"):
        answers = {record.text("id"): record.text("answer") for record in json_records(file)}
    for file in files:
        split = "test" if file.name == TEST else "val"
        for number, record in enumerate(json_records(file)):
            yield _item(record, split, number, answers if split == "test" else {})


def _item(record: Record, split: str, number: int, answers: Mapping[str, str]) -> BenchmarkItem:
    key = record.text("id", str(number))
    option = Record(record["option"], record.place)
    letters = record.text("answer", answers.get(key, ""))
    texts = {
        name: str(text).strip() for name, text in option.fields.items() if str(text or "").strip()
    }
    return BenchmarkItem(
        id=f"{split}/{key}",
        language="zh",
        question=record.text("question"),
        answer=" ".join(texts[letter] for letter in letters if letter in texts),
        options=tuple(texts.values()),
        letters="".join(texts),
        keys=letters,
        groups={
            "split": split,
            **{name: record.text(name, "") for name in ("exam_type", "exam_class")},
            "question_type": record.text("question_type", ""),
        },
    )


BENCHMARK = Benchmark(
    name="cmb",
    version="CMB-Exam, test and val",
    layout=f"{TEST}, {VALIDATION}, CMB-test-choice-answer.json, in any folder below",
    source="https://github.com/FreedomIntelligence/CMB",
    load=load,
)
