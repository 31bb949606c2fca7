#!/usr/bin/env python
"""Packing against padding: useful tokens a second, padding, and the loss of every step.

    python benchmarks/packing.py

The same rows in the same steps, three ways of cutting a step into forward passes: rows padded in
the order in which they were drawn, padded after grouping by length (the paper's way), packed. The
lengths are those of a medical mix: 45% short visual questions, 25% captions, 30% dialogues, each
log-normal. Fails when packing gives less than 1.6 times the useful tokens a second of padding, pads
5% or more, or when any step's loss differs.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from _one_process import engine_of, random_llama, start
from numpy.typing import NDArray

from doctor_sun.models.multimodal import pack_batch, pad_batch
from doctor_sun.training.loop import MicroBatch, StepResult, train_steps
from doctor_sun.training.micro_batches import Cut
from doctor_sun.training.mixture import group_by_length

RESULTS = Path(__file__).parent / "results"
MIX = {  # share, median tokens, spread of the logarithm
    "visual questions": (0.45, 40, 0.4),
    "captions": (0.25, 120, 0.6),
    "dialogues": (0.30, 350, 0.8),
}
LONGEST = 1024
VOCABULARY = 2000
GLOBAL_BATCH = 32
MICRO_BATCH = 8
WINDOW = 16
BAR, MOST_PADDING, TOLERANCE = 1.6, 0.05, 1e-3
Row = tuple[list[int], list[int]]


def lengths_of(count: int, seed: int) -> NDArray[np.int64]:
    """Lengths of `count` rows of the mix, shuffled."""
    generator = np.random.default_rng(seed)
    parts = [
        generator.lognormal(np.log(median), spread, round(share * count))
        for share, median, spread in MIX.values()
    ]
    return generator.permutation(np.clip(np.concatenate(parts), 8, LONGEST).astype(np.int64))


def rows_of(lengths: NDArray[np.int64], seed: int) -> list[Row]:
    """Random tokens; the later half of each row carries loss."""
    generator = np.random.default_rng(seed)
    rows = []
    for length in lengths:
        ids = generator.integers(1, VOCABULARY, length).tolist()
        rows.append((ids, [-100] * (length // 2) + ids[length // 2 :]))
    return rows


def batches(rows: list[Row], cut: Cut) -> Iterator[list[MicroBatch]]:
    """The micro-batches of each step."""
    numbers = cut.micro_batches([len(ids) for ids, _ in rows], world=1)
    for start_row in range(0, len(rows), cut.global_batch):
        step = range(start_row, start_row + cut.global_batch)
        found = []
        for number in range(max(numbers[step]) + 1):
            own = [rows[row] for row in step if numbers[row] == number]
            mask = lengths = None
            if cut.pack_tokens:
                ids, labels, lengths = pack_batch(own)
            else:
                ids, mask, labels = pad_batch(own, 0)
            found.append(
                MicroBatch(
                    inputs={
                        "input_ids": ids,
                        "attention_mask": mask,
                        "labels": labels,
                        "pixel_values": None,
                        "row_lengths": lengths,
                    },
                    ids=[""] * len(own),
                    kinds=[0] * len(own),
                )
            )
        yield found


def main() -> None:
    """Run the three in turn, a few steps each at a time, print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="8 steps instead of 48")
    arguments = parser.parse_args()
    steps = 8 if arguments.quick else 48
    lengths = lengths_of(steps * GLOBAL_BATCH, seed=1)
    drawn = rows_of(lengths, seed=2)
    index = pa.table({"id": [str(i) for i in range(len(drawn))], "position": range(len(drawn))})
    grouped = group_by_length(index, lengths, np.zeros_like(lengths), GLOBAL_BATCH, WINDOW, seed=3)[
        "id"
    ].to_pylist()
    padded = Cut(global_batch=GLOBAL_BATCH, micro_batch=MICRO_BATCH)
    packed = Cut(global_batch=GLOBAL_BATCH, micro_batch=1, pack_tokens=4 * LONGEST)
    ways = {
        "padded": (drawn, padded),
        "padded, grouped by length": ([drawn[int(row)] for row in grouped], padded),
        "packed": (drawn, packed),
    }
    start()
    running = {}
    for name, (rows, cut) in ways.items():
        model = random_llama(hidden=192, layers=3, vocabulary=VOCABULARY, positions=LONGEST)
        engine = engine_of(model, cut.most_passes(1), zero_stage=1)
        running[name] = train_steps(
            engine, batches(rows, cut), start=0, total=steps, warmup_share=0.1, seed=0
        )
    results: dict[str, list[StepResult]] = {name: [] for name in ways}
    seconds = dict.fromkeys(ways, 0.0)
    for _ in range(steps):  # in turn: what else the machine does falls on all three alike
        for name, run in running.items():
            began = time.perf_counter()
            results[name].append(next(run))
            seconds[name] += time.perf_counter() - began
    table = {
        name: {
            "useful_tokens_per_second": sum(r.tokens for r in found) / seconds[name],
            "padding_share": 1 - sum(r.tokens for r in found) / sum(r.padded_tokens for r in found),
            "last_loss": found[-1].loss,
        }
        for name, found in results.items()
    }
    difference = max(
        abs(a.loss - b.loss) for a, b in zip(results["padded"], results["packed"], strict=True)
    )
    speeds = {name: row["useful_tokens_per_second"] for name, row in table.items()}
    ratio = speeds["packed"] / speeds["padded"]
    result = {
        "steps": steps,
        "rows": len(drawn),
        "mix": MIX,
        "median_tokens": float(np.median(lengths)),
        "mean_tokens": float(lengths.mean()),
        "ways": table,
        "largest_loss_difference": difference,
        "ratio": ratio,
        "ratio_to_grouped": speeds["packed"] / speeds["padded, grouped by length"],
        "cpus": os.cpu_count(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "packing.json").write_text(json.dumps(result, indent=2))
    print(f"{len(drawn)} rows of {lengths.mean():.0f} tokens (median {np.median(lengths):.0f})")
    print(f"{'':<28}{'useful tokens/s':>16}{'padding':>10}{'last loss':>12}")
    for name, row in table.items():
        print(
            f"{name:<28}{row['useful_tokens_per_second']:>16,.0f}{row['padding_share']:>10.1%}"
            f"{row['last_loss']:>12.4f}"
        )
    print(f"largest difference of a step's loss, packed against padded: {difference:.1e}")
    print(f"ratio: {ratio:.2f} (useful tokens a second, to padded)")
    print(f"ratio: {result['ratio_to_grouped']:.2f} (to padded after grouping by length)")
    least_padding = table["packed"]["padding_share"] < MOST_PADDING
    if ratio < BAR or not least_padding or difference > TOLERANCE:
        sys.exit(1)


if __name__ == "__main__":
    main()
