"""Small benchmarks in the exact layouts of their publishers: two or three held-out items each,
beside records of other splits that must not be read.
"""

import base64
import csv
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.small_data import picture

MCQ = {"A": "Mitral stenosis", "B": "Aortic regurgitation", "C": "Tricuspid atresia", "D": "VSD"}
VIGNETTE = (
    "A 24-year-old woman has a low-pitched rumbling murmur at the apex that gets louder when she "
    "lies on her left side after climbing two flights of stairs. What is the likely lesion?"
)
CHINESE = "患者女，32岁，反复咳嗽伴午后低热三周，胸部CT示右上肺空洞，首先应考虑的疾病是哪一种"
CHINESE_MCQ = {"A": "肺结核", "B": "肺癌", "C": "肺脓肿", "D": "支气管扩张"}


def _json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _lines(path: Path, records: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text(text, encoding="utf-8")


def _table(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def _image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(seed))


def _questions(path: Path) -> None:
    rows = [
        {"image": {"bytes": picture(number // 2), "path": None}, "question": question, "answer": a}
        for number, (question, a) in enumerate(
            [("is there a fracture?", "no"), ("where is it?", "left lung"), ("what is it?", "cyst")]
        )
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def vqa_rad(folder: Path) -> int:
    records = [
        {"qid": str(n), "image_name": f"synpic{n // 2}.jpg", "question": f"Is finding {n} there?"}
        | {"answer": "No", "answer_type": "CLOSED", "phrase_type": phrase}
        for n, phrase in enumerate(["test_freeform", "test_para", "freeform", "para"])
    ]
    _json(folder / "VQA_RAD Dataset Public.json", records)
    for number in range(2):
        _image(folder / "VQA_RAD Image Folder" / f"synpic{number}.jpg", number)
    return 2


def path_vqa(folder: Path) -> int:
    _questions(folder / "data" / "test-00000-of-00001.parquet")
    return 3


def slake(folder: Path) -> int:
    _json(
        folder / "test.json",
        [
            {"qid": 1, "img_id": 1, "img_name": "xmlab1/source.jpg", "q_lang": "en"}
            | {"question": "What modality is used?", "answer": "CT"}
            | {"answer_type": "OPEN", "content_type": "Modality"},
            {"qid": 2, "img_id": 1, "img_name": "xmlab1/source.jpg", "q_lang": "zh"}
            | {"question": "这是什么模态的影像？", "answer": "CT"}
            | {"answer_type": "OPEN", "content_type": "Modality"},
        ],
    )
    with zipfile.ZipFile(folder / "imgs.zip", "w") as archive:
        archive.writestr("imgs/xmlab1/source.jpg", picture(1))
    return 2


def vqa_med(folder: Path) -> int:
    (folder / "2019" / "VQAMed2019_Test_Images").mkdir(parents=True)
    (folder / "2019" / "VQAMed2019_Test_Questions_w_Ref_Answers.txt").write_text(
        "synpic1|abnormality|what is abnormal in the ct scan?|cyst#multi-cystic mass\n"
    )
    _image(folder / "2019" / "VQAMed2019_Test_Images" / "synpic1.jpg", 1)
    stem = folder / "2020" / "VQAMed2020-Task1-VQAnswering-Test-"
    stem.parent.mkdir()
    Path(f"{stem}Questions.txt").write_text("synpic2|is this image normal?\n")
    Path(f"{stem}ReferenceAnswers.txt").write_text("synpic2|no\n")
    with zipfile.ZipFile(f"{stem}Images.zip", "w") as archive:
        archive.writestr("Task1-2020-VQAnswering-Test-Images/synpic2.jpg", picture(2))
    return 2


def pmc_vqa(folder: Path) -> int:
    row = {"Figure_path": "PMC1_F1.jpg", "Question": "What is the uptake pattern?"}
    row |= {f"Choice {name}": f"{name}:{text}" for name, text in MCQ.items()}
    _table(folder / "test.csv", [row | {"Answer": "Aortic regurgitation", "Answer_label": "B"}])
    _table(folder / "test_2.csv", [{"index": "0", "Caption": "c", **row, "Answer": "B"}])
    _table(folder / "train.csv", [row | {"Answer": "VSD", "Answer_label": "D"}])
    _image(folder / "images" / "PMC1_F1.jpg", 3)
    return 2


def medqa(folder: Path) -> int:
    record = {"question": VIGNETTE, "answer": MCQ["A"], "answer_idx": "A", "options": MCQ}
    _lines(folder / "data_clean/questions/US/test.jsonl", [record | {"meta_info": "step1"}])
    _lines(folder / "data_clean/questions/US/train.jsonl", [record, record])
    return 1


def pubmedqa(folder: Path) -> int:
    record = {"QUESTION": "Does mitral commissurotomy help?", "CONTEXTS": ["We saw.", "We did."]}
    record |= {"LONG_ANSWER": "...", "final_decision": "yes"}
    _json(folder / "ori_pqal.json", {"11": record, "12": record, "13": record})
    _json(folder / "test_ground_truth.json", {"11": "yes", "13": "yes"})
    return 2


def mmbench(folder: Path) -> int:
    encoded = base64.b64encode(picture(4)).decode()
    base = {"question": "What color is the car?", "hint": "", **MCQ, "category": "attribute"}
    base |= {"l2-category": "fine-grained", "source": "x", "comment": "", "split": "dev"}
    rows = [
        {"index": "7", **base, "answer": "B", "image": encoded},
        {"index": "8", **base, "answer": "A", "image": "7"},
        {"index": "1000007", **base, "answer": "C", "image": "7"},
    ]
    _table(folder / "MMBench_DEV_EN.tsv", rows, "\t")
    _table(folder / "MMBench_DEV_CN.tsv", rows[:1], "\t")
    return 3


def cmb(folder: Path) -> int:
    record = {"exam_type": "医师考试", "exam_class": "执业医师", "question_type": "单项选择题"}
    record |= {"question": CHINESE, "option": CHINESE_MCQ | {"E": ""}}
    _json(folder / "CMB-Exam/CMB-test/CMB-test-choice-question-merge.json", [{"id": 1, **record}])
    _json(folder / "CMB-test-choice-answer.json", [{"id": 1, "answer": "A"}])
    _json(folder / "CMB-Exam/CMB-val/CMB-val-merge.json", [record | {"answer": "A"}])
    return 2


def ceval(folder: Path) -> int:
    row = {"id": "0", "question": CHINESE, **CHINESE_MCQ}
    _table(folder / "test" / "physician_test.csv", [row])
    _table(folder / "val" / "physician_val.csv", [row | {"answer": "A", "explanation": ""}])
    _table(folder / "dev" / "physician_dev.csv", [row | {"answer": "A", "explanation": ""}])
    return 2


def bbh(folder: Path) -> int:
    text = f"{VIGNETTE}\nOptions:\n" + "\n".join(f"({name}) {text}" for name, text in MCQ.items())
    (folder / "cot-prompts").mkdir(parents=True)
    (folder / "cot-prompts" / "logic.txt").write_text("CANARY\n-----\nOne worked example.\n")
    examples = [{"input": text, "target": "(C)"}, {"input": "not True is", "target": "False"}]
    _json(folder / "bbh" / "logic.json", {"canary": "x", "examples": examples})
    return 2


def mbpp(folder: Path) -> int:
    record = {"text": "Write a function to add two numbers.", "code": "def add(a, b): return a + b"}
    record |= {"test_list": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"]}
    records = [record | {"task_id": n, "test_setup_code": ""} for n in (2, 11, 510, 511)]
    _lines(folder / "mbpp.jsonl", records)
    return 2


LAYOUTS: dict[str, Callable[[Path], int]] = {
    "vqa-rad": vqa_rad,
    "path-vqa": path_vqa,
    "slake": slake,
    "vqa-med": vqa_med,
    "pmc-vqa": pmc_vqa,
    "medqa": medqa,
    "pubmedqa": pubmedqa,
    "mmbench-dev": mmbench,
    "cmb": cmb,
    "ceval": ceval,
    "bbh": bbh,
    "mbpp": mbpp,
}
"""By benchmark: writes its files into a folder, returns the number of held-out items."""
