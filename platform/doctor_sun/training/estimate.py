"""`--estimate`: what a stage will take, before any accelerator is taken.

From the real model without weights and the lengths of the real rows: parameters of each module,
memory of a process at each ZeRO stage, tokens, operations, hours and price.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from doctor_sun.training.accelerators import ACCELERATORS, GIB
from doctor_sun.training.cost import TrainingCost, build_shapes, training_cost
from doctor_sun.training.engine import bucket, trainable_table

if TYPE_CHECKING:
    import pyarrow as pa

    from doctor_sun.training.engine import EngineConfig
    from doctor_sun.training.micro_batches import Cut
    from doctor_sun.training.stage import StageConfig

MASTER, MOMENTS = 4, 8  # bytes a parameter: the fp32 copy, and Adam's two moments
GATHERED = 500_000_000  # parameters that stage 3 has whole at once, at most
ZERO_STAGES = (0, 1, 2, 3)


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What is read: by the whole stage, and by its largest forward pass."""

    rows: int
    tokens: int
    padded_tokens: int
    squared_tokens: int
    labels: int
    images: int
    most_tokens: int  # of one forward pass, padding counted
    most_labels: int
    most_images: int


def totals(order: "pa.Table", cut: "Cut", world: int) -> Totals:
    """Count what a stage reads.

    Args:
        order: of `choose_rows`.
        cut: which rows meet in one forward pass.
        world: ranks.
    """
    tokens, labels, images = (
        order[name].to_numpy().astype(np.int64) for name in ("tokens", "label_tokens", "pictures")
    )
    numbers = cut.micro_batches(tokens.tolist(), world)
    step = np.arange(len(tokens)) // cut.global_batch
    _, batch = np.unique(step * (numbers.max() + 1) + numbers, return_inverse=True)
    if cut.pack_tokens:
        computed = np.bincount(batch, weights=tokens)
    else:
        longest = np.zeros(batch.max() + 1, dtype=np.int64)
        np.maximum.at(longest, batch, tokens)
        computed = longest * np.bincount(batch)
    return Totals(
        rows=len(tokens),
        tokens=int(tokens.sum()),
        padded_tokens=int(computed.sum()),
        squared_tokens=int((tokens**2).sum()),
        labels=int(labels.sum()),
        images=int(images.sum()),
        most_tokens=int(computed.max()),
        most_labels=int(np.bincount(batch, weights=labels).max()),
        most_images=int(np.bincount(batch, weights=images).max()),
    )


def state_bytes(
    modules: Mapping[str, tuple[int, int]], engine: "EngineConfig", zero_stage: int, world: int
) -> dict[str, float]:
    """Bytes of one rank for parameters, gradients and optimizer at a ZeRO stage, as DeepSpeed 0.19
    keeps them: fp32, too, has a second copy of its parameters from stage 1 on.

    Args:
        modules: trained and frozen parameters of each module.
        engine: precision and offload.
        zero_stage: the stage.
        world: ranks.
    """
    trained, frozen = (sum(counts[i] for counts in modules.values()) for i in (0, 1))
    width = 2 if engine.precision == "bf16" else 4
    shard = trained / world
    if zero_stage == 0:
        found = {"gradients": float(width * trained), "optimizer": float(MOMENTS * trained)}
    else:
        gradients = trained if zero_stage == 1 else shard
        optimizer = 0.0 if engine.offload_optimizer else (MASTER + MOMENTS) * shard
        found = {"gradients": width * (gradients + bucket(trained)), "optimizer": optimizer}
    parameters = float(trained + frozen)
    if zero_stage == 3:
        held = 0.0 if engine.offload_parameters else parameters / world
        parameters = held + min(parameters, GATHERED)
    return {"parameters": width * parameters, **found}


def step_bytes(
    modules: Mapping[str, tuple[int, int]], engine: "EngineConfig", zero_stage: int, world: int
) -> float:
    """Bytes of one rank that the optimizer's step of ZeRO 1 or 2 takes for itself: the gradients of
    a group in one piece, and those in fp32. By then the activations are gone.
    """
    if zero_stage not in (1, 2) or engine.offload_optimizer:
        return 0.0
    width = 2 + 4 if engine.precision == "bf16" else 4
    return width * bucket(max(trained for trained, _ in modules.values())) / world


def activation_bytes(cost: TrainingCost, read: Totals) -> float:
    """Bytes of the largest forward pass: what is kept, and the block that is computed again."""
    images = max(1, read.most_images)  # a pass without images runs the tower on a black one
    kept, block = (
        part.of(read.most_tokens, 0, read.most_labels, images)
        for part in (cost.activations, cost.block_activations)
    )
    return kept + block


def estimate(config: "StageConfig") -> dict[str, Any]:
    """Print what the stage will take; returns the figures.

    Raises:
        InputError: a model's configuration or the data is missing, or no row matches.
    """
    from doctor_sun.cluster import connect
    from doctor_sun.training.prepare import plan_rows

    built = build_shapes(config.model)
    cost = training_cost(built, config.learning_rate, config.engine)
    with connect(config.address):
        plan = plan_rows(config, built.image_tokens, pictures="image_keys")
    order = plan.order
    read = totals(order, config.cut, config.workers)
    memory = memory_table(cost, read, config)
    operations = cost.operations.of(read.tokens, read.squared_tokens, read.labels, read.images)
    accelerator_hours = config.accelerator.hours(operations)
    figures = {
        "modules": dict(cost.modules),
        "memory_gib": memory,
        "steps": config.steps,
        "rows": read.rows,
        "rows_that_do_not_fit": plan.encoded.misfits.num_rows,
        "tokens": read.tokens,
        "padding_share": 1 - read.tokens / read.padded_tokens,
        "images": read.images,
        "label_tokens": read.labels,
        "operations": operations,
        "hours": accelerator_hours / config.workers,
        "accelerator_hours": accelerator_hours,
        "price": accelerator_hours * config.accelerator.price_per_hour,
    }
    lengths = order["tokens"].to_numpy()
    print("\n".join(_lines(config, figures, plan.realised, lengths)), flush=True)
    return figures


def memory_table(
    cost: TrainingCost, read: Totals, config: "StageConfig"
) -> dict[int, dict[str, float]]:
    """GiB of one process at each ZeRO stage, by what takes them."""
    activations = activation_bytes(cost, read)
    table = {}
    for stage in ZERO_STAGES:
        parts = state_bytes(cost.modules, config.engine, stage, config.workers)
        step = step_bytes(cost.modules, config.engine, stage, config.workers)
        parts["activations"] = max(activations, step)
        parts["all"] = sum(parts.values())
        table[stage] = {name: size / GIB for name, size in parts.items()}
    return table


def _lines(
    config: "StageConfig",
    figures: Mapping[str, Any],
    realised: Mapping[str, int],
    lengths: Sequence[int],
) -> list[str]:
    """The estimate in words and tables."""
    choice, name = config.accelerator, config.accelerator.name
    limit = ACCELERATORS[name].memory / GIB
    lines = [f"stage '{config.stage}', nothing is trained", "", trainable_table(figures["modules"])]
    lines += ["", f"GiB of each of {config.workers} processes ({config.engine.precision}):"]
    names = list(figures["memory_gib"][0])
    lines.append(f"{'ZeRO stage':<12}" + "".join(f"{part:>13}" for part in names))
    for stage, parts in figures["memory_gib"].items():
        mark = "  <- this stage" if stage == config.engine.zero_stage else ""
        mark += f"  more than one {name} has" if parts["all"] > limit else ""
        numbers = "".join(f"{parts[part]:>13,.2f}" for part in names)
        lines.append(f"{stage:<12}{numbers}{mark}")
    middle, most = np.percentile(lengths, (50, 95))
    lines += [
        "",
        f"{figures['steps']:,} steps, {figures['rows']:,} rows ({', '.join(_parts(realised))}), "
        f"{figures['images']:,} images; {figures['rows_that_do_not_fit']:,} rows do not fit",
        f"{figures['tokens']:,} tokens ({figures['label_tokens']:,} carry loss; a row has "
        f"{middle:,.0f} in the middle, {most:,.0f} at the 95th percentile), "
        f"{figures['padding_share']:.1%} of what is computed is padding",
        f"{figures['operations']:.3g} operations: {figures['hours']:,.2f} hours on "
        f"{config.workers} x {name} at {choice.utilisation:.0%} utilisation "
        f"({figures['accelerator_hours']:,.1f} {name} hours)",
    ]
    if choice.price_per_hour:
        lines.append(f"{figures['price']:,.2f} at {choice.price_per_hour:g} an hour each")
    return lines


def _parts(realised: Mapping[str, int]) -> list[str]:
    return [f"{count:,} {item}" for item, count in realised.items()]
