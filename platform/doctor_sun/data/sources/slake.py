"""SLAKE: questions in English and Chinese on radiology pictures; its training part.

Liu et al. 2021 (https://www.med-vqa.com/slake, Hugging Face BoKelvin/SLAKE): train.json and
validate.json (validation.json there), arrays of qid, img_name ("xmlab1/source.jpg"), question,
answer, q_lang (en, zh), answer_type, content_type, ...; pictures in imgs/ or imgs.zip. Checked
against the files that github.com/xiaoman-zhang/PMC-VQA carries: 9,835 questions (4,919 en, 4,916
zh) on 586 pictures. The test part is a benchmark: `data/benchmarks/slake.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from upath import UPath

from doctor_sun.data.sources.pictures import Pictures
from doctor_sun.data.sources.record import Broken, Record
from doctor_sun.data.sources.source import Card, RecordSource, Sample
from doctor_sun.data.sources.turns import exchange
from doctor_sun.records import Language


@dataclass(frozen=True, kw_only=True)
class Slake(RecordSource):
    """Questions of both languages, or of one."""

    languages: tuple[Language, ...] = ("en", "zh")
    """The languages that are read."""

    card = Card(
        kind="slake",
        title="SLAKE",
        domain="medical",
        languages=("en", "zh"),
        task="vqa",
        rows={"train": 9_835, "validation": 2_099},
        layout="train.json (qid, img_name, question, answer, q_lang) with imgs/ or imgs.zip",
        where="https://www.med-vqa.com/slake or hf.co/datasets/BoKelvin/SLAKE",
        licence="CC BY 4.0",
    )
    files: ClassVar = {
        "train": ("train.json", "Slake1.0/train.json"),
        "validation": (
            *("validate.json", "validation.json"),
            *("Slake1.0/validate.json", "Slake1.0/validation.json"),
        ),
    }

    def pictures(self, root: UPath, file: str) -> Pictures:
        """See `RecordSource.pictures`."""
        folder = "Slake1.0/" if "/" in file else ""
        return Pictures(root, tuple(f"{folder}{name}" for name in ("imgs", "imgs.zip/imgs")))

    def samples(self, record: Record, pictures: Pictures) -> Iterable[Sample]:
        """See `RecordSource.samples`."""
        key, said_in = record.text("qid"), record.text("q_lang")
        if said_in not in ("en", "zh"):
            raise Broken("q_lang is neither en nor zh", key)
        language: Language = "zh" if said_in == "zh" else "en"
        if language not in self.languages:
            return
        turns = exchange(record.text("question"), record.text("answer"), images=1)
        picture = pictures.read(record.text("img_name"), key)
        split = self.split_of(record.file)
        yield self.sample(key, turns, [picture], language=language, split=split)


SOURCES = (Slake,)
