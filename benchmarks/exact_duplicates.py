#!/usr/bin/env python
"""Exact duplicates: Ray Data against DuckDB on short Chinese and English rows.

    python benchmarks/exact_duplicates.py

Writes rows with planted duplicates (other case, other blanks) as Parquet, from a seed. Both sides
read them, normalise, take the MD5, keep one row of each group (source priority, then length, then
id) and write two Parquet files: the kept ids, and the lineage (removed id, kept id, MD5). The files
must be equal. The ratio is our time over DuckDB's, both the best of several alternating runs; the
start of Ray and of its workers is excluded. Then the growth of our time with the number of rows.
"""

import argparse
import hashlib
import importlib.util
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray.data

from doctor_sun.cluster import connect
from doctor_sun.data.exact_duplicates import ExactDuplicatesConfig, duplicate_lines, keyed
from doctor_sun.data.rows import tables
from doctor_sun.data.text_form import normalised

RESULTS = Path(__file__).parent / "results"
BAR = 3.0
EXPONENT_BAR = 1.2
FILE_ROWS = 62_500
DUPLICATES = 0.1
CORES = 2
PRIORITY = ["b", "a"]
KEPT = pa.schema([("id", pa.string())])
LINEAGE = pa.schema([(name, pa.string()) for name in ("id", "kept", "md5")])
# NFKC leaves these as they are, so lower case and white space are all there is to normalise.
ENGLISH = (
    *("No focal consolidation", "Mild cardiomegaly is seen", "Small left pleural effusion"),
    *("There is no pneumothorax", "Degenerative spine", "Right lower lobe opacity"),
)
CHINESE = (
    *("双肺纹理清晰", "未见明显实变影", "心影轻度增大"),
    *("左侧少量胸腔积液", "右下肺斑片影", "脊柱退行性改变"),
)


def write_rows(folder: Path, count: int, seed: int) -> None:
    """Write `count` rows to files of `FILE_ROWS`; a tenth repeat one of the others, respelt."""
    random = np.random.default_rng(seed)
    first, second = random.integers(0, 6, (2, count))
    texts = [
        f"{CHINESE[a]}、{CHINESE[b]}。Size 约 {n * 7919 % 10**7} mm。"
        if n % 2
        else f"{ENGLISH[a]}. {ENGLISH[b]}, size {n * 7919 % 10**7} mm."
        for n, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True))
    ]
    for place, twin in random.integers(0, count, (int(count * DUPLICATES), 2)).tolist():
        texts[place] = texts[twin].upper().replace(" ", "  ")
    for part, start in enumerate(range(0, count, FILE_ROWS)):
        numbers = range(start, min(start + FILE_ROWS, count))
        table = pa.table(
            {
                "part": pa.array([part] * len(numbers), pa.int32()),
                "id": [hashlib.sha256(f"{seed} {n}".encode()).hexdigest() for n in numbers],
                "source": ["abc"[n % 3] for n in numbers],
                "text": [texts[n] for n in numbers],
            }
        )
        pq.write_table(table, folder / f"{seed:02d}-{part:04d}.parquet")


def with_duckdb(files: list[str], folder: Path) -> None:
    """Kept ids and lineage by SQL window functions."""
    import duckdb

    database = duckdb.connect()
    database.execute(f"set threads = {CORES}")
    database.execute(
        r"""
        create table ranked as
        select id, key, row_number() over best as place, first_value(id) over best as kept
        from (
            select id, source, length(text) as length,
                md5(trim(lower(regexp_replace(text, '\s+', ' ', 'g')))) as key
            from read_parquet(?)
        )
        window best as (
            partition by key
            order by case source when 'b' then 0 when 'a' then 1 else 2 end, length desc, id
        )
        """,
        [files],
    )
    for name, select in (
        ("kept", "id from ranked where place = 1"),
        ("lineage", "id, kept, key as md5 from ranked where place > 1"),
    ):
        database.execute(f"copy (select {select}) to '{folder / name}.parquet' (format parquet)")
    database.close()


def with_ray(files: list[str], folder: Path) -> None:
    """Kept ids and lineage by our step, on the connected cluster."""
    config = ExactDuplicatesConfig(source_priority=PRIORITY)

    def read(listed: pa.Table) -> pa.Table:
        table = pa.concat_tables(pq.read_table(file) for file in listed["file"].to_pylist())
        texts = table["text"].to_pylist()
        keys = [hashlib.md5(normalised(text).encode()).digest() for text in texts]
        return keyed(table, keys, pc.utf8_length(table["text"]), config.source_priority)

    listed = ray.data.from_items([{"file": f} for f in files], override_num_blocks=len(files))
    rows = listed.map_batches(read, batch_format="pyarrow", batch_size=None)
    with (
        pq.ParquetWriter(folder / "kept.parquet", KEPT) as kept,
        pq.ParquetWriter(folder / "lineage.parquet", LINEAGE) as lineage,
    ):
        for lines in tables(duplicate_lines(rows, config.partitions)):
            dropped = pc.equal(lines["verdict"], "dropped")
            kept.write_table(lines.filter(pc.invert(dropped)).select(["id"]))
            lineage.write_table(_lineage(lines.filter(dropped)))


def _lineage(dropped: pa.Table) -> pa.Table:
    found = [json.loads(evidence) for evidence in dropped["evidence"].to_pylist()]
    columns = ([line[name] for line in found] for name in ("kept", "md5"))
    return pa.table([dropped["id"], *columns], schema=LINEAGE)


def timed(run: Callable[[list[str], Path], None], files: list[str], folder: Path) -> float:
    """Seconds of one run that writes to `folder`."""
    folder.mkdir(exist_ok=True)
    started = time.perf_counter()
    run(files, folder)
    return time.perf_counter() - started


def same(one: Path, other: Path) -> dict[str, Any]:
    """How many rows both kept and removed, and whether ids, keepers and keys are all equal."""
    counts: dict[str, Any] = {"equal": True}
    for name in ("kept", "lineage"):
        tables = [
            pq.read_table(folder / f"{name}.parquet").sort_by("id") for folder in (one, other)
        ]
        counts[name] = tables[0].num_rows
        counts["equal"] &= tables[0].cast(tables[1].schema).equals(tables[1])
    return counts


def main() -> None:
    """Run both, print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of the rows, fewer runs")
    arguments = parser.parse_args()
    if importlib.util.find_spec("duckdb") is None:
        sys.exit("error: duckdb is not installed: pip install --no-deps duckdb")
    rows, runs = (250_000, 2) if arguments.quick else (1_000_000, 3)
    with tempfile.TemporaryDirectory() as name, connect(None):
        folder = Path(name)
        for seed in range(4):
            write_rows(folder, rows, seed)
        files = sorted(str(file) for file in folder.glob("*.parquet"))
        one = files[: len(files) // 4]
        with_ray(one[:4], folder)  # starts the workers
        theirs, ours = [], []
        for _ in range(runs):
            theirs.append(timed(with_duckdb, one, folder / "duckdb"))
            ours.append(timed(with_ray, one, folder / "ray"))
        found = same(folder / "duckdb", folder / "ray")
        growth = {rows: min(ours)}
        for times in (2, 4):
            growth[times * rows] = timed(with_ray, files[: len(one) * times], folder / "ray")
        with_duckdb(files, folder / "duckdb")
        found_4 = same(folder / "duckdb", folder / "ray")
    report(rows, ours, theirs, growth, [found, found_4])


def report(
    rows: int,
    ours: list[float],
    theirs: list[float],
    growth: dict[int, float],
    found: list[dict[str, Any]],
) -> None:
    """Print the table, write the result, exit non-zero below the bar."""
    points = [(math.log(count), math.log(seconds)) for count, seconds in growth.items()]
    exponent = float(np.polyfit(*zip(*points, strict=True), 1)[0])
    ratio = min(ours) / min(theirs)
    result = {
        "rows": rows,
        "kept": found[0]["kept"],
        "removed": found[0]["lineage"],
        "equal": all(comparison["equal"] for comparison in found),
        "seconds": {"ray": ours, "duckdb": theirs},
        "seconds_by_rows": growth,
        "exponent": exponent,
        "ratio": ratio,
        "cpus": os.cpu_count(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "exact_duplicates.json").write_text(json.dumps(result, indent=2))
    print(f"{'':<10}{'rows':>12}{'seconds':>10}{'rows/s':>12}")
    print(f"{'DuckDB':<10}{rows:>12,}{min(theirs):>10.2f}{rows / min(theirs):>12,.0f}")
    for count, seconds in growth.items():
        print(f"{'Ray Data':<10}{count:>12,}{seconds:>10.2f}{count / seconds:>12,.0f}")
    print(f"kept {result['kept']:,}, removed {result['removed']:,}; all equal: {result['equal']}")
    print(f"exponent of the growth: {exponent:.2f} (bar {EXPONENT_BAR})")
    print(f"ratio: {ratio:.2f} (time, to DuckDB's; bar {BAR})")
    if not result["equal"] or ratio > BAR or exponent > EXPONENT_BAR:
        sys.exit(f"error: not equal, or above {BAR} times DuckDB's time, or not near linear")


if __name__ == "__main__":
    main()
