"""Several evaluated models side by side: paired differences, what was forgotten, one table.

Models are compared question by question on the questions that all of them answered. Given in the
order of a lineage (base, stage one, stage two) the report says what each stage changed, and keeps
answers that could not be read (format) apart from answers that were read and wrong (ability).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from upath import UPath

from doctor_sun.config import JobConfig
from doctor_sun.errors import InputError
from doctor_sun.evaluation.evaluate import METRICS_FILE, PREDICTIONS, TABLES, write_json
from doctor_sun.evaluation.measure import (
    adjust_p_values,
    cell,
    cut_masks,
    headline_column,
    readable,
    row_from_json,
    score_rows,
    strata_of,
)
from doctor_sun.evaluation.predictions import read_predictions
from doctor_sun.evaluation.scoring import Row
from doctor_sun.evaluation.tasks import Task, find_task
from doctor_sun.runs import Step

COMPARISON_FILE = "comparison.json"


@dataclass(kw_only=True)
class CompareConfig(JobConfig):
    """Which evaluations are compared."""

    evaluations: dict[str, str] = field(default_factory=dict)
    """Folders that `jobs/evaluate.py` wrote, by the names that the tables take, the oldest of a
    lineage first."""

    published: str | None = None
    """CSV of further figures of the paper's tables: table, model, task, metric, value."""

    seed: int = 0
    """Of the bootstrap and the permutations."""


def run(config: CompareConfig) -> dict[str, Any]:
    """Compare, write tables and report; return the manifest.

    Raises:
        InputError: fewer than two evaluations, one that is not finished, or none in common.
    """
    if len(config.evaluations) < 2:
        raise InputError("give two or more --evaluations.NAME FOLDER")
    inputs = {f"evaluation {name}": folder for name, folder in config.evaluations.items()}
    if config.published:
        inputs["published"] = config.published
    step = Step(config, "compare", inputs)
    if step.reused:
        return step.manifest
    read = {name: read_evaluation(name, folder) for name, folder in config.evaluations.items()}
    first = next(iter(read.values()))
    tasks = [t for t in first["tasks"] if all(t in metrics["tasks"] for metrics in read.values())]
    if not tasks:
        raise InputError("the evaluations have no benchmark in common")
    results: dict[str, Any] = {}
    for task in tasks:
        predictions = {
            name: read_predictions(UPath(folder) / PREDICTIONS / f"{task}.jsonl")
            for name, folder in config.evaluations.items()
        }
        results |= compare_task(find_task(task), predictions, config.seed)
    adjust_p_values(
        [
            line
            for result in results.values()
            for change in result["changes"]
            for line in change["lines"]
        ]
    )
    write_json(step.folder / COMPARISON_FILE, {"models": list(read), "tasks": results})
    from doctor_sun.evaluation.compare_report import change_sentence, write_report
    from doctor_sun.evaluation.tables import all_metrics, paper_tables, write_tables

    evaluations = list(read.values())
    tables = paper_tables(evaluations, config.published)
    write_tables(step.folder / TABLES, [*all_metrics(evaluations), *tables])
    write_report(step.folder / "report.html", list(read), results, evaluations, tables)
    for task, result in results.items():
        for change in result["changes"]:
            step.say(f"{task}: {change_sentence(change)}")
    return step.finish(
        outputs=[COMPARISON_FILE, TABLES, "report.html"],
        counts={task: result["n"] for task, result in results.items()},
        figures={task: [c["lines"][0] for c in r["changes"]] for task, r in results.items()},
    )


def read_evaluation(name: str, folder: str) -> dict[str, Any]:
    """The metrics of a finished evaluation, its model under the name given.

    Raises:
        InputError: the folder holds none.
    """
    path = UPath(folder) / METRICS_FILE
    if not path.is_file():
        raise InputError(f"{folder} holds no evaluation: it has no {METRICS_FILE}")
    metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if "tasks" not in metrics:
        raise InputError(f"{folder} holds scored predictions, not an evaluated model")
    return metrics | {"model": metrics["model"] | {"name": name}}


def compare_task(
    task: Task, predictions: Mapping[str, Sequence[Mapping[str, Any]]], seed: int
) -> dict[str, Any]:
    """All models on one benchmark, its sections apart.

    Args:
        task: gives the corrected scoring, the headline metric and the cuts.
        predictions: lines of predictions by model, in order.
        seed: of the bootstrap and the permutations.

    Returns:
        By section n, and `changes`: each model against the first and against the one before it.

    Raises:
        InputError: the models answered no common question, or one question has two gold answers.
    """
    lines = {name: {str(line["id"]): line for line in own} for name, own in predictions.items()}
    first = next(iter(lines.values()))
    common = [id for id in first if all(id in own for own in lines.values())]
    if not common:
        raise InputError(f"{task.name}: the models answered no common question")
    for id in common:
        if len({str(own[id]["answer"]) for own in lines.values()}) > 1:
            raise InputError(f"{task.name}, question {id}: the evaluations know two gold answers")
    parts: dict[str, list[str]] = {}
    for id in common:
        parts.setdefault(str(first[id].get(task.sections, "")), []).append(id)
    found = {}
    for part, ids in sorted(parts.items()):
        name = ", ".join(filter(None, (task.name, part)))
        title = ", ".join(filter(None, (task.title, part)))
        own = {model: [known[id] for id in ids] for model, known in lines.items()}
        found[name] = {"task": task.name, "title": title, **_compare_lines(task, own, seed)}
    return found


def _compare_lines(
    task: Task, lines: Mapping[str, Sequence[Mapping[str, Any]]], seed: int
) -> dict[str, Any]:
    """All models on the same questions."""
    rows = {name: [row_from_json(line) for line in own] for name, own in lines.items()}
    scored = {name: _Scored.of(own, task) for name, own in rows.items()}
    names = list(lines)
    clusters = [str(line.get("image_key") or line["id"]) for line in lines[names[0]]]
    pairs = [(names[0], name) for name in names[1:]]
    pairs += pairwise(names[1:])
    return {
        "n": len(clusters),
        "models": {
            name: {
                "unparsable": float(1 - own.parsed.mean()),
                "empty": float(np.mean([not row.prediction.strip() for row in rows[name]])),
                "mean_length": float(np.mean([len(row.prediction) for row in rows[name]])),
            }
            for name, own in scored.items()
        },
        "changes": [
            {
                "before": before,
                "after": after,
                "lines": change_lines(
                    *(scored[before], scored[after], rows[before], clusters, task, seed)
                ),
            }
            for before, after in pairs
        ],
    }


@dataclass(frozen=True)
class _Scored:
    """One model's answers: the headline metric [items] and whether each could be read [items]."""

    headline: NDArray[np.float64]
    parsed: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Sequence[Row], task: Task) -> "_Scored":
        scores = score_rows(rows, task, "corrected")
        return cls(headline_column(rows, scores, task), readable(rows, scores, task))


def change_lines(
    before: _Scored,
    after: _Scored,
    rows: Sequence[Row],
    clusters: Sequence[str],
    task: Task,
    seed: int,
) -> list[dict[str, Any]]:
    """What changed between two models, over all and by cut.

    `ability` is the change on the questions whose answers both models gave in a readable form;
    `format` the change of the share that could be read.
    """
    change = after.headline - before.headline
    both = before.parsed & after.parsed
    columns = {
        "before": before.headline,
        "after": after.headline,
        "change": change,
        "ability": np.where(both, change, np.nan),
        "format": after.parsed.astype(float) - before.parsed.astype(float),
    }
    strata = strata_of(rows, task, task.headline)
    return [
        {"cut": cut, "n": int(inside.sum())}
        | cell(columns, inside, clusters, strata, ("change",), seed)
        for cut, inside in cut_masks([row.groups for row in rows], task.cuts)
    ]
