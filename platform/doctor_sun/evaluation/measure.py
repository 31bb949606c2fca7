"""From answered questions to the numbers of `metrics.json`: means, intervals, comparisons."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from doctor_sun.evaluation.cleaning import normalise_answer
from doctor_sun.evaluation.scoring import METRICS, SCORERS, Family, Row, Score, Scoring
from doctor_sun.evaluation.statistics import (
    bootstrap_means,
    column_means,
    majority_answers,
    masked_columns,
)
from doctor_sun.evaluation.tasks import Item, Task


def score_rows(rows: Sequence[Row], family: Family, scoring: Scoring) -> list[Score]:
    """The score of every row."""
    scorer = SCORERS[family, scoring]
    return [scorer(row) for row in rows]


def metric_table(scores: Sequence[Score], names: Sequence[str]) -> NDArray[np.float64]:
    """Metrics [items, names], NaN where one does not apply."""
    return np.array([[s.metrics.get(name, math.nan) for name in names] for s in scores]).reshape(
        len(scores), len(names)
    )


def number(value: float) -> float | None:
    """A finite float for JSON; None for NaN."""
    return None if math.isnan(value) else float(value)


def summary(
    scores: Sequence[Score], clusters: Sequence[Hashable], names: Sequence[str], seed: int
) -> dict[str, Any]:
    """Means, 95 % intervals and counts of one scoring.

    A mean over no rows is 0, as the published tools have it, and its interval is null.
    """
    table = metric_table(scores, names)
    means, bounds = column_means(table), bootstrap_means(table, clusters, seed=seed)
    return {
        "n": len(scores),
        "metrics": {n: number(m) or 0.0 for n, m in zip(names, means, strict=True)},
        "intervals": {
            n: None if np.isnan(b).any() else [float(b[0]), float(b[1])]
            for n, b in zip(names, bounds, strict=True)
        },
        "counts": {n: int(c) for n, c in zip(names, (~np.isnan(table)).sum(axis=0), strict=True)},
        "unparsable": sum(not s.parsed for s in scores),
    }


def metrics_of(
    rows: Sequence[Row], clusters: Sequence[Hashable], task: Task, scoring: Scoring, seed: int = 0
) -> dict[str, Any]:
    """One scoring of one task, in the form of `metrics.json`."""
    scores = score_rows(rows, task.family, scoring)
    names = METRICS[task.family]
    if scoring == "corrected" and "accuracy" not in names:
        names = (*names, "accuracy")
    return {"task": task.name, "scoring": scoring, **summary(scores, clusters, names, seed)}


def comparison(
    items: Sequence[Item],
    predictions: Sequence[str],
    control: Sequence[str | None],
    task: Task,
    seed: int = 0,
) -> dict[str, Any]:
    """Model, shuffled-image control and majority on one section, over all and by breakdown.

    Args:
        items: the section's questions.
        predictions: the model's answers.
        control: its answers with another image; None where there was none to lend.
        task: gives the headline metric and the cuts.
        seed: of the bootstrap.

    Returns:
        `lines`: one dict a cut with n, accuracies and intervals of the three; `differences`: model
        minus control and model minus majority with paired intervals and whether they clear 0.
    """
    majority = majority_answers(
        [tuple(item.groups[name] for name in task.control_within) for item in items],
        [normalise_answer(item.answer) for item in items],
    )
    answers: dict[str, Sequence[str | None]] = {
        **{"model": predictions, "shuffled": control, "majority": majority}
    }
    columns = {name: _headline(items, said, task) for name, said in answers.items()}
    columns["model_minus_shuffled"] = columns["model"] - columns["shuffled"]
    columns["model_minus_majority"] = columns["model"] - columns["majority"]
    clusters = [item.image_key or item.id for item in items]
    cuts: dict[tuple[str, ...], NDArray[np.bool_]] = {(): np.ones(len(items), dtype=bool)}
    groups = [item.groups for item in items]
    by = [task.breakdown[:1], task.breakdown] if task.breakdown else []
    for names in by:
        for key, column in masked_columns(np.ones(len(items)), groups, names).items():
            cuts[key] = ~np.isnan(column)
    table = np.stack(
        [
            np.where(inside, column, np.nan)
            for inside in cuts.values()
            for column in columns.values()
        ],
        axis=1,
    )
    means, bounds = column_means(table), bootstrap_means(table, clusters, seed=seed)
    lines = []
    for place, (key, inside) in enumerate(cuts.items()):
        line: dict[str, Any] = {"cut": " ".join(key) or "all", "n": int(inside.sum())}
        for offset, name in enumerate(columns):
            at = place * len(columns) + offset
            line[name] = number(means[at])
            line[f"{name}_interval"] = [number(bound) for bound in bounds[at]]
        lines.append(line)
    return {
        "n": len(items),
        "images": len(set(clusters)),
        "without_control": sum(said is None for said in control),
        "lines": lines,
        "differences": {
            name: {
                "mean": lines[0][name],
                "interval": lines[0][f"{name}_interval"],
                "clear_of_zero": (lines[0][f"{name}_interval"][0] or 0.0) > 0,
            }
            for name in ("model_minus_shuffled", "model_minus_majority")
        },
    }


def _headline(
    items: Sequence[Item], answers: Sequence[str | None], task: Task
) -> NDArray[np.float64]:
    """The headline metric of each answer [items], NaN where there is no answer to score."""
    scorer = SCORERS[task.family, "corrected"]
    return np.array(
        [
            math.nan
            if said is None
            else scorer(row_of(item, said)).metrics.get(task.headline, math.nan)
            for item, said in zip(items, answers, strict=True)
        ]
    )


def row_of(item: Item, prediction: str) -> Row:
    """An item and its answer as the scorers read them."""
    options = {chr(ord("A") + i): text for i, text in enumerate(item.options)}
    return Row(answer=item.answer, prediction=prediction, options=options)


def row_from_json(record: Mapping[str, Any]) -> Row:
    """A line of a predictions file: options as a list, a mapping, or key-value records."""
    given = record.get("options") or {}
    if isinstance(given, Mapping):
        options = {str(key): str(text) for key, text in given.items()}
    elif given and isinstance(given[0], Mapping):
        options = {str(option["key"]): str(option["value"]) for option in given}
    else:
        options = {chr(ord("A") + i): str(text) for i, text in enumerate(given)}
    return Row(answer=str(record["answer"]), prediction=str(record["prediction"]), options=options)
