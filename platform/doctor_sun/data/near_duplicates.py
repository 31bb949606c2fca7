"""Rows that say nearly the same: BERT vectors and FAISS find them, their words confirm them.

A pair is a near duplicate when its cosine reaches the threshold, the texts share nearly all their
content words, and the clinical guard finds no difference. Rows are compared only within a language
and only with rows that show the same pictures. A row is removed only when a *kept* row is its near
duplicate (no chains), and the ledger names that row. With an index of an earlier run the rows kept
there count as kept: new rows are compared with them and among themselves.

    near_pairs(ids, vectors, threshold)   # the search alone

Giant clusters: a row with more than `search.most_pairs` better ranked candidates in a cell is
compared with so many of them only, the best ranked and the nearest.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data
from numpy.typing import NDArray
from upath import UPath

from doctor_sun.cluster import connect
from doctor_sun.data.embeddings import EncoderConfig
from doctor_sun.data.ledger import Decision, StepResult
from doctor_sun.data.near_confirm import SAME, removals
from doctor_sun.data.near_rows import Shard, digest, shards_of, write_index
from doctor_sun.data.near_tasks import confirm_all, dropped_rows
from doctor_sun.data.near_vectors import vector_files, write_encoder
from doctor_sun.data.rows import lines_of
from doctor_sun.data.vector_pairs import NearPairs, SearchConfig, find_pairs
from doctor_sun.files import write_parquet

BLOCK_ROWS = 8192
REASON = "nearly the same text"


@dataclass(kw_only=True)
class NearDuplicatesConfig:
    """When two rows count as near duplicates."""

    threshold: float = 0.96
    """Cosine of two vectors from which a pair is a candidate (e5 scores lie in 0.72 to 1)."""

    agreement: float = 0.85
    """Part of their content words, and of each two in a row, that a pair must share."""

    source_priority: list[str] = field(default_factory=list)
    """Sources by falling priority; then the longer text, then the smaller id is kept."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """The BERT encoder."""

    search: SearchConfig = field(default_factory=lambda: SearchConfig(most_pairs=64))
    """How near vectors are searched."""

    index: str | None = None
    """Folder of an earlier run's index (`steps/NN-near_duplicates/index` below its output)."""


def near_pairs(
    ids: Sequence[Any] | NDArray[Any] | pa.Array | str,
    vectors: NDArray[np.float32] | ray.data.Dataset,
    threshold: float,
    config: SearchConfig | None = None,
) -> pa.Table:
    """Pairs of rows whose cosine is at least the threshold, on a Ray cluster.

    Args:
        ids: [n] names of the rows, text or integers; for a data set the column that holds them.
        vectors: [n, width] unit vectors, or a data set (`ray.data.read_parquet` ...) with a column
            `vector`.
        threshold: smallest cosine of a pair.
        config: how it is searched; by default exactly up to 10,000 rows, over partitions with
            audited recall above.

    Returns:
        Table with columns a, b (each pair once) and cosine; `near_pairs_audited` also tells how it
        was searched.

    Raises:
        ValueError: another number of ids than of vectors.
    """
    return near_pairs_audited(ids, vectors, threshold, config).table


def near_pairs_audited(
    ids: Sequence[Any] | NDArray[Any] | pa.Array | str,
    vectors: NDArray[np.float32] | ray.data.Dataset,
    threshold: float,
    config: SearchConfig | None = None,
) -> NearPairs:
    """`near_pairs` with the figures of the search: attempts, audited pairs, recall."""
    with connect(None):
        if isinstance(vectors, ray.data.Dataset):
            names, blocks, sizes = _dataset_blocks(vectors, str(ids))
        else:
            names = pa.array(ids)
            parts = [vectors[at : at + BLOCK_ROWS] for at in range(0, len(vectors), BLOCK_ROWS)]
            blocks, sizes = [ray.put(part) for part in parts], [len(part) for part in parts]
        if len(names) != sum(sizes):
            raise ValueError(f"{len(names)} ids for {sum(sizes)} vectors")
        found = find_pairs(blocks, sizes, threshold, config)
    columns = {name: names.take(found.table[name]) for name in ("a", "b")}
    table = pa.table({**columns, "cosine": found.table["cosine"]})
    return NearPairs(table=table, figures=found.figures)


def _dataset_blocks(dataset: ray.data.Dataset, ids: str) -> tuple[Any, list[Any], list[int]]:
    """Ids, references to blocks of vectors, and their sizes; the vectors stay in the cluster."""
    tables = dataset.select_columns([ids, "vector"]).to_arrow_refs()
    split = [_split.remote(table, ids) for table in tables]
    names = ray.get([one[0] for one in split])
    chunks = [chunk for name in names for chunk in name.chunks]
    return pa.chunked_array(chunks), [one[1] for one in split], [len(name) for name in names]


@ray.remote(num_returns=2)
def _split(table: pa.Table, ids: str) -> tuple[pa.ChunkedArray, NDArray[np.float32]]:
    rows = table["vector"].to_numpy() if table.num_rows else [np.zeros(1)]
    return table[ids], np.stack(list(rows)).astype(np.float32)[: table.num_rows]


def decide(rows: ray.data.Dataset, config: NearDuplicatesConfig, work: UPath) -> StepResult:
    """Drop each row that a kept row nearly repeats.

    Args:
        rows: the rows so far.
        config: thresholds, encoder, search.
        work: folder of the step: `rows` and `vectors` (an interrupted run goes on with them),
            `pairs` (every candidate and its verdict), `index` (for later runs), and the decisions.
    """
    version = digest(json.dumps(asdict(config), sort_keys=True).encode(), size=6).hex()
    dropped, figures = work / f"dropped-{version}.parquet", work / f"figures-{version}.json"
    if not figures.exists():
        found = _find(rows, config, work, dropped)
        figures.write_text(json.dumps(found), encoding="utf-8")
    lines = rows.map_batches(
        _lines, fn_kwargs={"dropped": str(dropped)}, batch_size=None, batch_format="pyarrow"
    )
    numbers = json.loads(figures.read_text(encoding="utf-8"))
    return StepResult(lines=lines, figures=numbers, by_part=True)


def _find(
    rows: ray.data.Dataset, config: NearDuplicatesConfig, work: UPath, dropped: UPath
) -> dict[str, Any]:
    """Write which rows go, and everything else of a run; its figures."""
    earlier = UPath(config.index) if config.index else None
    shards = shards_of(rows, work / "rows", config.source_priority, earlier)
    vectors, encoded = vector_files(shards, config.encoder, work / "vectors", earlier)
    candidates = _candidates(shards, vectors, config)
    confirmed, counts = confirm_all(shards, candidates.table, config, work / "pairs")
    same = confirmed.filter(pa.compute.equal(confirmed["verdict"], SAME))
    ranks = np.concatenate([np.zeros(0, np.uint64), *(shard.ranks for shard in shards)])
    first, second, cosines = (same[name].to_numpy() for name in ("first", "second", "cosine"))
    chosen = same.take(pa.array(removals(first, second, cosines, ranks)))
    write_parquet(dropped, dropped_rows(chosen, work / "pairs"))
    removed = np.zeros(len(ranks), bool)
    removed[chosen["second"].to_numpy()] = True
    _write_index(shards, vectors, removed, config.encoder, work / "index")
    saved = confirmed.filter(pa.compute.equal(confirmed["verdict"], "clinical difference"))
    return {
        "rows_compared": int(sum(shard.chosen.sum() for shard in shards)),
        "texts_encoded": encoded,
        "candidate_pairs": candidates.table.num_rows,
        "confirmed_pairs": same.num_rows,
        "kept_apart_by_guard": dict(counts["kinds"]),
        "pairs_saved_by_guard": saved.num_rows,
        "pairs_by_verdict": dict(counts["verdicts"]),
        "search": dict(candidates.figures),
        "cluster_sizes": _cluster_sizes(chosen),
    }


def _candidates(
    shards: Sequence[Shard], vectors: Sequence[str], config: NearDuplicatesConfig
) -> NearPairs:
    """Candidate pairs by the numbers of all rows."""
    chosen = np.concatenate([np.zeros(0, bool), *(shard.chosen for shard in shards)])
    numbers = np.flatnonzero(chosen)
    found = find_pairs(
        [file for file in vectors if file],
        [int(shard.chosen.sum()) for shard in shards if shard.chosen.any()],
        config.threshold,
        config.search,
        groups=np.concatenate([np.zeros(0, np.int64), *(s.groups for s in shards)])[chosen],
        ranks=np.concatenate([np.zeros(0, np.uint64), *(s.ranks for s in shards)])[chosen],
        known=int(sum(shard.chosen.sum() for shard in shards if shard.known)),
    )
    columns = {name: numbers[found.table[name].to_numpy()] for name in ("a", "b")}
    table = pa.table({**columns, "cosine": found.table["cosine"]})
    return NearPairs(table=table, figures=found.figures)


def _cluster_sizes(chosen: pa.Table) -> dict[str, int]:
    """How many kept rows stand for how many rows, themselves included."""
    _, counts = np.unique(chosen["first"].to_numpy(), return_counts=True)
    return {str(size): rows for size, rows in sorted(Counter((counts + 1).tolist()).items())}


def _write_index(
    shards: Sequence[Shard],
    vectors: Sequence[str],
    removed: NDArray[np.bool_],
    encoder: EncoderConfig,
    index: UPath,
) -> None:
    """Write the kept rows and their vectors for later runs."""
    for old in [*index.glob("rows/*"), *index.glob("vectors/*")]:
        old.unlink()
    write = ray.remote(write_index)
    write_encoder(index, encoder)
    ends = np.cumsum([len(shard.groups) for shard in shards])[:-1]
    gone = np.split(removed, ends) if shards else []
    ray.get(
        [
            write.remote(shard.bare(), file, own, index)
            for shard, file, own in zip(shards, vectors, gone, strict=True)
        ]
    )


def _lines(table: pa.Table, dropped: str) -> pa.Table:
    """The lines of a block of rows."""
    parts = table["part"].unique().to_pylist()
    with UPath(dropped).open("rb") as stream:
        found = pq.read_table(stream, filters=[("part", "in", parts)]) if parts else table[:0]
    gone: Mapping[tuple[int, int], dict[str, Any]] = {
        (line["part"], line["row"]): line for line in found.to_pylist()
    }
    rows = table.select(["part", "row", "id", "source"]).to_pylist()
    return lines_of(table, (_decision(row, gone.get((row["part"], row["row"]))) for row in rows))


def _decision(row: Mapping[str, Any], line: Mapping[str, Any] | None) -> Decision | None:
    if line is None:
        return None
    evidence = {
        "kept": line["kept"],
        "cosine": round(line["cosine"], 4),
        "agreement": round(line["agreement"], 3),
    }
    return Decision(
        id=row["id"], source=row["source"], verdict="dropped", reason=REASON, evidence=evidence
    )
