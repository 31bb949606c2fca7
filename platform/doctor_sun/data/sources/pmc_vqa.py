"""PMC-VQA: multiple-choice questions on figures of PubMed Central.

Zhang et al. 2023 (hf.co/datasets/xmcmic/PMC-VQA; columns from github.com/xiaoman-zhang/PMC-VQA, its
dataset classes, and public code that reads both versions): train.csv with Figure_path, Question,
Answer, "Choice A" to "Choice D" (" A:..."), Answer_label, pictures in images.zip; and train_2.csv
(figures that were not cut) with index, Figure_path, Caption, Question, the choices, Answer (the
letter), split, pictures in images_2.zip. Which is read is the choice of the source: pmc_vqa or
pmc_vqa_2. The test files are benchmarks: `data/benchmarks/pmc_vqa.py`. A row is faulty when the
picture or a choice is missing, or the answer is none of the choices.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from upath import UPath

from doctor_sun.data.sources.pictures import Pictures
from doctor_sun.data.sources.record import Broken, Record
from doctor_sun.data.sources.source import Card, RecordSource, Sample
from doctor_sun.data.sources.turns import exchange

LETTERS = "ABCD"
LETTER = re.compile(r"^\s*[A-D]\s*[:.]\s*")
LAYOUT = "(Figure_path, Question, Choice A to D, Answer) with figures/, images/ or"


def right_letter(record: Record, choices: list[str], key: str) -> str:
    """The letter of the right choice, whether the file gives the letter or the words.

    Raises:
        Broken: it is none of them.
    """
    named = record.text("Answer_label", record.text("Answer", "")).strip()
    if len(named) == 1 and named in LETTERS:
        return named
    words = LETTER.sub("", record.text("Answer")).strip().casefold()
    same = [
        letter for letter, text in zip(LETTERS, choices, strict=True) if text.casefold() == words
    ]
    if len(same) != 1:
        raise Broken("the answer is not one of the choices", key)
    return same[0]


@dataclass(frozen=True, kw_only=True)
class PmcVqa(RecordSource):
    """The first version: parts of compound figures."""

    with_choices: bool = True
    """Show the choices with the question and answer by letter and text; False asks the bare
    question and answers by the text."""

    card = Card(
        kind="pmc_vqa",
        title="PMC-VQA",
        domain="medical",
        languages=("en",),
        task="vqa",
        rows={"train": 176_948},
        layout=f"train.csv {LAYOUT} images.zip",
        where="hf.co/datasets/xmcmic/PMC-VQA",
        licence="CC BY-SA",
    )
    files: ClassVar = {"train": ("train.csv",)}
    places: ClassVar[tuple[str, ...]] = ("images", "figures", "images.zip/images", "images.zip")

    def pictures(self, root: UPath, file: str) -> Pictures:
        """See `RecordSource.pictures`."""
        return Pictures(root, self.places)

    def samples(self, record: Record, pictures: Pictures) -> Iterable[Sample]:
        """See `RecordSource.samples`."""
        figure = record.text("Figure_path")
        key = f"{figure}@{record.at}"
        choices = [LETTER.sub("", record.text(f"Choice {letter}")).strip() for letter in LETTERS]
        letter = right_letter(record, choices, key)
        question, answer = record.text("Question"), choices[LETTERS.index(letter)]
        if not all(choices):
            raise Broken("an empty choice", key)
        if self.with_choices:
            listed = [f"{name}: {text}" for name, text in zip(LETTERS, choices, strict=True)]
            question, answer = "\n".join([question, *listed]), f"{letter}: {answer}"
        yield self.sample(key, exchange(question, answer, 1), [pictures.read(figure, key)])


@dataclass(frozen=True, kw_only=True)
class PmcVqa2(PmcVqa):
    """The second version: whole figures."""

    card = Card(
        kind="pmc_vqa_2",
        title="PMC-VQA, version 2",
        domain="medical",
        languages=("en",),
        task="vqa",
        rows={"train": 152_603},
        layout=f"train_2.csv {LAYOUT} images_2.zip",
        where=PmcVqa.card.where,
        licence=PmcVqa.card.licence,
    )
    files: ClassVar = {"train": ("train_2.csv",)}
    places: ClassVar[tuple[str, ...]] = (
        *("images_2", "figures", "images"),
        *("images_2.zip/figures", "images_2.zip/images_2", "images_2.zip"),
    )


SOURCES = (PmcVqa, PmcVqa2)
