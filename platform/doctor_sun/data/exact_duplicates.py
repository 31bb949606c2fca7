"""Rows that say the same about the same pictures: one of each group is kept.

The key is the MD5 of a row's normalised text (NFKC, case, white space; roles kept) and its image
keys. Ray Data's hash shuffle brings equal keys together; within a partition they are sorted as
Arrow columns. A partition is all that a task holds, and the driver holds nothing.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray.data
from numpy.typing import NDArray
from upath import UPath

from doctor_sun.data.ledger import LINES, StepResult
from doctor_sun.data.rows import evidence_text
from doctor_sun.data.text_form import conversations, normalised

KEYED = pa.schema(
    [
        *((name, LINES.field(name).type) for name in ("part", "id", "source")),
        ("priority", pa.int32()),  # of the source; the smallest is kept
        ("length", pa.int64()),  # characters
        ("key", pa.binary(16)),
        ("bucket", pa.uint16()),  # the key's first bytes: what the shuffle partitions by
    ]
)
BEST_FIRST = [
    *(("key", "ascending"), ("priority", "ascending")),
    *(("length", "descending"), ("id", "ascending")),
]
REASON = "same text and pictures"


@dataclass(kw_only=True)
class ExactDuplicatesConfig:
    """Which of several equal rows is kept."""

    source_priority: list[str] = field(default_factory=list)
    """Sources by falling priority; then the longer text, then the smaller id is kept."""

    partitions: int = 16
    """Hash partitions of the keys: about one per 500,000 rows. They never change the result."""


def duplicate_key(said: Iterable[tuple[str, str]], image_keys: Iterable[str]) -> bytes:
    """[16] MD5 of a conversation's (role, text) pairs in normal form and of its pictures' keys."""
    turns = "\n".join(f"{role}: {normalised(text)}" for role, text in said)
    return hashlib.md5("\n".join([turns, *image_keys]).encode()).digest()


def keyed(
    table: pa.Table,
    keys: Sequence[bytes],
    lengths: Sequence[int] | pa.ChunkedArray | pa.Array,
    source_priority: Sequence[str],
) -> pa.Table:
    """Rows by `KEYED`.

    Args:
        table: with the columns part, id and source.
        keys: [rows] 16 bytes each: equal for rows that are duplicates.
        lengths: [rows] of two duplicates of equal priority the longer is kept.
        source_priority: sources by falling priority; one that is not named comes last.
    """
    joined = b"".join(keys)
    position = pc.index_in(table["source"], value_set=pa.array(source_priority, pa.string()))
    columns = {
        **{name: table[name] for name in ("part", "id", "source")},
        "priority": pc.fill_null(position, len(source_priority)),
        "length": lengths,
        "key": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(16), len(keys), [None, pa.py_buffer(joined)]
        ),
        "bucket": np.frombuffer(joined, np.uint16)[::8],
    }
    return pa.table(columns, schema=KEYED)


def decide(rows: ray.data.Dataset, config: ExactDuplicatesConfig, work: UPath) -> StepResult:
    """Drop all but the keeper of each group of equal rows."""

    def with_keys(table: pa.Table) -> pa.Table:
        said = list(conversations(table["turns"]))
        keys = list(map(duplicate_key, said, table["image_keys"].to_pylist()))
        lengths = [sum(len(text) for _, text in turns) for turns in said]
        return keyed(table, keys, lengths, config.source_priority)

    mapped = rows.map_batches(with_keys, batch_format="pyarrow", batch_size=None)
    return StepResult(lines=duplicate_lines(mapped, config.partitions))


def duplicate_lines(rows: ray.data.Dataset, partitions: int) -> ray.data.Dataset:
    """One line for every row: dropped unless it is the best of those that share its key.

    Args:
        rows: by `KEYED`, in any blocks and order.
        partitions: how many pieces the rows are shuffled to.

    Returns:
        By `ledger.LINES`; a dropped row's evidence names the kept row and the key.
    """
    return rows.repartition(partitions, keys=["bucket"]).map_batches(
        _decided, batch_format="pyarrow", batch_size=None
    )


def _decided(table: pa.Table) -> pa.Table:
    """The lines of one partition, which holds every row of each of its keys."""
    places, keepers = _repeated(table)
    columns = (table["key"].take(places), table["id"].take(keepers))
    evidence = [
        evidence_text({"kept": kept, "md5": key.hex()})
        for key, kept in zip(*(column.to_pylist() for column in columns), strict=True)
    ]
    dropped = np.zeros(table.num_rows, dtype=bool)
    dropped[places] = True
    mask = pa.array(dropped)
    return pa.table(
        {
            **{name: table[name] for name in ("part", "id", "source")},
            "verdict": pc.if_else(mask, "dropped", ""),
            "reason": pc.if_else(mask, REASON, ""),
            "evidence": pc.replace_with_mask(
                pa.array([""] * table.num_rows, pa.string()), mask, pa.array(evidence, pa.string())
            ),
            "turns": pa.nulls(table.num_rows, LINES.field("turns").type),
        },
        schema=LINES,
    )


def _repeated(table: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the rows that are dropped, ascending, and of the row kept for each."""
    ranked = pc.sort_indices(table, sort_keys=BEST_FIRST).to_numpy().astype(np.int64)
    keys = table["key"].take(ranked).combine_chunks()
    first = np.ones(len(keys), dtype=bool)
    first[1:] = pc.not_equal(keys[1:], keys[:-1]).to_numpy(zero_copy_only=False)
    best = ranked[np.maximum.accumulate(np.where(first, np.arange(len(keys)), 0))]
    ascending = np.argsort(ranked[~first])
    return ranked[~first][ascending], best[~first][ascending]
