#!/usr/bin/env python
"""Sentence vectors through Ray Data actors against `sentence_transformers.encode`, same model.

    python benchmarks/embedding.py [--quick]

The texts are of mixed length, Chinese and English: ICD-10 titles in both languages, radiology
reports, statements on diseases, and some of them joined. sentence-transformers runs in this process
with one thread a core (the best of two batch sizes counts), ours in one process a core. Loading the
model is measured apart. Fails when our texts per second are fewer, or when the vectors differ.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from doctor_sun.cluster import connect
from doctor_sun.data import embeddings
from doctor_sun.data.embeddings import Encoder, EncoderConfig, embed
from doctor_sun.data.packaged_encoder import encoder_folder
from doctor_sun.data.tiny.disease_knowledge import load_diseases, statements
from doctor_sun.data.tiny.gnuhealth_terms import load_terms
from doctor_sun.data.tiny.openi_reports import load_reports

RESULTS = Path(__file__).parent / "results"
MAX_TOKENS = 128
CORES = os.cpu_count() or 1


def mixed_texts(count: int) -> list[str]:
    """Distinct texts of about 5 to 1,000 characters in both languages, in random order."""
    rng = np.random.default_rng(0)
    terms = [text for pair in load_terms() for text in pair]
    reports = [f"{report.findings} {report.impression}".strip() for report in load_reports()]
    facts = [text for text, _ in statements(load_diseases())]
    kinds = [terms, reports, facts]
    texts: set[str] = set()
    while len(texts) < count:
        kind = kinds[rng.integers(len(kinds))]
        parts = int(rng.choice([1, 1, 1, 2, 5]))
        texts.add(" ".join(kind[i] for i in rng.integers(len(kind), size=parts)))
    return [str(text) for text in rng.permutation(sorted(texts))]


class Together(Encoder):
    """An encoder that starts to work when all have loaded: loading is measured apart."""

    def __init__(self, folder: str, config: EncoderConfig) -> None:
        super().__init__(folder, config)
        self.encode(["warm"])
        place = Path(os.environ["EMBEDDING_BENCHMARK"])
        (place / str(os.getpid())).touch()
        while len(list(place.iterdir())) < config.actors:
            time.sleep(0.01)


def with_ray_data(texts: list[str], folder: str) -> tuple[NDArray[np.float32], float, float]:
    """Vectors, seconds until all encoders had loaded, seconds from there to the last vector."""
    config = EncoderConfig(max_tokens=MAX_TOKENS, actors=CORES)
    with tempfile.TemporaryDirectory() as place:
        os.environ["EMBEDDING_BENCHMARK"] = place
        embeddings.Encoder = Together  # type: ignore[misc]
        with connect(None):
            began = time.time()
            vectors = embed(texts, config, folder)
            ended = time.time()
        loaded = max(file.stat().st_mtime for file in Path(place).iterdir())
    return vectors, loaded - began, ended - loaded


def with_sentence_transformers(
    texts: list[str], folder: str, batch: int
) -> tuple[NDArray[np.float32], float, float]:
    """Vectors of `encode`, seconds to load, seconds to encode."""
    began = time.perf_counter()
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    torch.set_num_threads(CORES)
    transformer = Transformer(
        folder, max_seq_length=MAX_TOKENS, model_kwargs={"dtype": torch.float32}
    )
    width = transformer.get_embedding_dimension()
    model = SentenceTransformer(
        modules=[transformer, Pooling(width, "mean"), Normalize()], device="cpu"
    )
    model.encode(["warm"])
    loaded = time.perf_counter()
    prefix = EncoderConfig().prefix
    vectors = model.encode([prefix + text for text in texts], batch_size=batch)
    return np.asarray(vectors), loaded - began, time.perf_counter() - loaded


def main() -> None:
    """Run both, print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="600 texts instead of 3,000")
    texts = mixed_texts(600 if parser.parse_args().quick else 3000)
    folder = str(encoder_folder())
    try:
        peers = {
            f"sentence-transformers, batch {batch}": with_sentence_transformers(
                texts, folder, batch
            )
            for batch in (32, 128)
        }
    except ImportError:
        sys.exit("error: pip install --no-deps sentence-transformers scikit-learn")
    ours = with_ray_data(texts, folder)
    result: dict[str, Any] = {"texts": len(texts), "cpus": CORES, "encoder": Path(folder).name}
    print(f"{'':<36}{'load, s':>9}{'texts/s':>9}")
    for name, (_, load, seconds) in {"Ray Data": ours, **peers}.items():
        result[name] = {"load_seconds": load, "texts_per_second": len(texts) / seconds}
        print(f"{name:<36}{load:>9.1f}{len(texts) / seconds:>9.1f}")
    fastest = min(seconds for _, _, seconds in peers.values())
    cosines = [(ours[0] * vectors).sum(axis=1).min() for vectors, _, _ in peers.values()]
    result |= {"ratio": fastest / ours[2], "least_cosine": float(min(cosines))}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "embedding.json").write_text(json.dumps(result, indent=2))
    print(f"least cosine of two vectors of one text: {result['least_cosine']:.6f}")
    print(f"ratio: {result['ratio']:.2f} (texts a second, to sentence-transformers)")
    sys.exit(0 if result["ratio"] >= 1 and result["least_cosine"] > 0.999 else 1)


if __name__ == "__main__":
    main()
