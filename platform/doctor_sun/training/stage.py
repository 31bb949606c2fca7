"""One training stage from its configuration to its model folder, on Ray Train and DeepSpeed.

The four stages of the paper (`medical`, `hybrid`, `align`, `instruct`) are configurations of this
one function: what trains, on which mixture, how long.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import ray
from upath import UPath

from doctor_sun.cluster import connect, own_interrupts
from doctor_sun.config import JobConfig
from doctor_sun.errors import InputError, find_input_error
from doctor_sun.local_folders import written_folder
from doctor_sun.models.build import ModelConfig
from doctor_sun.runs import Step
from doctor_sun.step_log import StepLog
from doctor_sun.training.accelerators import AcceleratorConfig
from doctor_sun.training.checkpoint import RESHARDING
from doctor_sun.training.engine import EngineConfig
from doctor_sun.training.micro_batches import Cut
from doctor_sun.training.mixture import MixtureItem
from doctor_sun.training.trackers import TrackingConfig
from doctor_sun.training.validation import SAMPLES, VALIDATION_LOSS, ValidationConfig

if TYPE_CHECKING:
    from ray.train import Checkpoint, UserCallback

    from doctor_sun.training.cost import Shapes
    from doctor_sun.training.prepare import PreparedRows

TEXT_STAGES = ("medical", "hybrid")


@dataclass(kw_only=True)
class StageConfig(JobConfig):
    """One training stage."""

    stage: Literal["medical", "hybrid", "align", "instruct"]
    """Which of the paper's stages this is: names the run, and says whether images are read."""

    data: str
    """Curated samples: the folder that `jobs/curate.py` wrote, or any folder of Parquet files
    with the sample schema."""

    model: ModelConfig
    """What the model is made from."""

    learning_rate: dict[str, float]
    """Peak learning rate of each module that trains: `llm`, `projector`, `vision` (its LoRA)."""

    mixture: list[MixtureItem]
    """Parts of the data and their shares."""

    samples: int
    """Rows the stage reads; rounded up to whole global batches, small parts are read again."""

    global_batch: int = 16
    """Rows of one optimizer step, over all workers."""

    micro_batch: int = 4
    """Rows of one forward pass on one worker."""

    max_length: int = 4096
    """Longest conversation in tokens, image tokens included."""

    pack_tokens: int = 0
    """Tokens of one forward pass on one worker, rows packed one behind another without seeing each
    other and without padding (`micro_batch` and `length_window` then have no part); 0 pads."""

    length_window: int = 16
    """Global batches whose rows are grouped by modality and length, so that little of a batch is
    padding; 1 keeps the drawn order."""

    warmup_share: float = 0.03
    """Share of the steps over which the learning rate rises."""

    engine: EngineConfig = field(default_factory=EngineConfig)
    """Sharding and precision."""

    workers: int = 2
    """Training processes, one GPU each where `gpus_per_worker` is 1."""

    workers_min: int = 0
    """Fewest training processes: when a node is lost the stage goes on with those that the cluster
    can give, and takes more when they come back; 0 always waits for all."""

    cpus_per_worker: float = 0.5
    """Logical CPUs of each worker. What all workers leave of the cluster reads and decodes ahead of
    them, and must be one CPU at least."""

    gpus_per_worker: float = 0.0
    """GPUs of each worker."""

    node_labels: dict[str, str] = field(default_factory=dict)
    """Labels of the nodes that the workers may take (`ray.io/accelerator-type: H100`, or those of
    `ray start --labels`); none takes any node."""

    checkpoint_every: int = 200
    """Optimizer steps between checkpoints."""

    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """What is measured on rows that are never trained on, with each checkpoint."""

    keep: Literal["last", "best"] = "last"
    """Which checkpoint becomes the model: the last, or that of the lowest validation loss."""

    report_every: int = 20
    """Optimizer steps between progress lines."""

    largest_jump: float = 3.0
    """Nats by which a step's loss may exceed the mean of the 50 before; beyond, or when the loss is
    no number, the stage stops and names the rows."""

    max_failures: int = 3
    """How often the stage resumes by itself after a worker dies."""

    seed: int = 1024
    """Seed of the rows' choice and order, dropout and new weights."""

    estimate: bool = False
    """Print what the stage will take (memory, hours, price), and train nothing."""

    accelerator: AcceleratorConfig = field(default_factory=AcceleratorConfig)
    """What the estimate reckons with."""

    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """Experiment trackers beside TensorBoard."""

    not_in_result = (
        *("estimate", "accelerator", "tracking"),
        *("workers", "workers_min", "cpus_per_worker", "gpus_per_worker", "node_labels"),
        *("report_every", "max_failures"),
    )

    def __post_init__(self) -> None:
        """Refuse what cannot be trained, before anything starts."""
        if self.workers_min > self.workers or min(self.workers, self.workers_min) < 0:
            raise InputError(f"workers_min {self.workers_min} is not below workers {self.workers}")
        for workers in range(self.workers_min or self.workers, self.workers + 1):
            self.cut.most_passes(workers)
        if self.workers_min and self.engine.zero_stage == 3 and len(self.learning_rate) > 1:
            raise InputError(
                f"workers_min: {RESHARDING}; use engine.zero_stage 2, or a fixed number of workers"
            )
        if self.workers_min and self.node_labels:
            raise InputError(
                "workers_min counts every node's room, whatever its labels: give node_labels or "
                "workers_min"
            )
        if self.validation.rows:
            self.validation_cut(self.validation.rows).most_passes(self.workers)
        elif self.keep == "best":
            raise InputError("keep: best needs validation.rows")
        if 0 < self.pack_tokens < self.max_length:
            raise InputError(
                f"pack_tokens {self.pack_tokens} must hold a row of max_length {self.max_length}"
            )
        if self.model.vision is not None and self.stage in TEXT_STAGES:
            raise InputError(f"stage '{self.stage}' reads text only: remove model.vision")
        if self.model.vision is None and self.stage not in TEXT_STAGES:
            raise InputError(f"stage '{self.stage}' reads images: it needs model.vision")

    @property
    def steps(self) -> int:
        """Optimizer steps of the stage."""
        return math.ceil(self.samples / self.global_batch)

    @property
    def cut(self) -> Cut:
        """Which rows meet in one forward pass."""
        return Cut(
            global_batch=self.global_batch,
            micro_batch=self.micro_batch,
            pack_tokens=self.pack_tokens,
        )

    def validation_cut(self, rows: int) -> Cut:
        """The same for the held-out rows, which are measured all at once."""
        return replace(self.cut, global_batch=rows)

    def data_folder(self) -> str:
        """Where the Parquet files are: a curated run keeps them under `data/`."""
        inner = UPath(self.data) / "data"
        return str(inner) if inner.is_dir() else self.data

    def located_model(self) -> ModelConfig:
        """The model with absolute paths: workers do not share the driver's working directory."""
        paths = ("llm", "vision", "start_from")
        named = {key: getattr(self.model, key) for key in paths}
        found: dict[str, Any] = {
            key: str(UPath(path).absolute())
            for key, path in named.items()
            if path and _is_path(path)
        }
        return replace(self.model, **found)

    def inputs(self) -> dict[str, str]:
        """Paths the stage reads; hub names and architecture names are no paths."""
        named = {
            "data": self.data,
            "llm": self.model.llm,
            "vision": self.model.vision,
            "start_from": self.model.start_from,
        }
        return {
            key: path
            for key, path in named.items()
            if path and (key in ("data", "start_from") or _is_path(path))
        }


def _is_path(name: str) -> bool:
    """Whether a model's name means a folder: it exists, or it is too deep for a hub name."""
    return UPath(name).exists() or name.startswith((".", "/")) or name.count("/") > 1


def save_trained(config: StageConfig, kept: "Checkpoint", folder: str) -> None:
    """Consolidate the sharded checkpoint and write the stage's model folder."""
    from doctor_sun.models.build import build_model, save_model
    from doctor_sun.training.checkpoint import consolidate

    built = build_model(config.model)
    with kept.as_directory() as sharded:
        trained = consolidate(sharded, config.engine.zero_stage)
    own = built.model.state_dict()
    unknown = [name for name in trained if name not in own]
    if unknown:
        raise RuntimeError(f"the checkpoint's tensor '{unknown[0]}' is not in the model")
    built.model.load_state_dict(trained, strict=False)
    with written_folder(folder) as written:
        save_model(built, written, llm_trained="llm" in config.learning_rate)


class Stopped(RuntimeError):
    """The stage was asked to end early (`STOP` in its folder); it has no model."""


def fit(
    config: StageConfig,
    prepared: "PreparedRows",
    step: Step,
    shapes: "Shapes",
    callbacks: Sequence["UserCallback"] = (),
) -> Any:
    """Run Ray Train until the last step; returns its result.

    Raises:
        Stopped: it was asked to end early.
        InputError: the loss went astray (the message names the rows), the disk is full, or a
            worker found its input wrong.
    """
    from ray.train import (
        CheckpointConfig,
        FailureConfig,
        LoggingConfig,
        RunConfig,
        ScalingConfig,
        TrainingFailedError,
    )
    from ray.train.torch import TorchConfig, TorchTrainer

    from doctor_sun.training.progress import DIVERGED, STOP, Progress
    from doctor_sun.training.shards import RankShards
    from doctor_sun.training.worker import WorkerConfig, train_worker

    resources = {"CPU": config.cpus_per_worker}
    if config.gpus_per_worker:
        resources["GPU"] = config.gpus_per_worker
    left = ray.cluster_resources().get("CPU", 0) - config.workers * config.cpus_per_worker
    if left < 1:  # a cluster may still grow; Ray Data would wait for that in silence
        step.say(
            f"waiting for a larger cluster: {config.workers} workers of {config.cpus_per_worker:g} "
            f"CPUs leave {max(left, 0):g} of its CPUs to read with, 1 is needed "
            "(fewer workers, or a smaller cpus_per_worker)"
        )
    wanted = config.node_labels.items()
    if wanted and not any(wanted <= node["Labels"].items() for node in ray.nodes()):
        step.say(f"waiting for a node with the labels {config.node_labels}")
    folder = str(step.folder.absolute())
    shared = ("model", "engine", "learning_rate", "cut", "warmup_share", "validation")
    timing = ("checkpoint_every", "report_every", "largest_jump", "seed")
    worker = WorkerConfig(
        name=config.stage,
        total_steps=config.steps,
        kinds=prepared.kinds,
        threads=max(1, int(config.cpus_per_worker)),
        folder=folder,
        **{name: getattr(config, name) for name in (*shared, *timing)},
    )
    rows = {"train": prepared.train.rows}
    cuts = {"train": (config.cut, prepared.train.order["tokens"].to_pylist())}
    if prepared.validation is not None:
        held_out = prepared.validation.order["tokens"].to_pylist()
        rows["validation"] = prepared.validation.rows
        cuts["validation"] = (config.validation_cut(len(held_out)), held_out)
    trainer = TorchTrainer(
        partial(train_worker, worker),
        datasets=rows,
        dataset_config=RankShards(cuts, shapes.image_size, config.model.square_padding),
        torch_config=TorchConfig(backend=config.engine.backend),
        scaling_config=ScalingConfig(
            num_workers=(config.workers_min, config.workers)
            if config.workers_min
            else config.workers,
            use_gpu=config.gpus_per_worker > 0,
            resources_per_worker=resources,
            label_selector=config.node_labels or None,
        ),
        run_config=RunConfig(
            name="train",
            storage_path=folder,
            failure_config=FailureConfig(max_failures=config.max_failures),
            checkpoint_config=CheckpointConfig(
                num_to_keep=2,  # and the last, where others are better
                checkpoint_score_attribute=VALIDATION_LOSS if config.keep == "best" else None,
                checkpoint_score_order="min",
            ),
            callbacks=[
                Progress(
                    name=config.stage,
                    folder=folder,
                    total_steps=config.steps,
                    global_batch=config.global_batch,
                    operations=shapes.operations,
                    tracking=config.tracking,
                    settings={"key": step.key, "config": step.config_hash},
                    log=StepLog(folder, config.stage, step.key),
                ),
                *callbacks,
            ],
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    for mark in (DIVERGED, STOP):
        (step.folder / mark).unlink(missing_ok=True)
    try:
        with own_interrupts():
            result = trainer.fit()
    except TrainingFailedError as error:
        raise find_input_error(error) or error from None
    if (step.folder / DIVERGED).exists():
        found = json.loads((step.folder / DIVERGED).read_text(encoding="utf-8"))
        raise InputError(
            f"stage '{config.stage}' stopped at step {found['step']}: its loss went astray "
            f"({found['loss']:.4g}), mostly of the rows {', '.join(found['rows'])}; the last "
            "checkpoint is kept (a lower learning rate, or other data, makes it another run)"
        )
    if (step.folder / STOP).exists():
        raise Stopped(f"stage '{config.stage}' was asked to end early")
    return result


def chosen(result: Any, keep: str) -> "Checkpoint":
    """The checkpoint that becomes the model."""
    if keep == "last":
        return result.checkpoint
    return min(result.best_checkpoints, key=lambda pair: pair[1][VALIDATION_LOSS])[0]


def run(config: StageConfig, callbacks: Sequence["UserCallback"] = ()) -> dict[str, Any]:
    """Train the stage, unless a finished run of the same inputs and configuration exists.

    Args:
        config: of the stage.
        callbacks: of Ray Train, beside the stage's own progress.

    Raises:
        InputError: an input is wrong, or the loss went astray.
        Stopped: it was asked to end early.
    """
    if config.estimate:
        from doctor_sun.training.estimate import estimate

        return estimate(config)
    step = Step(config, config.stage, config.inputs())
    if step.reused:
        return step.manifest
    config = replace(config, model=config.located_model())
    import pyarrow.parquet as pq

    from doctor_sun.training.cost import shapes_of
    from doctor_sun.training.prepare import ledger_of, plan_rows, prepare_rows
    from doctor_sun.training.progress import METRICS, read_metrics
    from doctor_sun.training.report import training_page
    from doctor_sun.training.validation import read_samples

    with connect(config.address):
        shapes = shapes_of(config.model, config.learning_rate, config.engine)
        step.say("reading and tokenising the data")
        prepared = prepare_rows(plan_rows(config, shapes.image_tokens, pictures="images"))
        order, ledger = prepared.train.order, ledger_of(prepared.misfits, config.stage)
        for name, table in (("order", order), ("ledger", ledger)):
            (step.folder / name).mkdir(exist_ok=True)
            with (step.folder / name / f"{config.stage}.parquet").open("wb") as stream:
                pq.write_table(table, stream)
        step.say(f"{order.num_rows} rows, {config.steps} steps: {prepared.realised}")
        result = fit(config, prepared, step, shapes, callbacks)
        save = ray.remote(num_cpus=1)(save_trained)
        ray.get(save.remote(config, chosen(result, config.keep), str(step.folder / "model")))
    metrics = read_metrics(step.folder)
    samples = read_samples(step.folder)
    page = training_page(config.stage, metrics, prepared.by_kind, config.global_batch, samples)
    (step.folder / "report.html").write_text(page, encoding="utf-8")
    outputs = ["model", "order", "ledger", METRICS, "report.html", *([SAMPLES] if samples else [])]
    return step.finish(
        outputs=outputs,
        counts={
            "rows": order.num_rows,
            "held_out": 0 if prepared.validation is None else prepared.validation.order.num_rows,
            "does_not_fit": ledger.num_rows,
            "by_mixture": prepared.realised,
            "by_kind": prepared.by_kind,
            "steps": config.steps,
        },
        figures={
            "first_loss": metrics[0]["loss"],
            "last_loss": metrics[-1]["loss"],
            "label_tokens": sum(row["label_tokens"] for row in metrics),
            "tokens": sum(row["tokens"] for row in metrics),
            "padding_share": 1
            - sum(row["tokens"] for row in metrics) / sum(row["padded_tokens"] for row in metrics),
        },
    )


def run_stages(stages: tuple[str, ...]) -> Callable[[StageConfig], dict[str, Any]]:
    """`run`, for a job that stands for some of the stages only.

    Raises (when called):
        InputError: the configuration is that of another job.
    """

    def run_checked(config: StageConfig) -> dict[str, Any]:
        if config.stage not in stages:
            raise InputError(
                f"stage '{config.stage}' is not for this job, which runs {' or '.join(stages)}"
            )
        return run(config)

    return run_checked
