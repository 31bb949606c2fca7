"""What each Ray Train worker runs: its shard of the rows, the loop, checkpoints, reports."""

import logging
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import ray.train
import torch
import torch.distributed as dist
from ray.train import Checkpoint
from upath import UPath

from doctor_sun.errors import InputError
from doctor_sun.models.build import BuiltModel, ModelConfig, build_model
from doctor_sun.training import checkpoint
from doctor_sun.training.accelerators import GIB, accelerator_of
from doctor_sun.training.batches import make_steps, read_steps
from doctor_sun.training.engine import (
    EngineConfig,
    initialize,
    parameter_counts,
    set_trainable,
    start_collectives,
    trainable_table,
)
from doctor_sun.training.loop import Diverged, StepResult, train_steps
from doctor_sun.training.micro_batches import Cut
from doctor_sun.training.progress import STOP
from doctor_sun.training.validation import HeldOut, ValidationConfig


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
    shard = ray.train.get_dataset_shard("train")
    tables = read_steps(shard, config.cut.global_batch, world)
    built = build_model(config.model)
    set_trainable(built.model, config.learning_rate)
    if rank == 0:
        print(trainable_table(parameter_counts(built.model)), flush=True)
    engine, done = start_engine(built, config, world)
    engine.train()
    pending: list[StepResult] = []
    started = time.perf_counter()
    packed = config.cut.pack_tokens > 0
    held_out = None
    if config.validation.rows:
        rows = ray.train.get_dataset_shard("validation")
        table = pa.concat_tables(rows.iter_batches(batch_size=None, batch_format="pyarrow"))
        held_out = HeldOut(table, built, config.kinds, packed, config.validation, config.folder)
    kinds = {kind: place for place, kind in enumerate(config.kinds)}
    batches = make_steps(islice(tables, done, config.total_steps), built, kinds, packed)
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
                if stop_asked(config.folder, rank):
                    return
    except Diverged as error:
        # Said and not raised: Ray Train would take it for a failed worker and try again in vain.
        ray.train.report(report_of(pending, started) | {"diverged": vars(error)})


def stop_asked(folder: str, rank: int) -> bool:
    """Whether the stage shall end early: the first rank looks, all hear the same."""
    asked = torch.tensor(float(rank == 0 and (UPath(folder) / STOP).exists()))
    if dist.get_backend() == "nccl":
        asked = asked.cuda()
    dist.all_reduce(asked)
    return bool(asked > 0)


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
