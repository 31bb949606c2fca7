"""VQA-Med (ImageCLEF) 2019, 2020 and 2021: 500 test questions on radiology pictures each.

Lines with `|` between fields (github.com/abachaa/VQA-Med-2019, -2020, -2021, their READMEs).
2019: VQAMed2019_Test_Questions_w_Ref_Answers.txt (picture|category|question|answer, answers parted
by `#`). 2020: VQAMed2020-Task1-VQAnswering-Test-Questions.txt (picture|question) and
...-ReferenceAnswers.txt (picture|answer). 2021: Task1-VQA-2021-TestSet-Questions.txt and
...-ReferenceAnswers.txt likewise. Pictures are NAME.jpg in a folder or zip beside them.
"""

from collections.abc import Iterator

from upath import UPath

from doctor_sun.data.benchmarks.files import Pictures, find, optional
from doctor_sun.data.benchmarks.item import Benchmark, BenchmarkItem
from doctor_sun.errors import InputError

YEARS = {
    "2019": "VQAMed2019_Test_Questions_w_Ref_Answers.txt",
    "2020": "VQAMed2020-Task1-VQAnswering-Test-Questions.txt",
    "2021": "Task1-VQA-2021-TestSet-Questions.txt",
}
PICTURES = ("*Images", "*Images.zip", "*-Images/*-Images", "images/*Images")


def load(folder: UPath) -> Iterator[BenchmarkItem]:
    """The test questions of every year that the folder has."""
    names = [pattern for name in YEARS.values() for pattern in (name, f"**/{name}")]
    find(folder, *names)
    for year, name in YEARS.items():
        for file in optional(folder, name, f"**/{name}"):
            yield from _year(year, file)


def _year(year: str, file: UPath) -> Iterator[BenchmarkItem]:
    pictures = Pictures(file.parent, *PICTURES)
    answers = {}
    for reference in optional(file.parent, file.name.replace("Questions", "ReferenceAnswers")):
        answers = dict(_fields(reference, 2))
    for number, fields in enumerate(_fields(file, 4 if year == "2019" else 2)):
        picture = fields[0]
        answer = fields[3].split("#")[0] if year == "2019" else answers.get(picture, "")
        yield BenchmarkItem(
            id=f"{year}/{number}/{picture}",
            language="en",
            question=fields[2] if year == "2019" else fields[1],
            answer=answer,
            image_name=f"{picture}.jpg",
            image=pictures.read(f"{picture}.jpg"),
            groups={"year": year, "category": fields[1] if year == "2019" else ""},
        )


def _fields(file: UPath, count: int) -> Iterator[list[str]]:
    """The fields of each line; the last takes what further separators there are."""
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        fields = [field.strip() for field in line.split("|", count - 1)]
        if len(fields) != count:
            raise InputError(f"{file}, line {number} has not {count} fields")
        yield fields


BENCHMARK = Benchmark(
    name="vqa-med",
    version="ImageCLEF 2019, 2020, 2021, test",
    layout="the test question files of one or more years, pictures in a *Images folder or zip",
    source="https://github.com/abachaa/VQA-Med-2019, -2020, -2021",
    load=load,
)
