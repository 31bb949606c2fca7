"""Near vectors in one process: the unit sphere in cells, what is compared in which, and comparing.

A vector is *at home* in the cell of its nearest centroid and *visits* each other cell whose border
with its own is nearer than a margin. Two vectors of cosine t lie sqrt(2 - 2 t) apart, so of two on
either side of a border one is within half of that, sqrt((1 - t) / 2): with this margin no pair is
lost. In many dimensions two near vectors seldom differ just across the border, and a part of the
margin finds nearly all of them at a fraction of the cost; the caller audits how many.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Vectors = NDArray[np.float32]

TILE = 2048  # vectors on either side of one product
SLACK = 1e-5  # single-precision products are off by less; cosines are then computed exactly
DECIMALS = 6  # of a cosine, so that it does not depend on how the products were tiled
KEY_DIMENSIONS = 32


def exact_margin(threshold: float) -> float:
    """The margin at which no pair is lost."""
    return float(np.sqrt((1 - threshold) / 2))


def sampling_keys(vectors: Vectors) -> NDArray[np.float64]:
    """[n] numbers in 0 to 1 from the vectors' bits alone: samples do not depend on row order."""
    step = max(1, vectors.shape[1] // KEY_DIMENSIONS)
    bits = np.ascontiguousarray(vectors[:, ::step]).view(np.uint32).astype(np.uint64)
    odd = np.random.default_rng(7).integers(1 << 62, size=bits.shape[1], dtype=np.uint64) * 2 + 1
    keys = (bits * odd).sum(axis=1, dtype=np.uint64)
    for shift in (31, 29, 32):
        keys = (keys ^ (keys >> np.uint64(shift))) * np.uint64(0x9E3779B97F4A7C15)
    mixed: NDArray[np.float64] = (keys >> np.uint64(11)) / 2.0**53
    return mixed


def train_centroids(sample: Vectors, count: int) -> Vectors:
    """[k, width] unit centroids by spherical k-means.

    Args:
        sample: [n, width] unit vectors in an order that follows from their content.
        count: most centroids wanted.
    """
    import faiss

    faiss.omp_set_num_threads(1)
    trainer = faiss.Kmeans(
        sample.shape[1],
        max(1, min(count, len(sample))),
        niter=8,
        spherical=True,
        seed=1,
        min_points_per_centroid=1,
        max_points_per_centroid=max(1, len(sample)),
    )
    trainer.train(np.ascontiguousarray(sample, dtype=np.float32))
    centroids: Vectors = trainer.centroids
    return centroids


def thinned(centroids: Vectors, apart: float) -> Flags:
    """[k] which centroids stay when none may lie within `apart` of an earlier one.

    Vectors between two centroids closer than twice the margin visit both cells anyway: a heap of
    near-identical vectors stays in one cell instead of being cut to pieces.
    """
    stays = np.ones(len(centroids), dtype=bool)
    for start in range(0, len(centroids), TILE):
        scores = centroids[start : start + TILE] @ centroids.T
        for first, second in np.argwhere(scores >= 1 - apart**2 / 2).tolist():
            if start + first < second and stays[start + first]:
                stays[second] = False
    return stays


@dataclass(frozen=True)
class Cells:
    """The cells of one large group, in bundles of neighbouring ones."""

    centroids: Vectors
    """[k, width] unit vectors."""
    bundles: Ints
    """[k] the bundle of each, ascending."""
    bundle_centroids: Vectors
    """[bundles, width] unit vectors."""


def visits(vectors: Vectors, cells: Cells, margin: float, most: int) -> tuple[Ints, Ints, Flags]:
    """Which vector is compared in which cell.

    Args:
        vectors: [n, width] unit vectors.
        cells: where they may be compared.
        margin: distance to a border within which the cell behind it is visited.
        most: visited cells of a vector, its own not counted; those of the nearest centroids.

    Returns:
        Positions of vectors, cells, and whether the vector is at home there.
    """
    # No two centroids are further apart than 2.
    rows, near, scores, places = _nearest(vectors, cells, most + 1, 2 * margin)
    first = np.flatnonzero(places == 0)[rows]
    own, gaps = near[first], scores[first] - scores
    borders, border = np.unique(own * len(cells.centroids) + near, return_inverse=True)
    one, other = np.divmod(borders, len(cells.centroids))
    cosines = exact_cosines(cells.centroids, one, cells.centroids, other)
    apart = np.sqrt(np.maximum(2 - 2 * cosines, 0))[border]
    # Distance to a border: difference of the scores over distance of the centroids.
    chosen = (gaps <= margin * apart) | (places == 0)
    return rows[chosen], near[chosen], places[chosen] == 0


def _nearest(
    vectors: Vectors, cells: Cells, count: int, gap: float
) -> tuple[Ints, Ints, Vectors, Ints]:
    """The nearest cells of each vector: at most `count`, none by more than `gap` worse than the
    best. Searched in the `count` nearest bundles only, so that the cost of a vector hardly grows
    with their number.

    Returns:
        Vectors, cells, scores, and places in the vector's list from 0, by vector and place.
    """
    found = []
    for start in range(0, len(vectors), TILE):
        rows, near, scores = _cells_within(vectors[start : start + TILE], cells, count, gap)
        order = np.lexsort((near, -scores, rows))
        places = places_in_group(rows[order], np.arange(len(rows)))
        order, places = order[places < count], places[places < count]
        found.append((start + rows[order], near[order], scores[order], places))
    rows, near, scores, places = (np.concatenate(part) for part in zip(*found, strict=True))
    return rows, near, scores, places


def _cells_within(
    vectors: Vectors, cells: Cells, bundles: int, gap: float
) -> tuple[Ints, Ints, Vectors]:
    """Vectors, cells and scores: the cells of the nearest bundles that are within `gap` of the
    best."""
    to_bundles = vectors @ cells.bundle_centroids.T
    searched = np.ones(to_bundles.shape, bool)
    if bundles < to_bundles.shape[1]:
        searched[:] = False
        nearest = np.argpartition(-to_bundles, bundles - 1, axis=1)[:, :bundles]
        np.put_along_axis(searched, nearest, True, axis=1)
    starts = np.searchsorted(cells.bundles, np.arange(to_bundles.shape[1] + 1))
    best = np.full((len(vectors), 1), -np.inf, np.float32)
    products = []
    for bundle, (start, end) in enumerate(pairwise(starts.tolist())):
        if start == end:  # all its cells lay too close to others
            continue
        rows = np.flatnonzero(searched[:, bundle])
        scores = vectors[rows] @ cells.centroids[start:end].T
        best[rows] = np.maximum(best[rows], scores.max(axis=1, keepdims=True))
        products.append((rows, start, scores))
    found = []
    for rows, start, scores in products:
        at, cell = hits(scores - best[rows], -gap)
        found.append((rows[at], start + cell, scores[at, cell]))
    rows, near, scores = (np.concatenate(part) for part in zip(*found, strict=True))
    return rows, near, scores


@dataclass(frozen=True)
class Members:
    """The vectors that are compared in some cells; [n] each, best rank first, known ones first."""

    vectors: Vectors
    known: Flags
    """From an earlier run: two known vectors are not compared."""


def compare(members: Members, rows: Ints, home: Flags, threshold: float, most_pairs: int) -> Ints:
    """Near pairs of one cell as first * n + second: positions, first the better ranked.

    Tile after tile, best rank first. A vector that has `most_pairs` better ranked near ones is
    compared no further: this keeps a heap of near-identical vectors linear in time and pairs.

    Args:
        members: the vectors.
        rows: positions that are compared, ascending.
        home: [rows] of two that are not at home no pair is made.
        threshold: smallest cosine; a pair may be `SLACK` below it.
        most_pairs: better ranked near vectors that a vector is paired with: half of them the best
            ranked, half the nearest of the rest.
    """
    pairs = [np.zeros(0, np.int64)]
    counts = np.zeros(len(rows), np.int64)
    new = ~members.known[rows]
    for start in range(0, len(rows), TILE):
        tile = np.arange(start, min(start + TILE, len(rows)))
        later = np.flatnonzero(new & (counts < most_pairs))
        later = later[later > start]
        for begin in range(0, len(later), TILE):
            some = later[begin : begin + TILE]
            for queries, base in ((some[home[some]], tile), (some[~home[some]], tile[home[tile]])):
                scores = members.vectors[rows[queries]] @ members.vectors[rows[base]].T
                second, first = hits(scores, threshold - SLACK)
                better = base[first] < queries[second]
                second, first = second[better], first[better]
                found = np.bincount(second, minlength=len(queries))
                counts[queries] += found
                if found.max(initial=0) > most_pairs:
                    chosen = _capped(second, scores[second, first], found, most_pairs)
                    second, first = second[chosen], first[chosen]
                pairs.append(rows[base[first]] * len(members.vectors) + rows[queries[second]])
    return np.concatenate(pairs)


def hits(scores: Vectors, least: float) -> tuple[Ints, Ints]:
    """Rows and columns of the scores of at least `least`, row by row."""
    rows, columns = np.divmod(np.flatnonzero(scores >= least), max(1, scores.shape[1]))
    return rows, columns


def _capped(queries: Ints, scores: Vectors, found: Ints, most: int) -> Flags:
    """Which hits stay when no query may stand in more than `most`: half of them the best ranked,
    half the nearest of the rest.

    Args:
        queries: [hits] the query of each, ascending; within a query, best ranked first.
        scores: [hits]
        found: hits of each query.
        most: hits that a query keeps.
    """
    starts = np.cumsum(found) - found
    stays = np.arange(len(queries)) - starts[queries] < most // 2
    rest = np.flatnonzero(~stays)
    nearest = rest[np.lexsort((-scores[rest], queries[rest]))]
    places = places_in_group(queries[nearest], np.arange(len(nearest)))
    stays[nearest[places < most - most // 2]] = True
    return stays


def places_in_group(groups: Ints, order: Ints) -> Ints:
    """Place of each element within its group, in an order that sorts by group first."""
    if not len(order):
        return order
    ordered = groups[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sizes = np.diff(np.r_[starts, len(ordered)])
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    return places


def exact_cosines(left: Vectors, a: Ints, right: Vectors, b: Ints) -> NDArray[np.float64]:
    """Products of left[a] and right[b] in double precision, rounded."""
    products = np.empty(len(a), np.float64)
    for start in range(0, len(a), TILE):
        part = slice(start, start + TILE)
        one, other = left[a[part]].astype(np.float64), right[b[part]].astype(np.float64)
        products[part] = np.einsum("ij,ij->i", one, other)
    rounded: NDArray[np.float64] = np.round(products, DECIMALS)
    return rounded
