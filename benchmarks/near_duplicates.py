#!/usr/bin/env python
"""Near duplicates by vectors: our search and keeper against semhash and against brute force.

    python benchmarks/near_duplicates.py [--quick]

50,000 x 384 unit vectors in 200 topics with planted pairs of cosine 0.87 to 0.99, threshold 0.9;
chains (500 of 10 rows, neighbours at cosine 0.93) and a heap (3,000 near-identical rows among
2,000 others); then 200,000 and 1,000,000 vectors for the growth of the cost. Cost is CPU seconds of
all processes, Ray's included, from the moment Ray and its workers have started and imported what
they need. semhash 0.5 (`SemHash.from_embeddings`, default backend) runs in the same call, where it
is installed. Fails when recall is below 0.999, a removed row has no kept twin, semhash takes less
than four times our CPU seconds, the cost grows with an exponent of 1.4 or more, or memory passes
10 GiB.
"""

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import ray
from numpy.typing import NDArray

from doctor_sun.cluster import connect
from doctor_sun.data.near_confirm import removals
from doctor_sun.data.vector_pairs import NearPairs, SearchConfig, find_pairs

RESULTS = Path(__file__).parent / "results"
WIDTH, TOPICS, THRESHOLD, BLOCK = 384, 200, 0.9, 25_000
Vectors = NDArray[np.float32]


def units(vectors: NDArray[Any]) -> Vectors:
    """Rows of length one."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def turned(vectors: Vectors, cosines: NDArray[np.float64], rng: np.random.Generator) -> Vectors:
    """Vectors at given cosines to others, in random directions."""
    across = rng.normal(size=vectors.shape).astype(np.float32)
    across = units(across - (across * vectors).sum(1, keepdims=True) * vectors)
    return units(cosines[:, None] * vectors + np.sqrt(1 - cosines[:, None] ** 2) * across)


def topic_rows(count: int, seed: int) -> Vectors:
    """Rows around topics, every seventh pair of them planted near each other."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(TOPICS, WIDTH)).astype(np.float32)
    noise = 0.7 * rng.normal(size=(count, WIDTH)).astype(np.float32)
    vectors = units(centres[rng.integers(TOPICS, size=count)] + noise)
    pairs = count // 10
    ends = rng.permutation(count)[: 2 * pairs]
    first, second = ends[:pairs], ends[pairs:]
    vectors[second] = turned(vectors[first], rng.uniform(0.87, 0.99, pairs), rng)
    return vectors


def chain_rows() -> Vectors:
    """500 chains of 10 rows, neighbours at cosine 0.93."""
    rng = np.random.default_rng(1)
    steps = [units(rng.normal(size=(500, WIDTH)))]
    for _ in range(9):
        steps.append(turned(steps[-1], np.full(500, 0.93), rng))
    return np.concatenate(steps)[rng.permutation(5000)]


def heap_rows() -> Vectors:
    """3,000 rows that are nearly one, and 2,000 others."""
    rng = np.random.default_rng(2)
    heap = units(rng.normal(size=(1, WIDTH)) + 0.05 * rng.normal(size=(3000, WIDTH)))
    others = units(rng.normal(size=(2000, WIDTH)))
    return np.concatenate([heap, others])[rng.permutation(5000)]


def cpu_seconds() -> float:
    """CPU seconds so far of this process and all below it."""
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            spent = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += spent.user + spent.system
    return total


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """GiB that all processes together held at most (shared memory counted once)."""
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            private = shared = 0
            for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                try:
                    memory = process.memory_info()
                except psutil.NoSuchProcess:
                    continue
                private += memory.rss - memory.shared
                shared = max(shared, memory.shared)
            peak[0] = max(peak[0], (private + shared) / 2**30)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield peak
    done.set()
    thread.join()


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What a function returns, and what it cost."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    result = work()
    cost = {"cpu_seconds": cpu_seconds() - cpu, "wall_seconds": time.perf_counter() - wall}
    return result, cost


def searched(blocks: list[Any], sizes: list[int], **changes: Any) -> tuple[NearPairs, set[int]]:
    """Our pairs, and the rows that the keeper removes."""
    count = sum(sizes)
    ranks = np.arange(count, dtype=np.uint64)
    config = SearchConfig(**{"most_pairs": 64, **changes})
    found = find_pairs(blocks, sizes, THRESHOLD, config, ranks=ranks)
    columns = [found.table[name].to_numpy() for name in ("a", "b", "cosine")]
    return found, set(columns[1][removals(*columns, ranks)].tolist())


def put(vectors: Vectors) -> tuple[list[Any], list[int]]:
    """Blocks in the object store, and their sizes."""
    parts = [vectors[at : at + BLOCK] for at in range(0, len(vectors), BLOCK)]
    return [ray.put(part) for part in parts], [len(part) for part in parts]


def codes(pairs: pa.Table, count: int) -> NDArray[np.int64]:
    """One number a pair."""
    a, b = pairs["a"].to_numpy(), pairs["b"].to_numpy()
    return np.minimum(a, b) * count + np.maximum(a, b)


def unsupported(vectors: Vectors, removed: set[int]) -> int:
    """Removed rows without a kept row at the threshold."""
    gone = np.array(sorted(removed), np.int64)
    kept = np.delete(vectors, gone, axis=0)
    nearest = [
        (vectors[gone[at : at + 500]] @ kept.T).max(axis=1) for at in range(0, len(gone), 500)
    ]
    return int((np.concatenate([np.zeros(0), *nearest]) < THRESHOLD - 1e-6).sum())


def with_semhash(vectors: Vectors) -> tuple[set[int], dict[str, float]] | None:
    """The rows that semhash removes and its cost; None where it is not installed."""
    try:
        from semhash import SemHash
    except ImportError:
        return None

    class NoModel:
        """semhash asks for an encoder even when it is given vectors."""

        def encode(self, inputs: Any, **_: Any) -> Any:
            raise NotImplementedError

    texts = [str(row) for row in range(len(vectors))]
    SemHash.from_embeddings(vectors[:100], texts[:100], NoModel()).self_deduplicate(THRESHOLD)

    def work() -> set[int]:
        index = SemHash.from_embeddings(vectors, texts, NoModel())
        kept = {int(text) for text in index.self_deduplicate(THRESHOLD).selected}
        return set(range(len(vectors))) - kept

    return timed(work)


def compared(name: str, vectors: Vectors, peer: bool) -> dict[str, Any]:
    """One data set: brute force, our search and keeper, semhash."""
    blocks, sizes = put(vectors)
    (truth, expected), brute = timed(
        lambda: searched(blocks, sizes, exact=True, exact_below=1, most_pairs=None)
    )
    (found, removed), ours = timed(lambda: searched(blocks, sizes))
    pairs, true = (codes(one.table, len(vectors)) for one in (found, truth))
    result: dict[str, Any] = {
        "rows": len(vectors),
        "true_pairs": len(true),
        "pairs_listed": len(pairs),
        "pair_recall": float(np.isin(true, pairs).mean()) if name != "heap" else None,
        "kept_by_brute_force": len(vectors) - len(expected),
        "brute_force": brute,
        "ours": ours | {"kept": len(vectors) - len(removed), "search": dict(found.figures)},
        "unsupported_removals": unsupported(vectors, removed),
    }
    theirs = with_semhash(vectors) if peer else None
    if theirs is not None:
        gone, cost = theirs
        unbacked = unsupported(vectors, gone)
        result["semhash"] = cost | {"kept": len(vectors) - len(gone), "unsupported": unbacked}
    return result


@ray.remote
def topic_block(number: int, rows: int) -> Vectors:
    """A block of rows that the driver never holds."""
    return topic_rows(rows, 100 + number)


def grown(count: int) -> dict[str, Any]:
    """The cost at one size."""
    numbers = range(count // BLOCK)
    blocks = [topic_block.remote(number, BLOCK) for number in numbers]
    ray.wait(blocks, num_returns=len(blocks), fetch_local=False)
    with peak_memory() as peak:
        (found, removed), cost = timed(lambda: searched(blocks, [BLOCK] * len(blocks)))
    figures = {name: found.figures[name] for name in ("recall", "audited_pairs", "attempts")}
    return cost | {
        "rows": count,
        "peak_gib": peak[0],
        "pairs": found.table.num_rows,
        "removed": len(removed),
        **figures,
    }


def warm_up() -> None:
    """Start the workers and let them import what they use."""
    blocks, sizes = put(topic_rows(4000, 99))
    for _ in range(2):
        searched(blocks, sizes, exact_below=100, bundle_rows=500, audit_rows=100)


def exponent(points: list[tuple[int, float]]) -> float:
    """Slope of log cost over log rows."""
    rows, cost = np.log(np.array(points, dtype=float)).T
    return float(np.polyfit(rows, cost, 1)[0])


def report(result: dict[str, Any]) -> None:
    """Print the tables."""
    print(f"{'':<8}{'method':<14}{'CPU s':>8}{'wall s':>8}{'kept':>8}{'pair recall':>13}")
    for name, one in result["sets"].items():
        recall = "-" if one["pair_recall"] is None else f"{one['pair_recall']:.5f}"
        lines = [
            ("brute force", one["brute_force"], one["kept_by_brute_force"], "1"),
            ("ours", one["ours"], one["ours"]["kept"], recall),
        ]
        if "semhash" in one:
            lines.append(("semhash", one["semhash"], one["semhash"]["kept"], "-"))
        for method, cost, kept, seen in lines:
            costs = f"{cost['cpu_seconds']:>8.1f}{cost['wall_seconds']:>8.1f}"
            print(f"{name:<8}{method:<14}{costs}{kept:>8}{seen:>13}")
        print(f"{name:<8}removed without a kept twin: {one['unsupported_removals']}")
    print(f"{'rows':>10}{'CPU s':>8}{'wall s':>8}{'GiB':>6}{'audited recall':>16}")
    for one in result["growth"]:
        costs = f"{one['cpu_seconds']:>8.1f}{one['wall_seconds']:>8.1f}{one['peak_gib']:>6.1f}"
        audit = f"{one['recall']:.5f} of {one['audited_pairs']}"
        print(f"{one['rows']:>10}{costs}{audit:>20}")
    print(f"cost exponent: {result['exponent']:.2f}")


def missed_bars(result: dict[str, Any]) -> list[str]:
    """Every bar of the issue that was missed."""
    missed = []
    for name, one in result["sets"].items():
        if one["pair_recall"] is not None and one["pair_recall"] < 0.999:
            missed.append(f"{name}: pair recall {one['pair_recall']:.5f}")
        if one["unsupported_removals"]:
            missed.append(f"{name}: {one['unsupported_removals']} removals without a kept twin")
        if abs(one["ours"]["kept"] - one["kept_by_brute_force"]) > 0.001 * one["rows"]:
            missed.append(f"{name}: {one['ours']['kept']} kept")
    if result["ratio"] is not None and result["ratio"] < 4:
        missed.append(f"semhash takes only {result['ratio']:.2f} times our CPU seconds")
    if result["exponent"] >= 1.4:
        missed.append(f"cost exponent {result['exponent']:.2f}")
    missed += [
        f"{one['rows']} rows: {one['peak_gib']:.1f} GiB"
        for one in result["growth"]
        if one["peak_gib"] >= 10
    ]
    return missed


def main() -> None:
    """Run all, print the tables, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="growth to 200,000 rows only")
    quick = parser.parse_args().quick
    with connect(None):
        warm_up()
        sets = {"topics": topic_rows(50_000, 3), "chain": chain_rows(), "heap": heap_rows()}
        result: dict[str, Any] = {
            "cpus": os.cpu_count(),
            "sets": {name: compared(name, vectors, True) for name, vectors in sets.items()},
            "growth": [grown(rows) for rows in (50_000, 200_000, *([] if quick else [1_000_000]))],
        }
    points = [(one["rows"], one["cpu_seconds"]) for one in result["growth"]]
    result["exponent"] = exponent(points)
    topics = result["sets"]["topics"]
    peer = topics.get("semhash")
    ours = topics["ours"]["cpu_seconds"]
    result["ratio"] = peer["cpu_seconds"] / ours if peer else None
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "near_duplicates.json").write_text(json.dumps(result, indent=2))
    report(result)
    missed = missed_bars(result)
    for line in missed:
        print(f"missed: {line}")
    if peer is None:
        print("semhash is not installed: pip install semhash==0.5.0")
    else:
        print(f"ratio: {result['ratio']:.2f} (CPU seconds of semhash to ours)")
    sys.exit(1 if missed or peer is None else 0)


if __name__ == "__main__":
    main()
