"""One evaluation: ask a model the questions of a task, or score answers that are already there."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from upath import UPath

from doctor_sun.config import JobConfig
from doctor_sun.errors import InputError
from doctor_sun.evaluation.inference import Ask, DecodingConfig, answer_all, ask_key
from doctor_sun.evaluation.measure import comparison, metrics_of, row_from_json, row_of
from doctor_sun.evaluation.scoring import Scoring
from doctor_sun.evaluation.statistics import shuffled_partners
from doctor_sun.evaluation.tasks import Item, Task, find_task
from doctor_sun.runs import Step
from doctor_sun.vllm_engine import EngineConfig, check_model_folder

METRICS_FILE = "metrics.json"
ANSWERS_FILE = "predictions.jsonl"
STORED = "predictions"  # folder of answers by content hash, which a killed run resumes from
REQUIRED_KEYS = ("id", "answer", "prediction")


@dataclass(kw_only=True)
class EvaluateConfig(JobConfig):
    """Evaluate a model folder on a task, or score a file of predictions."""

    task: str = "phantom"
    """The benchmark's name."""

    scoring: Scoring = "corrected"
    """`published`: the definitions behind the published tables, to the digit; `corrected`: without
    their faults."""

    model: str | None = None
    """Exported Hugging Face LLaVA folder."""

    benchmark: str | None = None
    """File or folder of the benchmark."""

    score_only: str | None = None
    """JSON Lines of predictions to score without a model: id, answer, prediction, and optionally
    question, options, image_key."""

    limit: int | None = None
    """Ask only the first questions, so many; none asks all."""

    seed: int = 0
    """Of the bootstrap and of the shuffled-image control."""

    engine: EngineConfig = field(default_factory=EngineConfig)
    """How vLLM runs the model."""

    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    """How answers are decoded."""


def run(config: EvaluateConfig) -> dict[str, Any]:
    """Write the scores of a model or of a predictions file; return the manifest.

    Raises:
        InputError: neither or both of `model` and `score_only`, an unknown task, a malformed file.
    """
    if bool(config.score_only) == bool(config.model):
        raise InputError("give either --model and --benchmark, or --score-only")
    task = find_task(config.task)
    return score_file(config, task) if config.score_only else evaluate_model(config, task)


def read_predictions(location: str) -> list[dict[str, Any]]:
    """The lines of a predictions file.

    Raises:
        InputError: no such file, no lines, a line that is no JSON object or lacks a key.
    """
    path = UPath(location)
    if not path.is_file():
        raise InputError(f"predictions file {location} does not exist")
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:
            raise InputError(f"{location}, line {number}: not valid JSON") from None
        if not isinstance(record, dict):
            raise InputError(f"{location}, line {number}: not a JSON object")
        for key in REQUIRED_KEYS:
            if key not in record:
                raise InputError(f"{location}, line {number}: key '{key}' is missing")
            if not isinstance(record[key], str | int | float):
                raise InputError(f"{location}, line {number}: key '{key}' must be a text")
        records.append(record)
    if not records:
        raise InputError(f"predictions file {location} holds no lines")
    return records


def score_file(config: EvaluateConfig, task: Task) -> dict[str, Any]:
    """Score given predictions; intervals are clustered by `image_key` where the lines have one."""
    assert config.score_only is not None
    step = Step(config, "score", {"predictions": config.score_only})
    if step.reused:
        return step.manifest
    records = read_predictions(config.score_only)
    rows = [row_from_json(record) for record in records]
    clusters = [r.get("image_key") or f"item {i}" for i, r in enumerate(records)]
    metrics = metrics_of(rows, clusters, task, config.scoring, config.seed)
    write_json(step.folder / METRICS_FILE, metrics)
    for name, value in metrics["metrics"].items():
        step.say(f"{name} {value:.4f}")
    return step.finish(
        outputs=[METRICS_FILE],
        counts={"items": len(rows), "unparsable": metrics["unparsable"]},
        figures=metrics["metrics"],
    )


def evaluate_model(config: EvaluateConfig, task: Task) -> dict[str, Any]:
    """Ask a model every question with its image and with a shuffled one; score and report."""
    if task.load is None:
        raise InputError(f"task '{task.name}' can only be scored: give --score-only FILE")
    if config.benchmark is None:
        raise InputError("--model needs --benchmark, the file or folder of the questions")
    folder = str(check_model_folder(str(config.model)))
    step = Step(config, "evaluate", {"model": folder, "benchmark": config.benchmark})
    if step.reused:
        return step.manifest
    items = task.load(config.benchmark)[: config.limit]
    if not items:
        raise InputError(f"benchmark {config.benchmark} holds no questions")
    lenders = control_images(items, task, config.seed)
    asks, controls = build_asks(items, lenders, config, step.inputs["model"]["hash"])
    step.say(f"{len(items)} questions of {task.name}, each with its own and a shuffled image")
    answers, asked = answer_all(
        chain(asks, (ask for ask in controls if ask)),
        model=folder,
        engine=config.engine,
        decoding=config.decoding,
        folder=step.folder / STORED,
        address=config.address,
        say=step.say,
    )
    said = [answers[ask.key] for ask in asks]
    control = [answers[ask.key] if ask else None for ask in controls]
    write_answers(step.folder / ANSWERS_FILE, items, said, control)
    result = results(items, said, control, task, config)
    write_json(step.folder / METRICS_FILE, result)
    from doctor_sun.evaluation.report import sentence, write_report

    write_report(step.folder / "report.html", result, folder)
    for name, section in result["sections"].items():
        step.say(f"{name}: {sentence(section)}")
    return step.finish(
        outputs=[METRICS_FILE, ANSWERS_FILE, "report.html", STORED],
        counts={"items": len(items), "asked": asked, "unparsable": result["unparsable"]},
        figures={name: section["differences"] for name, section in result["sections"].items()}
        | result["metrics"],
    )


def control_images(items: Sequence[Item], task: Task, seed: int) -> list[Item | None]:
    """For each item the one whose image it is asked with as a control, of its own section."""
    within = (*task.control_within, *((task.sections,) if task.sections else ()))
    partners = shuffled_partners(
        [tuple(item.groups[name] for name in within) for item in items],
        [item.truth or item.image_key for item in items],
        seed,
    )
    return [None if partner is None else items[partner] for partner in partners]


def build_asks(
    items: Sequence[Item], lenders: Sequence[Item | None], config: EvaluateConfig, model_hash: str
) -> tuple[list[Ask], list[Ask | None]]:
    """The questions with their own image, and with the lender's."""

    def ask(item: Item, shown: Item) -> Ask:
        decoding = (config.decoding.max_tokens, config.engine.dtype)
        key = ask_key(model_hash, item.question, shown.image_key, *decoding)
        return Ask(key=key, prompt=item.question, image=shown.image)

    own = [ask(item, item) for item in items]
    return own, [ask(i, s) if s else None for i, s in zip(items, lenders, strict=True)]


def results(
    items: Sequence[Item],
    said: Sequence[str],
    control: Sequence[str | None],
    task: Task,
    config: EvaluateConfig,
) -> dict[str, Any]:
    """All of `metrics.json`: the chosen scoring, the other one beside it, and the sections."""
    rows = [row_of(item, text) for item, text in zip(items, said, strict=True)]
    clusters = [item.image_key or item.id for item in items]
    other: Scoring = "published" if config.scoring == "corrected" else "corrected"
    result = metrics_of(rows, clusters, task, config.scoring, config.seed)
    result["other_scoring"] = metrics_of(rows, clusters, task, other, config.seed)
    names = [item.groups.get(task.sections, "all") for item in items]
    result["sections"] = {}
    for section in sorted(set(names)):
        inside = [i for i, name in enumerate(names) if name == section]
        result["sections"][section] = comparison(
            [items[i] for i in inside],
            [said[i] for i in inside],
            [control[i] for i in inside],
            task,
            config.seed,
        )
    return result


def write_json(path: UPath, value: Any) -> None:
    """Write a JSON file for people to read."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_answers(
    path: UPath, items: Sequence[Item], said: Sequence[str], control: Sequence[str | None]
) -> None:
    """One line a question, in the form that `--score-only` reads."""
    lines = [
        {
            "id": item.id,
            "question": item.question,
            "answer": item.answer,
            "prediction": text,
            "shuffled_image_prediction": other,
            "options": list(item.options),
            "image_key": item.image_key,
            **item.groups,
        }
        for item, text, other in zip(items, said, control, strict=True)
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
