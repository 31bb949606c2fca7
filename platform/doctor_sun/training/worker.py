"""What each Ray Train worker runs: its shard of the rows, the loop, checkpoints, reports."""

import logging
import math
import resource
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import ray.train
import torch
import torch.distributed as dist
from ray.train import Checkpoint

from doctor_sun.errors import InputError
from doctor_sun.models.build import BuiltModel, ModelConfig, build_model
from doctor_sun.models.multimodal import pack_batch, pad_batch
from doctor_sun.training import checkpoint
from doctor_sun.training.accelerators import accelerator_of
from doctor_sun.training.engine import (
    EngineConfig,
    initialize,
    set_trainable,
    start_collectives,
    trainable_table,
)
from doctor_sun.training.loop import Batch, Diverged, MicroBatch, StepResult, train_steps
from doctor_sun.training.micro_batches import Cut
from doctor_sun.training.validation import (
    ValidationConfig,
    answer,
    prompt_length,
    validate,
    write_samples,
)

GIB = 1 << 30
VALIDATION_LOSS = "validation_loss"
PREFETCHED = 8  # batches read ahead of the step, so that a block's arrival is not waited for


@dataclass(kw_only=True)
class WorkerConfig:
    """What the workers of one stage need to know."""

    name: str
    model: ModelConfig
    engine: EngineConfig
    learning_rate: dict[str, float]
    total_steps: int
    cut: Cut
    warmup_share: float
    checkpoint_every: int
    report_every: int
    largest_jump: float
    seed: int
    threads: int
    kinds: Sequence[str]
    """Kinds of the stage's rows, `source/language`."""

    validation: ValidationConfig

    folder: str
    """The stage's folder, for what the model says to held-out rows."""


def make_batch(
    rows: pa.Table, built: BuiltModel, kinds: Mapping[str, int], packed: bool
) -> MicroBatch:
    """Pad or pack the rows of one micro-batch and normalise its images."""
    columns = (rows[name].to_pylist() for name in ("input_ids", "labels"))
    encoded = list(zip(*columns, strict=True))
    attention_mask = row_lengths = None
    if packed:
        input_ids, labels, row_lengths = pack_batch(encoded)
    else:
        padding = built.tokenizer.pad_token_id
        input_ids, attention_mask, labels = pad_batch(encoded, padding)
    images = [image for images in rows["pixels"].to_pylist() for image in images]
    pixel_values = None
    if images:
        # Imported here: text stages, and the controller that unpickles this module, do without.
        from doctor_sun.models.image_transform import build_image_processor, normalise

        shape = (len(images), 3, built.image_size, built.image_size)
        pixels = np.frombuffer(b"".join(images), dtype=np.uint8).reshape(shape)
        processor = build_image_processor(built.image_size, built.config.square_padding)
        pixel_values = normalise(processor, torch.from_numpy(pixels.copy()))
    inputs: Batch = {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "labels": labels,
        "pixel_values": pixel_values,
        "row_lengths": row_lengths,
    }
    places = [kinds[kind] for kind in rows["kind"].to_pylist()]
    return MicroBatch(inputs=inputs, ids=rows["id"].to_pylist(), kinds=places)


def read_shard(global_batch: int, world: int) -> Iterator[pa.Table]:
    """This rank's rows of each global batch; reading begins at once, while the model is built."""
    shard = ray.train.get_dataset_shard("train")
    tables = iter(
        shard.iter_batches(
            batch_size=global_batch // world,
            batch_format="pyarrow",
            prefetch_batches=PREFETCHED,
        )
    )
    reader = ThreadPoolExecutor(1)
    first = reader.submit(next, tables)

    def all_tables() -> Iterator[pa.Table]:
        yield first.result()
        reader.shutdown()
        yield from tables

    return by_step(all_tables(), global_batch)


def by_step(tables: Iterable[pa.Table], global_batch: int) -> Iterator[pa.Table]:
    """Cut rows in the stage's order where one global batch ends and the next begins."""
    rest = None
    for table in tables:
        joined = table if rest is None else pa.concat_tables([rest, table])
        steps = joined["position"].to_numpy() // global_batch
        starts = [0, *(np.flatnonzero(np.diff(steps)) + 1)]
        for start, end in pairwise(starts):
            yield joined.slice(start, end - start)
        rest = joined.slice(starts[-1])
    if rest is not None:
        yield rest


def passes(rows: pa.Table) -> Iterator[pa.Table]:
    """The rows of each forward pass of a step."""
    numbers = rows["pass"].to_numpy()
    for number in range(numbers.max() + 1):
        yield rows.filter(pa.array(numbers == number))


def as_many(rows: pa.Table, wanted: int) -> int:
    """Rows to take of the wanted, so that every rank takes as many."""
    found: list[int] = [0] * dist.get_world_size()
    dist.all_gather_object(found, rows.num_rows)
    return min(wanted, *found)


class HeldOut:
    """This rank's rows that are never trained on, kept in memory."""

    def __init__(self, config: "WorkerConfig", built: BuiltModel, world: int, rank: int) -> None:
        self.config, self.built, self.rank = config, built, rank
        shard = ray.train.get_dataset_shard("validation")
        table = pa.concat_tables(shard.iter_batches(batch_size=None, batch_format="pyarrow"))
        kinds = {kind: place for place, kind in enumerate(config.kinds)}
        packed = config.cut.pack_tokens > 0
        self.batches = [make_batch(rows, built, kinds, packed) for rows in passes(table)]
        share = as_many(table, math.ceil(config.validation.samples / world))
        spread = np.linspace(0, table.num_rows - 1, share).astype(int)  # from short to long
        self.samples = table.take(pa.array(spread))
        alone = [
            make_batch(self.samples.slice(row, 1), built, kinds, True)
            for row in range(self.samples.num_rows)
        ]
        starts = [prompt_length(labels) for labels in self.samples["labels"].to_pylist()]
        self.prompts = [
            (batch.inputs["input_ids"][:, :start], batch.inputs["pixel_values"])
            for batch, start in zip(alone, starts, strict=True)
        ]

    def measure(self, engine: Any, step: int) -> dict[str, Any]:
        """The loss, for the report; answers go to a file."""
        found = validate(engine, self.batches, self.config.kinds)
        tokenizer = self.built.tokenizer
        end, padding = tokenizer.eos_token_id, tokenizer.pad_token_id
        most = self.config.validation.sample_tokens
        answers = answer(engine, self.prompts, end, padding, most)
        columns = self.samples.select(["id", "kind", "input_ids", "labels"])
        rows = columns.to_pylist()
        write_samples(self.config.folder, step, self.rank, tokenizer, rows, answers)
        return {VALIDATION_LOSS: found.loss, "validation_by_kind": found.loss_by_kind}


def report_checkpoint(engine: Any, result: StepResult, metrics: dict[str, Any]) -> None:
    """Every rank writes its shard; Ray Train merges them into one checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(engine, folder, result.step)
        ray.train.report(metrics, checkpoint=Checkpoint.from_directory(folder))


def start_engine(built: BuiltModel, config: "WorkerConfig", world: int) -> tuple[Any, int]:
    """The engine, and the steps behind it: those of the newest checkpoint, if there is one."""

    def engine(universal: bool) -> Any:
        passes = config.cut.most_passes(world)
        return initialize(built.model, config.learning_rate, config.engine, passes, universal)

    newest = ray.train.get_checkpoint()
    if newest is None:
        return engine(universal=False), 0
    with newest.as_directory() as folder, checkpoint.for_ranks(folder, world) as converted:
        if converted and config.engine.zero_stage == 3 and len(config.learning_rate) > 1:
            ranks = checkpoint.ranks_of(folder)
            raise InputError(f"{checkpoint.RESHARDING}: resume with {ranks}")
        made = engine(universal=converted is not None)
        return made, checkpoint.load(made, *(converted or (folder,)))


def train_worker(config: WorkerConfig) -> None:
    """Train one stage on this rank."""
    context = ray.train.get_context()
    world, rank = context.get_world_size(), context.get_world_rank()
    logging.getLogger().setLevel(logging.WARNING)  # Ray Train lets every library's chatter through
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)  # new weights (projector, LoRA) are the same on every rank
    start_collectives(config.engine.backend)
    tables = read_shard(config.cut.global_batch, world)
    built = build_model(config.model)
    set_trainable(built.model, config.learning_rate)
    if rank == 0:
        print(trainable_table(built.model), flush=True)
    engine, done = start_engine(built, config, world)
    engine.train()
    pending: list[StepResult] = []
    started = time.perf_counter()
    held_out = HeldOut(config, built, world, rank) if config.validation.rows else None
    kinds = {kind: place for place, kind in enumerate(config.kinds)}
    batches = (
        [make_batch(rows, built, kinds, config.cut.pack_tokens > 0) for rows in passes(table)]
        for table in islice(tables, done, config.total_steps)
    )
    steps = train_steps(
        engine,
        batches,
        start=done,
        total=config.total_steps,
        warmup_share=config.warmup_share,
        seed=config.seed,
        kinds=config.kinds,
        largest_jump=config.largest_jump,
    )
    try:
        for result in steps:
            pending.append(result)
            last = result.step == config.total_steps
            checkpointing = last or result.step % config.checkpoint_every == 0
            reporting = result.step % config.report_every == 0
            if reporting and ray.train.get_preemption_info() is not None:
                checkpointing = True  # a node is about to be taken away
            if checkpointing or reporting:
                metrics = report_of(pending, started)
                if checkpointing:
                    if held_out is not None:
                        metrics |= held_out.measure(engine, result.step)
                    report_checkpoint(engine, result, metrics)
                else:
                    ray.train.report(metrics)
                pending, started = [], time.perf_counter()
    except Diverged as error:
        # Said and not raised: Ray Train would take it for a failed worker and try again in vain.
        ray.train.report(report_of(pending, started) | {"diverged": vars(error)})


def report_of(steps: Sequence[StepResult], started: float) -> dict[str, Any]:
    """What a rank says of the steps since its last report."""
    return {
        "steps": [asdict(step) for step in steps],
        "seconds": time.perf_counter() - started,
        "memory_gib": peak_memory(),
        "peak": peak_operations(),
    }


def peak_operations() -> float:
    """Operations a second that this process's GPU can do at most; 0 where that is not known."""
    if not torch.cuda.is_available():
        return 0.0
    known = accelerator_of(torch.cuda.get_device_name())
    return known.peak if known else 0.0


def peak_memory() -> float:
    """GiB that this process held at most: of its GPU where it has one, else of the machine."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
