"""Near vectors in one process: the unit sphere in cells, what is compared in which, and comparing.

A vector is *at home* in the cell of its nearest centroid and *visits* each other cell whose border
with its own is nearer than a margin. Two vectors of cosine t lie sqrt(2 - 2 t) apart, so of two on
either side of a border one is within half of that, sqrt((1 - t) / 2): with this margin no pair is
lost. In many dimensions two near vectors seldom differ just across the border, and a part of the
margin finds nearly all of them at a fraction of the cost; the caller audits how many.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Vectors = NDArray[np.float32]

TILE = 2048  # vectors on either side of one product
SLACK = 1e-5  # single-precision products are off by less; cosines are then computed exactly
DECIMALS = 6  # of a cosine, so that it does not depend on how the products were tiled
KEY_DIMENSIONS = 32
FLAT_SEARCH = 4096  # more centroids than this are searched by an inverted file


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


def visits(
    vectors: Vectors, centroids: Vectors, margin: float, most: int
) -> tuple[Ints, Ints, Flags]:
    """Which vector is compared in which cell.

    Args:
        vectors: [n, width] unit vectors.
        centroids: [k, width] unit vectors.
        margin: distance to a border within which the cell behind it is visited.
        most: visited cells of a vector, its own not counted; those of the nearest centroids.

    Returns:
        Positions of vectors, cells, and whether the vector is at home there.
    """
    scores, cells = _nearest(vectors, centroids, min(most + 1, len(centroids)))
    gaps = scores[:, :1] - scores
    near = (gaps <= 2 * margin) & (cells >= 0)  # no two centroids are further apart than 2
    near[:, 0] = True
    rows, places = np.nonzero(near)
    cell, own = cells[rows, places], cells[rows, 0]
    borders, border = np.unique(own * len(centroids) + cell, return_inverse=True)
    one, other = np.divmod(borders, len(centroids))
    cosines = exact_cosines(centroids, one, centroids, other)
    apart = np.sqrt(np.maximum(2 - 2 * cosines, 0))[border]
    # Distance to a border: difference of the scores over distance of the centroids.
    chosen = (gaps[rows, places] <= margin * apart) | (places == 0)
    return rows[chosen], cell[chosen], places[chosen] == 0


def _nearest(vectors: Vectors, centroids: Vectors, count: int) -> tuple[Vectors, Ints]:
    """[n, count] scores and numbers of the nearest centroids."""
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(centroids.shape[1])
    if len(centroids) > FLAT_SEARCH and count < len(centroids):
        lists = int(np.sqrt(len(centroids)))
        index = faiss.IndexIVFFlat(index, centroids.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = max(8, lists // 8)
        index.train(centroids)
    index.add(centroids)
    scores, cells = index.search(np.ascontiguousarray(vectors), count)
    return scores, cells


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
                near = (scores >= threshold - SLACK) & (base < queries[:, None])
                counts[queries] += near.sum(axis=1)
                second, first = np.nonzero(_capped(near, scores, most_pairs))
                pairs.append(rows[base[first]] * len(members.vectors) + rows[queries[second]])
    return np.concatenate(pairs)


def _capped(near: Flags, scores: Vectors, most: int) -> Flags:
    """[rows, better ranked] the pairs that stay when no row may stand in more than `most`."""
    crowded = np.flatnonzero(near.sum(axis=1) > most)
    if len(crowded):
        here = near[crowded]
        best = here & (np.cumsum(here, axis=1) <= most // 2)
        left = np.where(here & ~best, scores[crowded], -2)
        nearest = np.argpartition(-left, most - most // 2 - 1, axis=1)[:, : most - most // 2]
        np.put_along_axis(best, nearest, True, axis=1)
        near[crowded] = best & here
    return near


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
