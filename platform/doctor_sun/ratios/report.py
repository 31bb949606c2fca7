"""`tune/ratios.py report`: what a table of finished runs says, as a page, pictures and tables."""

import csv
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from upath import UPath

from doctor_sun.config import JobConfig
from doctor_sun.errors import InputError
from doctor_sun.ratios import page, plots
from doctor_sun.ratios.findings import Finding, findings, front, paper_findings
from doctor_sun.ratios.forgetting import changes
from doctor_sun.ratios.judge import Judged, fit, judge, recommended
from doctor_sun.ratios.ledger import read_ledger
from doctor_sun.ratios.paper import TABLE, PaperGrid, paper_grid
from doctor_sun.ratios.propose import Point, ProposeConfig, by_hypervolume, next_point
from doctor_sun.ratios.proxies import agreements
from doctor_sun.ratios.results import Results, read_results
from doctor_sun.ratios.surface import Surface
from doctor_sun.reports.html import Table
from doctor_sun.reports.plots import data_address, png
from doctor_sun.runs import Step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER = "paper"
RECOMMENDED = "recommended"
RESOLUTION = 130  # dots an inch


@dataclass(kw_only=True)
class ReportConfig(JobConfig):
    """Which runs are reported, and what is sought."""

    results: str
    """CSV of finished runs (columns: `doctor_sun/ratios/results.py`), or `paper`: the paper's
    Table 4."""

    published: str | None = None
    """CSV of further figures of the paper's tables: table, model, task, metric, value."""

    ledger: str | None = None
    """CSV of the realised mixtures: run, stage, source, samples, tokens."""

    proxies: dict[str, str] = field(default_factory=dict)
    """Tables of cheaper runs of the same mixtures, by name: do they rank them as `results` does?"""

    preference: float = 0.5
    """Weight of the specialised score in what is recommended; the general score has the rest."""

    most: float = 0.7
    """Largest share of general data that may be proposed."""

    level: float = 0.9
    """Of the credible bands."""

    seed: int = 0
    """Of the joint draws."""

    def __post_init__(self) -> None:
        for name, value in (("preference", self.preference), ("level", self.level)):
            if not 0 < value < 1:
                raise InputError(f"{name} must lie between 0 and 1")
        if not 0 < self.most < 1:
            raise InputError("most must lie between 0 and 1")


@dataclass(kw_only=True)
class Verdict:
    """What the surface says of a table of runs."""

    surface: Surface
    best: Point
    next: Point
    judged: list[Judged]
    """Empty where no mixture was repeated: without noise nothing is known to be sure of."""


def run(config: ReportConfig) -> dict[str, Any]:
    """Read, fit, write page, pictures and tables; return the manifest.

    Raises:
        InputError: a file is missing, or a row of it is wrong.
    """
    named = {"published": config.published, "ledger": config.ledger}
    named |= {f"proxy {name}": file for name, file in config.proxies.items()}
    named["results"] = None if config.results == PAPER else config.results
    step = Step(config, "ratios", {name: file for name, file in named.items() if file})
    if step.reused:
        return step.manifest
    grid = paper_grid(config.published)
    paper = grid.results()
    ours = None if config.results == PAPER else read_results(config.results, config.most)
    results = ours or paper
    answers = findings(ours) if ours else paper_findings(grid)
    for answer in answers:
        step.say(answer.sentence())
    verdict = judged_results(results, config) if results else None
    notes = said(results, verdict, config) if results else _incomplete(grid)
    for note in notes:
        step.say(note)
    agreed = [
        one
        for name, file in config.proxies.items()
        if results
        for one in agreements(
            name,
            results,
            read_results(file, config.most),
            config.preference,
            config.level,
            config.seed,
        )
    ]
    for one in agreed:
        step.say(
            f"proxy {one.proxy}, {one.score}: rank correlation {one.correlation:+.2f} "
            f"({one.interval[0]:+.2f} to {one.interval[1]:+.2f}) over {one.mixtures} mixtures: "
            + ("evidence" if one.evidence else "refused as evidence")
        )
    drawn = figures(ours, paper, verdict, config)
    tables = all_tables(results, grid, answers, verdict)
    if agreed:
        tables["proxies"] = page.proxies_table(agreed)
    if config.ledger:
        tables["ledger"] = read_ledger(config.ledger)
    outputs = ["report.html"]
    shown: dict[str, dict[str, str]] = {}
    for (section, name, caption), figure in drawn.items():
        picture = png(figure, RESOLUTION)
        (step.folder / f"{name}.png").write_bytes(picture)
        outputs.append(f"{name}.png")
        shown.setdefault(section, {})[caption] = data_address(picture)
    for name, table in tables.items():
        _write_csv(step.folder / f"{name}.csv", table)
        outputs.append(f"{name}.csv")
    title = "Ratio of medical to general data"
    report = page.Report(title=title, findings=answers, notes=notes, figures=shown, tables=tables)
    html = page.write_page(report)
    (step.folder / "report.html").write_text(html, encoding="utf-8")
    return step.finish(
        outputs=outputs,
        counts={"runs": len(results.runs), "mixtures": len(results.mixtures)} if results else {},
        figures={answer.name: answer.value for answer in answers} | _verdict_figures(verdict),
    )


def judged_results(results: Results, config: ReportConfig) -> Verdict | None:
    """Fit and ask; None where there are too few mixtures."""
    surface = fit(results)
    if surface is None:
        return None
    best = recommended(surface, results.space.candidates(), config.preference)
    proposed = next_point(
        results.space,
        [run.point for run in results.runs if run.point],
        [run.objectives for run in results.runs],
        ProposeConfig(initial=0, preference=config.preference, seed=config.seed),
        surface=surface,
    )
    judged: list[Judged] = []
    if results.repeated:
        names = [m.name for m in results.mixtures]
        points = [m.point for m in results.mixtures]
        if best not in points:
            names, points = [*names, RECOMMENDED], [*points, best]
        judged = judge(surface, names, points, config.preference, config.level, config.seed)
    return Verdict(surface=surface, best=best, next=proposed, judged=judged)


def said(results: Results, verdict: Verdict | None, config: ReportConfig) -> list[str]:
    """The report in sentences."""
    count = f"{len(results.runs)} runs of {len(results.mixtures)} mixtures."
    if results.space.drawable:
        count += " A ratio is medical : general samples."
    if verdict is None:
        return [count, "Too few mixtures for a response surface."]
    best = next((j for j in verdict.judged if j.point == verdict.best), None)
    lines = [count]
    where = page.mixture_of(results, verdict.best)
    aim = f"{config.preference:g} x specialised + {1 - config.preference:g} x general"
    if best:
        lines.append(
            f"Recommended: {where}, by the highest expected utility ({aim}): "
            f"{page.bounded(best.utility, best.utility_band)} %, {config.level:.0%} credible band; "
            f"it is the best of the candidates with probability {best.best:.0%}."
        )
        pooled = results.repeat_noise()
        fitted = verdict.surface.noise()
        if pooled is not None:
            lines.append(
                f"Noise of one run (standard deviation, points): specialised {100 * pooled[0]:.1f} "
                f"and general {100 * pooled[1]:.1f} from the repeats; {100 * fitted[0]:.1f} and "
                f"{100 * fitted[1]:.1f} in the surface."
            )
    else:
        lines.append(
            "No mixture was run twice: noise cannot be told from the effect of the ratio, so there "
            "are no bands, no intervals and no probabilities. The first repeat brings them."
        )
        lines.append(f"Highest expected utility ({aim}) of a surface through single runs: {where}.")
    if (np.array(verdict.best) > results.points.max(axis=0) + 1e-3).any():
        lines.append("That mixture lies beyond all that were run: it is extrapolated.")
    if not results.repeated:
        reason = "a repeat of the best mixture, to learn the noise"
    elif by_hypervolume(len(results.runs)):
        reason = "by expected hypervolume improvement"
    else:
        reason = "by what it would teach about the best mixture (knowledge gradient)"
    lines.append(f"Next trial, {reason}: {page.mixture_of(results, verdict.next)}.")
    return lines


def _incomplete(grid: PaperGrid) -> list[str]:
    return [
        f"{len(grid.missing)} of the {len(TABLE.models) * len(TABLE.columns)} figures of the "
        "paper's Table 4 are not shipped here: what follows from the whole table stands as it was "
        "recorded from the print, and nothing is drawn or fitted. --published FILE.csv (table, "
        "model, task, metric, value) gives them; then all is computed, and a figure that "
        "contradicts the record is refused.",
        "The paper trained each model once: there are no intervals.",
    ]


def figures(
    ours: Results | None, paper: Results | None, verdict: Verdict | None, config: ReportConfig
) -> dict[tuple[str, str, str], "Figure"]:
    """Figures by section, file name and caption."""
    results = ours or paper
    if results is None or not results.space.drawable:
        return {}
    level = config.level if verdict and verdict.judged else None
    bands = f"; bands: {level:.0%} credible" if level else "; single runs, no bands"
    points = ", its points dashed" if paper else " with our points; the paper's are not known here"
    surface = verdict.surface if verdict and ours else None
    drawn = {
        ("findings", "figure3", f"The paper's Figure 3{points}{bands}"): plots.figure3(
            ours, paper, surface, level
        ),
        ("mixtures", "pareto", "Specialised against general score"): plots.pareto(
            ours, verdict.judged if verdict else [], paper
        ),
    }
    if verdict and verdict.judged:
        drawn["mixtures", "best", "Who is best, by joint draws"] = plots.best_bars(verdict.judged)
    if verdict:
        caption = "Dots: runs. Star: highest expected utility"
        drawn["surface", "surface", caption] = plots.surface_maps(
            results, verdict.surface, config.preference, verdict.best, level
        )
    return drawn


def all_tables(
    results: Results | None, grid: PaperGrid, answers: list[Finding], verdict: Verdict | None
) -> dict[str, Table]:
    """Tables by the name of their CSV file."""
    tables = {"findings": page.findings_table(answers)}
    if results is None:
        return tables | {"costs": page.paper_costs(), "table4": page.paper_table(grid)}
    mixtures = results.mixtures
    kept = front(np.array([m.objectives for m in mixtures])).tolist()
    tables["mixtures"] = page.mixtures_table(results, verdict.judged if verdict else [], kept)
    if any(run.costs for run in results.runs):
        tables["costs"] = page.costs_table(mixtures, kept)
    if scores := list(mixtures[0].runs[0].scores):
        tables["table4"] = page.table4(mixtures, scores)
    if found := changes(results):
        tables["forgetting"] = page.forgetting_table(found)
    if verdict:
        tables["surface"] = surface_table(results, verdict)
    return tables


def surface_table(results: Results, verdict: Verdict) -> Table:
    """The surface at every candidate, shares of 1; no deviation where noise is not known."""
    candidates = results.space.candidates()
    means, deviations = verdict.surface.moments(candidates)
    sure = bool(verdict.judged)
    rows = [
        [
            *(f"{value:.4f}" for value in point),
            *(f"{value:.5f}" for value in mean),
            *(f"{value:.5f}" if sure else page.DASH for value in deviation),
        ]
        for point, mean, deviation in zip(candidates, means, deviations, strict=True)
    ]
    heads = [
        *("specialised mean", "general mean"),
        *("specialised deviation", "general deviation"),
    ]
    return Table(head=[*results.space.names, *heads], rows=rows)


def _verdict_figures(verdict: Verdict | None) -> dict[str, Any]:
    if verdict is None:
        return {}
    return {
        "recommended": list(verdict.best),
        "next": list(verdict.next),
        "probability_best": {j.name: j.best for j in verdict.judged},
    }


def _write_csv(path: UPath, table: Table) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([table.head, *table.rows])
    path.write_text(text.getvalue(), encoding="utf-8")
