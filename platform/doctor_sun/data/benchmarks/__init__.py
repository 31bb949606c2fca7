"""The benchmarks' test sets, one file each: what their publishers ship, and how it is read.

A new one is a file here that makes a `Benchmark`, and its line below.
"""

from collections.abc import Iterator, Mapping

from upath import UPath

from doctor_sun.config import unknown_key
from doctor_sun.data.benchmarks import (
    bbh,
    ceval,
    cmb,
    mbpp,
    medqa,
    mmbench,
    path_vqa,
    pmc_vqa,
    pubmedqa,
    slake,
    vqa_med,
    vqa_rad,
)
from doctor_sun.data.benchmarks.item import Benchmark, BenchmarkItem
from doctor_sun.errors import InputError

MODULES = (
    *(vqa_rad, slake, path_vqa, vqa_med, pmc_vqa, medqa),
    *(pubmedqa, mmbench, cmb, ceval, bbh, mbpp),
)
BENCHMARKS: Mapping[str, Benchmark] = {
    module.BENCHMARK.name: module.BENCHMARK for module in MODULES
}


def load_benchmark(name: str, folder: str) -> Iterator[BenchmarkItem]:
    """The held-out items of a registered benchmark.

    Args:
        name: a key of `BENCHMARKS`.
        folder: local path or URI of the publisher's files.

    Raises:
        InputError: no such benchmark, no such folder, or its files are not as published.
    """
    if name not in BENCHMARKS:
        raise InputError(unknown_key(name, list(BENCHMARKS), "benchmarks"))
    path = UPath(folder)
    if not path.is_dir():
        raise InputError(f"folder {folder} of benchmark {name} does not exist")
    return BENCHMARKS[name].load(path)


__all__ = ["BENCHMARKS", "Benchmark", "BenchmarkItem", "load_benchmark"]
