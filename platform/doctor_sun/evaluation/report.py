"""The evaluation's page: model, shuffled-image control and majority, by cut; tables; a radar."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

from upath import UPath

from doctor_sun.evaluation import contamination
from doctor_sun.evaluation.scoring import SCORINGS
from doctor_sun.evaluation.tables import (
    METRIC_TITLES,
    BuiltTable,
    all_metrics,
    flattened,
    metric_title,
    percent,
    with_interval,
)
from doctor_sun.reports.html import Section, Table, page
from doctor_sun.reports.plots import COLOURS, embedded, new_figure

SERIES = {
    "model": ("Model", COLOURS[0]),
    "shuffled": ("Same model, another image", COLOURS[5]),
    "majority": ("Majority answer", COLOURS[1]),
}
CONTROLS = {
    "model_minus_shuffled": "its answers with another image",
    "model_minus_majority": "the majority answer",
}
INTRODUCTION = (
    "Every answer is scored twice: as the published tables are (published), and without the faults "
    "of those rules (corrected). Intervals are 95 % bootstrap intervals that draw images, not "
    "questions; p-values flip the signs of whole images and are adjusted over all cells of this "
    "page (Benjamini and Hochberg). The majority answer is learned from the benchmark's own gold "
    "answers of each language and kind of question, so it is the strongest guesser that sees "
    "neither image nor question."
)


def sentence(section: Mapping[str, Any]) -> str:
    """Whether the model beats its control and the majority, in words."""
    first = section["lines"][0]
    parts = [f"accuracy {with_interval(first['model'], first['model_interval'])} %"]
    for name, rival in CONTROLS.items():
        found = section["differences"][name]
        if found["mean"] is None:
            continue
        below = (found["interval"] or [0.0, 0.0])[1] < 0
        clear = "clear of 0" if found["clear_of_zero"] else "below 0" if below else "not clear of 0"
        points = with_interval(found["mean"], found["interval"])
        parts.append(f"minus {rival} {points} points, {clear}")
    return "; ".join(parts)


def bars(lines: list[dict[str, Any]]) -> str:
    """Accuracies with intervals, one group of bars a cut."""
    figure = new_figure(9.5, 0.55 * len(lines) + 1.2)
    axes = figure.subplots()
    height = 0.8 / len(SERIES)
    for place, (name, (label, colour)) in enumerate(SERIES.items()):
        shown = [(i, line) for i, line in enumerate(lines) if line[name] is not None]
        centres = [i + (place - 1) * height for i, _ in shown]
        values = [line[name] for _, line in shown]
        bounds = [line[f"{name}_interval"] or [line[name]] * 2 for _, line in shown]
        errors = [
            [max(0.0, value - low) for value, (low, _) in zip(values, bounds, strict=True)],
            [max(0.0, high - value) for value, (_, high) in zip(values, bounds, strict=True)],
        ]
        axes.barh(centres, values, height, xerr=errors, label=label, color=colour, ecolor="#444")
    axes.set_yticks(range(len(lines)), [f"{line['cut']} (n={line['n']})" for line in lines])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("accuracy, with 95 % interval")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(SERIES), frameon=False)
    return embedded(figure)


def radar(axes: Sequence[str], series: Mapping[str, Sequence[float]]) -> str:
    """Figure 2 of the paper: a polygon a series over metrics of one scale, 0 to 100."""
    figure = new_figure(9.5, 6.5)
    drawn: Any = figure.add_subplot(projection="polar")
    angles = [2 * math.pi * place / len(axes) for place in range(len(axes))]
    for (label, values), colour in zip(series.items(), cycle(COLOURS), strict=False):
        closed = [100 * value for value in (*values, values[0])]
        drawn.plot([*angles, angles[0]], closed, color=colour, label=label)
        drawn.fill([*angles, angles[0]], closed, color=colour, alpha=0.12)
    drawn.set_xticks(angles, axes, fontsize=8)
    drawn.tick_params(axis="x", pad=22)
    drawn.set_ylim(0, 100)
    drawn.set_theta_offset(math.pi / 2)
    drawn.set_theta_direction(-1)
    figure.legend(loc="outside right upper", frameon=False)
    return embedded(figure)


def section_of(title: str, section: Mapping[str, Any]) -> Section:
    """One section of a benchmark: the sentence, the bars, the numbers."""
    lines = section["lines"]
    said = sentence(section)
    paragraphs = [said[0].upper() + said[1:] + "."]
    if 0 < section["without_control"] < section["n"]:
        paragraphs.append(f"{section['without_control']} questions had no image to be lent.")
    labels = [label for label, _ in SERIES.values()]
    heads = ["cut", "n", *labels]
    for rival in ("shuffled", "majority"):
        heads += [f"minus {rival}", "adjusted p"]
    images = f" on {section['images']} images" if section["images"] < section["n"] else ""
    return Section(
        title=f"{title}: {section['n']} questions{images}",
        paragraphs=paragraphs,
        figures={f"{title}: accuracy of the model, its control and the majority": bars(lines)},
        tables=[Table(head=heads, rows=[_cells(line) for line in lines])],
    )


def _cells(line: Mapping[str, Any]) -> list[object]:
    """A line of the numbers below the bars."""
    cells: list[object] = [line["cut"], line["n"]]
    cells += [with_interval(line[name], line[f"{name}_interval"]) for name in SERIES]
    for name in CONTROLS:
        cells.append(with_interval(line[name], line[f"{name}_interval"]))
        cells.append(p_value(line.get(f"{name}_p_adjusted")))
    return cells


def p_value(value: float | None) -> str:
    """A p-value for a table."""
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def table_section(table: BuiltTable) -> Section:
    """A table as a section of its own."""
    return Section(title=table.title, paragraphs=table.notes, tables=[shown(table)])


def shown(table: BuiltTable) -> Table:
    """A table as the page shows it."""
    flat = flattened(table)
    return Table(head=list(flat.columns), rows=flat.to_numpy().tolist())


def task_sections(result: Mapping[str, Any]) -> list[Section]:
    """One benchmark: what was compared, then its sections."""
    known, answers = result["contamination"], result["answers"]
    facts = [
        f"{percent(answers['empty'])} % of the answers are empty; they have "
        f"{answers['mean_length']:.0f} characters on average, at most {answers['longest']:.0f}.",
        f"{result['corrected']['unparsable']} answers of {result['corrected']['n']} could not be "
        f"read (corrected scoring; {result['published']['unparsable']} by the published rules, "
        f"{result['published_by']}); {result['unanswered']} questions got no answer.",
        f"Of these questions and pictures {contamination.sentence(known)}.",
    ]
    if result["limit"]:
        first = f"Only the first {result['limit']} questions were asked: this is not a score."
        facts.insert(0, first)
    sections = [
        section_of(f"{result['title']}, {name}" if name != "all" else result["title"], section)
        for name, section in result["sections"].items()
    ]
    return [Section(title=result["title"], paragraphs=facts), *sections]


def overview(metrics: Mapping[str, Any]) -> Section:
    """The radar over all benchmarks, by both scorings."""
    cells = [
        (task, name)
        for task, result in metrics["tasks"].items()
        for name in result["published"]["metrics"]
        if result["corrected"]["counts"].get(name) and name in METRIC_TITLES
    ]
    titles = {task: result["title"] for task, result in metrics["tasks"].items()}
    axes = [
        metric_title(name) if len(titles) == 1 else f"{titles[task]}\n{metric_title(name)}"
        for task, name in cells
    ]
    series: dict[str, list[float]] = {
        scoring: [metrics["tasks"][task][scoring]["metrics"][name] for task, name in cells]
        for scoring in SCORINGS
    }
    figures = {"Every metric by both scorings, %": radar(axes, series)} if len(axes) > 2 else {}
    tables = [shown(table) for table in all_metrics([metrics])]
    return Section(title="All metrics, %", figures=figures, tables=tables)


def write_report(path: UPath, metrics: Mapping[str, Any], tables: Sequence[BuiltTable]) -> None:
    """Write the page; it needs no other file."""
    model = metrics["model"]
    sections = [
        section for result in metrics["tasks"].values() for section in task_sections(result)
    ]
    text = page(
        f"Evaluation of {model['name']}",
        [INTRODUCTION, f"Model: {model['source']}"],
        [*sections, overview(metrics), *map(table_section, tables)],
    )
    path.write_text(text, encoding="utf-8")
