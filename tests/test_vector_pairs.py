"""Near pairs are found wherever the borders of cells, blocks and bundles run, and are bounded."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
import ray
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from doctor_sun.data.near_confirm import removals
from doctor_sun.data.vector_cells import (
    Cells,
    Members,
    compare,
    exact_margin,
    sampling_keys,
    thinned,
    train_centroids,
    visits,
)
from doctor_sun.data.vector_files import read_keys, read_vectors, write_vectors
from doctor_sun.data.vector_pairs import SearchConfig, find_pairs

Vectors = NDArray[np.float32]


def units(vectors: NDArray[np.float64]) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clustered(count: int, width: int, seed: int, noise: float = 0.3) -> Vectors:
    """Vectors in clusters, so that some cosines are high."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(count // 4 + 1, width))
    chosen = centres[rng.integers(len(centres), size=count)]
    return units(chosen + noise * rng.normal(size=(count, width)))


def brute_force(vectors: Vectors, threshold: float) -> set[tuple[int, int]]:
    cosines = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    first, second = np.nonzero(np.triu(np.round(cosines, 6) >= round(threshold, 6), 1))
    return set(zip(first.tolist(), second.tolist(), strict=True))


def search(
    vectors: Vectors, threshold: float, config: SearchConfig, block: int = 64, **options: object
) -> set[tuple[int, int]]:
    parts = [vectors[at : at + block] for at in range(0, len(vectors), block)]
    found = find_pairs(
        [ray.put(part) for part in parts],
        [len(part) for part in parts],
        threshold,
        config,
        **options,  # type: ignore[arg-type]
    )
    return unordered(found.table)


def unordered(table: pa.Table) -> set[tuple[int, int]]:
    return {
        (min(a, b), max(a, b))
        for a, b in zip(table["a"].to_pylist(), table["b"].to_pylist(), strict=True)
    }


SMALL_CELLS = {"exact_below": 20, "bundle_rows": 90, "cell_rows": 20, "audit_rows": 40}


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(3, 30), st.floats(0.5, 0.99))
def test_at_the_exact_margin_every_near_pair_meets_in_a_home_cell(
    seed: int, width: int, cells: int, threshold: float
) -> None:
    rng = np.random.default_rng(seed)
    vectors = units(rng.normal(size=(60, width)))
    centroids = units(rng.normal(size=(cells, width)))
    bundles = np.sort(rng.integers(3, size=cells))
    made = Cells(centroids, bundles, units(rng.normal(size=(3, width))))
    rows, cell, home = visits(vectors, made, exact_margin(threshold) + 1e-6, cells)
    present = np.zeros((60, cells), bool)
    at_home = np.zeros((60, cells), bool)
    present[rows, cell] = True
    at_home[rows[home], cell[home]] = True
    assert (at_home.sum(axis=1) == 1).all()
    for a, b in brute_force(vectors, threshold):
        meet = present[a] & present[b] & (at_home[a] | at_home[b])
        assert meet.any()


def test_vectors_far_from_every_border_visit_nothing() -> None:
    centroids = np.eye(4, dtype=np.float32)
    made = Cells(centroids, np.arange(4), centroids)
    rows, cells, home = visits(centroids, made, 0.5, 3)
    assert sorted(zip(rows.tolist(), cells.tolist(), strict=True)) == [(i, i) for i in range(4)]
    assert home.all()


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(40)))
def test_samples_are_chosen_by_content(order: list[int]) -> None:
    vectors = clustered(40, 48, 1)
    assert np.array_equal(sampling_keys(vectors)[order], sampling_keys(vectors[order]))
    keys = sampling_keys(clustered(4000, 48, 2))
    assert abs(float((keys < 0.25).mean()) - 0.25) < 0.03


def test_a_heap_of_near_identical_vectors_stays_in_one_cell() -> None:
    rng = np.random.default_rng(0)
    heap = units(np.ones(48) + 0.02 * rng.normal(size=(600, 48)))
    rest = units(rng.normal(size=(600, 48)))
    centroids = train_centroids(np.concatenate([heap, rest]), 40)
    apart = 2 * 0.3 * exact_margin(0.9)
    left = centroids[thinned(centroids, apart)]
    assert (left @ units(np.ones((1, 48))).T > 0.9).sum() == 1
    assert len(left) > 10


@pytest.mark.slow
def test_a_heap_is_linear_in_pairs_and_each_row_meets_the_best() -> None:
    rng = np.random.default_rng(0)
    vectors = units(np.ones(16) + 0.02 * rng.normal(size=(5000, 16)))
    members = Members(vectors, np.zeros(5000, bool))
    pairs = compare(members, np.arange(5000), np.ones(5000, bool), 0.9, most_pairs=20)
    first, second = np.divmod(pairs, 5000)
    assert (first < second).all()
    assert len(pairs) <= 20 * 5000
    assert set(second[first == 0].tolist()) == set(range(1, 5000))
    nearest = (vectors[:1000] @ vectors[1000]).argmax()  # of a row's own tile the nearest too
    assert nearest in first[second == 1000]


def test_known_vectors_are_not_compared_with_each_other() -> None:
    vectors = clustered(200, 8, 4)
    known = np.arange(200) < 120
    pairs = compare(
        Members(vectors, known), np.arange(200), np.ones(200, bool), 0.8, most_pairs=200
    )
    first, second = np.divmod(pairs, 200)
    near = (vectors[first] * vectors[second]).sum(axis=1) >= 0.8
    found = set(zip(first[near].tolist(), second[near].tolist(), strict=True))
    assert found == {pair for pair in brute_force(vectors, 0.8) if pair[1] >= 120}


def test_vector_files_keep_keys_and_half_precision(tmp_path: object) -> None:
    vectors = clustered(30, 24, 5)
    keys = pa.array([bytes([i]) * 16 for i in range(30)], pa.binary(16))
    write_vectors(f"{tmp_path}/new/v.arrow", keys, vectors)
    assert read_keys(f"{tmp_path}/new/v.arrow").equals(keys)
    assert np.abs(read_vectors(f"{tmp_path}/new/v.arrow") - vectors).max() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("block", [37, 400])
def test_partitions_find_what_brute_force_finds(ray_cluster: None, block: int) -> None:
    vectors = clustered(400, 24, 3)
    expected = brute_force(vectors, 0.9)
    assert len(expected) > 100
    assert search(vectors, 0.9, SearchConfig(exact=True, **SMALL_CELLS), block) == expected
    assert search(vectors, 0.9, SearchConfig(), block) == expected
    everything = SearchConfig(reach=1, most_visits=400, **SMALL_CELLS)
    assert search(vectors, 0.9, everything, block) == expected
    found = search(vectors, 0.9, SearchConfig(**SMALL_CELLS), block)
    assert found <= expected
    assert len(found) >= 0.97 * len(expected)


@pytest.mark.slow
def test_the_result_does_not_depend_on_row_order(ray_cluster: None) -> None:
    vectors = clustered(400, 24, 6, noise=0.4)
    config = SearchConfig(recall=0, **SMALL_CELLS)  # one attempt, pairs may be lost
    whole = search(vectors, 0.85, config)
    order = np.random.default_rng(0).permutation(400)
    shuffled = search(vectors[order], 0.85, config, block=150)
    assert {tuple(sorted((int(order[a]), int(order[b])))) for a, b in shuffled} == whole
    assert len(whole) > 50


@pytest.mark.slow
def test_low_recall_is_seen_and_mended(ray_cluster: None) -> None:
    vectors = clustered(400, 6, 7, noise=0.8)  # few dimensions: near pairs straddle borders
    part = ray.put(vectors)
    config = SearchConfig(reach=0.01, **SMALL_CELLS)
    found = find_pairs([part], [400], 0.9, config)
    attempts = found.figures["attempts"]
    assert attempts[0]["recall"] < 0.95
    assert found.figures["recall"] >= 0.999
    assert [a["reach"] for a in attempts] == sorted(a["reach"] for a in attempts)
    assert found.figures["recall_at_least"] <= found.figures["recall"]
    expected = brute_force(vectors, 0.9)
    assert len(unordered(found.table) & expected) >= 0.99 * len(expected)


@pytest.mark.slow
@pytest.mark.parametrize("exact", [False, True])
def test_rows_meet_within_their_group_and_new_ones_meet_known_ones(
    ray_cluster: None, exact: bool
) -> None:
    vectors = clustered(500, 24, 8)
    groups = np.concatenate([np.zeros(200), np.arange(300) // 6 + 1]).astype(np.int64)
    order = np.random.default_rng(1).permutation(500)
    groups = groups[order]
    config = SearchConfig(exact=exact, reach=1, most_visits=500, **SMALL_CELLS)
    expected = {
        (a, b) for a, b in brute_force(vectors, 0.85) if groups[a] == groups[b] and b >= 150
    }
    found = search(vectors, 0.85, config, groups=groups, known=150)
    assert found == expected
    assert any(a < 150 for a, _ in found)
    assert any(groups[a] > 0 for a, _ in found)


@pytest.mark.slow
def test_a_chain_and_a_heap_end_with_supported_removals(ray_cluster: None) -> None:
    rng = np.random.default_rng(9)
    angle = np.arccos(0.93)
    chains = []
    for _ in range(20):  # neighbours at 0.93, the next but one below 0.9
        plane = np.linalg.qr(rng.normal(size=(64, 2)))[0].T
        chains.append(
            [np.cos(i * angle) * plane[0] + np.sin(i * angle) * plane[1] for i in range(8)]
        )
    heap = np.ones(64) / 8 + 0.01 * rng.normal(size=(1000, 64))
    vectors = units(np.concatenate([np.concatenate(chains), heap]))
    order = rng.permutation(len(vectors))
    vectors = vectors[order]
    config = SearchConfig(
        reach=1, most_visits=99, most_pairs=16, exact_below=20, bundle_rows=400, cell_rows=100
    )
    found = find_pairs(
        [ray.put(vectors)],
        [len(vectors)],
        0.9,
        config,
        ranks=np.arange(len(vectors), dtype=np.uint64),
    ).table
    assert found.num_rows < 40 * len(vectors)
    kept = keepers(found, len(vectors))
    assert (order[sorted(kept)] >= 160).sum() == 1  # one of the heap
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, 0)
    for row in range(len(vectors)):
        near_a_kept_row = (cosines[row, sorted(kept)] >= 0.9).any()
        assert near_a_kept_row == (row not in kept)


def keepers(pairs: pa.Table, count: int) -> set[int]:
    columns = [pairs[name].to_numpy() for name in ("a", "b", "cosine")]
    chosen = removals(*columns, np.arange(count, dtype=np.uint64))
    gone: Sequence[int] = columns[1][chosen].tolist()
    return set(range(count)) - set(gone)
