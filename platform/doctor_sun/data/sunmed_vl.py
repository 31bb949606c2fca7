"""The paper's Table 1 (what SunMed-VL is made of), beside what was built.

Published are the ratio of each set and the sums of both stages; where the table's single numbers do
not follow from those, they are left out rather than guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from doctor_sun.data.curated import Description
from doctor_sun.reports.html import Table


@dataclass(frozen=True)
class Published:
    """One line of the paper's Table 1."""

    name: str
    stage: str
    domain: str
    task: str
    ratio: float
    """Part of the set that was selected."""
    rows: int | None = None


TABLE_1: Mapping[str, Published] = {
    "bunny_pretrain": Published(
        "Bunny-Pretrain", "alignment", "general", "caption", 0.125, 250_000
    ),
    "pmc_oa": Published("PMC-OA", "alignment", "medical", "caption", 0.121),
    "roco": Published("ROCO", "alignment", "medical", "caption", 0.617),
    "bunny_finetune": Published("Bunny-Finetune", "instruction", "general", "vqa", 0.18, 125_100),
    "vqa_med_2019": Published("VQA-Med-2019", "instruction", "medical", "vqa", 0.324),
    "vqa_med_2020": Published("VQA-Med-2020", "instruction", "medical", "vqa", 0.62),
    "vqa_med_2021": Published("VQA-Med-2021", "instruction", "medical", "vqa", 0.577),
    "pmc_vqa": Published("PMC-VQA", "instruction", "medical", "vqa", 1.0),
}
STAGE_ROWS = {
    ("alignment", "medical"): 249_215,
    ("alignment", "general"): 250_000,
    ("instruction", "medical"): 238_228,
    ("instruction", "general"): 125_100,
}
HEAD = ("name", "task", "language", "number", "ratio", "published number", "published ratio")


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def table_1(description: Description, raw: Mapping[str, int]) -> Table:
    """The table in the paper's form.

    Args:
        description: the curated data.
        raw: rows that went in, by source.
    """
    rows: list[tuple[object, ...]] = []
    kinds = description.by("source", "task", "language")
    for source in sorted(
        raw, key=lambda name: (list(TABLE_1).index(name) if name in TABLE_1 else 99, name)
    ):
        published = TABLE_1.get(source)
        own = {kind: count for kind, count in kinds.items() if kind[0] == source}
        tasks = ", ".join(sorted({kind[1] for kind in own}))
        languages = ", ".join(sorted({kind[2] for kind in own}))
        number = sum(own.values())
        rows.append(
            (
                published.name if published else source,
                tasks or "–",
                languages or "–",
                number,
                _percent(number, raw[source]),
                published.rows if published and published.rows else "–",
                f"{100 * published.ratio:.1f} %" if published else "–",
            )
        )
    missing = [p for source, p in TABLE_1.items() if source not in raw]
    rows += [
        (p.name, p.task, "–", "not given", "–", p.rows or "–", f"{100 * p.ratio:.1f} %")
        for p in missing
        if any(source in raw for source in TABLE_1)
    ]
    return Table(head=HEAD, rows=rows)


def mixture(description: Description) -> Table:
    """Medical and general rows by task, and their ratio, beside the paper's stages."""
    counts = description.by("task", "domain")
    stages = {"caption": "alignment", "vqa": "instruction"}
    rows = []
    for task in sorted({task for task, _ in counts}):
        medical, general = counts[task, "medical"], counts[task, "general"]
        stage = stages.get(task)
        published = "–"
        if stage:
            ours, theirs = STAGE_ROWS[stage, "medical"], STAGE_ROWS[stage, "general"]
            published = f"{ours:,} : {theirs:,} (1 : {theirs / ours:.3f})"
        ratio = f"1 : {general / medical:.3f}" if medical else "–"
        rows.append((task, medical, general, ratio, published))
    return Table(head=("task", "medical", "general", "ratio", "published"), rows=rows)
