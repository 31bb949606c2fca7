"""The page of the ratio report and the tables behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from doctor_sun.ratios.findings import Finding
from doctor_sun.ratios.forgetting import Change
from doctor_sun.ratios.judge import Judged
from doctor_sun.ratios.paper import TABLE, PaperGrid, costs_of, point_of
from doctor_sun.ratios.propose import Point
from doctor_sun.ratios.proxies import Agreement
from doctor_sun.ratios.results import OBJECTIVES, Mixture, Results
from doctor_sun.ratios.space import ratio_name
from doctor_sun.reports.html import Section, Table, page

DASH = "–"


@dataclass(kw_only=True)
class Report:
    """Everything that the page shows."""

    title: str
    findings: Sequence[Finding]
    notes: Sequence[str]
    figures: Mapping[str, Mapping[str, str]]
    """Section to captions to addresses."""
    tables: Mapping[str, Table]
    """By the name of the CSV file."""


SECTIONS = {
    "findings": "The paper's questions",
    "mixtures": "Mixtures: scores, who is best, what is on the front",
    "costs": "What the mixtures cost",
    "surface": "Response surface",
    "proxies": "Cheaper runs as evidence",
    "forgetting": "Gained and forgotten",
    "table4": "Every benchmark (the form of the paper's Table 4)",
    "ledger": "Realised mixtures",
}


def write_page(report: Report) -> str:
    """The HTML document; it needs no other file."""
    sections = [
        Section(
            title=title,
            figures=report.figures.get(name, {}),
            tables=[report.tables[name]] if name in report.tables and name != "surface" else [],
        )
        for name, title in SECTIONS.items()
        if name in report.tables or name in report.figures
    ]
    return page(report.title, report.notes, sections)


def percent(value: float) -> str:
    """A share as a percentage, one decimal."""
    return f"{100 * value:.1f}"


def bounded(value: float, interval: Sequence[float] | None) -> str:
    """A percentage with its interval where there is one."""
    if interval is None:
        return percent(value)
    return f"{percent(value)} ({percent(interval[0])} to {percent(interval[1])})"


def mixture_of(results: Results, point: Point) -> str:
    """A point in words: ratios for medical and general data, else shares by source."""
    pairs = zip(results.space.names, point, strict=True)
    if all(len(own) == 2 for own in results.space.stages.values()):
        return ", ".join(f"{name.split()[0]} {ratio_name(value)}" for name, value in pairs)
    return ", ".join(f"{name} {percent(value)} %" for name, value in pairs)


def findings_table(findings: Sequence[Finding]) -> Table:
    """Each answer with its interval and formula."""
    rows = [
        [
            f.name,
            f.value,
            f"{100 * f.interval[0]:+.1f} to {100 * f.interval[1]:+.1f} %" if f.interval else DASH,
            f.source,
            f.formula,
        ]
        for f in findings
    ]
    return Table(head=["", "value", "95 % over seeds", "source", "formula"], rows=rows)


def mixtures_table(results: Results, judged: Sequence[Judged], on_front: Sequence[bool]) -> Table:
    """A row a mixture; what a surface adds stands only where noise is known."""
    by_point = {j.point: j for j in judged}
    rows: list[list[object]] = []
    for mixture, kept in zip(results.mixtures, on_front, strict=True):
        known = by_point.get(mixture.point)
        rows.append(
            [
                mixture.name,
                mixture_of(results, mixture.point),
                len(mixture.runs),
                *(percent(value) for value in mixture.objectives),
                *_judged_cells(known),
                "yes" if kept else "no",
            ]
        )
    ran = {m.point for m in results.mixtures}
    for extra in (j for j in judged if j.point not in ran):
        cells = [extra.name, mixture_of(results, extra.point), 0, DASH, DASH]
        rows.append([*cells, *_judged_cells(extra), DASH])
    return Table(
        head=[
            *("mixture", "medical : general", "runs", "specialised, %", "general, %"),
            *("specialised, surface", "general, surface"),
            *("P(best)", "P(front)", "front"),
        ],
        rows=rows,
    )


def costs_table(mixtures: Sequence[Mixture], on_front: Sequence[bool]) -> Table:
    """What each mixture took, all its runs together."""
    rows = [
        [
            mixture.name,
            "yes" if kept else "no",
            *(_number(mixture.cost(name)) for name in ("samples", "tokens")),
            _number(mixture.cost("accelerator_hours"), 2),
        ]
        for mixture, kept in zip(mixtures, on_front, strict=True)
    ]
    head = ["mixture", "on the front", "samples", "tokens", "accelerator hours"]
    return Table(head=head, rows=rows)


def _judged_cells(known: Judged | None) -> list[str]:
    if known is None:
        return [DASH] * 4
    scores = [
        bounded(known.mean[place], known.band[:, place].tolist())
        for place in range(len(OBJECTIVES))
    ]
    return [*scores, percent(known.best), percent(known.front)]


def _number(value: float | None, digits: int = 0) -> str:
    return DASH if value is None else f"{value:,.{digits}f}"


def table4(mixtures: Sequence[Mixture], scores: Sequence[str]) -> Table:
    """Mixtures by benchmarks, means over seeds; a star marks the best of a column."""
    rows: list[list[str]] = [[m.name, *(percent(m.score(c)) for c in scores)] for m in mixtures]
    for place in range(1, len(scores) + 1):
        best = max(float(row[place]) for row in rows)
        for row in rows:
            row[place] += " *" if float(row[place]) == best else ""
    return Table(head=["", *(c.split(".", 1)[1].replace(".", " ") for c in scores)], rows=rows)


def forgetting_table(changes: Sequence[Change]) -> Table:
    """Each change with its interval over seeds."""
    rows = [
        [
            c.mixture,
            c.reference,
            c.column.split(".", 1)[1].replace(".", " "),
            percent(c.before),
            percent(c.after),
            bounded(c.after - c.before, c.interval),
            c.verdict,
        ]
        for c in changes
    ]
    return Table(
        head=["mixture", "against", "benchmark", "before", "after", "change, points", ""], rows=rows
    )


def proxies_table(agreements: Sequence[Agreement]) -> Table:
    """Each proxy's rank correlation with whole runs, and whether it is evidence."""
    rows = [
        [
            *(a.proxy, a.score, a.mixtures, f"{a.correlation:+.2f}"),
            f"{a.interval[0]:+.2f} to {a.interval[1]:+.2f}",
            "evidence" if a.evidence else "refused",
        ]
        for a in agreements
    ]
    head = ["proxy", "score", "mixtures", "rank correlation", "interval", ""]
    return Table(head=head, rows=rows)


def paper_table(grid: PaperGrid) -> Table:
    """The paper's Table 4 as far as it is known."""
    rows = [
        [
            model,
            *(
                percent(grid.figures[model, cell]) if (model, cell) in grid.figures else DASH
                for cell in TABLE.columns
            ),
        ]
        for model in TABLE.models
    ]
    return Table(head=["", *(" ".join(cell) for cell in TABLE.columns)], rows=rows)


def paper_costs() -> Table:
    """What the paper's variants cost."""
    rows = []
    for model in TABLE.models:
        costs, (alignment, instruction) = costs_of(model), point_of(model)
        where = f"alignment {ratio_name(alignment)}, instruction {ratio_name(instruction)}"
        rows.append(
            [model, where, _number(costs["samples"]), _number(costs["accelerator_hours"], 1)]
        )
    return Table(
        head=["mixture", "medical : general", "samples", "A100 hours (estimated)"], rows=rows
    )
