"""The evaluation's page: model, shuffled-image control and majority, by language and kind."""

import base64
import io
from collections.abc import Mapping
from html import escape
from typing import Any

from upath import UPath

SERIES = {
    "model": ("Model", "#2a6f97"),
    "shuffled": ("Same model, another image", "#bcb8b1"),
    "majority": ("Majority answer", "#e0a458"),
}
CONTROLS = {
    "model_minus_shuffled": "its answers with another image",
    "model_minus_majority": "the majority answer",
}
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Evaluation: {task}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0 }}
td, th {{ padding: .25rem .75rem; text-align: right; border-bottom: 1px solid #ddd }}
td:first-child, th:first-child {{ text-align: left }}
img {{ max-width: 100% }} .note {{ color: #666 }}
</style></head><body><h1>Evaluation on {task}</h1>
<p>{n} questions; {unparsable} answers could not be read and count as wrong. Intervals are 95 %
bootstrap intervals that draw images, not questions. The majority answer is learned from the
benchmark's own gold answers for each language and question kind, so it is the strongest guesser
that sees neither image nor question text.</p>
<p class="note">Model: {model}</p>
{sections}
<h2>All metrics</h2>{metrics}
</body></html>
"""


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


def bars(lines: list[dict[str, Any]]) -> bytes:
    """A PNG of accuracies with intervals, one group of bars a cut."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 0.55 * len(lines) + 1.2), dpi=150, layout="constrained")
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
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def table(head: list[str], rows: list[list[str]]) -> str:
    """An HTML table."""
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows]
    return "<table>" + "".join(lines) + "</table>"


def section_html(name: str, section: Mapping[str, Any]) -> str:
    """One section: the sentence, the bars, the numbers."""
    lines = section["lines"]
    picture = base64.b64encode(bars(lines)).decode()
    said = sentence(section)
    columns = [*SERIES, *CONTROLS]
    head = [
        "cut",
        "n",
        *(label for label, _ in SERIES.values()),
        "minus shuffled",
        "minus majority",
    ]
    rows = [
        [line["cut"], str(line["n"])]
        + [with_interval(line[c], line[f"{c}_interval"]) for c in columns]
        for line in lines
    ]
    return (
        f"<h2>{escape(name)}: {section['n']} questions on {section['images']} images</h2>"
        f"<p>{escape(said[0].upper() + said[1:])}.</p>"
        f'<img alt="accuracy of model, control and majority" src="data:image/png;base64,{picture}">'
        f"{table(head, rows)}"
        f"<p class='note'>{section['without_control']} questions had no image to be lent.</p>"
    )


def metrics_html(result: Mapping[str, Any]) -> str:
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
    return table(["metric", *scorings], rows)


def write_report(path: UPath, result: Mapping[str, Any], model: str) -> None:
    """Write the page; it needs no other file."""
    page = PAGE.format(
        task=escape(result["task"]),
        n=result["n"],
        unparsable=result["unparsable"],
        model=escape(model),
        sections="".join(section_html(name, s) for name, s in result["sections"].items()),
        metrics=metrics_html(result),
    )
    path.write_text(page, encoding="utf-8")
