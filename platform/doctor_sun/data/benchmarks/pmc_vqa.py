"""PMC-VQA: multiple-choice questions on figures of PubMed Central.

Zhang et al. 2023 (Hugging Face xmcmic/PMC-VQA, its README): test.csv, test_clean.csv and
test_2.csv with Figure_path, Question, Answer, "Choice A" to "Choice D" ("A:...") and, in the first
version, Answer_label; in the second, Answer is the letter. Pictures in images.zip, images_2.zip or
folders of those names.
"""

import re
from collections.abc import Iterator

from upath import UPath

from doctor_sun.data.benchmarks.files import Pictures, Record, csv_records, find
from doctor_sun.data.benchmarks.item import Benchmark, BenchmarkItem

LETTERS = "ABCD"
LETTER = re.compile(r"^\s*[A-D]\s*[:.]\s*")


def load(folder: UPath) -> Iterator[BenchmarkItem]:
    """The test questions of every version that the folder has."""
    pictures = Pictures(folder, "images*", "images*.zip", "figures")
    for file in find(folder, "test*.csv"):
        for number, record in enumerate(csv_records(file)):
            options = tuple(LETTER.sub("", record.text(f"Choice {name}")) for name in LETTERS)
            yield BenchmarkItem(
                id=f"{file.stem}/{number}",
                language="en",
                question=record.text("Question"),
                answer=_answer(record, options),
                options=options,
                keys=_letter(record, options),
                image_name=record.text("Figure_path"),
                image=pictures.read(record.text("Figure_path")),
                groups={"file": file.stem},
            )


def _answer(record: Record, options: tuple[str, ...]) -> str:
    """The right option's text, whether the file names its letter or its words."""
    letter = _letter(record, options)
    return options[LETTERS.index(letter)] if letter else LETTER.sub("", record.text("Answer"))


def _letter(record: Record, options: tuple[str, ...]) -> str:
    """The right option's letter, "" where the answer is none of the options."""
    named = record.text("Answer_label", record.text("Answer"))
    if named and named in LETTERS:
        return named
    text = LETTER.sub("", record.text("Answer"))
    return LETTERS[options.index(text)] if text in options else ""


BENCHMARK = Benchmark(
    name="pmc-vqa",
    version="versions 1 and 2, test and test_clean",
    layout="test*.csv (Figure_path, Question, Answer, Choice A to D) with images*/ or images*.zip",
    source="hf.co/datasets/xmcmic/PMC-VQA",
    load=load,
)
