"""The paper's tables with our rows under the published ones: CSV, Markdown, LaTeX, HTML.

A published figure is marked as such and stands as printed. Ours stand twice: by the published
scoring, to be compared, and by the corrected one, with 95% intervals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from upath import UPath

from doctor_sun.evaluation.published import TABLES, Cell, PaperTable, figures
from doctor_sun.evaluation.scoring import SCORINGS
from doctor_sun.evaluation.tasks import TASKS

EMPTY = "–"
METRIC_TITLES = {
    "bleu1": "BLEU-1",
    "closed_accuracy": "Closed Q accuracy",
    "negated_closed_accuracy": "Closed Q accuracy, denials as no",
    "open_recall": "Open Q recall",
    "open_accuracy": "Open Q accuracy",
    "recall": "Recall",
    "f1": "F1",
    "accuracy": "Accuracy",
}


@dataclass(frozen=True)
class BuiltTable:
    """A table that is ready to be written."""

    name: str
    """Of its files."""
    title: str
    frame: pd.DataFrame
    """Texts; columns are (benchmark, metric), rows (model, what its figures are)."""
    notes: Sequence[str]


def metric_title(name: str) -> str:
    """A metric's name in a table."""
    return METRIC_TITLES.get(name, name.replace("_", " ").capitalize())


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal; a dash where there is none."""
    return EMPTY if value is None else f"{100 * value:.1f}"


def with_interval(value: float | None, bounds: Sequence[float] | None) -> str:
    """A percentage and its interval."""
    if value is None or bounds is None:
        return percent(value)
    return f"{percent(value)} ({percent(bounds[0])} to {percent(bounds[1])})"


def paper_tables(
    evaluations: Sequence[Mapping[str, Any]], published: str | None = None
) -> list[BuiltTable]:
    """The tables of the paper that share a benchmark with some evaluations.

    Args:
        evaluations: contents of `metrics.json`, one a model.
        published: CSV of further published figures.
    """
    known = figures(published)
    asked = {task for metrics in evaluations for task in metrics["tasks"]}
    return [
        _paper_table(table, evaluations, known)
        for table in TABLES
        if any(task in asked for task, _ in table.columns)
    ]


def _paper_table(
    table: PaperTable,
    evaluations: Sequence[Mapping[str, Any]],
    known: Mapping[tuple[int, str, Cell], float],
) -> BuiltTable:
    rows: dict[tuple[str, str], list[str]] = {}
    extra = dict.fromkeys(model for number, model, _ in known if number == table.number)
    for model in dict.fromkeys([*table.models, *extra]):
        rows[model, "as printed"] = [
            percent(known.get((table.number, model, cell))) for cell in table.columns
        ]
    for metrics in evaluations:
        for scoring in SCORINGS:
            rows[metrics["model"]["name"], scoring] = [
                _ours(metrics, scoring, cell) for cell in table.columns
            ]
    columns = [(TASKS[task].title, metric_title(metric)) for task, metric in table.columns]
    return BuiltTable(
        name=f"table{table.number}",
        title=f"Table {table.number}. {table.title}",
        frame=_frame(rows, columns),
        notes=table.notes,
    )


def _frame(
    rows: Mapping[tuple[str, str], list[str]], columns: Sequence[tuple[str, str]]
) -> pd.DataFrame:
    return pd.DataFrame(
        list(rows.values()),
        index=pd.MultiIndex.from_tuples(rows, names=["model", "figures"]),
        columns=pd.MultiIndex.from_tuples(columns, names=["benchmark", "metric"]),
    )


def _ours(metrics: Mapping[str, Any], scoring: str, cell: Cell) -> str:
    """One of our figures; a dash where it was not measured."""
    task, metric = cell
    found = metrics["tasks"].get(task, {}).get(scoring)
    if found is None or not found["counts"].get(metric):
        return EMPTY
    return with_interval(found["metrics"][metric], found["intervals"][metric])


def all_metrics(evaluations: Sequence[Mapping[str, Any]]) -> list[BuiltTable]:
    """A table a benchmark: every metric of both scorings, a column a model."""
    tasks = dict.fromkeys(task for metrics in evaluations for task in metrics["tasks"])
    return [_metrics_table(task, [m for m in evaluations if task in m["tasks"]]) for task in tasks]


def _metrics_table(task: str, evaluations: Sequence[Mapping[str, Any]]) -> BuiltTable:
    known = TASKS[task]
    rows: dict[tuple[str, str], list[str]] = {}
    for metric in dict.fromkeys([*known.metrics["published"], *known.metrics["corrected"]]):
        rows[metric_title(metric), ""] = [
            _ours(metrics, scoring, (task, metric))
            for metrics in evaluations
            for scoring in SCORINGS
        ]
    columns = [(m["model"]["name"], scoring) for m in evaluations for scoring in SCORINGS]
    frame = _frame(rows, columns)
    return BuiltTable(
        name=f"metrics-{task}",
        title=f"{known.title}: all metrics",
        frame=frame.droplevel(1).rename_axis(index="metric", columns=["model", "scoring"]),
        notes=(f"published: {known.published_by}",),
    )


def write_tables(folder: UPath, tables: Sequence[BuiltTable]) -> None:
    """Each table as CSV, Markdown and LaTeX."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in tables:
        flat = flattened(table)
        notes = "".join(f"\n- {note}" for note in table.notes)
        writers = {
            "csv": flat.to_csv(index=False),
            "md": f"**{table.title}**\n\n{flat.to_markdown(index=False)}\n{notes}\n",
            "tex": _latex(table),
        }
        for kind, text in writers.items():
            (folder / f"{table.name}.{kind}").write_text(text, encoding="utf-8")


def flattened(table: BuiltTable) -> pd.DataFrame:
    """One line of heads, the row's names as columns."""
    flat = table.frame.copy()
    flat.columns = pd.Index([": ".join(names) for names in table.frame.columns])
    return flat.reset_index()


def _latex(table: BuiltTable) -> str:
    notes = " ".join(table.notes)
    style = table.frame.style.format(escape="latex").format_index(escape="latex", axis=0)
    style = style.format_index(escape="latex", axis=1)
    return str(style.to_latex(caption=f"{table.title}. {notes}", hrules=True, multicol_align="c"))
