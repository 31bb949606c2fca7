"""Small data sets in each publisher's exact layout, with made-up content and planted faults."""

import csv
import io
import json
import pickle
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from upath import UPath


def picture(seed: int, size: int = 12, kind: str = "PNG") -> bytes:
    """A picture of noise, another for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def write(path: UPath, content: bytes | str) -> None:
    """A file, its folders made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def pictures(folder: UPath, names: Iterable[str]) -> None:
    for seed, name in enumerate(names):
        write(folder / name, picture(seed, kind="JPEG"))


def zipped(path: UPath, members: Mapping[str, bytes]) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    write(path, stream.getvalue())


def table(path: UPath, head: Sequence[str], rows: Iterable[Sequence[Any]], **how: Any) -> None:
    stream = io.StringIO()
    csv.writer(stream, **how).writerows([head, *rows])
    write(path, stream.getvalue())


def parquet(path: UPath, rows: Sequence[Mapping[str, Any]], group: int = 2) -> None:
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), stream, row_group_size=group)
    write(path, stream.getvalue())


def lines(path: UPath, rows: Iterable[Any]) -> None:
    texts = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    write(path, "\n".join(texts) + "\n")


def said(*texts: str) -> list[dict[str, str]]:
    return [
        {"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(texts)
    ]


def bunny(root: UPath, file: str) -> None:
    rows = [
        {"id": 7, "image": "a.jpg", "conversations": said("<image>\nWhat?", "A tree.")},
        {"id": 7, "image": "b.jpg", "conversations": said("Look:\n<image>", "Two [cats], {one}.")},
        {"id": 8, "conversations": said("Why is the sky blue?", 'It scatters "blue" light.')},
        {"id": 9, "image": "gone.jpg", "conversations": said("<image>\nWhat?", "A dog.")},
        {"id": 10, "image": "a.jpg", "conversations": said("<image>\n<image>\nBoth?", "No.")},
        {"id": 11, "image": "a.jpg", "conversations": said("<image>\nOnly a question?")},
        {"id": 12, "image": "../b.jpg", "conversations": said("<image>\nWhere?", "Outside.")},
        "no object",
    ]
    write(root / file, json.dumps(rows, indent=2))
    pictures((root / file).parent / "images", ("a.jpg", "b.jpg"))


def pmc_oa(root: UPath) -> None:
    rows = [
        {"image": f"PMC{n}_F1_{n}.jpg", "caption": f"CT of case {n}.", "alignment_type": "index"}
        for n in range(3)
    ]
    faulty = [{**rows[0], "caption": "Again."}, {**rows[0], "image": "PMC9_F1_1.jpg"}]
    lines(
        root / "pmc_oa.jsonl", [*rows, *faulty, '{"image": "PMC8', {"image": "x", "caption": " "}]
    )
    folder = "caption_T060_filtered_top4_sep_v0_subfigures"
    held = {f"{folder}/{row['image']}": picture(n) for n, row in enumerate(rows)}
    zipped(root / "images.zip", held)


def roco(root: UPath, kind: str = "radiology") -> None:
    for split, first in (("train", 0), ("validation", 10), ("test", 20)):
        folder = root / "data" / split / kind
        texts = [f"ROCO_{first + n:05d}\t Chest radiograph {first + n}." for n in range(3)]
        lines(folder / "captions.txt", [*texts, f"ROCO_{first + 8:05d}\t", "broken line"])
        pictures(folder / "images", [f"ROCO_{first + n:05d}.jpg" for n in range(2)])


def roco_v2(root: UPath) -> None:
    for split in ("train", "valid"):
        rows = [(f"ROCOv2_{split}_{n}", f'CT, "axial",\nlevel {n}') for n in range(3)]
        table(root / f"{split}_captions.csv", ("ID", "Caption"), rows)
        held = {f"{split}/{name}.jpg": picture(n) for n, (name, _) in enumerate(rows)}
        zipped(root / f"{split}_images.zip", held)


def vqa_med(root: UPath, file: str, images: str) -> None:
    pairs = [
        "synpic100|what modality is shown?|xr - plain film",
        "synpic100|what plane is this?|ap",
        "synpic100|what organ system is imaged?|lung, mediastinum, pleura",
        "synpic200|what is abnormal in the x-ray?|pneumothorax|collapsed lung",
        "synpic300|is this normal?|no",
        "synpic200|only a question",
        "synpic200||no question",
    ]
    lines(root / file, pairs)
    pictures((root / file).parent / images, ("synpic100.jpg", "synpic200.jpg"))


def vqa_med_generation(root: UPath) -> None:
    folder = root / "VQAMed2020-VQGeneration-TrainingSet"
    lines(folder / "VQGeneration_2020_Train_Questions.txt", ["synpic1|Is it acute?|Which side?"])
    pictures(folder / "VQGeneration_2020_Train_images", ("synpic1.jpg",))


CHOICES = ("Choice A", "Choice B", "Choice C", "Choice D")


def pmc_vqa(root: UPath) -> None:
    head = ("Figure_path", "Question", "Answer", *CHOICES, "Answer_label")
    options = (" A:CT ", " B:MRI ", " C:PET ", " D:X-ray ")
    rows = [
        ("f1.jpg", 'Which modality, "here"?', "MRI", *options, "B"),
        ("f1.jpg", "Which\nmodality?", "PET", *options, "C"),
        ("gone.jpg", "Which?", "CT", *options, "A"),
        ("f1.jpg", "Which?", "CT", *options[:3], "", "A"),
        ("f1.jpg", "Which?", "Ultrasound", *options, ""),
        ("f1.jpg", "Too short"),
    ]
    table(root / "train.csv", head, rows)
    zipped(root / "images.zip", {"images/f1.jpg": picture(1)})


def pmc_vqa_2(root: UPath) -> None:
    head = ("index", "Figure_path", "Caption", "Question", *CHOICES, "Answer", "split")
    rows = [
        (1, "f1.jpg", "A\ncaption", "Which?", " A:CT", " B:MRI", " C:PET", " D:US", "D", "train")
    ]
    table(root / "train_2.csv", head, rows)
    zipped(root / "images_2.zip", {"figures/f1.jpg": picture(1)})


def vqa_rad(root: UPath) -> None:
    def row(qid: int, phrase: str, answer: Any, image: str = "synpic1.jpg") -> dict[str, Any]:
        asked = {"question": f"How many in {qid}?", "answer": answer, "answer_type": "OPEN "}
        return {"qid": qid, "phrase_type": phrase, "image_name": image, **asked}

    rows = [
        row(1, "freeform", "two"),
        row(2, "para", 3),
        row(3, "test_freeform", "held out"),
        row(4, "test_para", "held out"),
        row(5, "freeform", None),
        row(6, "freeform", "lost", "synpic9.jpg"),
        row(1, "freeform", "again"),
    ]
    write(root / "VQA_RAD Dataset Public.json", json.dumps(rows))
    pictures(root / "VQA_RAD Image Folder", ("synpic1.jpg",))


def embedded(root: UPath, splits: Sequence[str]) -> None:
    for split in splits:
        rows = [
            {
                "image": {"bytes": picture(n) if n else None, "path": f"{n}.jpg"},
                "question": f"is {n} seen?",
                "answer": "yes",
            }
            for n in range(5)
        ]
        parquet(root / "data" / f"{split}-00000-of-00001-abc.parquet", rows)


def slake(root: UPath) -> None:
    def row(qid: int, language: str, name: str = "xmlab1/source.jpg") -> dict[str, Any]:
        asked = ("这是什么？", "肺") if language == "zh" else ("What is it?", "Lung")
        return {
            **{"qid": qid, "img_id": 1, "img_name": name, "q_lang": language},
            **{"question": asked[0], "answer": asked[1], "answer_type": "OPEN", "triple": ["_"]},
        }

    rows = [row(0, "en"), row(1, "zh"), row(2, "fr"), row(3, "en", "xmlab9/source.jpg")]
    write(root / "train.json", json.dumps(rows, ensure_ascii=False))
    write(root / "validate.json", json.dumps([row(7, "zh")]))
    zipped(root / "imgs.zip", {"imgs/xmlab1/source.jpg": picture(1)})


def path_vqa(root: UPath) -> None:
    for split in ("train", "val"):
        rows = [
            {"image": f"{split}_000{n}", "question": f"what is {n}?", "answer": "a nodule"}
            for n in range(3)
        ]
        write(root / f"pvqa/qas/{split}/{split}_qa.pkl", pickle.dumps(rows))
        folder = root / "pvqa" / "images" / split
        pictures(folder, [f"{split}_0000.jpg", f"{split}_0001.jpg"])


def alpaca(root: UPath) -> None:
    rows = [
        {"instruction": "解释血压。", "input": "", "output": "血压是血液对血管壁的压力。"},
        {
            "instruction": "Shorten.",
            "input": "A long note.",
            "output": "Note.",
            "system": "Be brief.",
        },
        {"instruction": "And?", "output": "Yes.", "history": [["First?", "One."]]},
        {"instruction": "No answer", "input": "", "output": ""},
        {"instruction": "Bad history", "output": "x", "history": ["alone"]},
    ]
    write(root / "alpaca.json", json.dumps(rows, ensure_ascii=False))


def conversations(root: UPath) -> None:
    rows = [
        {"conversations": said("What is anaemia?", "Too little haemoglobin.", "Why?", "Iron.")},
        {
            "messages": [
                {"role": "user", "content": "什么是贫血？"},
                {"role": "assistant", "content": "血红蛋白过少。"},
            ]
        },
        {"image": "a.jpg", "conversations": said("<image>\nWhat?", "A femur.")},
        {"conversations": said("Unanswered?")},
        {"conversations": [{"from": "robot", "value": "x"}, {"from": "gpt", "value": "y"}]},
        {"conversations": [{"from": "human"}]},
        {"other": 1},
    ]
    lines(root / "chat.jsonl", rows)
    pictures(root / "images", ("a.jpg",))


def huatuo(root: UPath) -> None:
    rows = [
        {"data": ["问：头疼怎么办？", "答：请多休息。", "问：吃什么药？", "答：布洛芬。"]},
        {"data": ["发烧怎么办？", "多喝水。"]},
        {"questions": [["什么是糖尿病？", "糖尿病是什么？"]], "answers": ["一种代谢病。"]},
        {"data": ["问：没有回答？"]},
        {"data": "not a list"},
    ]
    lines(root / "HuatuoGPT_sft_data_v1.jsonl", rows)


def cmedqa(root: UPath) -> None:
    table(
        root / "question.csv",
        ("question_id", "content"),
        [(1, "咳嗽？"), (2, "牙疼？"), (3, "晕？")],
    )
    answers = [
        (10, 1, "多喝水。"),
        (11, 1, "看医生。"),
        (12, 2, "看牙。"),
        (13, 3, ""),
        (14, 9, "孤儿"),
    ]
    table(root / "answer.csv", ("ans_id", "question_id", "content"), answers)
    for name, ids in (("train", (1, 3, 9)), ("dev", (2,)), ("test", ())):
        rows = [(question, 10, 12) for question in ids]
        head = ("question_id", "pos_ans_id", "neg_ans_id")
        table(root / f"{name}_candidates.txt", head, rows)


def chinese_dialogue(root: UPath) -> None:
    rows = [("内科", "咳嗽", "咳嗽怎么办？", "多喝水。"), ("内科", "x", "没有回答", "")]
    stream = io.StringIO()
    csv.writer(stream).writerows([("department", "title", "ask", "answer"), *rows])
    write(root / "内科" / "样例.csv", stream.getvalue().encode("gb18030"))


@dataclass(frozen=True)
class PublishedSet:
    """A set as written by `make`, and what reading it must give."""

    kind: str
    make: Callable[[UPath], None]
    samples: int
    faults: tuple[str, ...] = ()
    splits: tuple[str, ...] = ("train",)
    options: Mapping[str, Any] = field(default_factory=dict)


TRAIN_2019 = "ImageClef-2019-VQA-Med-Training/All_QA_Pairs_train.txt"
TRAIN_2020 = "VQAMed2020-VQAnswering-TrainingSet/VQAnswering_2020_Train_QA_pairs.txt"
VALIDATION_2020 = "VQAMed2020-VQAnswering-ValidationSet/VQAnswering_2020_Val_QA_Pairs.txt"
NEW_2021 = "VQA-Med-2021-VQAnswering-Task1-New-ValidationSet.txt"
CLEF_FAULTS = ("2 fields for 3", "an empty question or answer", "missing image")
BUNNY_FAULTS = (
    "2 <image> marks for 1 images",
    "missing image",
    "not a JSON object",
    "the image's path leads out of the folder",
    "the turns are not user and assistant in turn",
)


def vqa_med_2021(root: UPath) -> None:
    vqa_med(root, TRAIN_2020, "VQAnswering_2020_Train_images")
    vqa_med(root, VALIDATION_2020, "VQAnswering_2020_Val_images")
    vqa_med(root, NEW_2021, "ImageCLEF-2021-VQA-Med-New-Validation-Images")


SETS = (
    PublishedSet(
        "bunny_pretrain",
        lambda root: bunny(root, "pretrain/bunny_pretrain_laion_2m.json"),
        3,
        BUNNY_FAULTS,
    ),
    PublishedSet("bunny_finetune", lambda root: bunny(root, "bunny_695k.json"), 3, BUNNY_FAULTS),
    PublishedSet(
        "pmc_oa",
        pmc_oa,
        3,
        ("field 'caption' is empty", "malformed JSON", "missing image", "repeated key"),
    ),
    PublishedSet("roco", roco, 2, ("1 fields for 2", "1 fields for 2", "missing image")),
    PublishedSet(
        "roco",
        roco,
        4,
        ("1 fields for 2",) * 4 + ("missing image",) * 2,
        splits=("train", "validation"),
    ),
    PublishedSet(
        "roco_non_radiology",
        lambda root: roco(root, "non-radiology"),
        2,
        ("1 fields for 2", "1 fields for 2", "missing image"),
    ),
    PublishedSet("roco_v2", roco_v2, 6, splits=("train", "validation")),
    PublishedSet(
        "vqa_med_2019", lambda root: vqa_med(root, TRAIN_2019, "Train_images"), 4, CLEF_FAULTS
    ),
    PublishedSet(
        "vqa_med_2020",
        lambda root: vqa_med(root, VALIDATION_2020, "VQAnswering_2020_Val_images"),
        4,
        CLEF_FAULTS,
        splits=("validation",),
    ),
    PublishedSet("vqa_med_2021", vqa_med_2021, 8, CLEF_FAULTS * 2),
    PublishedSet("vqa_med_2021", vqa_med_2021, 4, CLEF_FAULTS, splits=("validation",)),
    PublishedSet("vqa_med_2020_generation", vqa_med_generation, 2),
    PublishedSet(
        "pmc_vqa",
        pmc_vqa,
        2,
        (
            "2 fields for 8",
            "field 'Choice D' is empty",
            "missing image",
            "the answer is not one of the choices",
        ),
    ),
    PublishedSet("pmc_vqa_2", pmc_vqa_2, 1, options={"with_choices": False}),
    PublishedSet(
        "vqa_rad", vqa_rad, 2, ("field 'answer' is empty", "missing image", "repeated key")
    ),
    PublishedSet("vqa_rad", lambda root: embedded(root, ("train",)), 4, ("missing image",)),
    PublishedSet("slake", slake, 2, ("missing image", "q_lang is neither en nor zh")),
    PublishedSet(
        "slake",
        slake,
        2,
        ("q_lang is neither en nor zh",),
        splits=("train", "validation"),
        options={"languages": ["zh"]},
    ),
    PublishedSet("path_vqa", path_vqa, 4, ("missing image",) * 2, splits=("train", "validation")),
    PublishedSet("path_vqa", lambda root: embedded(root, ("train",)), 4, ("missing image",)),
    PublishedSet(
        "alpaca",
        alpaca,
        3,
        ("field 'history' holds no pairs of texts", "field 'output' is empty"),
    ),
    PublishedSet(
        "conversations",
        conversations,
        3,
        (
            "a turn of an unknown role",
            "field 'conversations' holds a malformed turn",
            "field 'conversations' is not a list of turns",
            "the turns are not user and assistant in turn",
        ),
    ),
    PublishedSet(
        "huatuo",
        huatuo,
        3,
        ("field 'data' is not a list of texts", "the turns are not user and assistant in turn"),
    ),
    PublishedSet("cmedqa", cmedqa, 2, ("field 'content' is empty", "its question is missing")),
    PublishedSet(
        "table",
        chinese_dialogue,
        1,
        ("field 'answer' is empty",),
        options={"columns": {"question": "ask"}, "encoding": "gb18030"},
    ),
)
