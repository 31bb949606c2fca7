"""From answered questions to the numbers of `metrics.json`: means, intervals, comparisons."""

import math
import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from doctor_sun.data.benchmarks.item import lettered
from doctor_sun.errors import InputError
from doctor_sun.evaluation.cleaning import normalise_answer
from doctor_sun.evaluation.scoring import Row, Score, Scoring
from doctor_sun.evaluation.statistics import (
    bootstrap_means,
    column_means,
    false_discovery,
    majority_answers,
    paired_p,
)
from doctor_sun.evaluation.tasks import Item, Task

DIFFERENCES = ("model_minus_shuffled", "model_minus_majority")
NOT_GROUPS = frozenset(
    {"id", "question", "answer", "prediction", "shuffled_image_prediction", "image_key", "options"}
)


def score_rows(rows: Sequence[Row], task: Task, scoring: Scoring) -> list[Score]:
    """The score of every row; side by side, since programs are run in processes of their own."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(task.scorer(scoring), rows))


def metric_table(
    rows: Sequence[Row], scores: Sequence[Score], names: Sequence[str], task: Task
) -> NDArray[np.float64]:
    """Metrics [items, names], NaN where one does not apply.

    Where rows count `together`, `accuracy` stands in the first of them and is 1 when all are right.
    """
    table = np.array([[s.metrics.get(name, math.nan) for name in names] for s in scores]).reshape(
        len(scores), len(names)
    )
    if task.together and "accuracy" in names:
        column = table[:, names.index("accuracy")]
        for members in _units(rows, task):
            worst = column[members].min()
            column[members] = math.nan
            column[members[0]] = worst
    return table


def number(value: float) -> float | None:
    """A finite float for JSON; None for NaN."""
    return None if math.isnan(value) else float(value)


def interval_of(bounds: NDArray[np.float64]) -> list[float] | None:
    """Two bounds for JSON; None where there are none."""
    return None if np.isnan(bounds).any() else [float(bounds[0]), float(bounds[1])]


def strata_of(rows: Sequence[Row], task: Task, metric: str) -> list[str] | None:
    """What weighs alike in a metric; None where items do."""
    group = task.macro.get(metric)
    return [row.groups.get(group, "") for row in rows] if group else None


def metrics_of(
    rows: Sequence[Row],
    clusters: Sequence[Hashable],
    task: Task,
    scoring: Scoring,
    scores: Sequence[Score] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """One scoring of one task, in the form of `metrics.json`.

    A mean over no rows is 0, as the published tools have it, and its interval is null.

    Args:
        rows: the answered questions.
        clusters: one label a row (its image).
        task: gives metrics and weights.
        scoring: which scoring.
        scores: of the rows, where they are there already.
        seed: of the bootstrap.
    """
    scores = scores or score_rows(rows, task, scoring)
    names = task.metrics[scoring]
    table = metric_table(rows, scores, names, task)
    means, intervals = {}, {}
    for place, name in enumerate(names):
        column, strata = table[:, [place]], strata_of(rows, task, name)
        means[name] = number(column_means(column, strata)[0]) or 0.0
        intervals[name] = interval_of(bootstrap_means(column, clusters, strata, seed=seed)[0])
    return {
        "task": task.name,
        "scoring": scoring,
        "n": len(rows),
        "metrics": means,
        "intervals": intervals,
        "counts": dict(zip(names, map(int, (~np.isnan(table)).sum(axis=0)), strict=True)),
        "unparsable": sum(not score.parsed for score in scores),
    }


def answer_lengths(predictions: Sequence[str]) -> dict[str, float]:
    """The share of empty answers, and the answers' lengths in characters."""
    lengths = np.array([len(text.strip()) for text in predictions])
    return {
        "empty": float((lengths == 0).mean()),
        "mean_length": float(lengths.mean()),
        "longest": float(lengths.max()),
    }


def headline_column(
    rows: Sequence[Row], scores: Sequence[Score], task: Task
) -> NDArray[np.float64]:
    """The headline metric [items] of scored rows."""
    return metric_table(rows, scores, (task.headline,), task)[:, 0]


def other_column(
    rows: Sequence[Row], answers: Sequence[str | None], task: Task
) -> NDArray[np.float64]:
    """The headline metric (corrected scoring) of other answers to `rows`, NaN where one is None."""
    if all(said is None for said in answers):
        return np.full(len(rows), math.nan)
    asked = [
        Row(answer=r.answer, prediction=said or "", options=r.options, groups=r.groups)
        for r, said in zip(rows, answers, strict=True)
    ]
    column = headline_column(asked, score_rows(asked, task, "corrected"), task)
    return np.where([said is None for said in answers], math.nan, column)


def readable(rows: Sequence[Row], scores: Sequence[Score], task: Task) -> NDArray[np.bool_]:
    """Whether each answer [items] could be read; where rows count together, all of them."""
    parsed = np.array([score.parsed for score in scores], dtype=bool)
    if task.together:
        for members in _units(rows, task):
            parsed[members] = parsed[members].all()
    return parsed


def _units(rows: Sequence[Row], task: Task) -> list[list[int]]:
    """The rows that count as one question."""
    units: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        units.setdefault(row.groups[task.together], []).append(index)
    return list(units.values())


def cut_masks(
    groups: Sequence[Mapping[str, str]], cuts: Sequence[Sequence[str]]
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """All items, then each value of each cut: its name and the items [items] that are in it."""
    yield "all", np.ones(len(groups), dtype=bool)
    for names in cuts:
        keys = [tuple(group.get(name, "") for name in names) for group in groups]
        for key in sorted(set(keys)):
            if any(key):
                # Of one group the value alone may say little ("HEAD", "OTHER").
                named = [f"{names[0]}:"] if len(names) == 1 else []
                cut = " ".join([*named, *filter(None, key)]).replace("_", " ")
                yield cut, np.array([k == key for k in keys])


def comparison(
    items: Sequence[Item],
    predictions: Sequence[str],
    scores: Sequence[Score],
    control: Sequence[str | None],
    task: Task,
    seed: int = 0,
) -> dict[str, Any]:
    """Model, shuffled-image control and majority on one section, over all and by cut.

    Args:
        items: the section's questions.
        predictions: the model's answers.
        scores: theirs, by the corrected scoring.
        control: its answers with another image; None where there was none to lend.
        task: gives the headline metric and the cuts.
        seed: of the bootstrap and of the permutations.

    Returns:
        `lines`: one dict a cut with n, accuracies and intervals of the three, and the paired
        differences with their p-values; `differences`: those of all items, and whether they clear
        0.
    """
    rows = [row_of(item, said) for item, said in zip(items, predictions, strict=True)]
    columns = {
        "model": headline_column(rows, scores, task),
        "shuffled": other_column(rows, control, task),
        "majority": other_column(rows, majority(items, task), task),
    }
    columns["model_minus_shuffled"] = columns["model"] - columns["shuffled"]
    columns["model_minus_majority"] = columns["model"] - columns["majority"]
    clusters = [item.image_key or item.id for item in items]
    lines: list[dict[str, Any]] = [
        {"cut": cut, "n": int(inside.sum())}
        | cell(columns, inside, clusters, strata_of(rows, task, task.headline), DIFFERENCES, seed)
        for cut, inside in cut_masks([item.groups for item in items], task.cuts)
    ]
    return {
        "n": len(items),
        "images": len(set(clusters)),
        "without_control": sum(said is None for said in control),
        "lines": lines,
        "differences": {
            name: {
                "mean": lines[0][name],
                "interval": lines[0][f"{name}_interval"],
                "clear_of_zero": (lines[0][f"{name}_interval"] or [0.0])[0] > 0,
            }
            for name in DIFFERENCES
        },
    }


def cell(
    columns: Mapping[str, NDArray[np.float64]],
    inside: NDArray[np.bool_],
    clusters: Sequence[Hashable],
    strata: Sequence[Hashable] | None,
    tested: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    """Means and intervals of some items.

    Args:
        columns: figures [items] by name.
        inside: [items] which of them count.
        clusters: one label an item.
        strata: one label an item, where these weigh alike.
        tested: names of the columns that are paired differences, which get a p-value, too.
        seed: of the bootstrap and the permutations.
    """
    table = np.stack([column[inside] for column in columns.values()], axis=1)
    own = [label for label, chosen in zip(clusters, inside, strict=True) if chosen]
    kept = strata and [label for label, chosen in zip(strata, inside, strict=True) if chosen]
    means, bounds = column_means(table, kept), bootstrap_means(table, own, kept, seed=seed)
    line: dict[str, Any] = {}
    for place, name in enumerate(columns):
        line[name] = number(means[place])
        line[f"{name}_interval"] = interval_of(bounds[place])
        if name in tested:
            line[f"{name}_p"] = paired_p(table[:, place], own, kept, seed)
    return line


def adjust_p_values(lines: Sequence[dict[str, Any]]) -> None:
    """Put beside every p-value the one adjusted over all the lines that are looked at together."""
    found = [(line, name) for line in lines for name in line if name.endswith("_p")]
    adjusted = false_discovery([line[name] for line, name in found])
    for (line, name), value in zip(found, adjusted, strict=True):
        line[f"{name}_adjusted"] = value


def majority(items: Sequence[Item], task: Task) -> list[str | None]:
    """The most frequent gold answer of each item's group; none where it would say nothing."""
    if not task.majority:
        return [None] * len(items)
    return list(
        majority_answers(
            [tuple(item.groups.get(name, "") for name in task.control_within) for item in items],
            [item.answer if item.options else normalise_answer(item.answer) for item in items],
        )
    )


def row_of(item: Item, prediction: str) -> Row:
    """An item and its answer as the scorers read them."""
    return Row(answer=item.answer, prediction=prediction, options=item.options, groups=item.groups)


def row_from_json(record: Mapping[str, Any]) -> Row:
    """A line of a predictions file: options as a list, a mapping, or key-value records.

    Other keys with texts or numbers are groups.

    Raises:
        InputError: the options are none of these.
    """
    return Row(
        answer=str(record["answer"]),
        prediction=str(record["prediction"]),
        options=_options(record.get("options") or {}),
        groups={
            key: str(value)
            for key, value in record.items()
            if key not in NOT_GROUPS and isinstance(value, str | int)
        },
    )


def _options(given: Any) -> dict[str, str]:
    if isinstance(given, Mapping):
        return {str(key): str(text) for key, text in given.items()}
    if isinstance(given, list) and all(isinstance(text, str | int | float) for text in given):
        return lettered([str(text) for text in given])
    if isinstance(given, list) and all({"key", "value"} <= set(option) for option in given):
        return {str(option["key"]): str(option["value"]) for option in given}
    raise InputError("options are neither a list of texts, nor a mapping, nor key-value records")
