"""The evaluation job: scoring given answers, asking a model, resuming, reporting."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from upath import UPath

from doctor_sun.asking.answers import AnswerIndex, Segment
from doctor_sun.asking.chat_client import Answer, EndpointConfig
from doctor_sun.config import load
from doctor_sun.errors import InputError
from doctor_sun.evaluation.evaluate import (
    STORED,
    EvaluateConfig,
    ask_items,
    asked_model,
    first_questions,
    run,
)
from doctor_sun.evaluation.inference import DecodingConfig, Question, answer_all
from doctor_sun.evaluation.measure import comparison, row_of, score_rows
from doctor_sun.evaluation.predictions import read_predictions
from doctor_sun.evaluation.tasks import TASKS, Item
from doctor_sun.records import image_key
from doctor_sun.runs import Step
from doctor_sun.vllm_engine import EngineConfig
from tests.benchmark_layouts import LAYOUTS
from tests.chat_server import ChatServer, Reply
from tests.killed_jobs import command_of, kill_after, kill_an_asker_after
from tests.small_data import picture
from tests.tiny_models import build_llava, build_llm

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


@pytest.mark.slow
@pytest.mark.parametrize("scoring", ["published", "corrected"])
def test_score_only_writes_the_contract(
    tmp_path: Path, scoring: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_lines(tmp_path / "given.jsonl", RECORDS)
    command = [sys.executable, "jobs/evaluate.py", "--score-only", file, "--task", "vqa_rad"]
    command += ["--scoring", scoring, "--output", str(tmp_path / "out")]
    options = {"score_only": file, "task": "vqa_rad", "scoring": scoring}
    options |= {"output": str(tmp_path / "out")}
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {"task", "scoring", "n", "metrics", "intervals", "unparsable"} <= set(metrics)
    assert (metrics["task"], metrics["scoring"], metrics["n"]) == ("vqa-rad", scoring, 3)
    assert metrics["metrics"]["closed_accuracy"] == 0.5
    assert metrics["metrics"]["open_recall"] == 0.5
    assert metrics["unparsable"] == 1
    low, high = metrics["intervals"]["recall"]
    assert low <= metrics["metrics"]["recall"] <= high
    run(load(EvaluateConfig, **options))
    assert "reused" in capsys.readouterr().out


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
        ('{"id": 1, "answer": "x", "prediction": "y"}\n' * 2, "line 2: its id stands in an"),
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
    some = {"slake": str(tmp_path)}
    with pytest.raises(InputError, match="give one of --model"):
        run(EvaluateConfig(output=output))
    with pytest.raises(InputError, match="needs --task"):
        run(EvaluateConfig(output=output, score_only="x"))
    with pytest.raises(InputError, match="--limit is a number of questions"):
        run(EvaluateConfig(output=output, model="x", benchmarks=some, limit=-1))
    with pytest.raises(InputError, match="give --benchmarks"):
        run(EvaluateConfig(output=output, model="x"))
    with pytest.raises(InputError, match="nearest known task is 'slake'"):
        run(EvaluateConfig(output=output, task="slak", score_only="x"))
    with pytest.raises(InputError, match="nearest known task is 'slake'"):
        run(EvaluateConfig(output=output, model="x", benchmarks={"slak": "y"}))
    with pytest.raises(InputError, match="holds no model"):
        run(EvaluateConfig(output=output, model=str(tmp_path / "none"), benchmarks=some))
    endpoint = EndpointConfig(base_url="http://127.0.0.1:9/v1")
    with pytest.raises(InputError, match="needs --endpoint_model"):
        run(EvaluateConfig(output=output, endpoint=endpoint, benchmarks=some))
    assert not Path(output).exists()


def test_a_benchmark_without_a_column_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["1"]}), tmp_path / "phantom.parquet")
    with pytest.raises(InputError, match="no column 'question'"):
        TASKS["phantom"].load(UPath(tmp_path), "published")
    (tmp_path / "phantom.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        TASKS["phantom"].load(UPath(tmp_path), "published")


def store(folder: UPath, answers: dict[str, str]) -> None:
    """Leave answers as a run that was killed leaves them."""
    segment = Segment(folder, list(answers))
    for key, text in answers.items():
        segment.add(key, Answer(text=text, finish="stop", prompt_tokens=1, completion_tokens=1))
    segment.close()


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    item = Item(id="1", question="?", answer="left")
    question = Question.of(item, item, model="", identity="weights", max_tokens=8, temperature=0.0)
    folder = UPath(tmp_path / "answers")
    store(folder, {question.key: "left"})

    def nobody() -> Any:
        raise AssertionError("there is nothing to ask")

    answered = answer_all(
        [question], nobody, folder=folder, batch=8, address="no cluster", say=lambda line: None
    )
    assert (answered.texts, answered.asked) == ({question.key: "left"}, 0)


def test_what_decides_an_answer_decides_its_key() -> None:
    item = Item(id="1", question="?", answer="left", image_key="a")
    same = {"model": "m", "identity": "weights", "max_tokens": 8, "temperature": 0.0}

    def key(item: Item, shown: Item = item, **changes: Any) -> str:
        return Question.of(item, shown, **{**same, **changes}).key

    keys = [
        key(item),
        key(item, identity="other weights"),
        key(item, max_tokens=9),
        key(item, temperature=0.1),
        key(item, Item(id="2", question="?", answer="x", image_key="b")),
        key(Item(id="1", question="?", prompt="Hint. ?", answer="left")),
        key(Item(id="1", question="?", shots=(("q", "a"),), answer="left")),
    ]
    assert len(set(keys)) == len(keys)
    assert (
        key(Item(id="other id", question="?", answer="other gold", image_key="a"), item) == keys[0]
    )


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


def compared(items: list[Item], said: list[str], control: Sequence[str | None]) -> dict[str, Any]:
    task = TASKS["phantom"]
    rows = [row_of(item, text) for item, text in zip(items, said, strict=True)]
    return comparison(items, said, score_rows(rows, task, "corrected"), control, task)


def test_comparison_tells_a_seeing_model_from_a_blind_one() -> None:
    gold = ["left", "right"] * 40
    items = items_of(gold, ["x", "y"] * 40)
    seeing = compared(items, gold, gold[1:] + gold[:1])
    assert all(found["clear_of_zero"] for found in seeing["differences"].values())
    assert seeing["lines"][0]["majority"] == 0.5
    blind = compared(items, ["left"] * 80, ["left"] * 80)
    assert not any(found["clear_of_zero"] for found in blind["differences"].values())
    assert blind["differences"]["model_minus_shuffled"]["interval"] == [0, 0]
    lonely = compared(items, gold, [None] * 80)
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
        benchmarks={"phantom": str(benchmark)},
        output=str(tmp_path / "out"),
        engine=EngineConfig(dtype="float32", max_model_len=128, images_per_prompt=1),
        decoding=DecodingConfig(max_tokens=6, batch=8),
    )
    task = TASKS["phantom"]
    items = list(task.load(UPath(benchmark), "published"))
    expected = transformers_answers(model, items, max_tokens=6)
    assert len(set(expected)) > len(QUESTIONS)  # the images matter

    # What a run that was killed after its first batch leaves behind.
    step = Step(config, "evaluate", {"model": model, "benchmark phantom": str(benchmark)})
    model_asked = asked_model(config)
    asked = ask_items(task, items, config, model_asked, model_asked.identity())
    done = {asked[n][0].key: expected[n] for n in range(8)}
    store(step.folder / STORED, done)

    manifest = run(config)
    keys = {question.key for pair in asked for question in pair if question}
    assert manifest["counts"]["asked"] == len(keys) - len(done)
    lines = read_predictions(str(tmp_path / "out" / "predictions" / "phantom.jsonl"))
    assert [line["prediction"] for line in lines] == expected

    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())["tasks"]["phantom"]
    assert set(metrics["sections"]) == {"anatomy", "combination"}
    assert sum(section["n"] for section in metrics["sections"].values()) == len(items)
    assert metrics["published"]["n"] == metrics["corrected"]["n"] == len(items)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "minus the majority answer" in page
    assert page.count("data:image/png") == 3
    assert run(config)["key"] == manifest["key"]
    scored = EvaluateConfig(
        task="phantom",
        score_only=str(tmp_path / "out" / "predictions" / "phantom.jsonl"),
        output=str(tmp_path / "scored"),
    )
    run(scored)
    alone = json.loads((tmp_path / "scored" / "metrics.json").read_text())
    assert alone["metrics"] == metrics["corrected"]["metrics"]


def write_medqa(folder: Path, questions: int) -> str:
    """MedQA in its publisher's layout, so many questions."""
    folder.mkdir()
    options = {"A": "Aspirin", "B": "Heparin", "C": "Warfarin", "D": "Insulin", "E": "Iron"}
    records = [
        {"question": f"Patient {n} bleeds. What helps?", "options": options, "answer_idx": "B"}
        | {"answer": "Heparin", "meta_info": "step1"}
        for n in range(questions)
    ]
    write_lines(folder / "test.jsonl", records)
    return str(folder)


def a_letter(request: Mapping[str, Any]) -> str:
    """A model that says B of even patients and C of odd ones."""
    return "BC"[int(request["messages"][-1]["content"].split()[1]) % 2]


def endpoint_options(server: ChatServer, data: str, output: Path) -> dict[str, Any]:
    """An evaluation of an endpoint, on the command line and in a call alike."""
    return {
        "benchmarks.medqa": data,
        "endpoint.base_url": server.url,
        "endpoint.in_flight": 8,
        "endpoint_model": "remote",
        "decoding.batch": 50,
        "output": str(output),
    }


def evaluated(options: dict[str, Any]) -> dict[str, Any]:
    """Run an evaluation in this process; its metrics."""
    run(load(EvaluateConfig, **options))
    found: dict[str, Any] = json.loads((Path(options["output"]) / "metrics.json").read_text())
    return found


@pytest.mark.slow
def test_a_killed_evaluation_of_an_endpoint_sends_only_what_is_missing(
    tmp_path: Path, ray_cluster: None
) -> None:
    """kill -9 of all in the middle of 600 questions, then of a worker: what was stored is not paid
    for again, the scores are the same."""
    data = write_medqa(tmp_path / "medqa", 600)
    with ChatServer(says=a_letter) as server:
        whole = evaluated(endpoint_options(server, data, tmp_path / "whole"))
        assert server.answered.total() == 600
        server.answered.clear()
        server.latency = 0.05
        options = endpoint_options(server, data, tmp_path / "out")
        paid = kill_after(200, command_of("evaluate", options), server, tmp_path / "killed.log")
        stored = len(AnswerIndex.of(UPath(tmp_path / "out" / STORED)).keys)
        assert len(paid) == 200
        server.answered.clear()
        killer = kill_an_asker_after(150, server)
        again = evaluated(options)
        assert not killer.is_alive()
        asked = server.answered
        assert len(asked) == 600 - stored
        assert asked.total() - len(asked) <= 4  # in flight, of the killed worker
        assert max(asked.values()) <= 2
        # What was answered and not yet stored when the process died: at most what was in flight.
        assert len(paid & set(asked)) <= 8
    assert again == whole
    assert whole["tasks"]["medqa"]["corrected"]["metrics"]["accuracy"] == 0.5
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["counts"]["asked"] == 600 - stored


@pytest.mark.slow
def test_questions_that_get_no_answer_are_counted_or_stop(
    tmp_path: Path, ray_cluster: None
) -> None:
    """An endpoint that refuses some questions for good: nothing is scored unless that is asked."""
    data = write_medqa(tmp_path / "medqa", 20)

    def refuse(content: str, before: int) -> Reply | None:
        return Reply(status=400, body="{}") if content.startswith("Patient 7 ") else None

    with ChatServer(refuse, says=a_letter) as server:
        options = endpoint_options(server, data, tmp_path / "out")
        with pytest.raises(InputError, match="1 questions got no answer \\(http 400: 1\\)"):
            evaluated(options)
        assert not (tmp_path / "out" / "metrics.json").exists()
        found = evaluated(options | {"unanswered": "count"})["tasks"]["medqa"]
        assert max(n for text, n in server.answered.items()) == 1
    assert found["unanswered"] == 1
    assert found["corrected"]["unparsable"] == 1
    assert found["corrected"]["n"] == 20


def test_questions_without_their_pictures_are_refused(tmp_path: Path) -> None:
    """A folder of SLAKE without its pictures is not asked as text."""
    LAYOUTS["slake"](tmp_path)
    (tmp_path / "imgs.zip").unlink()
    config = EvaluateConfig(
        model=build_llm(tmp_path / "llm"),
        benchmarks={"slake": str(tmp_path)},
        output=str(tmp_path / "out"),
    )
    with pytest.raises(InputError, match="1 of 1 questions lack their picture's file"):
        run(config)


def test_a_limit_counts_questions_and_keeps_their_rotations() -> None:
    def row(number: int, rotation: int) -> Item:
        groups = {"number": str(number), "rotation": str(rotation)}
        return Item(id=f"{number}/{rotation}", question="?", answer="A", groups=groups)

    rows = [row(number, rotation) for rotation in range(3) for number in range(5)]
    kept = first_questions(rows, TASKS["mmbench-dev"], 2)
    assert {item.groups["number"] for item in kept} == {"0", "1"}
    assert len(kept) == 6
    assert len(first_questions(rows, TASKS["vqa"], 2)) == 2
    assert first_questions(rows, TASKS["vqa"], None) == rows


def test_predictions_without_the_groups_that_weigh_are_refused(tmp_path: Path) -> None:
    """Else circular accuracy would silently be another metric under its name."""
    lines = [{"id": n, "answer": "A", "prediction": "A", "options": ["x", "y"]} for n in range(4)]
    file = write_lines(tmp_path / "given.jsonl", lines)
    output = str(tmp_path / "out")
    with pytest.raises(InputError, match="id 0: mmbench-dev needs the key 'number'"):
        run(EvaluateConfig(score_only=file, task="mmbench-dev", output=output))
    lines = [line | {"number": n // 2} for n, line in enumerate(lines)]
    lines[3]["prediction"] = "B"
    run(
        EvaluateConfig(
            score_only=write_lines(tmp_path / "given.jsonl", lines),
            task="mmbench-dev",
            output=output,
        )
    )
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())["metrics"]
    assert metrics == {"accuracy": 0.5, "rotation_accuracy": 0.75}
    broken = write_lines(tmp_path / "broken.jsonl", [lines[0] | {"options": "A. x B. y"}])
    with pytest.raises(InputError, match="id 0: options are neither a list"):
        run(EvaluateConfig(score_only=broken, task="mmbench-dev", output=str(tmp_path / "new")))


def test_a_language_model_is_not_shown_images(tmp_path: Path) -> None:
    model = build_llm(tmp_path / "llm")
    write_benchmark(tmp_path / "phantom.parquet", images=2)
    config = EvaluateConfig(
        model=model,
        benchmarks={"phantom": str(tmp_path / "phantom.parquet")},
        output=str(tmp_path / "out"),
    )
    with pytest.raises(InputError, match="phantom shows images, and llm is a language model"):
        run(config)
