"""The page of a comparison: a radar of the models, what each changed, the tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from upath import UPath

from doctor_sun.evaluation.report import p_value, radar, shown, table_section
from doctor_sun.evaluation.tables import (
    METRIC_TITLES,
    BuiltTable,
    all_metrics,
    metric_title,
    percent,
    with_interval,
)
from doctor_sun.reports.html import Section, Table, page
from doctor_sun.reports.plots import COLOURS, embedded, new_figure

INTRODUCTION = (
    "Accuracies are by the corrected scoring. A change is the mean over the questions that both "
    "models answered, its 95 % interval draws images; p-values flip the signs of whole images and "
    "are adjusted over all cells of this page (Benjamini and Hochberg). Ability is the change on "
    "the questions where both answers could be read; format is the change of the share that could."
)
HEADS = ["cut", "n", "before", "after", "change", "adjusted p", "ability", "format"]


def change_sentence(change: Mapping[str, Any]) -> str:
    """What changed, in words."""
    line = change["lines"][0]
    low, high = line["change_interval"] or (0.0, 0.0)
    kind = "gained" if low > 0 else "lost" if high < 0 else "no clear change"
    return (
        f"{change['before']} to {change['after']}: {kind}, "
        f"{with_interval(line['change'], line['change_interval'])} points "
        f"(ability {percent(line['ability'])}, format {percent(line['format'])})"
    )


def changes_plot(results: Mapping[str, Any], first: str) -> str:
    """The change of every benchmark against the first model, with intervals."""
    marks = [
        (result["title"], change["after"], change["lines"][0])
        for result in results.values()
        for change in result["changes"]
        if change["before"] == first
    ]
    models = list(dict.fromkeys(after for _, after, _ in marks))
    figure = new_figure(9.5, 0.45 * len(marks) + 1.4)
    axes = figure.subplots()
    for place, (_, after, line) in enumerate(marks):
        low, high = line["change_interval"] or (line["change"], line["change"])
        colour = COLOURS[models.index(after) % len(COLOURS)]
        axes.plot([100 * low, 100 * high], [place, place], color=colour)
        axes.plot(100 * line["change"], place, "o", color=colour)
    axes.set_yticks(range(len(marks)), [f"{title}, {after}" for title, after, _ in marks])
    axes.invert_yaxis()
    axes.axvline(0, color="#444", linewidth=0.8)
    axes.set_xlabel(f"points against {first}, with 95 % interval")
    axes.spines[["top", "right"]].set_visible(False)
    return embedded(figure)


def task_section(result: Mapping[str, Any]) -> Section:
    """One benchmark: how each model answers, then each change."""
    said = [
        f"{name}: {percent(facts['unparsable'])} % of the answers could not be read, "
        f"{percent(facts['empty'])} % are empty, {facts['mean_length']:.0f} characters on average."
        for name, facts in result["models"].items()
    ]
    tables = [
        Table(
            head=[f"{change['before']} to {change['after']}", *HEADS[1:]],
            rows=[
                [
                    line["cut"],
                    line["n"],
                    *(
                        with_interval(line[name], line[f"{name}_interval"])
                        for name in ("before", "after", "change")
                    ),
                    p_value(line["change_p_adjusted"]),
                    *(
                        with_interval(line[name], line[f"{name}_interval"])
                        for name in ("ability", "format")
                    ),
                ]
                for line in change["lines"]
            ],
        )
        for change in result["changes"]
    ]
    sentences = [f"{change_sentence(change)}." for change in result["changes"]]
    return Section(
        title=f"{result['title']}: {result['n']} questions",
        paragraphs=[*sentences, *said],
        tables=tables,
    )


def models_radar(evaluations: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> str:
    """Figure 2 of the paper: a polygon a model over the published metrics; "" below three axes."""
    first = evaluations[0]["tasks"]
    cells = [
        (task, name)
        for task in tasks
        for name, count in first[task]["published"]["counts"].items()
        if count and name in METRIC_TITLES
    ]
    if len(cells) < 3:
        return ""
    series = {
        metrics["model"]["name"]: [
            metrics["tasks"][task]["published"]["metrics"][name] for task, name in cells
        ]
        for metrics in evaluations
    }
    return radar([f"{first[task]['title']}\n{metric_title(name)}" for task, name in cells], series)


def write_report(
    path: UPath,
    models: Sequence[str],
    results: Mapping[str, Any],
    evaluations: Sequence[Mapping[str, Any]],
    tables: Sequence[BuiltTable],
) -> None:
    """Write the page; it needs no other file."""
    figures = {"Change against the first model": changes_plot(results, models[0])}
    tasks = list(dict.fromkeys(result["task"] for result in results.values()))
    if drawn := models_radar(evaluations, tasks):
        figures["Every metric by the published scoring, %"] = drawn
    overview = Section(title="At a glance", figures=figures)
    metrics = [shown(table) for table in all_metrics(evaluations)]
    text = page(
        " → ".join(models),
        [INTRODUCTION],
        [
            overview,
            *map(task_section, results.values()),
            Section(title="All metrics, %", tables=metrics),
            *map(table_section, tables),
        ],
    )
    path.write_text(text, encoding="utf-8")
