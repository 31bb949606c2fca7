"""PubMedQA (labelled): 500 test questions that an abstract's title asks, answered yes, no or maybe.

Jin et al. 2019 (github.com/pubmedqa/pubmedqa): test_set.json, or ori_pqal.json cut to the keys of
test_ground_truth.json; each a JSON object by PubMed id with QUESTION, CONTEXTS, LONG_ANSWER,
final_decision. The abstract is public literature and part of any medical corpus: it is
the item's context, and only question and answer count as held out.
"""

from collections.abc import Iterator

from upath import UPath

from doctor_sun.data.benchmarks.files import Record, find, optional, read_json
from doctor_sun.data.benchmarks.item import Benchmark, BenchmarkItem


def load(folder: UPath) -> Iterator[BenchmarkItem]:
    """The test questions."""
    names = ("test_set.json", "pqal_test_set.json", "ori_pqal.json")
    (file, *_) = find(folder, *names, *(f"data/{name}" for name in names))
    held_out = None
    if file.name == "ori_pqal.json":
        held_out = read_json(find(file.parent, "test_ground_truth.json")[0])
    truth = optional(file.parent, "test_ground_truth.json")
    decisions = read_json(truth[0]) if truth else {}
    for key, fields in Record(read_json(file), str(file)).fields.items():
        if held_out is not None and key not in held_out:
            continue
        record = Record(fields, f"{file}, record {key}")
        yield BenchmarkItem(
            id=key,
            language="en",
            question=record.text("QUESTION"),
            answer=record.text("final_decision", str(decisions.get(key, ""))),
            context=" ".join(map(str, record.fields.get("CONTEXTS") or ())),
        )


BENCHMARK = Benchmark(
    name="pubmedqa",
    version="labelled, test (500)",
    layout="test_set.json, or ori_pqal.json with test_ground_truth.json",
    source="https://github.com/pubmedqa/pubmedqa",
    load=load,
)
