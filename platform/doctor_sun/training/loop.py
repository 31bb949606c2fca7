"""The optimizer steps of every stage: one loop, whatever trains and however it is sharded."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypedDict

import torch
import torch.distributed as dist
from torch import Tensor

from doctor_sun.models.chat_template import IGNORE_INDEX
from doctor_sun.training.schedule import warmup_cosine


class Batch(TypedDict):
    """One micro-batch, as `MultimodalModel.forward` takes it."""

    input_ids: Tensor  # [batch, tokens]
    attention_mask: Tensor  # [batch, tokens]
    labels: Tensor  # [batch, tokens]
    pixel_values: Tensor | None  # [images, 3, size, size]


@dataclass(kw_only=True)
class StepResult:
    """What one optimizer step did, over all ranks."""

    step: int  # 1-based
    loss: float  # mean over the labelled tokens of the global batch
    label_tokens: int
    tokens: int  # padding not counted
    padded_tokens: int
    gradient_norm: float | None
    learning_rate: dict[str, float]


class Diverged(RuntimeError):
    """The loss is no number; the weights of the last checkpoint are untouched."""


def set_learning_rate(engine: Any, factor: float) -> dict[str, float]:
    """Scale each group's peak learning rate; returns the rates by group name."""
    for group in engine.optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    return {group["name"]: group["lr"] for group in engine.optimizer.param_groups}


def _sum_over_ranks(*values: float) -> list[float]:
    """Each value summed over all ranks."""
    totals = torch.tensor(values, dtype=torch.float64)
    if dist.get_backend() == "nccl":
        totals = totals.cuda()
    dist.all_reduce(totals)
    return totals.tolist()


def count_labels(batch: Batch) -> int:
    """Tokens of a micro-batch that carry loss."""
    return int((batch["labels"][:, 1:] != IGNORE_INDEX).sum())


def train_steps(
    engine: Any,
    global_batches: Iterable[list[Batch]],
    *,
    start: int,
    total: int,
    warmup_share: float,
    seed: int,
) -> Iterator[StepResult]:
    """Take one optimizer step for each global batch (this rank's micro-batches of it).

    The loss is the mean over all labelled tokens of the global batch: DeepSpeed averages over
    ranks and micro-batches whatever their token counts, so each micro-batch's summed loss is
    scaled by ranks x micro-batches / tokens.

    Args:
        engine: a DeepSpeed engine whose model returns a summed loss.
        global_batches: lists of `gradient_accumulation_steps` micro-batches.
        start: steps already taken.
        total: steps of the whole stage, for the schedule.
        warmup_share: share of the steps that warms up.
        seed: of dropout; each step and rank draws its own, the same again after a resume.

    Raises:
        Diverged: the loss is not finite.
    """
    world, rank = dist.get_world_size(), dist.get_rank()
    for step, batches in enumerate(global_batches, start):
        torch.manual_seed(seed + step * world + rank)
        rates = set_learning_rate(engine, warmup_cosine(step, total, warmup_share))
        label_tokens, tokens, padded = _sum_over_ranks(
            sum(count_labels(b) for b in batches),
            sum(int(b["attention_mask"].sum()) for b in batches),
            sum(b["attention_mask"].numel() for b in batches),
        )
        scale = world * len(batches) / label_tokens
        loss_sum = 0.0
        for batch in batches:
            loss = engine(**_to_device(batch, engine.device))
            loss_sum += loss.item()
            if not math.isfinite(loss_sum):
                raise Diverged(f"step {step + 1}: the loss is {loss_sum}")
            engine.backward(loss * scale)
            engine.step()
        norm = engine.get_global_grad_norm()
        yield StepResult(
            step=step + 1,
            loss=_sum_over_ranks(loss_sum)[0] / label_tokens,
            label_tokens=int(label_tokens),
            tokens=int(tokens),
            padded_tokens=int(padded),
            gradient_norm=None if norm is None else float(norm),
            learning_rate=rates,
        )


def _to_device(batch: Batch, device: torch.device) -> dict[str, Tensor | None]:
    """The batch on the engine's device."""
    return {
        name: value.to(device) if isinstance(value, Tensor) else None
        for name, value in batch.items()
    }
