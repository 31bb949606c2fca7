"""How much of each source is taken: the paper's Table 1 as ratios.

Rows of a source are ranked by a hash of seed and id and the first part is kept, so a smaller ratio
always selects a subset of a larger one.
"""

from collections import defaultdict
from dataclasses import dataclass, field

import pyarrow as pa
import ray.data

from doctor_sun.data.ledger import Decision, StepResult
from doctor_sun.data.rows import collect
from doctor_sun.errors import InputError
from doctor_sun.records import sha256

SCHEMA = pa.schema([("id", pa.string()), ("source", pa.string())])


@dataclass(kw_only=True)
class SelectionConfig:
    """What part of each source is selected."""

    ratios: dict[str, float] = field(default_factory=dict)
    """Part of a source's rows that is kept, 0 to 1, by source; a source not named is kept whole."""

    seed: int = 0
    """Seed of the ranking."""


def selected(ids: list[str], ratio: float, seed: int) -> set[str]:
    """The first part of the ids in hash order: nested over ratios, independent of their order."""
    ranked = sorted(ids, key=lambda id: sha256(str(seed), id))
    return set(ranked[: round(ratio * len(ids))])


def decide(rows: ray.data.Dataset, config: SelectionConfig) -> StepResult:
    """Drop what the ratios do not select.

    Raises:
        InputError: a ratio outside 0..1, or of a source that has no rows.
    """
    by_source: dict[str, list[str]] = defaultdict(list)
    table = collect(rows.select_columns(SCHEMA.names), SCHEMA)
    for id, source in zip(table["id"].to_pylist(), table["source"].to_pylist(), strict=True):
        by_source[source].append(id)
    decisions = []
    for source, ratio in config.ratios.items():
        if source not in by_source:
            known = ", ".join(sorted(by_source))
            raise InputError(f"selection.ratios names '{source}'; the sources are {known}")
        if not 0 <= ratio <= 1:
            raise InputError(f"selection.ratios of '{source}' is {ratio}; it must be 0 to 1")
        kept = selected(by_source[source], ratio, config.seed)
        decisions += [
            Decision(
                id=id,
                source=source,
                verdict="dropped",
                reason="not selected",
                evidence={"ratio": ratio},
            )
            for id in by_source[source]
            if id not in kept
        ]
    seen = {source: len(ids) for source, ids in by_source.items()}
    return StepResult(decisions=decisions, seen=seen)
