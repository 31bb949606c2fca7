"""MBPP: 500 test problems in Python (task_id 11 to 510).

Austin et al. 2021 (github.com/google-research/google-research, mbpp): mbpp.jsonl with task_id,
text, code, test_list, test_setup_code; or the checked subset sanitized-mbpp.json with task_id,
prompt, code, test_list, test_imports. What runs before the assertions is the item's context.
"""

from collections.abc import Iterator

from upath import UPath

from doctor_sun.data.benchmarks.files import find, json_records
from doctor_sun.data.benchmarks.item import Benchmark, BenchmarkItem

TEST_TASKS = range(11, 511)


def load(folder: UPath) -> Iterator[BenchmarkItem]:
    """The test problems; the answer is the reference program."""
    return (item for item in problems(folder) if int(item.id) in TEST_TASKS)


def problems(folder: UPath) -> Iterator[BenchmarkItem]:
    """All problems, those of the prompt and of training, too."""
    for file in find(folder, "mbpp.jsonl", "sanitized-mbpp.json"):
        for record in json_records(file):
            yield BenchmarkItem(
                id=record.text("task_id"),
                language="en",
                question=record.text("text" if "text" in record.fields else "prompt"),
                answer=record.text("code"),
                checks=tuple(str(check) for check in record["test_list"]),
                context="\n".join(
                    [*record.fields.get("test_imports", ()), record.text("test_setup_code", "")]
                ).strip(),
            )


BENCHMARK = Benchmark(
    name="mbpp",
    version="2021 release, test",
    layout="mbpp.jsonl (task_id, text, code) or sanitized-mbpp.json",
    source="https://github.com/google-research/google-research/tree/master/mbpp",
    load=load,
)
