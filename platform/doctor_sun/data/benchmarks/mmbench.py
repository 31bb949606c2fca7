"""MMBench dev: 1,164 questions on general pictures, in English and Chinese.

Liu et al. 2023 (github.com/open-compass/MMBench): MMBench_DEV_EN.tsv and MMBench_DEV_CN.tsv with
index, question, hint, A to D, answer (a letter), image (base64, or the index of the row that holds
it), category, l2-category. The 4,329 rows are rotations of the options of the same questions
(index = question + n * 1,000,000): `load` reads each question once, `rotations` every row.
"""

import base64
import binascii
from collections.abc import Iterator

from upath import UPath

from doctor_sun.data.benchmarks.files import Record, csv_records, find
from doctor_sun.data.benchmarks.item import Benchmark, BenchmarkItem
from doctor_sun.errors import InputError

ROTATION = 1_000_000
LETTERS = "ABCD"
SHORTEST_PICTURE = 64  # a shorter value points to another row


def load(folder: UPath) -> Iterator[BenchmarkItem]:
    """The questions of either language's file, or of both, each once."""
    return (item for item in rotations(folder) if item.groups["rotation"] == "0")


def rotations(folder: UPath) -> Iterator[BenchmarkItem]:
    """Every row of either language's file, or of both: each question in all its rotations."""
    for file in find(folder, "MMBench_DEV*.tsv", "*[Dd][Ee][Vv]*.tsv"):
        records = list(csv_records(file, delimiter="\t"))
        pictures = {record.text("index"): record.text("image") for record in records}
        for record in records:
            yield _item(record, pictures, file)


def _item(record: Record, pictures: dict[str, str], file: UPath) -> BenchmarkItem:
    encoded = record.text("image")
    if len(encoded) < SHORTEST_PICTURE:
        encoded = pictures.get(encoded, "")
    try:
        image = base64.b64decode(encoded, validate=True) or None
    except binascii.Error as error:
        raise InputError(f"{record.place}: field 'image' is not base64") from error
    options = {name: text for name in LETTERS if (text := record.text(name, ""))}
    chinese = "CN" in file.name.upper()
    rotation, number = divmod(int(record.text("index")), ROTATION)
    return BenchmarkItem(
        id=f"{'zh' if chinese else 'en'}/{record.text('index')}",
        language="zh" if chinese else "en",
        question=record.text("question"),
        answer=options.get(record.text("answer"), ""),
        options=tuple(options.values()),
        letters="".join(options),
        keys=record.text("answer"),
        context=record.text("hint", ""),
        image_name=record.text("index"),
        image=image,
        groups={
            "ability": record.text("l2-category", ""),
            "category": record.text("category", ""),
            "number": str(number),
            "rotation": str(rotation),
        },
    )


BENCHMARK = Benchmark(
    name="mmbench-dev",
    version="1.0, dev, en and zh, one rotation a question",
    layout="MMBench_DEV_EN.tsv, MMBench_DEV_CN.tsv: index, question, A to D, answer, image",
    source="https://github.com/open-compass/MMBench",
    load=load,
)
