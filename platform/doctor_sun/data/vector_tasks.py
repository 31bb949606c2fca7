"""The Ray tasks of a search for near vectors; `vector_pairs` says how they play together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from doctor_sun.data.vector_cells import (
    DECIMALS,
    SLACK,
    Cells,
    Flags,
    Ints,
    Members,
    Vectors,
    compare,
    exact_cosines,
    hits,
    places_in_group,
    sampling_keys,
    thinned,
    train_centroids,
    visits,
)
from doctor_sun.data.vector_files import read_vectors

PAIRS = pa.schema([("a", pa.int64()), ("b", pa.int64()), ("cosine", pa.float32())])
NOT_COMPARED = -1
BUNDLE_SAMPLE = 256  # training rows for each bundle's centroid
CELL_SAMPLE = 32  # training rows for each cell's centroid
AUDITED_PAIRS = 64  # of a sampled row in a batch, taken by content: heaps have millions

Ref = Any  # a Ray object reference
Block = Any  # a reference to [n, width] unit vectors, or the path of a vector file


@dataclass(frozen=True)
class Rows:
    """What is known of each row besides its vector: [n] each, one copy in the object store."""

    groups: Ints
    ranks: NDArray[np.uint64]
    places: NDArray[np.int32]
    """Bundle of a row in a small group; -2 - g in the g-th large group; NOT_COMPARED."""
    known: int


@dataclass(frozen=True)
class Batch:
    """Blocks that one task reads, and the numbers of their rows."""

    blocks: Sequence[Block]
    start: int
    rows: int

    def vectors(self) -> Vectors:
        """[rows, width], in single precision."""
        parts = [
            read_vectors(block) if isinstance(block, str) else ray.get(block)
            for block in self.blocks
        ]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return whole.astype(np.float32, copy=False)

    def numbers(self) -> Ints:
        """[rows] numbers of its rows among all."""
        return np.arange(self.start, self.start + self.rows)


@ray.remote(num_returns=2)
def sample_rows(batch: Batch, shared: Rows, train: float, audit: float) -> list[dict[str, Any]]:
    """Rows of the large groups, chosen by content: some for training, others for the audit."""
    places = shared.places[batch.numbers()]
    rows = np.flatnonzero(places <= -2)
    vectors = batch.vectors()[rows]
    groups = -2 - places[rows]
    keys = sampling_keys(vectors)
    parts = []
    for chosen in (keys < train, keys > 1 - audit):
        columns: dict[str, Any] = {"numbers": batch.start + rows, "groups": groups, "keys": keys}
        part = {name: column[chosen] for name, column in columns.items()}
        parts.append({**part, "vectors": vectors[chosen]})
    return parts


@ray.remote
def joined(*samples: Mapping[str, Any]) -> dict[str, Any]:
    """Samples of several batches as one."""
    return {name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]}


def train_cells(samples: Sequence[Ref], group: int, bundles: int, apart: float) -> tuple[int, Ref]:
    """Number of bundles and reference to the cells of a large group: k-means in two levels."""
    first: Vectors = ray.get(_train_bundles.remote(group, bundles, apart, *samples))
    count = len(first)
    split = [_split.options(num_returns=count).remote(one, group, first) for one in samples]
    pieces = [[one] if count == 1 else one for one in split]
    trained = [_train_bundle.remote(*(one[b] for one in pieces)) for b in range(count)]
    return count, _all_cells.remote(apart, first, *trained)


@ray.remote
def _train_bundles(group: int, count: int, apart: float, *samples: Mapping[str, Any]) -> Vectors:
    """Centroids of the bundles of a large group."""
    keys, vectors = _of_group(samples, group)
    first = np.argsort(keys, kind="stable")[: BUNDLE_SAMPLE * count]
    centroids = train_centroids(vectors[first], count)
    return centroids[thinned(centroids, apart)]


def _of_group(samples: Sequence[Mapping[str, Any]], group: int) -> tuple[Any, Vectors]:
    chosen = [sample["groups"] == group for sample in samples]
    keys = [sample["keys"][own] for sample, own in zip(samples, chosen, strict=True)]
    vectors = [sample["vectors"][own] for sample, own in zip(samples, chosen, strict=True)]
    return np.concatenate(keys), np.concatenate(vectors)


@ray.remote
def _split(sample: Mapping[str, Any], group: int, bundles: Vectors) -> Any:
    """Keys and vectors of a sample for each bundle."""
    keys, vectors = _of_group([sample], group)
    nearest = (vectors @ bundles.T).argmax(axis=1)
    pieces = [(keys[nearest == b], vectors[nearest == b]) for b in range(len(bundles))]
    return pieces if len(pieces) > 1 else pieces[0]


@ray.remote
def _train_bundle(*pieces: tuple[NDArray[np.float64], Vectors]) -> Vectors:
    """Centroids of one bundle's cells."""
    keys, vectors = (np.concatenate(part) for part in zip(*pieces, strict=True))
    if not len(keys):
        return vectors
    order = np.argsort(keys, kind="stable")
    return train_centroids(vectors[order], max(1, len(order) // CELL_SAMPLE))


@ray.remote
def _all_cells(apart: float, first: Vectors, *trained: Vectors) -> Cells:
    """The cells of all bundles, without those that lie too close to another."""
    bundles = np.repeat(np.arange(len(trained)), [len(one) for one in trained])
    centroids = np.concatenate(trained)
    stays = thinned(centroids, apart)
    return Cells(np.ascontiguousarray(centroids[stays]), bundles[stays], first)


@dataclass(frozen=True)
class _Piece:
    """Rows of one batch that one bundle compares."""

    numbers: Ints
    vectors: Vectors
    rows: Ints
    """[m] positions in `numbers`: a row stands once for each cell that it is compared in."""
    cells: Ints
    """[m]"""
    home: Flags
    """[m]"""


@ray.remote
def deal(batch: Batch, shared: Rows, firsts: Ints, margin: float, most: int, *models: Cells) -> Any:
    """The rows of a batch for each bundle."""
    vectors, places = batch.vectors(), shared.places[batch.numbers()]
    small = np.flatnonzero(places >= 0)
    groups = shared.groups[batch.start + small]
    parts = [(small, places[small], groups, np.ones(len(small), bool))]
    for group, model in enumerate(models):
        members = np.flatnonzero(places == -2 - group)
        if len(members):
            at, cell, home = visits(vectors[members], model, margin, most)
            parts.append((members[at], firsts[group] + model.bundles[cell], cell, home))
    rows, bundles, cells, home = (np.concatenate(part) for part in zip(*parts, strict=True))
    pieces = []
    for bundle in range(int(firsts[-1])):
        own = bundles == bundle
        distinct, at = np.unique(rows[own], return_inverse=True)
        numbers = batch.start + distinct
        pieces.append(_Piece(numbers, vectors[distinct], at, cells[own], home[own]))
    return pieces if len(pieces) > 1 else pieces[0]


@ray.remote
def bundle_pairs(
    shared: Rows, threshold: float, most_pairs: int | None, *pieces: _Piece
) -> pa.Table:
    """The pairs of one bundle, cell by cell."""
    numbers = np.concatenate([piece.numbers for piece in pieces])
    vectors = np.concatenate([piece.vectors for piece in pieces])
    known = numbers < shared.known
    order = np.lexsort((numbers, sampling_keys(vectors), shared.ranks[numbers], ~known))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    starts = np.cumsum([0, *(len(piece.numbers) for piece in pieces)])
    rows = place[np.concatenate([s + p.rows for s, p in zip(starts, pieces, strict=False)])]
    cells = np.concatenate([piece.cells for piece in pieces])
    home = np.concatenate([piece.home for piece in pieces])
    by_cell = np.lexsort((rows, cells))
    members = Members(vectors[order], known[order])
    borders = np.flatnonzero(np.diff(cells[by_cell])) + 1
    found = [np.zeros(0, np.int64)]
    for one in np.split(by_cell, borders):
        found.append(compare(members, rows[one], home[one], threshold, most_pairs or len(order)))
    first, second = np.divmod(np.unique(np.concatenate(found)), max(1, len(order)))
    cosines = exact_cosines(members.vectors, first, members.vectors, second)
    near = cosines >= round(threshold, DECIMALS)
    pairs = [numbers[order[first[near]]], numbers[order[second[near]]]]
    return pa.table([*pairs, cosines[near].astype(np.float32)], schema=PAIRS)


@ray.remote
def tile_pairs(left: Batch, right: Batch, shared: Rows, threshold: float) -> pa.Table:
    """The pairs of two batches, rows of large groups only."""
    a, b = left.numbers(), right.numbers()
    return _brute_force((a, left.vectors()), (b, right.vectors()), shared, threshold)


@ray.remote
def sampled_pairs(
    batch: Batch, sample: Mapping[str, Any], shared: Rows, threshold: float
) -> pa.Table:
    """Pairs of the sampled rows with a batch, at most `AUDITED_PAIRS` of each row."""
    vectors = batch.vectors()
    left, right = (sample["numbers"], sample["vectors"]), (batch.numbers(), vectors)
    table = _brute_force(left, right, shared, threshold)
    keys = sampling_keys(vectors)[table["b"].to_numpy() - batch.start]
    rows = table["a"].to_numpy()
    return table.filter(pa.array(places_in_group(rows, np.lexsort((keys, rows))) < AUDITED_PAIRS))


def _brute_force(
    left: tuple[Ints, Vectors], right: tuple[Ints, Vectors], shared: Rows, threshold: float
) -> pa.Table:
    """All pairs of rows of one large group that stand left and right."""
    parts = [PAIRS.empty_table()]
    for i, j in _hits(left[1], right[1], threshold - SLACK):
        a, b = left[0][i], right[0][j]
        wanted = (a != b) & (shared.groups[a] == shared.groups[b]) & (shared.places[a] <= -2)
        wanted &= np.maximum(a, b) >= shared.known
        cosines = exact_cosines(left[1], i[wanted], right[1], j[wanted])
        near = cosines >= round(threshold, DECIMALS)
        columns = [a[wanted][near], b[wanted][near], cosines[near].astype(np.float32)]
        parts.append(pa.table(columns, schema=PAIRS))
    return pa.concat_tables(parts).combine_chunks()


def _hits(left: Vectors, right: Vectors, least: float) -> Iterator[tuple[Ints, Ints]]:
    """Positions left and right of products of at least `least`, two million products a time."""
    step = max(1, 2_000_000 // max(1, len(left)))
    for start in range(0, len(right), step):
        i, j = hits(left @ right[start : start + step].T, least)
        yield i, j + start
