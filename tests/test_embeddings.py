"""Sentence vectors depend on the text alone, and the packaged encoder knows both languages."""

import numpy as np
import pytest

from doctor_sun.data.embeddings import Encoder, EncoderConfig, embed
from doctor_sun.data.packaged_encoder import dequantise, encoder_folder
from doctor_sun.data.tiny.gnuhealth_terms import load_terms


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
def test_vectors_are_means_over_the_tokens_that_are_read() -> None:
    folder = str(encoder_folder(offline=True))
    config = EncoderConfig(max_tokens=16)
    encoder = Encoder(folder, config)
    texts = ["双肺清晰", "a long text " * 40, ""]
    together = encoder.encode(texts)
    apart = np.concatenate([encoder.encode([text]) for text in texts])
    assert np.allclose(together, apart, atol=1e-5)
    assert np.allclose(encoder.encode([texts[1] + "that goes on"])[0], together[1], atol=1e-5)
    assert encoder.encode([]).shape == (0, together.shape[1])


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
