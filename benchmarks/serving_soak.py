#!/usr/bin/env python
"""The endpoint under a steady load for half an hour: memory, file handles, errors.

    python benchmarks/serving_soak.py [--minutes 30] [--at-a-time 16] [--quick]

Text, pictures and DICOM files in turn, a hostile request among every twenty. Every ten seconds the
memory and the open files of every process of the endpoint are noted; the picture is
`benchmarks/results/serving_soak.png`. Fails when a request ends otherwise than it should, or when
memory or files in the last quarter are over 1.05 of those in the second one.
"""

import argparse
import asyncio
import base64
import itertools
import json
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from _endpoints import PARTS, ours
from _load import Outcome, load
from serving_overhead import bodies, random_llava

from tests.processes import descendants

RESULTS = Path(__file__).parent / "results"
LOOK_SECONDS = 10
BAR = 1.05
HOSTILE = {"messages": [{"role": "user", "content": "<|eot_id|>"}], "stream": True}


def requests(start: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Until the time is over: of twenty, ten texts, six pictures, three DICOM files, a hostile one.

    No two are alike, as patients are not: what is kept of each would add up.
    """
    from pydicom.data import get_testdata_file

    encoded = Path(str(get_testdata_file("CT_small.dcm", download=False))).read_bytes()
    url = f"data:application/dicom;base64,{base64.b64encode(encoded).decode()}"
    end = time.time() + seconds
    for number in itertools.count(start):
        if time.time() > end:
            return
        place = number % 20
        if place == 0:
            yield HOSTILE
            continue
        [body] = bodies(1, number, image=place % 3 == 1 and place < 18)
        if place % 6 == 3:
            window = {"center": 1000 + number % 997, "width": 400 + number / 7919}
            part = {"type": "image_url", "image_url": {"url": url}, "dicom": {"window": window}}
            body["messages"][0]["content"].insert(0, part)
        yield body


class Watch:
    """Memory in MiB and open files of the processes under one, by what they are, over time."""

    def __init__(self, above: psutil.Process) -> None:
        self.above, self._end = above, threading.Event()
        self.times: list[float] = []
        self.memory: dict[str, list[float]] = defaultdict(list)
        self.files: dict[str, list[float]] = defaultdict(list)

    def __enter__(self) -> "Watch":
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._started = time.time()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(LOOK_SECONDS):
            memory: Counter[str] = Counter()
            files: Counter[str] = Counter()
            for name, part in PARTS.items():
                for process in descendants(name, of=self.above):
                    with suppress(psutil.NoSuchProcess):  # it ended since
                        memory[part] += process.memory_info().rss >> 20
                        files[part] += process.num_fds()
            self.times.append((time.time() - self._started) / 60)
            for part in memory:
                self.memory[part].append(memory[part])
                self.files[part].append(files[part])


def growth(series: list[float]) -> float:
    """The last quarter's median over the second one's."""
    quarter = max(1, len(series) // 4)
    return statistics.median(series[-quarter:]) / statistics.median(series[quarter : 2 * quarter])


def plot(watch: Watch, path: Path) -> None:
    """Memory above, files below, a line a part."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 1, figsize=(9, 6), sharex=True, layout="constrained")
    for axis, series, label in zip(
        axes, (watch.memory, watch.files), ("MiB", "open files"), strict=True
    ):
        for part, values in series.items():
            axis.plot(watch.times[-len(values) :], values, label=part)
        axis.set(ylabel=label, ylim=(0, None))
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=6)
    axes[1].set_xlabel("minutes")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run it, say what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--at-a-time", type=int, default=16)
    parser.add_argument("--quick", action="store_true", help="two minutes")
    parser.add_argument("--like", type=Path, default=Path("runs/tiny/export"), help="whose form")
    given = parser.parse_args()
    minutes = 2 if given.quick else given.minutes
    if not (given.like / "config.json").is_file():
        sys.exit(f"error: {given.like} is not there: `make demo` makes it")
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        model = Path(temporary) / "model"
        random_llava(given.like, model)
        audit = {"audit": {"folder": temporary}}
        with ours(model, 8414, Path(temporary) / "log", **audit) as url:
            asyncio.run(load(url, requests(0, 10), given.at_a_time))
            with Watch(psutil.Process()) as watch:
                asked = requests(1_000_000, 60 * minutes)
                outcomes = asyncio.run(load(url, asked, given.at_a_time))
    report(outcomes, watch, minutes)


def report(outcomes: list[Outcome], watch: Watch, minutes: float) -> None:
    """Counts, growth, picture, file, exit status."""
    ends = Counter("answered" if o.answered else f"{o.status} {o.code}" for o in outcomes)
    unexpected = sum(n for end, n in ends.items() if end not in ("answered", "400 special_tokens"))
    plot(watch, RESULTS / "serving_soak.png")
    grown = {f"{part} memory": growth(values) for part, values in watch.memory.items()}
    grown |= {f"{part} files": growth(values) for part, values in watch.files.items()}
    print(f"{len(outcomes)} requests in {minutes:g} minutes: {dict(ends)}")
    result = {"ends": ends, "growth": grown, "minutes": watch.times, "memory_mib": watch.memory}
    result |= {"files": watch.files, "ratio": max(grown.values())}
    (RESULTS / "serving_soak.json").write_text(json.dumps(result, indent=1))
    print(f"unexpected ends: {unexpected}")
    for name, ratio in grown.items():
        print(f"ratio: {ratio:.3f} ({name}, last quarter to second; bar {BAR})")
    sys.exit(1 if unexpected or max(grown.values()) > BAR else 0)


if __name__ == "__main__":
    main()
