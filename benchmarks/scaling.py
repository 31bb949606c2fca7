#!/usr/bin/env python
"""How curation grows with rows and with workers, and what ten million rows would take.

    python benchmarks/scaling.py

Curates corpora of three sizes on clusters of one, two and four logical CPUs. Of each step the
seconds on one CPU are fitted by `fixed + seconds a row x rows` (near duplicates: rows ^ 1.34, the
exponent of `near_duplicates.py` at a million vectors), and read off at ten million rows. How much
workers bring is compared with how much they bring to Ray Data itself: a pipeline that only
computes, on the same clusters. The bar is 0.8 of that, at two CPUs: a machine has what it has.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import ray
import ray.data
from scipy.optimize import nnls
from tabulate import tabulate

from doctor_sun.cluster import WORKER_ENVIRONMENT, inherited
from doctor_sun.config import load
from doctor_sun.data import curation
from doctor_sun.data.packaged_encoder import encoder_folder
from doctor_sun.data.tiny import corpus

RESULTS = Path(__file__).parent / "results"
BAR = 0.8
SIZES, QUICK = (2_000, 6_000, 18_000), (500, 1_000, 2_000)
CPUS = (1, 2, 4)
EXPONENTS = {"near_duplicates": 1.34}
FAR = 10_000_000
SPINS = 60  # blocks of a pipeline that only computes
WHOLE = "all"


class Cluster:
    """A Ray cluster of so many logical CPUs, for the time of a block."""

    def __init__(self, cpus: int) -> None:
        self.cpus = cpus

    def __enter__(self) -> None:
        environment = {name: value for name, value in WORKER_ENVIRONMENT.items() if value}
        with inherited(environment | {"RAY_DATA_PARQUET_FOOTER_NUM_ACTORS": "1"}):
            ray.init(address="local", num_cpus=self.cpus, include_dashboard=False)

    def __exit__(self, *error: object) -> None:
        ray.shutdown()


def make_corpus(rows: int, folder: Path) -> Path:
    """Raw data of so many rows and their planted faults."""
    small = {"captioned_images": 8, "benchmark_items": 8, "combination_items": 8}
    small["validation_items"] = 8
    corpus.run(corpus.CorpusConfig(output=str(folder), rows=rows, offline=True, **small))
    return folder / "raw"


def curate(raw: Path, output: Path) -> tuple[int, dict[str, float]]:
    """Rows that came in, and the seconds of each step and of all."""
    options = {
        "order": json.dumps([n for n in curation.STEPS if n != "decontamination"]),
        "perplexity.scorer": "ngram",
        "near_duplicates.encoder.folder": str(encoder_folder(offline=True)),
        "near_duplicates.encoder.layers": 2,
        "near_duplicates.encoder.max_tokens": 64,
        "near_duplicates.encoder.actors": 1,
        "exact_duplicates.partitions": 2,
        "image_duplicates.partitions": 2,
        "repeated_sentences.partitions": 2,
    }
    config = load(curation.CurateConfig, raw=str(raw), output=str(output), **options)
    started = time.perf_counter()
    steps = curation.run(config)["counts"]["steps"]
    found = {key.split("-", 1)[1]: step["seconds"] for key, step in steps.items()}
    rows = next(iter(steps.values()))["in"]
    return rows, found | {WHOLE: time.perf_counter() - started}


def spin(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A second or so of one CPU."""
    for _ in range(400):
        batch["id"] = np.sort(np.random.default_rng(0).random(40_000))[: len(batch["id"])]
    return batch


def bare_seconds() -> float:
    """Seconds of a pipeline of Ray Data that only computes."""
    data = ray.data.range(SPINS, override_num_blocks=SPINS).map_batches(spin, batch_size=None)
    data.limit(1).materialize()  # workers start before the clock does
    started = time.perf_counter()
    data.materialize()
    return time.perf_counter() - started


def fitted(
    rows: Sequence[int], seconds: Sequence[float], exponent: float
) -> tuple[float, float, float]:
    """Fixed seconds, seconds a row (to the exponent), and the fit's largest error as a share."""
    design = np.array([[1.0, n**exponent] for n in rows])
    weights = 1 / np.maximum(seconds, 0.1)  # errors count as shares
    (fixed, slope), _ = nnls(design * weights[:, None], np.asarray(seconds) * weights)
    error = np.abs(design @ [fixed, slope] * weights - 1).max()
    return float(fixed), float(slope), float(error)


def growth(by_size: Mapping[int, Mapping[str, float]]) -> list[dict[str, float | str]]:
    """A line a step: its fit, and its hours at ten million rows on one CPU."""
    lines: list[dict[str, float | str]] = []
    for step in next(iter(by_size.values())):
        if step != WHOLE:
            exponent = EXPONENTS.get(step, 1.0)
            seconds = [found[step] for found in by_size.values()]
            fixed, slope, error = fitted(list(by_size), seconds, exponent)
            hours = (fixed + slope * FAR**exponent) / 3600
            lines.append({"step": step, "fixed": fixed, "slope": slope, "error": error})
            lines[-1] |= {"exponent": exponent, "hours": hours}
    return lines


def main() -> None:
    """Measure, fit, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="500 to 2,000 rows")
    sizes = QUICK if parser.parse_args().quick else SIZES
    measured: dict[int, dict[int, dict[str, float]]] = {cpus: {} for cpus in CPUS}
    bare: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with Cluster(2 * (os.cpu_count() or 1)):
            raw = {size: make_corpus(size, folder / f"corpus{size}") for size in sizes}
        for cpus in CPUS:
            with Cluster(cpus):
                bare[cpus] = bare_seconds()
                for size in sizes:
                    rows, took = curate(raw[size], folder / f"curate{size}-{cpus}")
                    measured[cpus][rows] = took
    steps = growth(measured[1])
    largest = max(measured[1])
    speedup = {n: measured[1][largest][WHOLE] / measured[n][largest][WHOLE] for n in CPUS}
    bare_speedup = {n: bare[1] / bare[n] for n in CPUS}
    print(f"\nseconds of each step on one CPU, by rows; hours at {FAR:,} rows by the fit")
    listed = []
    for one in steps:
        seconds = [found[str(one["step"])] for found in measured[1].values()]
        listed.append([one["step"], *seconds, one["exponent"], one["error"], one["hours"]])
    heads = ["step", *(f"{rows:,}" for rows in measured[1]), "rows ^", "fit's error", "hours"]
    print(tabulate(listed, heads, floatfmt=("", *[".1f"] * len(sizes), ".2f", ".0%", ".1f")))
    print(f"\n{largest:,} rows, by logical CPUs of a machine with {os.cpu_count()}")
    table = [[n, measured[n][largest][WHOLE], speedup[n], bare_speedup[n]] for n in CPUS]
    heads = ["CPUs", "seconds", "times as fast", "Ray Data alone, times as fast"]
    print(tabulate(table, heads, floatfmt=("", ".0f", ".2f", ".2f")))
    total = sum(float(one["hours"]) for one in steps)
    print(f"\n{FAR:,} rows: {total:.0f} CPU hours")
    ratio = speedup[2] / bare_speedup[2]
    result = {"seconds": measured, "steps": steps, "hours": total, "bare_seconds": bare}
    result |= {"speedup": speedup, "bare_speedup": bare_speedup, "ratio": ratio}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "scaling.json").write_text(json.dumps(result, indent=2))
    print(f"ratio: {ratio:.2f} (what a second CPU brings, to what it brings Ray Data alone)")
    if ratio < BAR:
        sys.exit(f"error: two CPUs bring {ratio:.2f} of what they bring to Ray Data (bar {BAR})")


if __name__ == "__main__":
    main()
