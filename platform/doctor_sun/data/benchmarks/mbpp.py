"""MBPP: 500 test problems in Python (task_id 11 to 510).

Austin et al. 2021 (github.com/google-research/google-research, mbpp): mbpp.jsonl with task_id,
text, code, test_list; or the checked subset sanitized-mbpp.json with task_id, prompt, code.
"""

from collections.abc import Iterator

from upath import UPath

from doctor_sun.data.benchmarks.files import find, json_records
from doctor_sun.data.benchmarks.item import Benchmark, BenchmarkItem

TEST_TASKS = range(11, 511)


def load(folder: UPath) -> Iterator[BenchmarkItem]:
    """The test problems; the answer is the reference program."""
    for file in find(folder, "mbpp.jsonl", "sanitized-mbpp.json"):
        for record in json_records(file):
            if int(record["task_id"]) not in TEST_TASKS:
                continue
            yield BenchmarkItem(
                id=record.text("task_id"),
                language="en",
                question=record.text("text" if "text" in record.fields else "prompt"),
                answer=record.text("code"),
            )


BENCHMARK = Benchmark(
    name="mbpp",
    version="2021 release, test",
    layout="mbpp.jsonl (task_id, text, code) or sanitized-mbpp.json",
    source="https://github.com/google-research/google-research/tree/master/mbpp",
    load=load,
)
