"""The data card of a curated data set: a README.md as the Hugging Face hub reads it."""

from collections.abc import Sequence

from huggingface_hub import DatasetCardData

from doctor_sun.data.curation_report import Findings, name
from doctor_sun.data.sources import SourceConfig
from doctor_sun.data.sunmed_vl import mixture, table_1
from doctor_sun.reports.html import Table

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
TEXT = """
# {title}

{rows:,} rows, curated from {raw:,} by Doctor Sun's `jobs/curate.py`. `report.html` shows the
curation step by step; `ledger/` holds what happened to every other row, and
`python -m doctor_sun.data.why FOLDER ID` reads it.

**Not for clinical use.** A model trained on these rows must not diagnose anyone.

## What it is made of

{table_1}

{mixture}

Sources: {sources}. Each keeps the licence of its publisher, which this card does not replace.

## Columns

Parquet, one row a conversation: `id`, `source`, `source_key`, `split`, `domain`, `language`,
`task`, `images` (encoded bytes), `image_keys` (sha256 of the pixels), `turns` (role, text;
`<image>` marks where a picture stands), `parents` (ids it was made from), `made_by`.

## What was done

{steps}

## What was found

{identifiers}

## What it cannot promise

Identifiers are found by rules: what no rule describes stays. Near duplicates are found at a
threshold. Benchmarks that were not given to the curation were not checked against: {unchecked}.
"""


def markdown(table: Table) -> str:
    """A table as Markdown."""
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def data_card(findings: Findings, sources: Sequence[SourceConfig]) -> str:
    """The card as Markdown with a YAML head."""
    stages, description = findings.stages, findings.description
    rows = stages[-1].rows_out().total()
    head = DatasetCardData(
        language=sorted({language for (language,) in description.by("language")}),
        task_categories=["visual-question-answering", "image-to-text", "question-answering"],
        size_categories=next((text for limit, text in SIZES if rows < limit), "n>1M"),
        tags=["medical", "multimodal"],
        configs=[{"config_name": "default", "data_files": "data/*.parquet"}],
    )
    steps = [
        f"- {name(stage)}: {stage.by_source('dropped').total():,} dropped, "
        f"{stage.by_source('edited').total():,} changed, "
        f"{stage.by_source('review').total():,} marked for review"
        for stage in stages
    ]
    found = findings.identifiers
    identifiers = ", ".join(f"{kind} {count}" for kind, count in sorted(found.items()))
    body = TEXT.format(
        title="SunMed-VL, as built here",
        rows=rows,
        raw=sum(stages[0].rows_in.values()),
        table_1=markdown(table_1(description, stages[0].rows_in)),
        mixture=markdown(mixture(description)),
        sources=", ".join(sorted({source.kind for source in sources})),
        steps="\n".join(steps),
        identifiers=f"Personal identifiers, by kind: {identifiers or 'none found'}.",
        unchecked=unchecked_benchmarks(findings),
    )
    return f"---\n{head.to_yaml()}\n---\n{body}"


def unchecked_benchmarks(findings: Findings) -> str:
    """The benchmarks that decontamination was not given; all, where it was left out."""
    for stage in findings.stages:
        if name(stage) == "decontamination":
            return ", ".join(stage.figures.get("not_checked", [])) or "none"
    return "all (decontamination was left out)"
