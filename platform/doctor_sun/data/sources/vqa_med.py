"""VQA-Med (ImageCLEF) 2019, 2020 and 2021: questions on radiology pictures of MedPix.

A line `PICTURE|question|answer`, as text; PICTURE.jpg in the images folder beside the file
(github.com/abachaa/VQA-Med-2019, -2020, -2021, READMEs and shipped files; names of the training
files from public code that reads them). Folders as unpacked from the publisher's zips:

2019: ImageClef-2019-VQA-Med-Training/All_QA_Pairs_train.txt with Train_images/, and
ImageClef-2019-VQA-Med-Validation/All_QA_Pairs_val.txt with Val_images/. QAPairsByCategory/ holds
the same lines again, by category (C1_Modality ... C4_Abnormality), and is not read.
2020: VQAMed2020-VQAnswering-TrainingSet/VQAnswering_2020_Train_QA_pairs.txt with
VQAnswering_2020_Train_images/; ...-ValidationSet/VQAnswering_2020_Val_QA_Pairs.txt likewise.
2021: trains on the files of 2020 and adds VQA-Med-2021-VQAnswering-Task1-New-ValidationSet.txt
with ImageCLEF-2021-VQA-Med-New-Validation-Images/.
The question generation task of 2020 has lines `PICTURE|question|question|...`; the name of its
files is not known for certain, so any text file of questions in its folders is taken.

The test sets are benchmarks: `data/benchmarks/vqa_med.py`. A record is a picture with what is said
about it: each question becomes a sample, and all point to the record by `parents`, the hash of the
source and the picture's name. A line is faulty when it has fewer than three fields or no picture.
"""

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from upath import UPath

from doctor_sun.data.sources.pictures import Pictures
from doctor_sun.data.sources.record import Broken, Record
from doctor_sun.data.sources.source import Card, RecordSource, Sample
from doctor_sun.data.sources.turns import exchange
from doctor_sun.records import sha256

TRAIN_2020 = (
    "VQAMed2020-VQAnswering-TrainingSet/VQAnswering_2020_Train_QA_pairs.txt",
    "VQA-Med-2020-Task1-VQAnswering-TrainVal-Sets/VQAMed2020-VQAnswering-TrainingSet/"
    "VQAnswering_2020_Train_QA_pairs.txt",
    "VQAnswering_2020_Train_QA_pairs.txt",
)
VALIDATION_2020 = (
    "VQAMed2020-VQAnswering-ValidationSet/VQAnswering_2020_Val_QA_Pairs.txt",
    "VQA-Med-2020-Task1-VQAnswering-TrainVal-Sets/VQAMed2020-VQAnswering-ValidationSet/"
    "VQAnswering_2020_Val_QA_Pairs.txt",
    "VQAnswering_2020_Val_QA_Pairs.txt",
)
ASK = "Ask a question about this image."


@dataclass(frozen=True, kw_only=True)
class VqaMed(RecordSource):
    """What the years share."""

    image_folders: ClassVar[tuple[str, ...]]

    def pictures(self, root: UPath, file: str) -> Pictures:
        """See `RecordSource.pictures`."""
        zips = tuple(
            f"{name}.zip{inner}" for name in self.image_folders for inner in ("", f"/{name}")
        )
        return Pictures(root / posixpath.dirname(file), (*self.image_folders, *zips))

    def samples(self, record: Record, pictures: Pictures) -> Iterable[Sample]:
        """See `RecordSource.samples`."""
        picture, question, answers = record.line("|", 3)
        answer = answers.split("|")[0].strip()  # further ones are other ways to say it
        key = f"{picture}:{record.spot}"
        if not question or not answer:
            raise Broken("an empty question or answer", key)
        yield self._about(picture, key, question, answer, record, pictures)

    def _about(
        self, picture: str, key: str, question: str, answer: str, record: Record, pictures: Pictures
    ) -> Sample:
        image = pictures.read(f"{picture}.jpg", key)
        turns = exchange(question, answer, images=1)
        split, parents = self.split_of(record.file), [sha256(self.label, picture)]
        return self.sample(key, turns, [image], split=split, parents=parents)


@dataclass(frozen=True, kw_only=True)
class VqaMedGeneration(VqaMed):
    """The question generation task: the picture is shown, the question is the answer."""

    def samples(self, record: Record, pictures: Pictures) -> Iterable[Sample]:
        """See `RecordSource.samples`."""
        picture, questions = record.line("|", 2)
        for number, question in enumerate(filter(None, map(str.strip, questions.split("|"))), 1):
            key = f"{picture}#{number}"
            yield self._about(picture, key, ASK, question, record, pictures)


def _card(year: str, rows: Mapping[str, int], layout: str, licence: str, task: str = "") -> Card:
    """The card of a year: `task` is "" for answering, else the other task's name."""
    return Card(
        kind=f"vqa_med_{year}{'_' if task else ''}{task}",
        title=f"VQA-Med-{year}{' question ' if task else ''}{task}",
        domain="medical",
        languages=("en",),
        task="vqa",
        rows=rows,
        layout=layout,
        where=f"https://github.com/abachaa/VQA-Med-{year}",
        licence=licence,
    )


@dataclass(frozen=True, kw_only=True)
class VqaMed2019(VqaMed):
    """Modality, plane, organ system, abnormality; four questions a picture."""

    card = _card(
        "2019",
        {"train": 12_792, "validation": 2_000},
        "ImageClef-2019-VQA-Med-Training/All_QA_Pairs_train.txt with Train_images/ beside it",
        "CC BY 4.0",
    )
    files: ClassVar = {
        "train": (
            "ImageClef-2019-VQA-Med-Training/All_QA_Pairs_train.txt",
            "All_QA_Pairs_train.txt",
        ),
        "validation": (
            "ImageClef-2019-VQA-Med-Validation/All_QA_Pairs_val.txt",
            "All_QA_Pairs_val.txt",
        ),
    }
    image_folders: ClassVar = ("Train_images", "Val_images")


@dataclass(frozen=True, kw_only=True)
class VqaMed2020(VqaMed):
    """Abnormalities; one question a picture."""

    card = _card(
        "2020",
        {"train": 4_000, "validation": 500},
        f"{TRAIN_2020[0]} with VQAnswering_2020_Train_images/ beside it",
        "none stated",
    )
    files: ClassVar = {"train": TRAIN_2020, "validation": VALIDATION_2020}
    image_folders: ClassVar = ("VQAnswering_2020_Train_images", "VQAnswering_2020_Val_images")


@dataclass(frozen=True, kw_only=True)
class VqaMed2021(VqaMed):
    """The training files of 2020 and a validation set of its own."""

    card = _card(
        "2021",
        {"train": 4_500, "validation": 500},
        f"{TRAIN_2020[0]} and ...-ValidationSet/ with their images (train); "
        "VQA-Med-2021-VQAnswering-Task1-New-ValidationSet.txt with its images (validation)",
        "none stated",
    )
    files: ClassVar = {
        "train": TRAIN_2020,
        "validation": tuple(
            f"{base}VQA-Med-2021-VQAnswering-Task1-New-ValidationSet.txt"
            for base in ("", "VQA-Med-2021-Tasks-1-2-NewValidationSets/")
        ),
    }
    image_folders: ClassVar = (
        *VqaMed2020.image_folders,
        "ImageCLEF-2021-VQA-Med-New-Validation-Images",
    )

    def found(self, root: UPath) -> list[tuple[str, UPath]]:
        """See `RecordSource.found`; the year's training set is both sets of 2020."""
        if "train" not in self.splits:
            return super().found(root)
        before = VqaMed2020(name=self.label, splits=("train", "validation"))
        return list(dict([*super().found(root), *before.found(root)]).items())

    def split_of(self, file: str) -> str:
        """See `RecordSource.split_of`."""
        return "validation" if "New-Validation" in file else "train"


@dataclass(frozen=True, kw_only=True)
class VqaMed2020Generation(VqaMedGeneration):
    """Questions that were asked about a picture."""

    card = _card(
        "2020",
        {"train": 2_156, "validation": 164},
        "VQAMed2020-VQGeneration-TrainingSet/*uestions*.txt with VQGeneration_2020_Train_images/",
        "none stated",
        "generation",
    )
    files: ClassVar = {
        split: tuple(
            f"{base}VQAMed2020-VQGeneration-{folder}/*uestions*.txt"
            for base in ("", "VQA-Med-2020-Task2-VQGeneration-TrainVal-Sets/")
        )
        for split, folder in (("train", "TrainingSet"), ("validation", "ValidationSet"))
    }
    image_folders: ClassVar = (
        "VQGeneration_2020_Train_images",
        "VQGeneration_2020_Validation_images",
    )


SOURCES = (VqaMed2019, VqaMed2020, VqaMed2021, VqaMed2020Generation)
