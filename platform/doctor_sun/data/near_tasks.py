"""Confirming candidate pairs in Ray tasks: texts are brought to the pairs, a few thousand a task.

Pairs are sorted so that rows that are near each other stand together; each task is sent the texts
of the rows in its pairs, and no others. The driver holds numbers only.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray
from upath import UPath

from doctor_sun.data.near_confirm import CONFIRMED, added, confirm, verdict_counts
from doctor_sun.data.near_rows import FEATURES, Shard
from doctor_sun.files import read_parquet, write_parquet

if TYPE_CHECKING:
    from doctor_sun.data.near_duplicates import NearDuplicatesConfig

PAIRS_A_TASK = 4000
MOST_TASKS = 512
NUMBERS = ("first", "second", "cosine", "verdict")
DROPPED = pa.schema(
    [
        ("part", pa.int32()),
        ("row", pa.int64()),
        ("kept", pa.string()),
        ("cosine", pa.float32()),
        ("agreement", pa.float32()),
    ]
)
Ints = NDArray[np.int64]


def confirm_all(
    shards: Sequence[Shard], pairs: pa.Table, config: "NearDuplicatesConfig", folder: UPath
) -> tuple[pa.Table, dict[str, Counter[str]]]:
    """The verdict on each pair.

    Args:
        shards: all rows.
        pairs: numbers a and b, cosine.
        config: what counts as confirmed.
        folder: is filled with Parquet files by `CONFIRMED`, every candidate among them.

    Returns:
        Table of first, second, cosine, verdict and the place in the folder (task, line), and counts
        of verdicts and of kinds of clinical difference.
    """
    for old in folder.glob("*.parquet"):
        old.unlink()
    count = min(MOST_TASKS, -(-pairs.num_rows // PAIRS_A_TASK))
    cuts = np.linspace(0, pairs.num_rows, count + 1).astype(int) if count else np.zeros(1, int)
    ordered = pairs.take(pa.array(_together(pairs))) if count else pairs
    chunks = [ordered.slice(a, b - a) for a, b in pairwise(cuts)]
    texts = _deal_texts(shards, chunks)
    options = (config.agreement, list(config.source_priority))
    tasks = [
        _confirm.remote(str(folder / f"{task:04d}.parquet"), chunk, *options, *own)
        for task, (chunk, own) in enumerate(zip(chunks, texts, strict=True))
    ]
    tables, counts = [], []
    for task, done in enumerate(tasks):
        table, verdicts = ray.get(done)
        lines = {"task": np.full(table.num_rows, task), "line": np.arange(table.num_rows)}
        tables.append(pa.table({**{name: table[name] for name in NUMBERS}, **lines}))
        counts.append(verdicts)
    if not tables:
        types = {name: CONFIRMED.field(name).type for name in NUMBERS}
        empty = pa.schema({**types, "task": pa.int64(), "line": pa.int64()})
        return empty.empty_table(), added(iter(()))
    return pa.concat_tables(tables), added(iter(counts))


def _together(pairs: pa.Table) -> Ints:
    """An order of the pairs in which those of one connected component stand together."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.concatenate([pairs["a"].to_numpy(), pairs["b"].to_numpy()])
    rows, places = np.unique(ends, return_inverse=True)
    first, second = np.split(places.astype(np.int32), 2)
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(len(rows),) * 2)
    _, component = connected_components(graph, directed=False)
    order: Ints = np.lexsort((first, second, component[first]))
    return order


def _deal_texts(shards: Sequence[Shard], chunks: Sequence[pa.Table]) -> list[list[Any]]:
    """References to the rows that each chunk of pairs needs."""
    wanted = [np.unique(np.concatenate([c["a"].to_numpy(), c["b"].to_numpy()])) for c in chunks]
    texts: list[list[Any]] = [[] for _ in chunks]
    for shard in shards:
        end = shard.start + len(shard.groups)
        own = [w[np.searchsorted(w, shard.start) : np.searchsorted(w, end)] for w in wanted]
        takers = [chunk for chunk, rows in enumerate(own) if len(rows)]
        if not takers:
            continue
        positions = [own[chunk] - shard.start for chunk in takers]
        dealt = _texts.options(num_returns=len(takers)).remote(shard.bare(), positions)
        for chunk, piece in zip(takers, [dealt] if len(takers) == 1 else dealt, strict=True):
            texts[chunk].append(piece)
    return texts


@ray.remote
def _texts(shard: Shard, positions: Sequence[Ints]) -> Any:
    """Some rows of a shard for each of several tasks."""
    columns = ("id", "source", "part", "row", "text", "length", "parents")
    table = shard.read([name for name in FEATURES.names if name in columns])
    pieces = []
    for own in positions:
        piece = table.take(pa.array(own))
        piece = piece.append_column("number", pa.array(own + shard.start))
        pieces.append(piece.append_column("known", pa.array([shard.known] * len(own))))
    return pieces if len(pieces) > 1 else pieces[0]


@ray.remote
def _confirm(
    file: str, pairs: pa.Table, agreement: float, priority: Sequence[str], *texts: pa.Table
) -> tuple[pa.Table, dict[str, dict[str, int]]]:
    """Write the verdicts of some pairs; their numbers, and counts."""
    rows = pa.concat_tables(texts).to_pylist()
    confirmed = confirm(rows, pairs, agreement, priority)
    write_parquet(UPath(file), confirmed)
    return confirmed.select(NUMBERS), verdict_counts(confirmed)


def dropped_rows(chosen: pa.Table, folder: UPath) -> pa.Table:
    """Where the dropped rows stand and which row each repeats, by `DROPPED`, sorted by place.

    Args:
        chosen: place (task, line) of the pairs that remove their second row.
        folder: what `confirm_all` filled.
    """
    tasks, lines = chosen["task"].to_numpy(), chosen["line"].to_numpy()
    parts = [
        _dropped.remote(str(folder / f"{task:04d}.parquet"), lines[tasks == task])
        for task in np.unique(tasks)
    ]
    table = pa.concat_tables([DROPPED.empty_table(), *map(ray.get, parts)])
    return table.sort_by([("part", "ascending"), ("row", "ascending")])


@ray.remote
def _dropped(file: str, lines: Ints) -> pa.Table:
    table = read_parquet(UPath(file)).take(pa.array(lines))
    columns = {
        **{name: table[name] for name in DROPPED.names if name != "kept"},
        "kept": table["a"],
    }
    return pa.table({name: columns[name] for name in DROPPED.names}, schema=DROPPED)
