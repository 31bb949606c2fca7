"""The curation's page: what went, why, and what is left, in pictures and tables.

Counts come from the ledger, so they are the accounts themselves. Text and pictures are shown of
curated rows only (after privacy), and not at all where `ReportConfig` says so.
"""

import base64
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from upath import UPath

from doctor_sun.data.curated import LENGTHS, Description, describe, pictures, rows_with_ids
from doctor_sun.data.duplicate_clusters import Cluster, Clusters, clusters
from doctor_sun.data.ledger import Stage, read_ledger
from doctor_sun.data.sunmed_vl import mixture, table_1
from doctor_sun.data.tiny.planted_truth import CONTROL, STEP_OF
from doctor_sun.records import text_of
from doctor_sun.reports.html import Section, Table, page
from doctor_sun.reports.plots import COLOURS, embedded, new_figure

DUPLICATE_STEPS = ("exact_duplicates", "image_duplicates", "near_duplicates")
SHOWN_APART = ("histograms", "histogram_bin_nats", "registry")  # figures that are no table's cell
LONGEST_EXAMPLE = 200  # characters


@dataclass(kw_only=True)
class ReportConfig:
    """What the report shows of the curated rows. It belongs where the data belongs."""

    examples: int = 5
    """Largest clusters of duplicates of which the kept row's text is shown; 0 shows no text."""

    pictures: int = 24
    """Pictures on the contact sheet; 0 shows none."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything the page is made of."""

    stages: Sequence[Stage]
    planted: Mapping[str, Mapping[str, Any]] | None
    """Scores by `planted_truth.score`, where the truth is known."""
    description: Description
    clusters: Mapping[str, Clusters]
    """By step."""
    identifiers: Mapping[str, int]
    """Identifiers found, by kind."""
    examples: Mapping[str, Mapping[str, Any]]
    """Curated rows by id."""
    pictures: Sequence[tuple[str, bytes]]
    """Source and JPEG."""


def gather(
    folder: UPath,
    stages: Sequence[Stage],
    planted: Mapping[str, Mapping[str, Any]] | None,
    config: ReportConfig,
) -> Findings:
    """Read the ledger and the curated data of a run, on the connected cluster."""
    found = {
        name(stage): clusters(folder, stage.step, max(1, config.examples))
        for stage in stages
        if name(stage) in DUPLICATE_STEPS
    }
    largest = [cluster.kept for step in found.values() for cluster in step.largest]
    return Findings(
        stages=stages,
        planted=planted,
        description=describe(folder),
        clusters=found,
        identifiers=identifier_counts(folder, stages),
        examples=rows_with_ids(folder, largest) if config.examples else {},
        pictures=pictures(folder, config.pictures) if config.pictures else [],
    )


def curation_page(findings: Findings) -> str:
    """The report as HTML."""
    stages = findings.stages
    first, last = sum(stages[0].rows_in.values()), stages[-1].rows_out().total()
    introduction = [
        f"{first:,} raw rows went in, {last:,} came out. Every row that is missing or changed has "
        "an entry in the ledger that names the step, the reason and the evidence; "
        "`python -m doctor_sun.data.why FOLDER ID` reads it."
    ]
    sections = [
        Section(
            title="Rows by step",
            figures={"Rows after each step, by source": _funnel(stages)},
            tables=[_steps_table(stages)],
        ),
        Section(title="Rows by source", tables=[_sources_table(stages)]),
        Section(title="Why rows were dropped, changed or marked", tables=[_reasons_table(stages)]),
        *([_planted_section(findings.planted)] if findings.planted else []),
        *_clusters_sections(findings),
        *_identifiers_sections(findings.identifiers),
        *_histogram_sections(stages),
        _curated_section(findings.description, stages[0].rows_in),
        *_pictures_sections(findings.pictures),
        Section(title="Measured", tables=[_figures_table(stages)]),
    ]
    return page("Curation", introduction, sections)


def name(stage: Stage) -> str:
    """A step's name without its number."""
    return stage.step.split("-", 1)[-1]


def identifier_counts(folder: UPath, stages: Sequence[Stage]) -> Counter[str]:
    """Identifiers that the privacy step found, by kind."""
    counts: Counter[str] = Counter()
    for stage in stages:
        for entries in read_ledger(folder, stage.step) if name(stage) == "privacy" else ():
            for evidence in entries["evidence"].to_pylist():
                counts.update(json.loads(evidence).get("kinds", {}))
    return counts


def _sources(stages: Sequence[Stage]) -> list[str]:
    return sorted(stages[0].rows_in)


def _funnel(stages: Sequence[Stage]) -> str:
    """Stacked bars: the rows that each step lets through."""
    figure = new_figure(9, 0.3 * len(stages) + 1.2)
    axes = figure.add_subplot()
    names = ["raw", *map(name, stages)]
    counts = [stages[0].rows_in, *(stage.rows_out() for stage in stages)]
    left = [0] * len(names)
    for number, source in enumerate(_sources(stages)):
        widths = [count.get(source, 0) for count in counts]
        colour = COLOURS[number % len(COLOURS)]
        axes.barh(names, widths, left=left, label=source, color=colour, height=0.7)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for row, total in enumerate(left):
        axes.text(total, row, f" {total:,}", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("rows")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.08)
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    return embedded(figure)


def _steps_table(stages: Sequence[Stage]) -> Table:
    rows = [
        (
            name(stage),
            sum(stage.rows_in.values()),
            *(stage.by_source(verdict).total() for verdict in ("dropped", "edited", "review")),
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
        dropped = [stage.by_source("dropped").get(source, 0) for stage in stages]
        raw, out = stages[0].rows_in[source], stages[-1].rows_out().get(source, 0)
        rows.append((source, raw, *dropped, out, f"{100 * out / raw:.1f} %"))
    head = ("source", "raw", *(f"minus {name(stage)}" for stage in stages), "out", "kept")
    return Table(head=head, rows=rows)


def _reasons_table(stages: Sequence[Stage]) -> Table:
    rows = []
    for stage in stages:
        reasons: dict[tuple[str, str], Counter[str]] = {}
        for verdict, reason, source, count in stage.counts:
            reasons.setdefault((verdict, reason), Counter())[source] += count
        for (verdict, reason), sources in sorted(reasons.items()):
            most = ", ".join(f"{source} {count}" for source, count in sources.most_common(4))
            more = f" and {len(sources) - 4} more" if len(sources) > 4 else ""
            rows.append((name(stage), verdict, reason, sources.total(), most + more))
    return Table(head=("step", "verdict", "reason", "rows", "of the sources"), rows=rows)


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


def _clusters_sections(findings: Findings) -> list[Section]:
    """One section a duplicate step: how large its clusters are, and the largest ones."""
    sections = []
    for step, found in findings.clusters.items():
        if not found.sizes:
            continue
        bins = Counter[str]()
        for size, number in found.sizes.items():
            bins[
                "2"
                if size == 2
                else "3 to 5"
                if size <= 5
                else "6 to 20"
                if size <= 20
                else "more than 20"
            ] += number
        sizes = [(label, bins[label]) for label in ("2", "3 to 5", "6 to 20", "more than 20")]
        largest = [_cluster_row(cluster, findings) for cluster in found.largest]
        head = ("kept row", "rows", "least cosine", "some of the dropped", "kept text")
        sections.append(
            Section(
                title=f"Clusters of {step.replace('_', ' ')}",
                tables=[
                    Table(head=("rows in a cluster", "clusters"), rows=sizes),
                    Table(head=head, rows=largest),
                ],
            )
        )
    return sections


def _cluster_row(cluster: Cluster, findings: Findings) -> tuple[object, ...]:
    row = findings.examples.get(cluster.kept)
    text = text_of(row["turns"])[:LONGEST_EXAMPLE] if row else "–"
    cosine = "–" if cluster.least_cosine is None else f"{cluster.least_cosine:.3f}"
    dropped = ", ".join(id[:12] for id in cluster.dropped)
    return cluster.kept[:12], cluster.rows, cosine, dropped, text


def _identifiers_sections(identifiers: Mapping[str, int]) -> list[Section]:
    if not identifiers:
        return []
    rows = sorted(identifiers.items(), key=lambda item: -item[1])
    return [
        Section(
            title="Personal identifiers found",
            paragraphs=["Kinds and numbers only; what they say stands nowhere."],
            tables=[Table(head=("kind", "found"), rows=rows)],
        )
    ]


def _histogram_sections(stages: Sequence[Stage]) -> list[Section]:
    """Perplexities with their limits, where a step measured them."""
    sections = []
    for stage in stages:
        histograms = stage.figures.get("histograms")
        if histograms:
            sections.append(
                Section(
                    title="Perplexity by source and language",
                    paragraphs=["The line is the limit above which a row is dropped."],
                    figures={
                        "Rows by mean negative log-likelihood, nats a token": _histograms(
                            histograms, stage.figures["histogram_bin_nats"]
                        )
                    },
                )
            )
    return sections


def _histograms(histograms: Mapping[str, Mapping[str, Any]], width: float) -> str:
    """Small multiples: one histogram a group, its limit as a line; bins of `width` from 0 on."""
    columns = 4
    lines = -(-len(histograms) // columns)
    figure = new_figure(9.5, 1.7 * lines + 0.3)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat[len(histograms) :]:
        axes.set_axis_off()
    for axes, (group, found) in zip(grid.flat, histograms.items(), strict=False):
        edges = [width * number for number in range(len(found["counts"]) + 1)]
        axes.stairs(found["counts"], edges, fill=True, color=COLOURS[0])
        if found.get("limit") is not None:
            axes.axvline(found["limit"], color=COLOURS[3], linewidth=1.5)
        axes.set_title(group, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    return embedded(figure)


def _curated_section(description: Description, raw: Mapping[str, int]) -> Section:
    kinds = description.by("source", "domain", "task", "language", "split")
    rows = [(*kind, count) for kind, count in sorted(kinds.items())]
    head = ("source", "domain", "task", "language", "split", "rows")
    return Section(
        title="What is left",
        paragraphs=[f"{description.images:,} pictures stand in the curated rows."],
        figures={"Rows by length of their text, characters": _lengths(description)},
        tables=[table_1(description, raw), mixture(description), Table(head=head, rows=rows)],
    )


def _lengths(description: Description) -> str:
    figure = new_figure(8, 2.6)
    axes = figure.add_subplot()
    labels = [*(f"{a}–{b - 1}" for a, b in pairwise(LENGTHS)), "more"]
    width = 0.8 / max(1, len(description.lengths))
    for number, (language, counts) in enumerate(description.lengths.items()):
        places = [place + width * number for place in range(len(labels))]
        axes.bar(places, counts, width, label=language, color=COLOURS[number])
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", fontsize=7)
    axes.set_ylabel("rows")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return embedded(figure)


def _pictures_sections(shown: Sequence[tuple[str, bytes]]) -> list[Section]:
    if not shown:
        return []
    encoded = {
        f"{source} ({number})": "data:image/jpeg;base64," + base64.b64encode(image).decode()
        for number, (source, image) in enumerate(shown, start=1)
    }
    return [Section(title="Some of the pictures", figures=encoded, sheet=True)]


def _figures_table(stages: Sequence[Stage]) -> Table:
    rows = [
        (name(stage), figure, _said(value))
        for stage in stages
        for figure, value in stage.figures.items()
        if figure not in SHOWN_APART
    ]
    return Table(head=("step", "figure", "value"), rows=rows)


def _said(value: object) -> object:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {item}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return value
