"""All pairs at the threshold are found, kept rows are never near duplicates of each other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from doctor_sun.data.embeddings import EncoderConfig, embed
from doctor_sun.data.near_duplicates import _Keeper, near_pairs
from doctor_sun.data.packaged_encoder import dequantise, encoder_folder
from doctor_sun.data.tiny.gnuhealth_terms import load_terms


def unit_vectors(count: int, width: int, seed: int) -> NDArray[np.float32]:
    """Vectors in clusters, so that some cosines are high."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(count // 4 + 1, width))
    vectors = centres[rng.integers(len(centres), size=count)] + 0.3 * rng.normal(
        size=(count, width)
    )
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("tile_rows", [7, 64, 1000])
def test_pairs_equal_brute_force_whatever_the_tiles(ray_cluster: None, tile_rows: int) -> None:
    vectors = unit_vectors(150, 16, 3)
    ids = [f"id{i:03d}" for i in range(150)]
    cosines = vectors @ vectors.T
    expected = {
        (ids[i], ids[j]) for i in range(150) for j in range(i + 1, 150) if cosines[i, j] >= 0.9
    }
    found = near_pairs(ids, vectors, 0.9, tile_rows).to_pylist()
    assert len(found) == len(expected) > 20
    assert {tuple(sorted((pair["a"], pair["b"]))) for pair in found} == expected
    for pair in found:
        assert pair["cosine"] == pytest.approx(
            float(cosines[ids.index(pair["a"]), ids.index(pair["b"])]), abs=1e-5
        )


@settings(deadline=None)
@given(
    st.sets(st.tuples(st.integers(0, 14), st.integers(0, 14)).filter(lambda p: p[0] < p[1])),
    st.permutations(range(15)),
)
def test_the_greedy_keeper_leaves_no_pair_and_removes_nothing_unsupported(
    edges: set[tuple[int, int]], order: list[int]
) -> None:
    texts = {str(i): "the same words everywhere" for i in range(15)}
    pairs = [(str(a), str(b), 0.99) for a, b in edges]
    ordered = [{"id": str(i), "source": "s"} for i in order]
    decisions = _Keeper(texts, 0.85).walk(ordered, pairs)
    removed = {decision.id: decision.evidence["kept"] for decision in decisions}
    kept = set(texts) - set(removed)
    neighbours = {frozenset((a, b)) for a, b, _ in pairs}
    assert not any(edge <= kept for edge in neighbours)
    assert all(twin in kept and frozenset((id, twin)) in neighbours for id, twin in removed.items())


def test_the_guard_keeps_clinical_twins_apart() -> None:
    texts = {
        "a": "A small nodule is seen in the left upper lobe of the lung.",
        "b": "A small nodule is seen in the right upper lobe of the lung.",
        "c": "Small nodule is seen in the left upper lobe of the lung",
    }
    pairs = [("a", "b", 0.999), ("a", "c", 0.99), ("b", "c", 0.99)]
    keeper = _Keeper(texts, 0.6)
    decisions = keeper.walk([{"id": id, "source": "s"} for id in texts], pairs)
    assert [(d.id, d.evidence["kept"]) for d in decisions] == [("c", "a")]
    assert keeper.kept_apart["side"] >= 1


def test_dequantising_four_bit_blocks() -> None:
    nibbles = np.arange(32) % 16
    packed = (nibbles[:16] | (nibbles[16:] << 4)).astype(np.uint8)
    raw = np.float16(0.5).tobytes() + packed.tobytes()
    assert np.array_equal(dequantise(raw), (nibbles - 8) * np.float32(0.5))


@pytest.mark.slow
def test_vectors_do_not_depend_on_order_or_company(ray_cluster: None) -> None:
    folder = str(encoder_folder(offline=True))
    texts = [f"the number {i} " * (1 + i % 5) for i in range(40)] + ["双肺清晰"]
    config = EncoderConfig(batch_size=8, actors=1)
    vectors = embed(texts, config, folder)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(embed(texts[::-1], config, folder)[::-1], vectors, atol=1e-5)


@pytest.mark.slow
def test_the_packaged_encoder_understands_both_languages(ray_cluster: None) -> None:
    folder = encoder_folder()
    if folder.name.startswith("random"):
        pytest.skip("the packaged encoder is not available here")
    terms = [pair for pair in load_terms() if len(pair[0]) > 20][::400]
    config = EncoderConfig(actors=1)
    vectors = embed([text for pair in terms for text in pair], config, str(folder))
    nearest = (vectors[0::2] @ vectors[1::2].T).argmax(axis=1)
    accuracy = float((nearest == np.arange(len(terms))).mean())
    print(f"translation found among {len(terms)}: {accuracy:.0%}")
    assert accuracy > 0.6 > 10 / len(terms)
