#!/usr/bin/env python
"""Training on one GPU: does it say the same as the plainest way of training?

    python benchmarks/gpu_agreement.py

Two comparisons, of models of random weights:

- packed rows against padded ones: losses and gradients of a small Llama in bf16, by torch's
  variable-length attention, by one call a row and by padding, each against padding in fp32;
- ZeRO stages, precisions, offload and checkpointing against ZeRO 0 in fp32: losses of the same
  steps of a small multimodal model whose LoRA, projector and language model all train.

Without a GPU nothing is measured. Fails when a comparison is out of its tolerance.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import torch
from _random_models import (
    AGAIN,
    HALF,
    VOCABULARY,
    Setting,
    attempt,
    cut_of,
    draw_rows,
    random_language_model,
    random_model,
    start,
    started_engine,
    steps_of,
)

RESULTS = Path(__file__).parent / "results"
SINGLE_TOLERANCE, HALF_TOLERANCE = 2e-4, 3e-2  # of a step's loss, against ZeRO 0 in fp32
WORSE = 1.5  # times the error of padding in bf16 that packing may have
SINGLE = {"backend": "nccl"}
ENGINES: dict[str, dict[str, Any]] = {
    **{f"fp32, ZeRO {stage}": SINGLE | {"zero_stage": stage} for stage in range(4)},
    **{f"bf16, ZeRO {stage}": HALF | {"zero_stage": stage} for stage in (1, 2, 3)},
    "bf16, ZeRO 2, checkpointing": AGAIN,
    "bf16, ZeRO 2, optimizer on the CPU": HALF | {"offload_optimizer": True},
    "bf16, ZeRO 3, all on the CPU": HALF
    | {"zero_stage": 3, "offload_optimizer": True, "offload_parameters": True},
}


def attention_errors(device: str) -> dict[str, dict[str, float]]:
    """By way of attending: relative error of losses and gradients against padding in fp32."""
    from doctor_sun.models import packed_attention
    from doctor_sun.models.multimodal import MultimodalModel, pack_batch, pad_batch

    torch.manual_seed(0)
    with torch.device(device):
        exact = MultimodalModel(random_language_model("small", 0, torch.float32))
    half = MultimodalModel(random_language_model("small", 0, torch.float32).to(device))
    half.load_state_dict(exact.state_dict())
    half.bfloat16()
    generator = np.random.default_rng(2)
    rows = []
    for length in generator.integers(5, 700, 12):
        ids = generator.integers(1, VOCABULARY["small"], length).tolist()
        rows.append((ids, [-100] * (length // 3) + ids[length // 3 :]))

    def run(model: Any, packed: bool) -> tuple[torch.Tensor, torch.Tensor]:
        mask = lengths = None
        if packed:
            ids, labels, lengths = pack_batch(rows)
        else:
            ids, mask, labels = pad_batch(rows, 0)
            mask = mask.to(device)
        model.zero_grad()
        losses = model(ids.to(device), mask, labels.to(device), row_lengths=lengths)
        losses.sum().backward()
        gradients = [p.grad.flatten().double() for p in model.parameters() if p.grad is not None]
        return losses.detach().double(), torch.cat(gradients)

    reference = run(exact, packed=False)
    found = {"padded, bf16": run(half, packed=False), "packed, fp32": run(exact, packed=True)}
    if device != "cpu":
        found["packed, bf16, one call"] = run(half, packed=True)
    with mock.patch.object(packed_attention, "in_one_call", return_value=False):
        found["packed, bf16, a call a row"] = run(half, packed=True)
    return {
        way: {
            name: float((own - right).norm() / right.norm())
            for name, own, right in zip(("losses", "gradients"), pair, reference, strict=True)
        }
        for way, pair in found.items()
    }


def losses_of_engines(device: str, names: list[str]) -> Iterator[tuple[str, Any]]:
    """Losses of the same steps with each engine; packed rows too."""
    base = Setting(stage="instruct", llm="small", tower="small", rows=8, micro_batch=4)
    for name in names:
        setting = replace(base, engine=ENGINES[name])
        yield name, attempt(partial_losses, setting, device)
        if name == "bf16, ZeRO 2":
            packed = replace(setting, pack_tokens=1024)
            yield f"{name}, packed", attempt(partial_losses, packed, device)


def partial_losses(setting: Setting, device: str) -> list[float]:
    """Losses of a small model that trains fast."""
    from doctor_sun.training.loop import train_steps

    built = random_model(replace(setting, engine={}), device)
    # Drawn as packed rows are, so that every setting sees the same.
    rows = draw_rows(replace(setting, pack_tokens=1024), built, steps=6)
    numbers = cut_of(setting).micro_batches(rows["tokens"].to_pylist(), world=1)
    rows = rows.set_column(rows.schema.get_field_index("pass"), "pass", pa.array(numbers))
    engine = started_engine(setting, built, {"llm": 1e-3, "projector": 1e-3, "vision": 1e-3})
    taken = train_steps(
        engine, steps_of(rows, setting, built), start=0, total=6, warmup_share=0.1, seed=0
    )
    return [result.loss for result in taken]


def failures(result: dict[str, Any]) -> list[str]:
    """What is out of its tolerance."""
    found = []
    for way, errors in result["attention"].items():
        most = 1e-4 if "fp32" in way else WORSE * result["attention"]["padded, bf16"]["gradients"]
        if errors["gradients"] > most:
            found.append(f"{way}: gradients are off by {errors['gradients']:.1e}")
    exact = result["engines"]["fp32, ZeRO 0"]
    if "failed" in exact:
        return [*found, f"fp32, ZeRO 0: {exact['failed']}"]
    for name, losses in result["engines"].items():
        if "failed" in losses:
            found.append(f"{name}: {losses['failed']}")
            continue
        furthest = max(abs(a - b) for a, b in zip(losses, exact, strict=True))
        if furthest > (SINGLE_TOLERANCE if "fp32" in name else HALF_TOLERANCE):
            found.append(f"{name}: a step's loss is off by {furthest:.1e}")
    return found


def compare(device: str) -> dict[str, Any]:
    """Both comparisons, printed as they come."""
    result: dict[str, Any] = {"attention": attention_errors(device), "engines": {}}
    print("relative error of losses and gradients, against padded rows in fp32:")
    for way, errors in result["attention"].items():
        print(f"{way:<48}{errors['losses']:>12.1e}{errors['gradients']:>12.1e}", flush=True)
    print("losses of the same steps:")
    engines = list(ENGINES)[:: 1 if device == "cuda" else 5]
    for name, losses in losses_of_engines(device, engines):
        result["engines"][name] = losses
        shown = losses["failed"] if "failed" in losses else " ".join(f"{x:.4f}" for x in losses)
        print(f"{name:<48}{shown}", flush=True)
    return result


def main() -> None:
    """Compare, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="the same: it takes a minute")
    parser.add_argument("--small", action="store_true", help=argparse.SUPPRESS)  # on a CPU
    arguments = parser.parse_args()
    if not torch.cuda.is_available() and not arguments.small:
        print("not measured: no GPU")
        return
    start("gloo" if arguments.small else "nccl")
    result = compare("cpu" if arguments.small else "cuda")
    result["device"] = "cpu" if arguments.small else torch.cuda.get_device_name()
    result["torch"] = torch.__version__
    if not arguments.small:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "gpu_agreement.json").write_text(json.dumps(result, indent=2))
    found = failures(result)
    for failure in found:
        print(f"not as it should be: {failure}")
    packed = result["attention"]["packed, bf16, a call a row"]["gradients"]
    padded = result["attention"]["padded, bf16"]["gradients"]
    print(f"ratio: {packed / padded:.2f} (error of packed gradients to that of padded ones, bf16)")
    if found and not arguments.small:
        sys.exit(1)


if __name__ == "__main__":
    main()
