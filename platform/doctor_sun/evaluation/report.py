"""The evaluation's page: model, shuffled-image control and majority, by language and kind."""

from collections.abc import Mapping
from typing import Any

from upath import UPath

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
    "{n} questions; {unparsable} answers could not be read and count as wrong. Intervals are 95 % "
    "bootstrap intervals that draw images, not questions. The majority answer is learned from the "
    "benchmark's own gold answers for each language and question kind, so it is the strongest "
    "guesser that sees neither image nor question text."
)


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.1f}"


def with_interval(value: float | None, bounds: list[float | None] | None) -> str:
    """A percentage and its interval."""
    if value is None or bounds is None or bounds[0] is None:
        return percent(value)
    return f"{percent(value)} ({percent(bounds[0])} to {percent(bounds[1])})"


def sentence(section: Mapping[str, Any]) -> str:
    """Whether the model beats its control and the majority, in words."""
    first = section["lines"][0]
    parts = [f"accuracy {with_interval(first['model'], first['model_interval'])} %"]
    for name, rival in CONTROLS.items():
        found = section["differences"][name]
        if found["mean"] is None:
            parts.append(f"no comparison with {rival}: no image could be lent")
            continue
        clear = "clear of 0" if found["clear_of_zero"] else "not clear of 0"
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
        bounds = [line[f"{name}_interval"] for _, line in shown]
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


def section_of(name: str, section: Mapping[str, Any]) -> Section:
    """One track: the sentence, the bars, the numbers."""
    lines = section["lines"]
    said = sentence(section)
    paragraphs = [said[0].upper() + said[1:] + "."]
    if section["without_control"]:
        paragraphs.append(f"{section['without_control']} questions had no image to be lent.")
    labels = [label for label, _ in SERIES.values()]
    columns = [*SERIES, *CONTROLS]
    return Section(
        title=f"{name}: {section['n']} questions on {section['images']} images",
        paragraphs=paragraphs,
        figures={"Accuracy of the model, its control and the majority answer": bars(lines)},
        tables=[
            Table(
                head=["cut", "n", *labels, "minus shuffled", "minus majority"],
                rows=[
                    [line["cut"], line["n"]]
                    + [with_interval(line[c], line[f"{c}_interval"]) for c in columns]
                    for line in lines
                ],
            )
        ],
    )


def metrics_section(result: Mapping[str, Any]) -> Section:
    """Both scorings side by side."""
    scorings = {r["scoring"]: r for r in (result, result["other_scoring"])}
    names = sorted({name for r in scorings.values() for name in r["metrics"]})
    rows = [
        [name]
        + [
            with_interval(r["metrics"].get(name), r["intervals"].get(name))
            for r in scorings.values()
        ]
        for name in names
    ]
    return Section(title="All metrics", tables=[Table(head=["metric", *scorings], rows=rows)])


def write_report(path: UPath, result: Mapping[str, Any], model: str) -> None:
    """Write the page; it needs no other file."""
    introduction = [INTRODUCTION.format(**result), f"Model: {model}"]
    sections = [section_of(name, section) for name, section in result["sections"].items()]
    text = page(
        f"Evaluation on {result['task']}", introduction, [*sections, metrics_section(result)]
    )
    path.write_text(text, encoding="utf-8")
