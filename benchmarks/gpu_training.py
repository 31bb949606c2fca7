#!/usr/bin/env python
"""Training on one GPU: is it right, how fast is it, and does it take the memory foretold?

    python benchmarks/gpu_training.py

Random weights of published shapes (Llama 3.1 8B, Llama 3.2 3B, CLIP ViT-L/14-336) and rows as long
as a vision-language mix's: 576 image tokens and a caption, or a dialogue. Three comparisons:

- packed rows against padded ones: losses and gradients of a small Llama in bf16, by torch's
  variable-length attention, by one call a row and by padding, each against padding in fp32;
- ZeRO stages, precisions, offload and checkpointing against ZeRO 0 in fp32: losses of the same
  steps of a small multimodal model whose LoRA, projector and language model all train;
- each way of training the large shapes against the GPU's peak: samples, useful tokens and model
  FLOPs utilisation (attention counts whole, recomputation does not count), and the memory that was
  allocated against that of `--estimate`.

Without a GPU nothing is measured. Fails when a comparison is out of its tolerance, or when
alignment with packed rows reaches less than 30% utilisation.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import torch
import torch.distributed as dist

RESULTS = Path(__file__).parent / "results"
LEAST_UTILISATION = 0.30
SINGLE_TOLERANCE, HALF_TOLERANCE = 2e-4, 3e-2  # of a step's loss, against ZeRO 0 in fp32
WORSE = 1.5  # times the error of padding in bf16 that packing may have
WARM = 2  # steps that do not count
GIB = 1 << 30
IMAGE_TOKEN = 7
COMPARISONS = "comparisons"
LLAMAS = {
    "8B": {"hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32},
    "3B": {"hidden_size": 3072, "intermediate_size": 8192, "num_attention_heads": 24},
    "small": {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 8},
}
LAYERS = {"8B": 32, "3B": 28, "small": 4}
VOCABULARY = {"8B": 128320, "3B": 128320, "small": 2000}  # with `<image>`, in tiles of 64
KEY_HEADS = {"8B": 8, "3B": 8, "small": 2}
TIED = {"8B": False, "3B": True, "small": False}
TOWERS = {
    "large": "ViT-L-14-336-quickgelu",
    "small": {"image_size": 96, "layers": 4, "width": 128, "head_width": 64, "patch_size": 16},
}
TEXTS = {  # median tokens of a row's text, spread of the logarithm, most, and what of it is asked
    "align": (60, 0.5, 448, 0.3),
    "instruct": (350, 0.6, 1472, 0.5),
}
RATES = {
    "align": {"projector": 1e-3},
    "instruct": {"llm": 5e-6, "projector": 5e-6, "vision": 5e-6},
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way of training."""

    stage: str
    llm: str
    layers: int = 0  # of the language model; 0 takes all
    tower: str = "large"
    rows: int = 32  # of a step
    micro_batch: int = 8
    pack_tokens: int = 0
    engine: Mapping[str, Any] = field(default_factory=dict)
    needs_gib: int = 0  # of the GPU's memory; a smaller one leaves it out


HALF = {"precision": "bf16", "backend": "nccl", "zero_stage": 2}
AGAIN = HALF | {"gradient_checkpointing": True}
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
BARRED = "align 8B, packed"
QUICK = (BARRED, "instruct 3B, packed, checkpointing")
SINGLE = {"backend": "nccl"}
ENGINES: dict[str, dict[str, Any]] = {
    **{f"fp32, ZeRO {stage}": SINGLE | {"zero_stage": stage} for stage in range(4)},
    **{f"bf16, ZeRO {stage}": HALF | {"zero_stage": stage} for stage in (1, 2, 3)},
    "bf16, ZeRO 2, checkpointing": AGAIN,
    "bf16, ZeRO 2, optimizer on the CPU": HALF | {"offload_optimizer": True},
    "bf16, ZeRO 3, all on the CPU": HALF
    | {"zero_stage": 3, "offload_optimizer": True, "offload_parameters": True},
}


def start(backend: str) -> None:
    """A process group of this process alone."""
    from doctor_sun.training.engine import start_collectives

    os.environ.setdefault("LOCAL_RANK", "0")
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    start_collectives(backend)


def random_language_model(llm: str, layers: int, dtype: torch.dtype) -> Any:
    """A Llama of random weights on the default device."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    from doctor_sun.models.packed_attention import use_packed_attention

    config = LlamaConfig(
        **LLAMAS[llm],
        num_hidden_layers=layers or LAYERS[llm],
        num_key_value_heads=KEY_HEADS[llm],
        vocab_size=VOCABULARY[llm],
        tie_word_embeddings=TIED[llm],
        max_position_embeddings=8192,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    use_packed_attention(model)
    return model


def random_model(setting: Setting, device: str) -> Any:
    """A multimodal model of random weights, in the precision of its engine."""
    import open_clip

    from doctor_sun.models.build import BuiltModel, ModelConfig
    from doctor_sun.models.low_rank import LowRankConfig, add_low_rank
    from doctor_sun.models.multimodal import MultimodalModel
    from doctor_sun.models.projector import build_projector
    from doctor_sun.models.vision_tower import VisionTower

    torch.manual_seed(0)
    dtype = torch.bfloat16 if setting.engine.get("precision") == "bf16" else torch.float32
    chosen = TOWERS[setting.tower]
    if isinstance(chosen, str):
        chosen = open_clip.get_model_config(chosen)["vision_cfg"]
    with torch.device(device):
        llm = random_language_model(setting.llm, setting.layers, dtype)
        vision = open_clip.model.CLIPVisionCfg(**chosen)
        tower = VisionTower(open_clip.model._build_vision_tower(64, vision, quick_gelu=True))
        projector = build_projector("linear", tower.width, llm.config.hidden_size)
        if "vision" in RATES[setting.stage]:
            add_low_rank(tower, LowRankConfig(dropout=0.0))
    model = MultimodalModel(llm, tower.to(dtype), projector.to(dtype), IMAGE_TOKEN)
    pads: Any = SimpleNamespace(pad_token_id=0)
    return BuiltModel(model, pads, ModelConfig(llm=""), tower.patches, tower.image_size)


def cut_of(setting: Setting) -> Any:
    """How its steps are cut into forward passes."""
    from doctor_sun.training.micro_batches import Cut

    return Cut(
        global_batch=setting.rows,
        micro_batch=setting.micro_batch,
        pack_tokens=setting.pack_tokens,
    )


def draw_rows(setting: Setting, built: Any, steps: int) -> pa.Table:
    """Rows with a picture each, in the stage's order: padded ones grouped by length."""
    from doctor_sun.training.mixture import group_by_length

    generator = np.random.default_rng(1)
    median, spread, most, asked = TEXTS[setting.stage]
    if setting.llm == "small":
        median, most = median // 4, most // 4
    count = steps * setting.rows
    drawn = generator.lognormal(np.log(median), spread, count)
    texts = np.clip(drawn, 8, most).astype(np.int64)
    if not setting.pack_tokens:
        index = pa.table({"id": [str(i) for i in range(count)], "position": range(count)})
        zeros = np.zeros_like(texts)
        grouped = group_by_length(index, texts, zeros, setting.rows, min(16, steps), seed=3)
        texts = texts[[int(row) for row in grouped["id"].to_pylist()]]
    ids, labels = [], []
    for length in texts:
        words = generator.integers(IMAGE_TOKEN + 1, VOCABULARY[setting.llm] - 1, length)
        row = np.concatenate([np.full(built.image_tokens, IMAGE_TOKEN), words])
        carries = np.arange(len(row)) >= built.image_tokens + max(1, int(asked * length))
        ids.append(row)
        labels.append(np.where(carries, row, -100))
    pictures = [
        [generator.integers(0, 255, 3 * built.image_size**2, dtype=np.uint8).tobytes()]
        for _ in range(setting.rows)
    ]
    tokens = [len(row) for row in ids]
    table = {
        "id": [str(place) for place in range(count)],
        "kind": ["random/en"] * count,
        "input_ids": ids,
        "labels": labels,
        "pixels": [pictures[place % setting.rows] for place in range(count)],
        "tokens": tokens,
        "label_tokens": [int((row >= 0).sum()) for row in labels],
        "pictures": [1] * count,
        "pass": cut_of(setting).micro_batches(tokens, world=1),
    }
    return pa.table(table)


def steps_of(rows: pa.Table, setting: Setting, built: Any) -> Iterator[Any]:
    """The micro-batches of each step, as a worker makes them."""
    from doctor_sun.training.batches import make_steps

    tables = (rows.slice(at, setting.rows) for at in range(0, rows.num_rows, setting.rows))
    return make_steps(tables, built, {"random/en": 0}, packed=setting.pack_tokens > 0)


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
    from doctor_sun.training.engine import EngineConfig, initialize, set_trainable
    from doctor_sun.training.loop import train_steps

    torch.set_num_threads(min(8, os.cpu_count() or 1))
    built = random_model(setting, device)
    rows = draw_rows(setting, built, steps)
    operations, foretold = estimated(setting, rows)
    rates = RATES[setting.stage]
    set_trainable(built.model, rates)
    engine_config = EngineConfig(**setting.engine)
    clear_memory()
    engine = initialize(built.model, rates, engine_config, cut_of(setting).most_passes(1))
    engine.train()
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
        if engine_config.zero_stage < 3
        else None,
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
    from doctor_sun.training.engine import EngineConfig, initialize, set_trainable
    from doctor_sun.training.loop import train_steps

    built = random_model(replace(setting, engine={}), device)
    rates = {"llm": 1e-3, "projector": 1e-3, "vision": 1e-3}
    set_trainable(built.model, rates)
    # Drawn as packed rows are, so that every setting sees the same.
    rows = draw_rows(replace(setting, pack_tokens=1024), built, steps=6)
    numbers = cut_of(setting).micro_batches(rows["tokens"].to_pylist(), world=1)
    rows = rows.set_column(rows.schema.get_field_index("pass"), "pass", pa.array(numbers))
    engine = initialize(
        built.model, rates, EngineConfig(**setting.engine), cut_of(setting).most_passes(1)
    )
    engine.train()
    taken = train_steps(
        engine, steps_of(rows, setting, built), start=0, total=6, warmup_share=0.1, seed=0
    )
    return [result.loss for result in taken]


def attempt(work: Callable[..., Any], *arguments: Any) -> Any:
    """What the work returns, or why it failed; what it held is let go."""
    try:
        return work(*arguments)
    except Exception as error:
        traceback.print_exc()
        return {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"}
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


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


def failures(result: dict[str, Any]) -> list[str]:
    """What is out of its tolerance."""
    found = [result["failed"]] if "failed" in result else []
    for way, errors in result.get("attention", {}).items():
        most = 1e-4 if "fp32" in way else WORSE * result["attention"]["padded, bf16"]["gradients"]
        if errors["gradients"] > most:
            found.append(f"{way}: gradients are off by {errors['gradients']:.1e}")
    exact = result.get("engines", {}).get("fp32, ZeRO 0")
    for name, losses in result.get("engines", {}).items():
        if "failed" in losses:
            found.append(f"{name}: {losses['failed']}")
            continue
        furthest = max(abs(a - b) for a, b in zip(losses, exact, strict=True)) if exact else 0
        if furthest > (SINGLE_TOLERANCE if "fp32" in name else HALF_TOLERANCE):
            found.append(f"{name}: a step's loss is off by {furthest:.1e}")
    for name, row in result["settings"].items():
        if "failed" in row:
            found.append(f"{name}: {row['failed']}")
        elif (
            "packed" in name
            and "skipped" not in row
            and (row["utilisation"] or 0) < LEAST_UTILISATION
        ):
            found.append(f"{name}: {row['utilisation'] or 0:.1%} utilisation")
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


def in_own_process(part: str, *options: str) -> dict[str, Any]:
    """A part of the benchmark: what it prints is passed on, its last line is the result."""
    command = [sys.executable, __file__, "--part", part, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    last = ""
    for line in process.stdout:
        print(last, end="", flush=True)
        last = line
    if process.wait() or not last.startswith("{"):
        return {"failed": f"the process ended with {process.returncode}"}
    return json.loads(last)


def run_part(part: str, small: bool, steps: int, profile_to: Path | None) -> dict[str, Any]:
    """One part, in the process that was started for it."""
    device = "cpu" if small else "cuda"
    start("gloo" if small else "nccl")
    if part == COMPARISONS:
        found = attempt(compare, device)
    else:
        setting = SETTINGS[part]
        if small:
            setting = replace(setting, llm="small", layers=0, tower="small", rows=8)
        elif torch.cuda.get_device_properties(0).total_memory < setting.needs_gib * GIB:
            return {"skipped": f"needs {setting.needs_gib} GiB"}
        found = attempt(train, setting, device, steps, profile_to)
    return found | {"device": "cpu" if small else torch.cuda.get_device_name()}


def main() -> None:
    """Compare, measure, print the tables, write the result after each part."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="two settings of 4 steps, not of 7")
    parser.add_argument("--only", nargs="*", choices=list(SETTINGS), help="settings to train")
    parser.add_argument("--skip-comparisons", action="store_true", help="measure speed only")
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
        print("no GPU: nothing measured")
        return
    names = list(QUICK if arguments.quick else SETTINGS)
    options = ["--steps", str(steps), *(["--small"] if arguments.small else [])]
    result: dict[str, Any] = {"torch": torch.__version__, "steps": steps - WARM, "settings": {}}
    if not arguments.skip_comparisons:
        result |= in_own_process(COMPARISONS, *options)
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
    found = failures(result)
    for failure in found:
        print(f"not as it should be: {failure}")
    best = max((row.get("utilisation") or 0 for row in result["settings"].values()), default=0)
    print(f"ratio: {best:.3f} (of the GPU's peak, at best)")
    if found and not arguments.small:
        sys.exit(1)


if __name__ == "__main__":
    main()
