"""One evaluation: ask a model the questions of benchmarks, or score answers that are there."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from upath import UPath

from doctor_sun.asking.budget import BudgetConfig
from doctor_sun.asking.chat_client import EndpointConfig
from doctor_sun.asking.requests import REFUSED
from doctor_sun.cluster import connect
from doctor_sun.config import JobConfig
from doctor_sun.errors import InputError
from doctor_sun.evaluation import contamination
from doctor_sun.evaluation.asked_model import AskedModel
from doctor_sun.evaluation.inference import Answered, DecodingConfig, Question, answer_all
from doctor_sun.evaluation.measure import (
    adjust_p_values,
    answer_lengths,
    comparison,
    metrics_of,
    row_from_json,
    row_of,
    score_rows,
)
from doctor_sun.evaluation.predictions import read_predictions, write_predictions
from doctor_sun.evaluation.scoring import SCORINGS, Row, Scoring
from doctor_sun.evaluation.statistics import shuffled_partners
from doctor_sun.evaluation.tasks import Item, Prompts, Task, find_task
from doctor_sun.runs import Step
from doctor_sun.vllm_engine import EngineConfig

METRICS_FILE = "metrics.json"
PREDICTIONS = "predictions"
"""Folder: TASK.jsonl, a line a question, as `--score-only` reads it."""
TABLES = "tables"
STORED = "answers"
"""Folder of answers by content hash, which a killed run goes on from."""


@dataclass(kw_only=True)
class EvaluateConfig(JobConfig):
    """Evaluate a model on benchmarks, or score a file of predictions."""

    benchmarks: dict[str, str] = field(default_factory=dict)
    """Folder of the publisher's data by benchmark name; `python -m doctor_sun.evaluation.tasks`
    lists the names."""

    model: str | None = None
    """Model folder: an exported LLaVA, or a language model (then for text benchmarks alone)."""

    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    """An OpenAI-compatible endpoint to ask instead of a model folder: set base_url."""

    endpoint_model: str = ""
    """The model's name at the endpoint."""

    budget: BudgetConfig = field(default_factory=BudgetConfig)
    """What the endpoint's answers cost, and how much they may cost together."""

    name: str | None = None
    """What the model is called in tables; none takes its folder's name."""

    task: str | None = None
    """With score_only, which needs it: the benchmark whose rules score the file."""

    scoring: Scoring = "corrected"
    """With score_only: `published` (the definitions behind the published tables, to the digit) or
    `corrected` (without their faults). A model is always scored by both."""

    score_only: str | None = None
    """JSON Lines of predictions to score without a model: id, answer, prediction, and optionally
    question, options, image_key; other texts are groups."""

    prompts: Prompts = "published"
    """`published`: each benchmark's own prompt; `plain`: without hints at the answer's kind."""

    shuffled_images: bool = True
    """Ask every question about an image a second time with another image, as a control."""

    limit: int | None = None
    """Ask only the first questions of each benchmark, so many (each in all its rotations); none
    asks all. The first questions may be of one subject: this is for trying, not for a score."""

    trained_on: list[str] = field(default_factory=list)
    """Curated data sets to look for the questions in; empty follows the model's manifests."""

    published: str | None = None
    """CSV of further figures of the paper's tables: table, model, task, metric, value."""

    unanswered: Literal["stop", "count"] = "stop"
    """What to do when an endpoint leaves questions unanswered after all attempts: stop, so that the
    same command asks them again, or count them as wrong."""

    seed: int = 0
    """Of the bootstrap, the permutations and the shuffled-image control."""

    engine: EngineConfig = field(default_factory=EngineConfig)
    """How vLLM runs the model."""

    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    """How answers are decoded."""

    not_in_result = ("budget",)


def run(config: EvaluateConfig) -> dict[str, Any]:
    """Write the scores of a model or of a predictions file; return the manifest.

    Raises:
        InputError: not exactly one of `model`, `endpoint` and `score_only`, an unknown benchmark, a
            malformed file.
    """
    if config.score_only and not (config.model or config.endpoint.base_url):
        if config.task is None:
            raise InputError("--score-only needs --task, the benchmark whose rules apply")
        return score_file(config, find_task(config.task))
    if bool(config.score_only) + bool(config.model) + bool(config.endpoint.base_url) != 1:
        raise InputError("give one of --model, --endpoint.base_url and --score-only")
    if config.limit is not None and config.limit < 1:
        raise InputError("--limit is a number of questions, 1 or more")
    if not config.benchmarks:
        raise InputError("give --benchmarks.NAME FOLDER, the publisher's data of a benchmark")
    return evaluate_model(config)


def score_file(config: EvaluateConfig, task: Task) -> dict[str, Any]:
    """Score given predictions; intervals are clustered by `image_key` where the lines have one."""
    assert config.score_only is not None
    step = Step(config, "score", {"predictions": config.score_only})
    if step.reused:
        return step.manifest
    records = read_predictions(config.score_only)
    rows = [scored_row(record, task, config.score_only) for record in records]
    clusters = [r.get("image_key") or f"item {i}" for i, r in enumerate(records)]
    both = {s: metrics_of(rows, clusters, task, s, seed=config.seed) for s in SCORINGS}
    metrics = both.pop(config.scoring)
    write_json(step.folder / METRICS_FILE, metrics | {"other_scoring": next(iter(both.values()))})
    for name, value in metrics["metrics"].items():
        step.say(f"{name} {value:.4f}")
    return step.finish(
        outputs=[METRICS_FILE],
        counts={"items": len(rows), "unparsable": metrics["unparsable"]},
        figures=metrics["metrics"],
    )


def evaluate_model(config: EvaluateConfig) -> dict[str, Any]:
    """Ask a model every question, score the answers by both scorings, write tables and report."""
    tasks = {find_task(name): folder for name, folder in config.benchmarks.items()}
    model = asked_model(config)
    inputs = {f"benchmark {task.name}": folder for task, folder in tasks.items()}
    if model.folder:
        inputs["model"] = str(model.folder)
    if config.published:
        inputs["published"] = config.published
    inputs |= {f"trained on {n}": folder for n, folder in enumerate(config.trained_on)}
    step = Step(config, "evaluate", inputs, keep=[] if config.force else [STORED])
    if step.reused:
        return step.manifest
    items = {task: load_items(task, folder, config, model) for task, folder in tasks.items()}
    identity = model.identity()
    asked = {task: ask_items(task, own, config, model, identity) for task, own in items.items()}
    folders = config.trained_on or contamination.training_data(config.model)
    by_name = {task.name: own for task, own in items.items()}
    with connect(config.address):
        in_training = contamination.overlaps(by_name, folders, config.address)
        known = {
            task: contamination.report(task, own, in_training, folders)
            for task, own in items.items()
        }
        for task, own in items.items():
            step.say(f"{task.title}: {len(own)} questions; {contamination.sentence(known[task])}")
        answered = answer_all(
            [question for own in asked.values() for pair in own for question in pair if question],
            lambda: model.asker(step.folder / STORED),
            folder=step.folder / STORED,
            batch=config.decoding.batch,
            address=config.address,
            say=step.say,
        )
    check_answered(asked, answered, config)
    results = {}
    (step.folder / PREDICTIONS).mkdir(exist_ok=True)
    for task, own in items.items():
        said, control = texts_of(asked[task], answered)
        write_predictions(step.folder / PREDICTIONS / f"{task.name}.jsonl", own, said, control)
        results[task.name] = task_results(task, own, said, control, config) | {
            "limit": config.limit,
            "unanswered": sum(pair[0].key in answered.errors for pair in asked[task]),
            "contamination": known[task],
        }
    adjust_p_values(
        [
            line
            for result in results.values()
            for section in result["sections"].values()
            for line in section["lines"]
        ]
    )
    metrics = {"model": model.description, "tasks": results}
    write_json(step.folder / METRICS_FILE, metrics)
    from doctor_sun.evaluation.report import sentence, write_report
    from doctor_sun.evaluation.tables import all_metrics, paper_tables, write_tables

    tables = paper_tables([metrics], config.published)
    write_tables(step.folder / TABLES, [*all_metrics([metrics]), *tables])
    write_report(step.folder / "report.html", metrics, tables)
    for name, result in results.items():
        for section, found in result["sections"].items():
            step.say(f"{name}, {section}: {sentence(found)}")
    return step.finish(
        outputs=[METRICS_FILE, PREDICTIONS, TABLES, "report.html", STORED],
        counts={
            "items": sum(map(len, items.values())),
            "asked": answered.asked,
            "unanswered": len(answered.errors),
            "unparsable": {n: r["corrected"]["unparsable"] for n, r in results.items()},
        },
        figures={
            name: {s: result[s]["metrics"] for s in SCORINGS} for name, result in results.items()
        },
    )


def asked_model(config: EvaluateConfig) -> AskedModel:
    """The model of a configuration."""
    if config.model:
        return AskedModel.of_folder(config.model, config.name, config.engine, config.decoding)
    return AskedModel.of_endpoint(
        config.endpoint, config.endpoint_model, config.name, config.budget, config.decoding
    )


def load_items(task: Task, folder: str, config: EvaluateConfig, model: AskedModel) -> list[Item]:
    """The questions of a benchmark.

    Raises:
        InputError: there are none, or they show images and the model takes none.
    """
    items = first_questions(task.load(UPath(folder), config.prompts), task, config.limit)
    if not items:
        raise InputError(f"{folder} holds no questions of {task.name}")
    missing = sum(item.pictured and item.image is None for item in items)
    if missing:
        raise InputError(f"{folder}: {missing} of {len(items)} questions lack their picture's file")
    if not model.images and any(item.image for item in items):
        raise InputError(f"{task.name} shows images, and {model.name} is a language model alone")
    return items


def first_questions(items: Iterable[Item], task: Task, limit: int | None) -> list[Item]:
    """The first questions, so many, each with all the rows that count together with it."""
    found: list[Item] = []
    units: set[str] = set()
    for item in items:
        unit = item.groups[task.together] if task.together else item.id
        if limit is not None and len(units) == limit and unit not in units:
            if task.together:
                continue
            break
        units.add(unit)
        found.append(item)
    return found


def scored_row(record: Mapping[str, Any], task: Task, location: str) -> Row:
    """A line of a predictions file as a task scores it.

    Raises:
        InputError: its options cannot be read, or a group is missing by which the task weighs.
    """
    try:
        row = row_from_json(record)
    except InputError as error:
        raise InputError(f"{location}, id {record['id']}: {error}") from None
    for group in {task.together, *task.macro.values()} - {""}:
        if group not in row.groups:
            raise InputError(f"{location}, id {record['id']}: {task.name} needs the key '{group}'")
    return row


def ask_items(
    task: Task, items: Sequence[Item], config: EvaluateConfig, model: AskedModel, identity: str
) -> list[tuple[Question, Question | None]]:
    """Each question with its own image, and with another's where there is one to lend."""

    def ask(item: Item, shown: Item) -> Question:
        return Question.of(
            item,
            shown,
            model=model.endpoint_model,
            identity=identity,
            max_tokens=config.decoding.max_tokens or task.max_tokens,
            temperature=config.decoding.temperature,
        )

    lenders = control_images(items, task, config.seed)
    if not config.shuffled_images:
        lenders = [None] * len(items)
    return [
        (ask(item, item), ask(item, lender) if lender else None)
        for item, lender in zip(items, lenders, strict=True)
    ]


def control_images(items: Sequence[Item], task: Task, seed: int) -> list[Item | None]:
    """For each item the one whose image it is asked with as a control, of its own section."""
    within = (*task.control_within, *((task.sections,) if task.sections else ()))
    shown = [item for item in items if item.image]
    partners = shuffled_partners(
        [tuple(item.groups.get(name, "") for name in within) for item in shown],
        [item.truth or item.image_key for item in shown],
        seed,
    )
    lent = {
        item.id: None if partner is None else shown[partner]
        for item, partner in zip(shown, partners, strict=True)
    }
    return [lent.get(item.id) for item in items]


def check_answered(
    asked: Mapping[Task, Sequence[tuple[Question, Question | None]]],
    answered: Answered,
    config: EvaluateConfig,
) -> None:
    """Raise InputError when a benchmark got no answer at all, or when asking again might help."""
    kinds: dict[str, int] = {}
    for kind in answered.errors.values():
        if kind != REFUSED:
            kinds[kind] = kinds.get(kind, 0) + 1
    if kinds and config.unanswered == "stop":
        listed = ", ".join(f"{kind}: {count}" for kind, count in sorted(kinds.items()))
        raise InputError(
            f"{sum(kinds.values())} questions got no answer ({listed}); the others are kept, and "
            "the same command asks these again (--unanswered count takes them for wrong)"
        )
    for task, pairs in asked.items():
        if not any(question.key in answered.texts for question, _ in pairs):
            raise InputError(
                f"not one question of {task.name} was answered: is engine.max_model_len enough for "
                "its prompts, and does the model's folder hold a chat template?"
            )


def texts_of(
    asked: Sequence[tuple[Question, Question | None]], answered: Answered
) -> tuple[list[str], list[str | None]]:
    """The answers, empty where there is none, and those with another image."""
    own = [answered.texts.get(question.key, "") for question, _ in asked]
    control = [answered.texts.get(other.key, "") if other else None for _, other in asked]
    return own, control


def task_results(
    task: Task,
    items: Sequence[Item],
    said: Sequence[str],
    control: Sequence[str | None],
    config: EvaluateConfig,
) -> dict[str, Any]:
    """One task's entry in `metrics.json`: both scorings, the answers' lengths, the sections."""
    rows = [row_of(item, text) for item, text in zip(items, said, strict=True)]
    clusters = [item.image_key or item.id for item in items]
    names = [item.groups.get(task.sections, "all") for item in items]
    scores = {s: score_rows(rows, task, s) for s in SCORINGS}
    sections = {}
    for section in sorted(set(names)):
        inside = [i for i, name in enumerate(names) if name == section]
        sections[section] = comparison(
            [items[i] for i in inside],
            [said[i] for i in inside],
            [scores["corrected"][i] for i in inside],
            [control[i] for i in inside],
            task,
            config.seed,
        )
    return {
        "title": task.title,
        "published_by": task.published_by,
        **{s: metrics_of(rows, clusters, task, s, scores[s], config.seed) for s in SCORINGS},
        "answers": answer_lengths(said),
        "sections": sections,
    }


def write_json(path: UPath, value: Any) -> None:
    """Write a JSON file for people to read."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
