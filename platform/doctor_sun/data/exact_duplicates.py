"""Rows that say the same about the same pictures: one of each group is kept.

The key is the MD5 of a row's normalised text (NFKC, case, white space; roles kept) and its image
keys. Rows are hash-partitioned by key and grouped block by block, so no group crosses a block.
"""

import hashlib
from dataclasses import dataclass, field

import pyarrow as pa
import ray.data

from doctor_sun.data.ledger import Decision, StepResult
from doctor_sun.data.rows import Row, gather, keeper_order, verdicts
from doctor_sun.data.text_form import normalised
from doctor_sun.records import text_of

KEYED = pa.schema(
    [("id", pa.string()), ("source", pa.string()), ("length", pa.int64()), ("key", pa.string())]
)


@dataclass(kw_only=True)
class ExactDuplicatesConfig:
    """Which of several equal rows is kept."""

    source_priority: list[str] = field(default_factory=list)
    """Sources by falling priority; then the longer text, then the smaller id is kept."""

    partitions: int = 2
    """Hash partitions of the keys: about one per 500,000 rows."""


def duplicate_key(row: Row) -> str:
    """MD5 of what a row says and shows."""
    said = "\n".join(f"{turn['role']}: {normalised(turn['text'])}" for turn in row["turns"])
    return hashlib.md5("\n".join([said, *row["image_keys"]]).encode()).hexdigest()


def _keyed(table: pa.Table) -> pa.Table:
    rows = [
        {
            "id": row["id"],
            "source": row["source"],
            "length": len(text_of(row["turns"])),
            "key": duplicate_key(row),
        }
        for row in table.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=KEYED)


def decide(rows: ray.data.Dataset, config: ExactDuplicatesConfig) -> StepResult:
    """Drop all but the keeper of each group of equal rows."""
    rank = keeper_order(config.source_priority)

    def judge(table: pa.Table) -> pa.Table:
        lines = table.to_pylist()
        keepers: dict[str, Row] = {}
        for row in sorted(lines, key=rank):
            keepers.setdefault(row["key"], row)
        return verdicts(table, (_against(row, keepers[row["key"]]) for row in lines))

    keyed = rows.map_batches(_keyed, batch_format="pyarrow", batch_size=None)
    partitioned = keyed.repartition(config.partitions, keys=["key"])
    return gather(partitioned.map_batches(judge, batch_format="pyarrow", batch_size=None))


def _against(row: Row, keeper: Row) -> Decision | None:
    if row["id"] == keeper["id"]:
        return None
    return Decision(
        id=row["id"],
        source=row["source"],
        verdict="dropped",
        reason="same text and pictures",
        evidence={"kept": keeper["id"], "md5": row["key"]},
    )
