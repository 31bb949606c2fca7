#!/usr/bin/env python
"""Memory of curation: the tiny corpus at one size and at ten times that size.

    python benchmarks/curation_memory.py

Renders both corpora (no package is read), curates both with every step that needs no model of a
user's own, and samples what each process holds for itself (unique set size; the object store, whose
size Ray fixes, is apart). Flat means: ten times the rows do not take ten times the memory. The bar
is 1.5 for the driver and for the largest worker.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from doctor_sun.cluster import connect
from doctor_sun.config import load
from doctor_sun.data import curation
from doctor_sun.data.packaged_encoder import encoder_folder
from doctor_sun.data.tiny import corpus

RESULTS = Path(__file__).parent / "results"
BAR = 1.5
MIB = 1 << 20
ORDER = [name for name in curation.STEPS if name != "decontamination"]


class Sampler(threading.Thread):
    """Samples the memory of this process and of all it has started, twice a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.driver = self.worker = self.all = 0
        self.finished = threading.Event()

    def run(self) -> None:
        """Sample until `finished` is set."""
        own = psutil.Process()
        while not self.finished.wait(0.5):
            sizes = [_unique(process) for process in own.children(recursive=True)]
            driver = _unique(own)
            self.driver = max(self.driver, driver)
            self.worker = max([self.worker, *sizes])
            self.all = max(self.all, driver + sum(sizes))


def _unique(process: psutil.Process) -> int:
    """Bytes that a process shares with no other; 0 when it has ended."""
    try:
        return int(process.memory_full_info().uss)
    except psutil.Error:
        return 0


@contextmanager
def sampled() -> Iterator[Sampler]:
    """Samples over the time of the block."""
    sampler = Sampler()
    sampler.start()
    try:
        yield sampler
    finally:
        sampler.finished.set()
        sampler.join()


def measure(rows: int, folder: Path) -> dict[str, Any]:
    """Peaks and seconds of curating a corpus of so many rows, on a cluster of its own."""
    with connect(None):
        corpus.run(
            corpus.CorpusConfig(
                output=str(folder / "corpus"),
                rows=rows,
                captioned_images=8,
                benchmark_items=8,
                combination_items=8,
                validation_items=8,
                offline=True,
            )
        )
        config = load(
            curation.CurateConfig,
            output=str(folder / "curate"),
            raw=str(folder / "corpus" / "raw"),
            order=json.dumps(ORDER),
            **{
                "perplexity.scorer": "ngram",
                "near_duplicates.encoder.folder": str(encoder_folder(offline=True)),
            },
        )
        started = time.perf_counter()
        with sampled() as peaks:
            manifest = curation.run(config)
    return {
        "rows": manifest["counts"]["rows_in"],
        "seconds": round(time.perf_counter() - started, 1),
        "driver_mib": peaks.driver // MIB,
        "largest_worker_mib": peaks.worker // MIB,
        "all_mib": peaks.all // MIB,
    }


def main() -> None:
    """Measure both sizes, print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, default=10_000, help="rows of the smaller corpus")
    parser.add_argument("--quick", action="store_true", help="1,000 and 10,000 rows")
    arguments = parser.parse_args()
    small = 1_000 if arguments.quick else arguments.rows
    found = []
    for rows in (small, 10 * small):
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(rows, Path(folder)))
    columns = ("rows", "seconds", "driver_mib", "largest_worker_mib", "all_mib")
    print("".join(f"{name:>20}" for name in columns))
    for line in found:
        print("".join(f"{line[name]:>20,}" for name in columns))
    ratios = {name: found[1][name] / found[0][name] for name in columns[2:]}
    ratio = max(ratios["driver_mib"], ratios["largest_worker_mib"])
    result = {"sizes": found, "ratios": ratios, "ratio": ratio, "cpus": os.cpu_count()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "curation_memory.json").write_text(json.dumps(result, indent=2))
    print(f"ratio: {ratios['driver_mib']:.2f} (the driver's memory at ten times the rows)")
    print(f"ratio: {ratios['largest_worker_mib']:.2f} (the largest worker's)")
    if ratio > BAR:
        sys.exit(f"error: ten times the rows take {ratio:.2f} times the memory (bar {BAR})")


if __name__ == "__main__":
    main()
