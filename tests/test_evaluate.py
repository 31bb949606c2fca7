"""The evaluation job: scoring given answers, asking a model, resuming, reporting."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from doctor_sun.errors import InputError
from doctor_sun.evaluation.evaluate import (
    STORED,
    EvaluateConfig,
    build_asks,
    control_images,
    read_predictions,
    run,
)
from doctor_sun.evaluation.inference import (
    Ask,
    DecodingConfig,
    answer_all,
    store_answers,
    stored_answers,
)
from doctor_sun.evaluation.measure import comparison
from doctor_sun.evaluation.tasks import TASKS, Item, find_task
from doctor_sun.records import image_key
from doctor_sun.runs import Step
from doctor_sun.vllm_engine import EngineConfig, check_model_folder
from tests.small_data import picture
from tests.tiny_models import build_llava

ROOT = Path(__file__).parents[1]
QUESTIONS = {
    ("en", "abnormality"): "What abnormality is shown?",
    ("zh", "abnormality"): "这张胸片有什么异常？",
    ("en", "side"): "Which side?",
    ("zh", "side"): "病变在哪一侧？",
}
ANSWERS = {("en", 0): "left", ("en", 1): "right", ("zh", 0): "左侧", ("zh", 1): "右侧"}


def write_benchmark(path: Path, images: int) -> list[dict[str, Any]]:
    """A phantom file: each image asked about in two languages and two kinds."""
    rows = []
    for number in range(images):
        image = picture(number)
        for (language, kind), question in QUESTIONS.items():
            rows.append(
                {
                    "id": f"{number}-{language}-{kind}",
                    "question": question,
                    "answer": ANSWERS[language, number % 2],
                    "options": [],
                    "image": image,
                    "image_key": image_key(image),
                    "language": language,
                    "kind": kind,
                    "finding": ("nodule", "effusion", "normal")[number % 3],
                    "track": "anatomy" if number % 4 else "combination",
                }
            )
    pq.write_table(pa.Table.from_pylist(rows), path)
    return rows


def write_lines(path: Path, records: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
    return str(path)


RECORDS = [
    {"id": "1", "question": "?", "answer": "Yes", "prediction": "Yes, it is", "image_key": "a"},
    {"id": "2", "question": "?", "answer": "no", "prediction": "", "image_key": "a"},
    {"id": "3", "question": "?", "answer": "left lung", "prediction": "left", "image_key": "b"},
]


@pytest.mark.parametrize("scoring", ["published", "corrected"])
def test_score_only_writes_the_contract(tmp_path: Path, scoring: str) -> None:
    file = write_lines(tmp_path / "given.jsonl", RECORDS)
    command = [sys.executable, "jobs/evaluate.py", "--score-only", file, "--task", "vqa_rad"]
    command += ["--scoring", scoring, "--output", str(tmp_path / "out")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {"task", "scoring", "n", "metrics", "intervals", "unparsable"} <= set(metrics)
    assert (metrics["task"], metrics["scoring"], metrics["n"]) == ("vqa-rad", scoring, 3)
    assert metrics["metrics"]["closed_accuracy"] == 0.5
    assert metrics["metrics"]["open_recall"] == 0.5
    assert metrics["unparsable"] == 1
    low, high = metrics["intervals"]["recall"]
    assert low <= metrics["metrics"]["recall"] <= high
    again = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert "reused" in again.stdout


def test_score_only_of_questions_with_options(tmp_path: Path) -> None:
    options = {"A": "Aspirin", "B": "Heparin"}
    records = [
        {"id": "1", "answer": "B", "prediction": "B", "options": options},
        {"id": "2", "answer": "A", "prediction": "A", "options": options},
    ]
    for scoring, accuracy, unparsable in (("published", 0.5, 1), ("corrected", 1.0, 0)):
        config = EvaluateConfig(
            task="medqa",
            scoring=scoring,  # type: ignore[arg-type]
            score_only=write_lines(tmp_path / "medqa.jsonl", records),
            output=str(tmp_path / scoring),
        )
        run(config)
        metrics = json.loads((tmp_path / scoring / "metrics.json").read_text())
        assert metrics["metrics"] == {"accuracy": accuracy}
        assert metrics["unparsable"] == unparsable


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"id": "1", "answer": "x", "prediction": "y"}\n{broken\n', "line 2: not valid JSON"),
        ('{"id": "1", "answer": "x"}\n', "line 1: key 'prediction' is missing"),
        ('{"id": "1", "answer": ["secret"], "prediction": "y"}\n', "line 1: key 'answer' must be"),
        ("[1]\n", "line 1: not a JSON object"),
        ("\n", "holds no lines"),
    ],
)
def test_bad_predictions_name_the_line_and_never_the_text(
    tmp_path: Path, text: str, complaint: str
) -> None:
    file = tmp_path / "given.jsonl"
    file.write_text(text)
    with pytest.raises(InputError, match=complaint) as raised:
        read_predictions(str(file))
    assert "secret" not in str(raised.value)


def test_wrong_requests_end_with_one_line(tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    with pytest.raises(InputError, match="either --model"):
        run(EvaluateConfig(output=output))
    with pytest.raises(InputError, match="nearest known task is 'slake'"):
        run(EvaluateConfig(output=output, task="slak", score_only="x"))
    with pytest.raises(InputError, match="can only be scored"):
        run(EvaluateConfig(output=output, task="slake", model="x", benchmark="y"))
    with pytest.raises(InputError, match="does not exist"):
        run(EvaluateConfig(output=output, model=str(tmp_path / "none"), benchmark="y"))
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="is no exported model: it has no"):
        check_model_folder(str(tmp_path / "other"))
    assert not Path(output).exists()


def test_a_benchmark_without_a_column_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["1"]}), tmp_path / "phantom.parquet")
    load = TASKS["phantom"].load
    assert load is not None
    with pytest.raises(InputError, match="no column 'question'"):
        load(str(tmp_path))
    (tmp_path / "phantom.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        load(str(tmp_path))


def test_task_names_are_forgiving() -> None:
    assert find_task("VQA_RAD") is find_task("vqarad") is TASKS["vqa-rad"]


def test_stored_answers_survive_and_half_written_files_do_not(tmp_path: Path) -> None:
    folder = Step(EvaluateConfig(output=str(tmp_path / "run")), "x", {}).folder / STORED
    store_answers(folder, {"a": "左侧", "b": 'line\nbreak "x"'})
    store_answers(folder, {"c": ""})
    (folder / "torn.part").write_text('{"key": "d", "pred')
    assert stored_answers(folder) == {"a": "左侧", "b": 'line\nbreak "x"', "c": ""}


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    folder = Step(EvaluateConfig(output=str(tmp_path / "run")), "x", {}).folder / STORED
    store_answers(folder, {"a": "left"})
    answers, asked = answer_all(
        [Ask(key="a", prompt="?", image=None)],
        model="needs no model",
        engine=EngineConfig(),
        decoding=DecodingConfig(),
        folder=folder,
        address="needs no cluster",
        say=lambda line: None,
    )
    assert (answers, asked) == ({"a": "left"}, 0)


def items_of(answers: list[str], truths: list[str]) -> list[Item]:
    return [
        Item(
            id=str(i),
            question="?",
            answer=answer,
            image_key=str(i),
            truth=truth,
            groups={"language": "en", "kind": "side", "track": "anatomy"},
        )
        for i, (answer, truth) in enumerate(zip(answers, truths, strict=True))
    ]


def test_comparison_tells_a_seeing_model_from_a_blind_one() -> None:
    gold = ["left", "right"] * 40
    items = items_of(gold, ["x", "y"] * 40)
    seeing = comparison(items, gold, gold[1:] + gold[:1], TASKS["phantom"])
    assert all(found["clear_of_zero"] for found in seeing["differences"].values())
    assert seeing["lines"][0]["majority"] == 0.5
    blind = comparison(items, ["left"] * 80, ["left"] * 80, TASKS["phantom"])
    assert not any(found["clear_of_zero"] for found in blind["differences"].values())
    assert blind["differences"]["model_minus_shuffled"]["interval"] == [0, 0]
    lonely = comparison(items, gold, [None] * 80, TASKS["phantom"])
    assert lonely["without_control"] == 80
    assert lonely["differences"]["model_minus_shuffled"]["mean"] is None


def transformers_answers(folder: str, items: list[Item], max_tokens: int) -> list[str]:
    """Greedy answers of plain transformers, one question at a time."""
    import io

    import torch
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder)
    answers = []
    for item in items:
        content = [{"type": "image"}, {"type": "text", "text": item.question}]
        prompt = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        assert item.image is not None
        picture_ = Image.open(io.BytesIO(item.image)).convert("RGB")
        inputs = processor(
            images=picture_, text=prompt, return_tensors="pt", add_special_tokens=False
        )
        with torch.no_grad():
            ids = model.generate(**inputs, max_new_tokens=max_tokens, do_sample=False)
        said = ids[0, inputs["input_ids"].shape[1] :]
        text = processor.tokenizer.decode(said, skip_special_tokens=True).strip()
        answers.append(text.rstrip("\ufffd"))  # vLLM keeps the bytes of a cut character back
    return answers


@pytest.mark.slow
def test_a_killed_evaluation_resumes_and_vllm_answers_as_transformers(
    tmp_path: Path, ray_cluster: None
) -> None:
    model = build_llava(tmp_path / "llava")
    benchmark = tmp_path / "phantom.parquet"
    write_benchmark(benchmark, images=6)
    config = EvaluateConfig(
        model=model,
        benchmark=str(benchmark),
        output=str(tmp_path / "out"),
        engine=EngineConfig(dtype="float32", max_model_len=128, images_per_prompt=1),
        decoding=DecodingConfig(max_tokens=6, batch=8),
    )
    task = TASKS["phantom"]
    assert task.load is not None
    items = task.load(str(benchmark))
    expected = transformers_answers(model, items, max_tokens=6)
    assert len(set(expected)) > len(QUESTIONS)  # the images matter

    # What a run that was killed after its first batch leaves behind.
    step = Step(config, "evaluate", {"model": model, "benchmark": str(benchmark)})
    asks, controls = build_asks(
        items, control_images(items, task, 0), config, step.inputs["model"]["hash"]
    )
    done = {ask.key: text for ask, text in zip(asks[:8], expected[:8], strict=True)}
    store_answers(step.folder / STORED, done)

    manifest = run(config)
    keys = {ask.key for ask in [*asks, *controls] if ask}
    assert manifest["counts"]["asked"] == len(keys) - len(done)
    lines = read_predictions(str(tmp_path / "out" / "predictions.jsonl"))
    assert [line["prediction"] for line in lines] == expected

    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert set(metrics["sections"]) == {"anatomy", "combination"}
    assert sum(section["n"] for section in metrics["sections"].values()) == len(items)
    assert metrics["other_scoring"]["scoring"] == "published"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "minus the majority answer" in page
    assert page.count("data:image/png") == 2
    assert run(config)["key"] == manifest["key"]
