#!/usr/bin/env python
"""The memory that `--estimate` foretells against the memory that training takes.

    python benchmarks/memory_estimate.py

Each setting trains a Llama of 16 million parameters for two steps in a process of its own, under
PyTorch's profiler, which sees every allocation of a tensor; the most that was allocated at once is
compared with the estimate from the same model without weights. Fails when an estimate is off by
more than a quarter.
"""

import argparse
import json
import os
import subprocess
import sys
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

RESULTS = Path(__file__).parent / "results"
MOST_ERROR = 0.25
MODEL = {"hidden": 384, "layers": 6, "vocabulary": 8000, "positions": 256}
ROWS, TOKENS, LABELS = 4, 256, 64
SETTINGS: dict[str, dict[str, Any]] = {
    **{f"stage {stage}": {"zero_stage": stage} for stage in range(4)},
    "stage 2, checkpointing": {"zero_stage": 2, "gradient_checkpointing": True},
    "stage 3, checkpointing": {"zero_stage": 3, "gradient_checkpointing": True},
}
MIB = 1 << 20


def foretold(engine: dict[str, Any]) -> float:
    """MiB that the estimate gives."""
    from _one_process import random_llama

    from doctor_sun.models.build import BuiltModel, ModelConfig
    from doctor_sun.training.cost import training_cost
    from doctor_sun.training.engine import EngineConfig
    from doctor_sun.training.estimate import Totals, activation_bytes, state_bytes

    with torch.device("meta"):
        model = random_llama(**MODEL)
    config = EngineConfig(**engine)
    cost = training_cost(BuiltModel(model, None, ModelConfig(llm="")), {"llm": 1e-4}, config)
    counts = dict.fromkeys(("rows", "tokens", "padded_tokens", "squared_tokens"), 0)
    read = Totals(
        **counts,
        labels=0,
        images=0,
        most_tokens=ROWS * TOKENS,
        most_labels=ROWS * LABELS,
        most_images=0,
    )
    states = state_bytes(cost.modules, config, config.zero_stage, world=1)
    return (sum(states.values()) + activation_bytes(cost, read)) / MIB


def taken(engine: dict[str, Any]) -> float:
    """MiB of tensors that are there at once, at most, while this process trains."""
    from _one_process import engine_of, random_llama, start

    from doctor_sun.models.multimodal import pad_batch
    from doctor_sun.training.loop import MicroBatch, train_steps

    start()
    ids = torch.randint(1, MODEL["vocabulary"], (ROWS, TOKENS)).tolist()
    labels = [[-100] * (TOKENS - LABELS) + row[-LABELS:] for row in ids]
    input_ids, mask, targets = pad_batch(list(zip(ids, labels, strict=True)), 0)
    batch = MicroBatch(
        inputs={
            "input_ids": input_ids,
            "attention_mask": mask,
            "labels": targets,
            "pixel_values": None,
            "row_lengths": None,
        },
        ids=[""] * ROWS,
        kinds=[0] * ROWS,
    )
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        made = engine_of(random_llama(**MODEL), 1, **engine)
        for _ in train_steps(made, [[batch]] * 2, start=0, total=2, warmup_share=0.1, seed=0):
            pass
    events = [event for event in profiler.profiler.kineto_results.events() if event.nbytes()]
    changes = sorted((event.start_ns(), event.nbytes()) for event in events)
    return max(accumulate(size for _, size in changes)) / MIB


def main() -> None:
    """Measure each setting, print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="two settings instead of six")
    parser.add_argument("--setting", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.setting:  # one setting, in a process of its own
        print(taken(SETTINGS[arguments.setting]))
        return
    names = list(SETTINGS)[:: 3 if arguments.quick else 1]
    table = {}
    for name in names:
        command = [sys.executable, __file__, "--setting", name]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        measured = float(done.stdout.splitlines()[-1])
        estimate = foretold(SETTINGS[name])
        table[name] = {"estimate": estimate, "taken": measured, "error": estimate / measured - 1}
    worst = max((row["error"] for row in table.values()), key=abs)
    RESULTS.mkdir(exist_ok=True)
    result = {"settings": table, "worst_error": worst, "cpus": os.cpu_count()}
    (RESULTS / "memory_estimate.json").write_text(json.dumps(result, indent=2))
    print(f"{'':<32}{'estimate, MiB':>14}{'taken, MiB':>12}{'error':>9}")
    for name, row in table.items():
        print(f"{name:<32}{row['estimate']:>14,.0f}{row['taken']:>12,.0f}{row['error']:>9.1%}")
    print(f"ratio: {1 + worst:.2f} (of the estimate that is furthest off)")
    if abs(worst) > MOST_ERROR:
        sys.exit(1)


if __name__ == "__main__":
    main()
