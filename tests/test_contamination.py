"""Items of a benchmark that stand in the training data are found before a score is printed."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from doctor_sun.errors import InputError
from doctor_sun.evaluation import contamination
from doctor_sun.evaluation.tasks import TASKS, Item
from doctor_sun.records import image_key, make_sample, to_table
from tests.small_data import picture

QUESTION = "Which drug reverses the effect of heparin after a bypass operation?"


def sample(number: int, text: str, images: list[bytes]) -> dict[str, Any]:
    place = "<image>\n" if images else ""
    return make_sample(
        source="s",
        source_key=str(number),
        domain="medical",
        language="en",
        task="vqa" if images else "instruction",
        turns=[
            {"role": "user", "text": f"{place}{text}"},
            {"role": "assistant", "text": "An answer."},
        ],
        images=images,
    )


def write_training_data(folder: Path) -> str:
    """A curated data set that holds one picture and one question of a benchmark."""
    (folder / "data").mkdir(parents=True)
    samples = [
        sample(0, "What is it?", [picture(1)]),
        sample(1, f"{QUESTION.upper()}\nA: Protamine. B: Iron.", []),
        sample(2, "Why is the sky blue on a clear day in summer?", []),
    ]
    pq.write_table(to_table(samples), folder / "data" / "part-000000.parquet")
    return str(folder)


def item(name: str, question: str, image: bytes | None = None) -> Item:
    key = image_key(image) if image else ""
    return Item(id=name, question=question, answer="x", image=image, image_key=key)


@pytest.mark.slow
def test_shared_pictures_and_questions_are_found_and_others_are_not(
    tmp_path: Path, ray_cluster: None
) -> None:
    items = {
        "vqa": [
            item("shared picture", "Is there a nodule?", picture(1)),
            item("own picture", "What is it?", picture(2)),
        ],
        "medqa": [
            item("shared question", QUESTION),
            item("own question", "Which drug lowers the pressure in the eye at night?"),
            item("too short to tell", "What is it?"),
        ],
    }
    folder = write_training_data(tmp_path / "curate")
    found = contamination.overlaps(items, [folder], None)
    assert found == {"shared picture", "shared question"}
    report = contamination.report(TASKS["vqa-rad"], items["vqa"], found, [folder])
    assert report["items_in_training_data"] == 1
    assert report["decontaminated"] == "was not decontaminated"


def test_a_models_manifests_lead_to_its_training_data(tmp_path: Path) -> None:
    """An export names its checkpoint, a stage its data and the stage before it."""
    first, second = (write_training_data(tmp_path / name) for name in ("first", "second"))

    def manifest(step: str, **inputs: str) -> str:
        (tmp_path / step / "model").mkdir(parents=True)
        entries = {name: {"path": path, "hash": "x"} for name, path in inputs.items()}
        (tmp_path / step / "manifest.json").write_text(json.dumps({"inputs": entries}))
        return str(tmp_path / step / "model")

    llm = manifest("medical", data=first, llm=str(tmp_path / "base"))
    tuned = manifest("instruct", data=second, llm=llm, start_from=str(tmp_path / "gone"))
    manifest("export", checkpoint=tuned)
    assert contamination.training_data(str(tmp_path / "export")) == [second, first]
    assert contamination.training_data(str(tmp_path / "elsewhere")) == []
    unknown = contamination.report(TASKS["medqa"], [item("1", QUESTION)], set(), [])
    assert unknown["items_in_training_data"] is None
    assert contamination.sentence(unknown).startswith("no training data was found")


def test_a_folder_that_holds_no_training_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no data/\*.parquet"):
        contamination.overlaps({}, [str(tmp_path)], None)
