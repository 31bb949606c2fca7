"""SLAKE: 2,094 test questions, 1,061 English and 1,033 Chinese, on 96 radiology pictures.

Liu et al. 2021 (https://www.med-vqa.com/slake, Hugging Face BoKelvin/SLAKE): test.json, an array of
qid, img_name ("xmlab102/source.jpg"), question, answer, q_lang (en, zh), answer_type, content_type;
pictures in imgs/ or imgs.zip. Checked against the test.json that xiaoman-zhang/PMC-VQA carries.
"""

from collections.abc import Iterator

from upath import UPath

from doctor_sun.data.benchmarks.files import Pictures, find, json_records
from doctor_sun.data.benchmarks.item import Benchmark, BenchmarkItem
from doctor_sun.errors import InputError

GROUPS = ("answer_type", "content_type", "modality", "location")


def load(folder: UPath) -> Iterator[BenchmarkItem]:
    """The test questions of both languages."""
    (file, *_) = find(folder, "test.json", "Slake1.0/test.json")
    pictures = Pictures(file.parent, "imgs", "imgs.zip")
    for record in json_records(file):
        language = record.text("q_lang")
        if language not in ("en", "zh"):
            raise InputError(f"{record.place}: q_lang is neither en nor zh")
        yield BenchmarkItem(
            id=record.text("qid"),
            language="zh" if language == "zh" else "en",
            question=record.text("question"),
            answer=record.text("answer"),
            image_name=record.text("img_name"),
            image=pictures.read(record.text("img_name")),
            groups={name: record.text(name, "") for name in GROUPS},
        )


BENCHMARK = Benchmark(
    name="slake",
    version="1.0, test, en and zh",
    layout="test.json (qid, img_name, question, answer, q_lang) with imgs/ or imgs.zip",
    source="https://www.med-vqa.com/slake or hf.co/datasets/BoKelvin/SLAKE",
    load=load,
)
