"""VQA-RAD: 451 test questions on radiology pictures from MedPix.

Two releases of the same questions. OSF (https://osf.io/89kps, Lau et al. 2018): one JSON array
"VQA_RAD Dataset Public.json" with qid, image_name, question, answer, answer_type, phrase_type; the
test set is what has a phrase_type of test_freeform or test_para; pictures in "VQA_RAD Image
Folder". Hugging Face (flaviagiammarino/vqa-rad): data/test-*.parquet with image {bytes, path},
question, answer.
"""

from collections.abc import Iterator

from upath import UPath

from doctor_sun.data.benchmarks.files import Pictures, json_records, optional, picture_questions
from doctor_sun.data.benchmarks.item import Benchmark, BenchmarkItem


def load(folder: UPath) -> Iterator[BenchmarkItem]:
    """The test questions of either release."""
    public = optional(folder, "VQA_RAD Dataset Public.json", "*/VQA_RAD Dataset Public.json")
    if public:
        yield from _from_json(public[0])
    else:
        yield from picture_questions(folder)


def _from_json(path: UPath) -> Iterator[BenchmarkItem]:
    pictures = Pictures(path.parent, "VQA_RAD Image Folder", "VQA_RAD Image Folder.zip")
    for record in json_records(path):
        if not record.text("phrase_type").startswith("test"):
            continue
        yield BenchmarkItem(
            id=record.text("qid"),
            language="en",
            question=record.text("question"),
            answer=record.text("answer"),
            image_name=record.text("image_name"),
            image=pictures.read(record.text("image_name")),
            groups={
                "answer_type": record.text("answer_type").upper(),
                **{name: record.text(name, "") for name in ("question_type", "image_organ")},
            },
        )


BENCHMARK = Benchmark(
    name="vqa-rad",
    version="2018 public release, test",
    layout="'VQA_RAD Dataset Public.json' with 'VQA_RAD Image Folder', or data/test-*.parquet",
    source="https://osf.io/89kps or hf.co/datasets/flaviagiammarino/vqa-rad",
    load=load,
)
