"""A translated item is pointed out for review when it stands out and its numbers agree."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray.data
from upath import UPath

from doctor_sun.data.decontamination import DecontaminationConfig, TranslatedConfig, decide
from doctor_sun.data.decontamination.translated import figures_in, stands_out
from doctor_sun.data.embeddings import EncoderConfig
from doctor_sun.data.ledger import LINES
from doctor_sun.data.packaged_encoder import encoder_folder
from doctor_sun.data.rows import THIN_SCHEMA, collect
from tests.test_decontamination import thin_row

CASES = [
    "A 61-year-old man with a long history of smoking coughs up blood and has lost ten kilograms.",
    "A 7-year-old girl has had a sore throat, fever and a rash like sandpaper for 3 days.",
    "A 34-year-old woman is thirsty all day, passes much urine and has lost weight quickly.",
    "A 70-year-old woman fell at home and now her right leg is shorter and turned outwards.",
    "A 25-year-old man has pain that moved from the navel to the right lower abdomen in 12 hours.",
    "A 52-year-old man is woken at night by severe pain and swelling of his left big toe.",
]
TRANSLATION = "7岁女孩，咽痛、发热、皮疹如砂纸样已3天。"


def test_an_item_must_stand_out() -> None:
    config = TranslatedConfig(cosine=0.85, margin=0.02, neighbours=2)
    for scores, expected in (
        ([0.80, 0.90, 0.81], 1),
        ([0.80, 0.84, 0.70], None),
        ([0.895, 0.90, 0.89], None),
        ([0.91], 0),
    ):
        assert stands_out(np.asarray(scores, np.float32), config) == expected


def test_figures_are_read_in_any_width() -> None:
    assert figures_in("７岁，3.5 mg") == {"7", "3.5"}


@pytest.mark.slow
def test_a_translated_case_is_for_review(ray_cluster: None, tmp_path: Path) -> None:
    if encoder_folder().name.startswith("random"):
        pytest.skip("the packaged encoder is not available here")
    items = [
        {"id": str(n), "language": "en", "question": case, "answer": ""}
        for n, case in enumerate(CASES)
    ]
    file = tmp_path / "cases.jsonl"
    file.write_text("\n".join(map(json.dumps, items)))
    config = DecontaminationConfig(
        own={"cases": str(file)}, translated=TranslatedConfig(encoder=EncoderConfig(actors=1))
    )
    said = [TRANSLATION, TRANSLATION.replace("7", "9"), "请写一首关于春天的短诗。"]
    rows = [thin_row(0, n, text, language="zh") for n, text in enumerate(said)]
    table = pa.Table.from_pylist(rows, schema=THIN_SCHEMA)
    result = decide(ray.data.from_arrow(table), config, UPath(tmp_path / "work"))
    lines = collect(result.lines, LINES).to_pylist()
    assert [line["id"] for line in lines if line["verdict"]] == ["0-0"]
    (found,) = [line for line in lines if line["verdict"]]
    assert found["verdict"] == "review"
    assert '"item": "1"' in found["evidence"]
