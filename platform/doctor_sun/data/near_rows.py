"""The rows that the near-duplicate step compares, on disk: their texts, keys and ranks.

Each block of rows becomes one Parquet file below the step's folder; consecutive files form a
*shard*, the unit that is encoded, searched and indexed. An index of an earlier run holds such files
of the rows it kept, and the vectors it computed for them.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
from numpy.typing import NDArray
from upath import UPath

from doctor_sun.data.rows import Row
from doctor_sun.data.vector_files import read_keys, read_vectors, write_vectors
from doctor_sun.files import write_parquet
from doctor_sun.records import text_of

FEATURES = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("part", pa.int32()),
        ("row", pa.int64()),
        ("text", pa.string()),
        ("length", pa.int64()),
        ("parents", pa.list_(pa.string())),
        ("key", pa.binary(16)),  # of the text
        ("group", pa.int64()),  # rows are compared within a group
        ("rank", pa.uint64()),  # smallest is kept: source, length, start of the id
    ]
)
FEWEST_ROWS, MOST_ROWS = 256, 8192  # compared rows of a shard; fewer where there are few
LONGEST = 2**24 - 1


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Rows of consecutive files."""

    name: str
    files: Sequence[str]
    known: bool
    """From an earlier run's index."""
    start: int
    """Number of its first row among all."""
    groups: NDArray[np.int64]
    ranks: NDArray[np.uint64]
    chosen: NDArray[np.bool_]
    """[rows] which rows have another one to be compared with."""

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Columns of all its rows, in order."""
        return pa.concat_tables([read_features(file, columns) for file in self.files])

    def bare(self) -> "Shard":
        """What a task needs that only reads."""
        none = np.zeros(0)
        return replace(self, groups=none.astype(np.int64), ranks=none.astype(np.uint64))


def read_features(file: str, columns: Sequence[str]) -> pa.Table:
    """Columns of one file."""
    with UPath(file).open("rb") as stream:
        return pq.read_table(stream, columns=list(columns))


def shards_of(
    rows: ray.data.Dataset, folder: UPath, priority: Sequence[str], index: UPath | None
) -> list[Shard]:
    """Write the rows' features; all shards, those of the index first, by name.

    Args:
        rows: thin rows.
        folder: where the files go.
        priority: sources, the best first.
        index: folder of an earlier run's index.
    """
    options = {"folder": str(folder), "priority": list(priority)}
    written = rows.map_batches(
        _write_features, fn_kwargs=options, batch_size=None, batch_format="pyarrow"
    )
    new = dict(_by_file(written))
    known: dict[str, pa.Table] = {}
    if index is not None:
        files = sorted(str(file) for file in (index / "rows").glob("*.parquet"))
        listed = ray.data.from_items([{"file": file} for file in files])
        known = dict(_by_file(listed.map_batches(_read_ranks, batch_format="pyarrow")))
    return list(_shards(known, new))


def _by_file(dataset: ray.data.Dataset) -> Iterator[tuple[str, pa.Table]]:
    """Group and rank of the rows of each file; `at` is their order in it."""
    parts: dict[str, list[pa.Table]] = {}
    for table in dataset.iter_batches(batch_format="pyarrow", batch_size=None):
        for file in table["file"].unique().to_pylist():
            own = table.filter(pa.compute.equal(table["file"], file))
            parts.setdefault(file, []).append(own.select(["group", "rank", "at"]))
    for file, tables in parts.items():
        yield file, pa.concat_tables(tables).sort_by("at")


def _shards(known: Mapping[str, pa.Table], new: Mapping[str, pa.Table]) -> Iterator[Shard]:
    """Consecutive files as shards of about equally many rows that are compared."""
    ordered = [*_by_name(known), *_by_name(new)]
    tables = [(known if file in known else new)[file] for file in ordered]
    sizes = np.array([table.num_rows for table in tables], np.int64)
    chosen = _chosen(tables, np.repeat([file in known for file in ordered], sizes))
    starts = np.cumsum(sizes) - sizes
    compared = [int(chosen[a : a + size].sum()) for a, size in zip(starts, sizes, strict=True)]
    wanted = int(np.clip(sum(compared) // 16, FEWEST_ROWS, MOST_ROWS))
    begin = rows = 0
    for at, file in enumerate(ordered):
        rows += compared[at]
        last = at + 1 == len(ordered) or (file in known) != (ordered[at + 1] in known)
        if rows >= wanted or last:
            start, end = int(starts[begin]), int(starts[at] + sizes[at])
            yield _shard(
                ordered[begin : at + 1],
                tables[begin : at + 1],
                file in known,
                start,
                chosen[start:end],
            )
            begin, rows = at + 1, 0


def _by_name(files: Iterable[str]) -> list[str]:
    return sorted(files, key=lambda file: UPath(file).name)


def _chosen(tables: Sequence[pa.Table], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[rows] who has another row to be compared with, one of them new."""
    groups = np.concatenate([np.zeros(0, np.int64), *(t["group"].to_numpy() for t in tables)])
    if not len(groups):
        return np.zeros(0, bool)
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    new = np.bincount(inverse[~known.astype(bool)], minlength=len(counts))
    chosen: NDArray[np.bool_] = ((counts > 1) & (new > 0))[inverse]
    return chosen


def _shard(
    files: Sequence[str],
    tables: Sequence[pa.Table],
    known: bool,
    start: int,
    chosen: NDArray[np.bool_],
) -> Shard:
    names = [UPath(file).stem for file in files]
    table = pa.concat_tables(tables)
    return Shard(
        name=f"{names[0][:15]}-{digest(*(name.encode() for name in names), size=8).hex()}",
        files=list(files),
        known=known,
        start=start,
        groups=table["group"].to_numpy(),
        ranks=table["rank"].to_numpy(),
        chosen=chosen,
    )


def digest(*parts: bytes, size: int) -> bytes:
    """A short hash of some bytes."""
    return hashlib.blake2b(b"\0".join(parts), digest_size=size).digest()


def _write_features(table: pa.Table, folder: str, priority: Sequence[str]) -> pa.Table:
    """Write the features of a block; file, group and rank of each row."""
    features = pa.Table.from_pylist(
        [_features(row, priority) for row in table.to_pylist()], schema=FEATURES
    )
    if not features.num_rows:
        return _ranks(features, "")
    content = digest(*features["key"].to_pylist(), *_bytes(features["id"].to_pylist()), size=8)
    place = f"{features['part'][0].as_py():06d}-{features['row'][0].as_py():08d}"
    path = UPath(folder) / f"{place}-{content.hex()}.parquet"
    if not path.exists():
        write_parquet(path, features)
    return _ranks(features, str(path))


def _read_ranks(listed: pa.Table) -> pa.Table:
    """File, group and rank of the rows of an index's files."""
    files = listed["file"].to_pylist()
    return pa.concat_tables([_ranks(read_features(f, ["group", "rank"]), f) for f in files])


def _ranks(features: pa.Table, file: str) -> pa.Table:
    count = features.num_rows
    columns = {"group": features["group"], "rank": features["rank"]}
    return pa.table(
        {
            "file": pa.array([file] * count, pa.string()),
            **columns,
            "at": pa.array(np.arange(count, dtype=np.int32)),
        }
    )


def _features(row: Row, priority: Sequence[str]) -> dict[str, Any]:
    text = text_of(row["turns"])
    scope = " ".join([row["language"], *row["image_keys"]])
    place = priority.index(row["source"]) if row["source"] in priority else len(priority)
    short = LONGEST - min(len(text), LONGEST)
    beginning = int.from_bytes(row["id"].encode()[:4].ljust(4, b"\0"), "big")
    return {
        **{name: row[name] for name in ("id", "source", "part", "row")},
        "parents": row["parents"] or [],
        "text": text,
        "length": len(text),
        "key": digest(text.encode(), size=16),
        "group": int.from_bytes(digest(scope.encode(), size=8), "big", signed=True),
        "rank": (min(place, 255) << 56) | (short << 32) | beginning,
    }


def _bytes(texts: Iterable[str]) -> Iterator[bytes]:
    return (text.encode() for text in texts)


def write_index(shard: Shard, vectors: str, removed: NDArray[np.bool_], index: UPath) -> None:
    """Write the kept rows of a shard, and what vectors there are of them, for later runs.

    Args:
        shard: the shard.
        vectors: file of the vectors of its chosen rows.
        removed: [rows] which rows this run drops.
        index: folder of the new index.
    """
    kept = shard.read(FEATURES.names).filter(pa.array(~removed))
    if not kept.num_rows:
        return
    write_parquet(index / "rows" / f"{shard.name}.parquet", kept)
    if shard.chosen.any():
        stays = ~removed[shard.chosen]
        keys = read_keys(vectors).filter(pa.array(stays))
        write_vectors(index / "vectors" / f"{shard.name}.arrow", keys, read_vectors(vectors)[stays])
