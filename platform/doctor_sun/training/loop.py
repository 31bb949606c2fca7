"""The optimizer steps of every stage: one loop, whatever trains and however it is sharded."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import torch
import torch.distributed as dist
from torch import Tensor

from doctor_sun.models.chat_template import IGNORE_INDEX
from doctor_sun.training.schedule import warmup_cosine

REMEMBERED = 50  # steps whose mean loss a jump is measured against
NAMED_ROWS = 8  # of a rank, where the loss went astray


class Batch(TypedDict):
    """One micro-batch, as `MultimodalModel.forward` takes it."""

    input_ids: Tensor  # [batch, tokens], or [1, tokens] of packed rows
    attention_mask: Tensor | None  # [batch, tokens]; none of packed rows
    labels: Tensor  # like input_ids
    pixel_values: Tensor | None  # [images, 3, size, size]
    row_lengths: Sequence[int] | None  # tokens of each packed row; none of padded rows


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """One forward pass: what the model reads, and which rows these are."""

    inputs: Batch
    ids: Sequence[str]  # [rows]
    kinds: Sequence[int]  # [rows] places in the stage's list of kinds (source and language)


@dataclass(kw_only=True)
class StepResult:
    """What one optimizer step did, over all ranks."""

    step: int  # 1-based
    loss: float  # mean over the labelled tokens of the global batch
    label_tokens: int
    tokens: int  # padding not counted
    padded_tokens: int
    squared_tokens: int  # of each row, its tokens times its tokens: what attention costs
    images: int
    gradient_norm: float | None
    learning_rate: dict[str, float]
    loss_by_kind: dict[str, tuple[float, int]]  # mean loss and labelled tokens of the kinds seen


class Diverged(RuntimeError):
    """The loss is no number or has jumped, on all ranks; the last checkpoint is untouched."""

    def __init__(self, step: int, loss: float, rows: Sequence[str]) -> None:
        super().__init__(
            f"step {step}: the loss is {loss:.4g}, mostly of the rows {', '.join(rows)}"
        )
        self.step, self.loss, self.rows = step, loss, list(rows)


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


def count_labels(batch: Batch) -> Tensor:
    """[rows] tokens of each row that carry loss."""
    labelled = batch["labels"] != IGNORE_INDEX
    lengths = batch["row_lengths"]
    if lengths is None:
        return labelled[:, 1:].sum(dim=1)
    return torch.stack([row.sum() for row in labelled[0].split(list(lengths))])


def row_tokens(batch: Batch) -> Tensor:
    """[rows] tokens of each row, padding not counted."""
    mask = batch["attention_mask"]
    return torch.tensor(batch["row_lengths"]) if mask is None else mask.sum(dim=1)


def count_images(batch: Batch) -> int:
    """Images of all rows."""
    pixels = batch["pixel_values"]
    return 0 if pixels is None else len(pixels)


def train_steps(
    engine: Any,
    global_batches: Iterable[list[MicroBatch]],
    *,
    start: int,
    total: int,
    warmup_share: float,
    seed: int,
    kinds: Sequence[str] = (),
    largest_jump: float = math.inf,
) -> Iterator[StepResult]:
    """Take one optimizer step for each global batch (this rank's micro-batches of it).

    The loss is the mean over all labelled tokens of the global batch: DeepSpeed averages over
    ranks whatever their token counts, so each micro-batch's summed loss is scaled by ranks /
    tokens.

    Args:
        engine: a DeepSpeed engine whose model returns each row's summed loss.
        global_batches: lists of micro-batches, of any number that is the same on all ranks.
        start: steps already taken.
        total: steps of the whole stage, for the schedule.
        warmup_share: share of the steps that warms up.
        seed: of dropout; each step and rank draws its own, the same again after a resume.
        kinds: names of the rows' kinds, for the loss of each.
        largest_jump: nats by which a step's loss may exceed the mean of the `REMEMBERED` before.

    Raises:
        Diverged: the loss is not finite, or has jumped; on all ranks alike.
    """
    world, rank = dist.get_world_size(), dist.get_rank()
    before: deque[float] = deque(maxlen=REMEMBERED)
    for step, batches in enumerate(global_batches, start):
        torch.manual_seed(seed + step * world + rank)
        rates = set_learning_rate(engine, warmup_cosine(step, total, warmup_share))
        labels = torch.cat([count_labels(batch.inputs) for batch in batches])
        lengths = torch.cat([row_tokens(batch.inputs) for batch in batches])
        label_tokens, tokens, padded, squared, images = _sum_over_ranks(
            int(labels.sum()),
            int(lengths.sum()),
            sum(batch.inputs["input_ids"].numel() for batch in batches),
            int((lengths**2).sum()),
            sum(count_images(batch.inputs) for batch in batches),
        )
        losses = []
        for number, batch in enumerate(batches, 1):
            engine.set_gradient_accumulation_boundary(number == len(batches))
            row_losses = engine(**to_device(batch.inputs, engine.device))
            losses.append(row_losses.detach())
            engine.backward(row_losses.sum() * (world / label_tokens), scale_wrt_gas=False)
            engine.step()
        of_rows = torch.cat(losses).double().cpu()
        loss_sum, by_kind = losses_over_ranks(of_rows, labels, batches, kinds)
        loss = loss_sum / label_tokens
        if not math.isfinite(loss) or _jumped(loss, before, largest_jump):
            raise Diverged(step + 1, loss, _worst_rows(of_rows, labels, batches))
        before.append(loss)
        norm = engine.get_global_grad_norm()
        yield StepResult(
            step=step + 1,
            loss=loss,
            label_tokens=int(label_tokens),
            tokens=int(tokens),
            padded_tokens=int(padded),
            squared_tokens=int(squared),
            images=int(images),
            gradient_norm=None if norm is None else float(norm),
            learning_rate=rates,
            loss_by_kind=by_kind,
        )


def losses_over_ranks(
    of_rows: Tensor, labels: Tensor, batches: Sequence[MicroBatch], kinds: Sequence[str]
) -> tuple[float, dict[str, tuple[float, int]]]:
    """Over all ranks: the summed loss, and mean loss and labelled tokens of each kind seen.

    Args:
        of_rows: [rows] summed loss of each of this rank's rows.
        labels: [rows] labelled tokens.
        batches: where the rows stand.
        kinds: names.
    """
    sums = torch.zeros(2, len(kinds), dtype=torch.float64)
    if kinds:
        places = torch.tensor([kind for batch in batches for kind in batch.kinds])
        sums[0].index_add_(0, places, of_rows)
        sums[1].index_add_(0, places, labels.double())
    loss_sum, *flat = _sum_over_ranks(float(of_rows.sum()), *sums.flatten().tolist())
    own = zip(kinds, flat[: len(kinds)], flat[len(kinds) :], strict=True)
    return loss_sum, {name: (loss / count, int(count)) for name, loss, count in own if count}


def _jumped(loss: float, before: Sequence[float], largest_jump: float) -> bool:
    """Whether a loss is far above those before it."""
    return len(before) == REMEMBERED and loss > sum(before) / REMEMBERED + largest_jump


def _worst_rows(of_rows: Tensor, labels: Tensor, batches: Sequence[MicroBatch]) -> list[str]:
    """Ids of the rows whose loss is no number, or else the largest, of every rank."""
    ids = [id for batch in batches for id in batch.ids]
    mean = (of_rows / labels.clamp(min=1)).nan_to_num(math.inf, math.inf)
    worst = mean.argsort(descending=True, stable=True)[:NAMED_ROWS].tolist()
    if mean[worst[0]] == math.inf:
        worst = [row for row in worst if mean[row] == math.inf]
    found: list[list[tuple[float, str]]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(found, [(float(mean[row]), ids[row]) for row in worst])
    ordered = sorted((pair for own in found for pair in own), key=lambda pair: -pair[0])
    finite = ordered[0][0] < math.inf
    return [id for loss, id in ordered if finite or loss == math.inf][:NAMED_ROWS]


def to_device(batch: Batch, device: torch.device) -> dict[str, Any]:
    """The batch, its tensors on the engine's device."""
    return {
        name: value.to(device) if isinstance(value, Tensor) else value
        for name, value in batch.items()
    }
