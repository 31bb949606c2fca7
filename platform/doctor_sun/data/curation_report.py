"""The curation's page: the funnel as a picture and tables, and the score on planted faults."""

from collections.abc import Mapping, Sequence
from typing import Any

from doctor_sun.data.ledger import Stage
from doctor_sun.data.tiny.planted_truth import CONTROL, STEP_OF
from doctor_sun.reports.html import Section, Table, page
from doctor_sun.reports.plots import COLOURS, embedded, new_figure


def curation_page(stages: Sequence[Stage], planted: Mapping[str, Mapping[str, Any]] | None) -> str:
    """The report as HTML.

    Args:
        stages: the finished steps in order.
        planted: scores by `planted_truth.score`, where the truth is known.
    """
    first, last = sum(stages[0].rows_in.values()), stages[-1].rows_out().total()
    introduction = [
        f"{first} raw rows went in, {last} came out. Every row that is missing or changed has an "
        "entry in the ledger that names the step, the reason and the evidence."
    ]
    sections = [
        Section(
            title="Rows by step",
            figures={"Rows after each step, by source": _funnel(stages)},
            tables=[_steps_table(stages)],
        ),
        Section(title="Rows by source", tables=[_sources_table(stages)]),
    ]
    if planted:
        sections.append(_planted_section(planted))
    sections.append(Section(title="Measured", tables=[_figures_table(stages)]))
    return page("Curation", introduction, sections)


def _name(stage: Stage) -> str:
    """The step's name without its number."""
    return stage.step.split("-", 1)[-1]


def _sources(stages: Sequence[Stage]) -> list[str]:
    return sorted(stages[0].rows_in)


def _funnel(stages: Sequence[Stage]) -> str:
    """Stacked bars: the rows that each step lets through."""
    figure = new_figure(9, 3.6)
    axes = figure.add_subplot()
    names = ["raw", *(stage.step for stage in stages)]
    counts = [stages[0].rows_in, *(stage.rows_out() for stage in stages)]
    left = [0] * len(names)
    for number, source in enumerate(_sources(stages)):
        widths = [count.get(source, 0) for count in counts]
        colour = COLOURS[number % len(COLOURS)]
        axes.barh(names, widths, left=left, label=source, color=colour, height=0.7)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for row, total in enumerate(left):
        axes.text(total, row, f" {total}", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("rows")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.08)
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    return embedded(figure)


def _steps_table(stages: Sequence[Stage]) -> Table:
    rows = [
        (
            stage.step,
            sum(stage.rows_in.values()),
            sum(stage.dropped.values()),
            sum(stage.edited.values()),
            sum(stage.review.values()),
            stage.rows_out().total(),
            f"{stage.seconds:.1f}",
        )
        for stage in stages
    ]
    head = ("step", "rows in", "dropped", "edited", "for review", "rows out", "seconds")
    return Table(head=head, rows=rows)


def _sources_table(stages: Sequence[Stage]) -> Table:
    """Rows dropped of each source by each step."""
    rows = []
    for source in _sources(stages):
        dropped = [stage.dropped.get(source, 0) for stage in stages]
        raw, out = stages[0].rows_in[source], stages[-1].rows_out().get(source, 0)
        rows.append((source, raw, *dropped, out, f"{100 * out / raw:.1f} %"))
    head = ("source", "raw", *(f"minus {_name(stage)}" for stage in stages), "out", "kept")
    return Table(head=head, rows=rows)


def _planted_section(planted: Mapping[str, Mapping[str, Any]]) -> Section:
    rows = []
    for kind, found in planted.items():
        if kind in ("not_planted", CONTROL):
            continue
        share = f"{100 * found['found'] / found['planted']:.1f} %"
        by_step = ", ".join(f"{step} {count}" for step, count in sorted(found["by_step"].items()))
        rows.append((kind, found["planted"], found["found"], share, by_step))
    others = planted.get("not_planted", {})
    touched = [(step, others.get(step, 0)) for step in dict.fromkeys(STEP_OF.values())]
    paragraphs = [
        "Faults were planted in known rows. Rows that a step touched although nothing was planted "
        "in them are an upper bound of its false positives: real duplicates and real identifiers "
        "are among them.",
    ]
    if CONTROL in planted:
        kept = planted[CONTROL]["planted"] - planted[CONTROL]["found"]
        paragraphs.append(
            f"Control: of {planted[CONTROL]['planted']} reports that differ from another only by "
            f"left and right, {kept} were kept."
        )
    return Section(
        title="Planted faults",
        paragraphs=paragraphs,
        tables=[
            Table(head=("kind", "planted", "found", "recall", "found by"), rows=rows),
            Table(head=("step", "touched, not planted"), rows=touched),
        ],
    )


def _figures_table(stages: Sequence[Stage]) -> Table:
    rows = [
        (stage.step, name, ", ".join(f"{k}: {v}" for k, v in value.items()) or "none")
        if isinstance(value, Mapping)
        else (stage.step, name, value)
        for stage in stages
        for name, value in stage.figures.items()
    ]
    return Table(head=("step", "figure", "value"), rows=rows)
