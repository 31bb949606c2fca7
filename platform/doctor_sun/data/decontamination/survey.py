"""One look at all rows before they are judged: how common n-grams are, and held-out pictures.

What is found goes to the step's folder, so that a run which is taken up again judges the remaining
rows by the same measure.
"""

import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data
from numpy.typing import NDArray
from upath import UPath

from doctor_sun.data.decontamination.grams import GramTable, row_tokens
from doctor_sun.data.decontamination.pictures import short_key
from doctor_sun.data.rows import collect
from doctor_sun.files import read_parquet, write_parquet

FOUND = pa.schema([("kind", pa.string()), ("value", pa.uint64()), ("rows", pa.int64())])
SAMPLE_SCALE = 10_000
COLUMNS = ["id", "split", "image_keys", "turns"]


@dataclass(frozen=True)
class Survey:
    """What the rows are like."""

    rows: int
    """Rows that n-grams were counted in."""
    having: NDArray[np.float64]
    """[grams] rows that have each, estimated for all rows where only a part was counted in."""
    held_out: dict[str, NDArray[np.uint64]]
    """Sorted short keys of the pictures that rows of a split other than train show, by split."""


@lru_cache(maxsize=2)
def opened(reference: ray.ObjectRef) -> Any:
    """A shared object, opened once a process rather than once a block."""
    return ray.get(reference)


def survey(
    rows: ray.data.Dataset,
    vocabulary: dict[str, int],
    table: GramTable,
    share: float,
    file: UPath,
) -> Survey:
    """Count over the rows, or read what was counted before.

    Args:
        rows: all of them.
        vocabulary: token numbers of the held-out items.
        table: their n-grams.
        share: part of the rows that n-grams are counted in, chosen by the hash of their ids.
        file: where the counts are kept.
    """
    if not file.exists():
        shared = ray.put((vocabulary, table))

        def look(block: pa.Table) -> pa.Table:
            numbers, known = opened(shared)
            return look_at(block, numbers, known, share)

        seen = rows.select_columns(COLUMNS).map_batches(
            look, batch_format="pyarrow", batch_size=None
        )
        found = collect(seen, FOUND)
        found = found.group_by(["kind", "value"]).aggregate([("rows", "sum")])
        found = found.rename_columns(FOUND.names).sort_by([(n, "ascending") for n in FOUND.names])
        write_parquet(file, found)
    return _read(read_parquet(file), len(table.hashes), share)


def look_at(
    block: pa.Table, vocabulary: dict[str, int], table: GramTable, share: float
) -> pa.Table:
    """Counts of one block by `FOUND`: kind `gram`, `rows`, or the split of a held-out picture."""
    keys: dict[str, NDArray[np.uint64]] = {}
    for split in sorted(set(block["split"].to_pylist()) - {"train"}):
        own = block.filter(pc.equal(block["split"], split))
        pictures = pc.list_flatten(own["image_keys"]).to_pylist()
        keys[split] = np.unique(short_key(pictures))
    hashes = np.asarray([zlib.crc32(id.encode()) for id in block["id"].to_pylist()], np.int64)
    sample = block.filter(pa.array(hashes % SAMPLE_SCALE < share * SAMPLE_SCALE))
    tokens = row_tokens(sample["turns"], vocabulary)
    positions, grams = table.find(tokens.ids)
    pairs = np.unique(np.stack([tokens.owner(positions), grams], axis=1), axis=0)
    found, counts = np.unique(pairs[:, 1], return_counts=True)
    parts = [_part("rows", np.zeros(1, np.uint64), np.asarray([sample.num_rows]))]
    parts.append(_part("gram", found.astype(np.uint64), counts))
    parts += [_part(split, own, np.ones(len(own), np.int64)) for split, own in keys.items()]
    return pa.concat_tables(parts)


def _part(kind: str, values: NDArray[np.uint64], rows: NDArray[np.int64]) -> pa.Table:
    kinds = pa.array([kind] * len(values), pa.string())
    return pa.table([kinds, values, rows.astype(np.int64)], schema=FOUND)


def _read(found: pa.Table, grams: int, share: float) -> Survey:
    kinds = np.asarray(found["kind"].to_pylist(), dtype=object)
    values = found["value"].to_numpy()
    rows = found["rows"].to_numpy()
    counts = np.zeros(grams, np.int64)
    counts[values[kinds == "gram"].astype(np.int64)] = rows[kinds == "gram"]
    splits = sorted(set(kinds.tolist()) - {"gram", "rows"})
    return Survey(
        rows=int(rows[kinds == "rows"].sum()),
        having=counts / max(share, 1 / SAMPLE_SCALE),
        held_out={split: np.sort(values[kinds == split]) for split in splits},
    )
