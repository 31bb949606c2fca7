"""The loss on rows that are never trained on, and what the model says to some of them.

What it says holds text of the data: it goes to files beside the checkpoints, never to a log.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from upath import UPath

from doctor_sun.records import IMAGE_PLACEHOLDER
from doctor_sun.training.mixture import MixtureItem

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from doctor_sun.models.build import BuiltModel
    from doctor_sun.training.loop import MicroBatch

SAMPLES = "samples"
VALIDATION_LOSS = "validation_loss"


@dataclass(kw_only=True)
class ValidationConfig:
    """What is measured each time a checkpoint is written."""

    rows: int = 0
    """Rows of the mixture that are kept out of training and measured; 0 measures nothing."""

    mixture: list[MixtureItem] = field(default_factory=list)
    """Their mixture, where it is another than the stage's: runs on several mixtures are then
    measured on the same rows."""

    samples: int = 4
    """Of them, how many are answered by the model, in the report."""

    sample_tokens: int = 64
    """Longest of these answers, in tokens."""


@dataclass(kw_only=True)
class ValidationResult:
    """Over all ranks."""

    loss: float  # mean over the labelled tokens
    loss_by_kind: dict[str, tuple[float, int]]  # mean loss and labelled tokens of each kind


def validate(
    engine: Any, batches: Sequence["MicroBatch"], kinds: Sequence[str]
) -> ValidationResult:
    """The loss of this rank's held-out micro-batches, summed up over all ranks.

    Args:
        engine: a DeepSpeed engine whose model returns each row's summed loss.
        batches: as many on every rank.
        kinds: names of the rows' kinds.
    """
    import torch

    from doctor_sun.training.loop import count_labels, losses_over_ranks, to_device

    engine.eval()
    with torch.no_grad():
        losses = [engine(**to_device(batch.inputs, engine.device)).detach() for batch in batches]
    engine.train()
    labels = torch.cat([count_labels(batch.inputs) for batch in batches])
    loss_sum, by_kind = losses_over_ranks(torch.cat(losses).double().cpu(), labels, batches, kinds)
    tokens = sum(count for _, count in by_kind.values())
    return ValidationResult(loss=loss_sum / tokens, loss_by_kind=by_kind)


def answer(
    engine: Any,
    prompts: Sequence[tuple["Tensor", "Tensor | None"]],
    end_of_turn: int,
    padding: int,
    most_tokens: int,
) -> list[list[int]]:
    """Greedy answers, as many on every rank: each ends at its end of turn or at the limit.

    Args:
        engine: a DeepSpeed engine around the multimodal model.
        prompts: token ids [1, tokens] and pixels [images, 3, size, size] of each.
        end_of_turn: token that ends an answer.
        padding: token that follows it.
        most_tokens: the limit.
    """
    import torch

    engine.eval()
    model, answers = engine.module, []
    with torch.no_grad():
        for prompt, images in prompts:
            ids = prompt.to(engine.device)
            pixels = None if images is None else images.to(engine.device)
            said = model.llm.generate(
                inputs_embeds=model.embed(ids, pixels),
                attention_mask=torch.ones_like(ids),
                max_new_tokens=most_tokens,
                do_sample=False,
                eos_token_id=end_of_turn,
                pad_token_id=padding,
                synced_gpus=engine.zero_optimization_partition_weights(),
            )
            answers.append(said[0].tolist())
    engine.train()
    return answers


class HeldOut:
    """A rank's rows that are never trained on, kept in memory."""

    def __init__(
        self,
        rows: "pa.Table",
        built: "BuiltModel",
        kinds: Sequence[str],
        packed: bool,
        config: ValidationConfig,
        folder: str,
    ) -> None:
        """Make the rows ready.

        Args:
            rows: of this rank, with their forward passes.
            built: the model and its tokenizer.
            kinds: names of the rows' kinds.
            packed: whether rows are packed.
            config: how many are answered, at which length.
            folder: of the stage, for the answers.
        """
        import numpy as np
        import torch.distributed as dist

        from doctor_sun.training.batches import make_batch, passes

        self.built, self.kinds, self.config, self.folder = built, kinds, config, folder
        self.rank, world = dist.get_rank(), dist.get_world_size()
        numbers = {kind: number for number, kind in enumerate(kinds)}
        self.batches = [make_batch(part, built, numbers, packed) for part in passes(rows)]
        found = [0] * world
        dist.all_gather_object(found, rows.num_rows)
        share = min(math.ceil(config.samples / world), *found)  # as many on every rank
        spread = np.linspace(0, rows.num_rows - 1, share).astype(int)  # from short to long
        self.samples = rows.drop_columns(["pixels"]).take(spread).to_pylist()
        self.prompts = []
        for number, row in zip(spread, self.samples, strict=True):
            inputs = make_batch(rows.slice(number, 1), built, numbers, packed=True).inputs
            ids = inputs["input_ids"][:, : prompt_length(row["labels"])]
            pixels = inputs["pixel_values"]
            if pixels is not None:  # those of later turns are not asked about
                places = int((ids == built.model.image_token_id).sum())
                pixels = pixels[: places // built.image_tokens] if places else None
            self.prompts.append((ids, pixels))

    def measure(self, engine: Any, step: int) -> dict[str, Any]:
        """The loss, for the report; answers go to a file."""
        found = validate(engine, self.batches, self.kinds)
        tokenizer = self.built.tokenizer
        end, padding = tokenizer.eos_token_id, tokenizer.pad_token_id
        answers = answer(engine, self.prompts, end, padding, self.config.sample_tokens)
        write_samples(self.folder, step, self.rank, tokenizer, self.samples, answers)
        return {VALIDATION_LOSS: found.loss, "validation_by_kind": found.loss_by_kind}


def write_samples(
    folder: str,
    step: int,
    rank: int,
    tokenizer: "PreTrainedTokenizerBase",
    rows: Sequence[dict[str, Any]],
    answers: Sequence[list[int]],
) -> None:
    """Write this rank's answers as JSON lines: id, kind, question, reference, answer."""
    from doctor_sun.models.chat_template import IGNORE_INDEX

    target = UPath(folder) / SAMPLES
    target.mkdir(parents=True, exist_ok=True)
    image = tokenizer.convert_tokens_to_ids(IMAGE_PLACEHOLDER)
    with (target / f"step{step}-rank{rank}.jsonl").open("w", encoding="utf-8") as stream:
        for row, said in zip(rows, answers, strict=True):
            labels = row["labels"]
            start = prompt_length(labels)
            ids = [token for token in row["input_ids"][:start] if token != image]
            end = next(
                (place for place in range(start, len(labels)) if labels[place] == IGNORE_INDEX),
                len(labels),
            )
            texts = {"question": ids, "reference": row["input_ids"][start:end], "answer": said}
            line = {"id": row["id"], "kind": row["kind"]}
            for name, tokens in texts.items():
                text = tokenizer.decode(tokens, skip_special_tokens=True)
                line[name] = text.replace("user\n\n", "", 1).removesuffix("assistant\n\n").strip()
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def prompt_length(labels: Sequence[int]) -> int:
    """Tokens before the first answer."""
    from doctor_sun.models.chat_template import IGNORE_INDEX

    return next(place for place, label in enumerate(labels) if label != IGNORE_INDEX)


def read_samples(folder: str | UPath) -> dict[str, list[dict[str, Any]]]:
    """By row, what the model said to it: the lines of `write_samples` with their step, in order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in (UPath(folder) / SAMPLES).glob("step*-rank*.jsonl"):
        step = int(path.name.split("-")[0].removeprefix("step"))
        for text in path.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            found.setdefault(line["id"], []).append(line | {"step": step})
    return {row: sorted(lines, key=lambda line: line["step"]) for row, lines in found.items()}
