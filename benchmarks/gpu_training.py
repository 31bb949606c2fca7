#!/usr/bin/env python
"""Training on one GPU: how fast is it, and does it take the memory foretold?

    python benchmarks/gpu_training.py

Random weights of published shapes (Llama 3.1 8B, Llama 3.2 3B, CLIP ViT-L/14-336) and rows as long
as a vision-language mix's: 576 image tokens and a caption, or a dialogue. Each way of training is
compared with the GPU's peak: samples, useful tokens and model FLOPs utilisation (attention counts
whole, recomputation does not count), and the memory that was allocated with that of `--estimate`.
`gpu_agreement.py` says whether it is right.

Without a GPU nothing is measured. Fails when a setting cannot be trained, or when packed rows reach
less than 30% utilisation.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from _random_models import (
    AGAIN,
    HALF,
    RATES,
    Setting,
    attempt,
    cut_of,
    draw_rows,
    random_model,
    start,
    started_engine,
    steps_of,
)

RESULTS = Path(__file__).parent / "results"
LEAST_UTILISATION = 0.30
WARM = 2  # steps that do not count
GIB = 1 << 30
ALIGN = Setting(stage="align", llm="8B", engine=HALF)
INSTRUCT = Setting(stage="instruct", llm="3B", engine=AGAIN)
SETTINGS = {
    "align 8B, packed": replace(ALIGN, pack_tokens=8192),
    "align 8B, padded": ALIGN,
    "align 8B, packed, checkpointing": replace(ALIGN, pack_tokens=8192, engine=AGAIN),
    "instruct 3B, packed": replace(INSTRUCT, pack_tokens=4096, engine=HALF),
    "instruct 3B, packed, checkpointing": replace(INSTRUCT, pack_tokens=8192),
    "instruct 3B, padded, checkpointing": replace(INSTRUCT, micro_batch=4),
    "instruct 3B, packed, checkpointing, ZeRO 3": replace(
        INSTRUCT, pack_tokens=8192, engine=AGAIN | {"zero_stage": 3}
    ),
    "instruct 8B of 12 layers, packed, checkpointing": replace(
        INSTRUCT, llm="8B", layers=12, pack_tokens=8192
    ),
    "instruct 8B, packed, checkpointing": replace(
        INSTRUCT, llm="8B", pack_tokens=8192, needs_gib=135
    ),
}
QUICK = ("align 8B, packed", "instruct 3B, packed, checkpointing")


def estimated(setting: Setting, rows: pa.Table) -> tuple[Any, dict[str, float]]:
    """What a token costs, and GiB of this process as `--estimate` gives them."""
    from doctor_sun.training.cost import training_cost
    from doctor_sun.training.engine import EngineConfig
    from doctor_sun.training.estimate import memory_table, totals

    built = random_model(setting, "meta")
    engine = EngineConfig(**setting.engine)
    cost = training_cost(built, RATES[setting.stage], engine)
    config: Any = SimpleNamespace(engine=engine, workers=1)
    read = totals(rows, cut_of(setting), world=1)
    return cost.operations, memory_table(cost, read, config)[engine.zero_stage]


def train(setting: Setting, device: str, steps: int, profile_to: Path | None) -> dict[str, Any]:
    """Train with a setting; speed, utilisation and memory."""
    from doctor_sun.training.accelerators import accelerator_of
    from doctor_sun.training.loop import train_steps

    torch.set_num_threads(min(8, os.cpu_count() or 1))
    built = random_model(setting, device)
    rows = draw_rows(setting, built, steps)
    operations, foretold = estimated(setting, rows)
    clear_memory()
    engine = started_engine(setting, built, RATES[setting.stage])
    at_start = most_memory()
    clear_memory()
    moments, results = [], []
    taken = train_steps(
        engine,
        steps_of(rows, setting, built),
        start=0,
        total=steps,
        warmup_share=0.03,
        seed=0,
        kinds=["random/en"],
    )
    profiler = None
    for result in taken:
        results.append(result)
        if result.step in (WARM, steps):
            wait()
        moments.append(time.perf_counter())
        if profile_to is not None and result.step == steps - 1:
            wait()
            profiler = torch.profiler.profile()
            profiler.start()
    if profiler is not None and profile_to is not None:
        profiler.stop()
        table = profiler.key_averages().table(
            sort_by="self_cuda_time_total", row_limit=45, max_name_column_width=70
        )
        profile_to.write_text(table)
    began = time.perf_counter()
    next(steps_of(rows, setting, built))
    batch_seconds = time.perf_counter() - began
    counted = results[WARM:]
    seconds = moments[-1] - moments[WARM - 1]
    tokens, padded, squared, labels, images = (
        sum(getattr(result, name) for result in counted)
        for name in ("tokens", "padded_tokens", "squared_tokens", "label_tokens", "images")
    )
    done = operations.of(tokens, squared, labels, images)
    known = accelerator_of(torch.cuda.get_device_name()) if device != "cpu" else None
    most = most_memory()
    return {
        "samples_per_second": len(counted) * setting.rows / seconds,
        "tokens_per_second": tokens / seconds,
        "tokens_per_sample": tokens / (len(counted) * setting.rows),
        "operations_per_second": done / seconds,
        "utilisation": done / seconds / known.peak if known else None,
        "padding_share": 1 - tokens / padded,
        "seconds_to_make_a_step": batch_seconds,
        "seconds_of_steps": np.diff(moments).tolist(),
        "losses": [result.loss for result in results],
        "memory_gib": most,
        "memory_at_start_gib": at_start,
        "estimate_gib": foretold,
        "estimate_error": foretold["all"] / most - 1 if most else None,
        "parameters": sum(p.numel() for p in built.model.parameters())
        if setting.engine["zero_stage"] < 3
        else None,
    }


def wait() -> None:
    """Until the GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def clear_memory() -> None:
    """Measure the most memory anew."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def most_memory() -> float:
    """GiB of tensors that were there at once, at most."""
    return torch.cuda.max_memory_allocated() / GIB if torch.cuda.is_available() else 0.0


def print_row(name: str, row: dict[str, Any]) -> None:
    """One line of the table of speeds."""
    if "failed" in row or "skipped" in row:
        print(f"{name:<48}  {row.get('failed') or row['skipped']}", flush=True)
        return
    print(
        f"{name:<48}{row['samples_per_second']:>10.2f}{row['tokens_per_second']:>10,.0f}"
        f"{row['utilisation'] or 0:>8.1%}{row['padding_share']:>9.1%}{row['memory_gib']:>8.1f}"
        f"{row['estimate_gib']['all']:>10.1f}",
        flush=True,
    )


def failures(settings: Mapping[str, dict[str, Any]]) -> list[str]:
    """What could not be trained, or was too slow."""
    found = []
    for name, row in settings.items():
        if "failed" in row:
            found.append(f"{name}: {row['failed']}")
        elif (
            "packed" in name
            and "skipped" not in row
            and (row["utilisation"] or 0) < LEAST_UTILISATION
        ):
            found.append(f"{name}: {row['utilisation'] or 0:.1%} utilisation")
    return found


def in_own_process(name: str, *options: str) -> dict[str, Any]:
    """A setting in a process of its own: what it prints is passed on, its last line is the result.

    What one leaves on the GPU would count as the next one's.
    """
    command = [sys.executable, __file__, "--part", name, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    last = ""
    for line in process.stdout:
        print(last, end="", flush=True)
        last = line
    if process.wait() or not last.startswith("{"):
        return {"failed": f"the process ended with {process.returncode}"}
    return json.loads(last)


def run_part(name: str, small: bool, steps: int, profile_to: Path | None) -> dict[str, Any]:
    """One setting, in the process that was started for it."""
    start("gloo" if small else "nccl")
    setting = SETTINGS[name]
    if small:
        setting = replace(setting, llm="small", layers=0, tower="small", rows=8)
    elif torch.cuda.get_device_properties(0).total_memory < setting.needs_gib * GIB:
        return {"skipped": f"needs {setting.needs_gib} GiB"}
    found = attempt(train, setting, "cpu" if small else "cuda", steps, profile_to)
    return found | {"device": "cpu" if small else torch.cuda.get_device_name()}


def main() -> None:
    """Measure, print the table, write the result after each part."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="two settings of 4 steps, not of 7")
    parser.add_argument("--only", nargs="*", choices=list(SETTINGS), help="settings to train")
    parser.add_argument("--steps", type=int, default=7, help=f"of a setting, {WARM} not counted")
    parser.add_argument("--output", type=Path, default=RESULTS / "gpu_training.json")
    parser.add_argument("--profile", type=Path, help="a file for the kernels of the last step")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--small", action="store_true", help=argparse.SUPPRESS)  # on a CPU
    arguments = parser.parse_args()
    steps = 4 if arguments.quick else arguments.steps
    if arguments.part:
        found = run_part(arguments.part, arguments.small, steps, arguments.profile)
        print(json.dumps(found))
        return
    if not torch.cuda.is_available() and not arguments.small:
        print("not measured: no GPU")
        return
    names = list(QUICK if arguments.quick else SETTINGS)
    options = ["--steps", str(steps), *(["--small"] if arguments.small else [])]
    result: dict[str, Any] = {"torch": torch.__version__, "steps": steps - WARM, "settings": {}}
    columns = ("samples/s", "tokens/s", "MFU", "padding", "GiB", "estimate")
    widths = (10, 10, 8, 9, 8, 10)
    heads = (f"{name:>{width}}" for name, width in zip(columns, widths, strict=True))
    print(f"{'':<48}{''.join(heads)}", flush=True)
    arguments.output.parent.mkdir(exist_ok=True)
    for name in names if arguments.only is None else arguments.only:
        own = [*options, *(["--profile", str(arguments.profile)] if arguments.profile else [])]
        row = in_own_process(name, *own)
        result["settings"][name] = row
        print_row(name, row)
        arguments.output.write_text(json.dumps(result, indent=2))
    found = failures(result["settings"])
    for failure in found:
        print(f"not as it should be: {failure}")
    best = max((row.get("utilisation") or 0 for row in result["settings"].values()), default=0)
    print(f"ratio: {best:.3f} (of the GPU's peak, at best)")
    if found and not arguments.small:
        sys.exit(1)


if __name__ == "__main__":
    main()
