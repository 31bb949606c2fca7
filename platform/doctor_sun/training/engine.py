"""The DeepSpeed engine: how it is configured, started and consolidated."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from doctor_sun.errors import InputError
from doctor_sun.imports import absent

if TYPE_CHECKING:
    from torch import nn

    from doctor_sun.models.multimodal import MultimodalModel

LARGEST_BUCKET = 500_000_000  # gradients; DeepSpeed's own default


@dataclass(kw_only=True)
class EngineConfig:
    """How the optimizer's work is sharded and in which precision it runs."""

    zero_stage: Literal[0, 1, 2, 3] = 2
    """DeepSpeed ZeRO stage: 1 shards optimizer states, 2 also gradients, 3 also parameters."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of parameters and activations; bf16 needs a ZeRO stage of at least 1."""

    gradient_checkpointing: bool = False
    """Keep a block's input only and compute its activations again in the backward pass, in the
    language model, the tower and the projector: less memory for about a third more work."""

    offload_optimizer: bool = False
    """Keep optimizer states, and the step, on the CPU; needs a ZeRO stage of at least 1."""

    offload_parameters: bool = False
    """Keep parameters on the CPU until they are used; needs ZeRO stage 3."""

    gradient_clipping: float = 1.0
    """Largest norm of the global gradient."""

    weight_decay: float = 0.0
    """AdamW's weight decay."""

    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's moment decay rates."""

    backend: Literal["gloo", "nccl"] = "gloo"
    """Collectives: gloo on CPUs, nccl on GPUs."""

    def __post_init__(self) -> None:
        """Refuse what DeepSpeed ignores, and the combination whose loss is known to go astray."""
        if self.precision == "bf16" and self.zero_stage == 0:
            raise InputError("engine.precision bf16 needs engine.zero_stage 1, 2 or 3")
        if self.offload_optimizer and self.zero_stage == 0:
            raise InputError("engine.offload_optimizer needs engine.zero_stage 1, 2 or 3")
        if self.offload_parameters and self.zero_stage != 3:
            raise InputError("engine.offload_parameters needs engine.zero_stage 3")


def bucket(trained: int) -> int:
    """Gradients that are reduced together: DeepSpeed keeps a buffer of that size at all times."""
    return min(trained, LARGEST_BUCKET)


def deepspeed_config(
    config: EngineConfig, most_passes: int, universal: bool, trained: int
) -> dict[str, Any]:
    """DeepSpeed's own configuration, for so many trained parameters."""
    zero: dict[str, Any] = {"stage": config.zero_stage, "reduce_bucket_size": bucket(trained)}
    if config.zero_stage == 3:
        # Without the threshold DeepSpeed keeps small parameters whole on every rank.
        zero["stage3_param_persistence_threshold"] = 0
    if config.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu"}
    if config.offload_parameters:
        zero["offload_param"] = {"device": "cpu"}
    return {
        # The loop says where a step ends and weighs the loss; DeepSpeed only has to expect
        # gradients to accumulate. It counts rows for its own messages, which are switched off.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": most_passes,
        "gradient_clipping": config.gradient_clipping,
        "steps_per_print": 10**9,
        "zero_optimization": zero,
        "checkpoint": {"load_universal": universal},
        "bf16": {"enabled": config.precision == "bf16"},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }


def start_collectives(backend: str) -> None:
    """Let DeepSpeed use the process group that Ray Train (or a test) has started."""
    if backend == "gloo":
        os.environ["DS_ACCELERATOR"] = "cpu"
    import logging

    with absent("mlflow"):  # two seconds, for its autotuner
        import deepspeed

    deepspeed.utils.logger.setLevel(logging.WARNING)
    # An inference-only operator that DeepSpeed otherwise compiles for minutes on CPUs.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False)


def parameter_groups(
    model: "MultimodalModel", learning_rate: dict[str, float]
) -> list[dict[str, Any]]:
    """Trainable parameters by module, each group with its peak learning rate.

    Raises:
        InputError: a module is given a learning rate but has nothing to train, or the reverse.
    """
    groups = []
    for name in ("vision", "projector", "llm"):
        module: nn.Module | None = getattr(model, name)
        trainable = [p for p in module.parameters() if p.requires_grad] if module else []
        if bool(trainable) != (name in learning_rate):
            raise InputError(
                f"'{name}' has {len(trainable)} trainable tensors but "
                f"{'no' if trainable else 'a'} learning rate"
            )
        if trainable:
            rate = learning_rate[name]
            groups.append({"params": trainable, "lr": rate, "peak": rate, "name": name})
    return groups


def in_slices(
    groups: Sequence[dict[str, Any]], most: int = LARGEST_BUCKET
) -> Iterator[dict[str, Any]]:
    """Cut groups into groups of at most so many parameters, or of one tensor.

    A step of ZeRO 1 or 2 copies the gradients of a whole group, twice in bf16: of eight billion
    parameters 48 GB, shared among the ranks, beside all else.
    """
    for group in groups:
        own: list[nn.Parameter] = []
        for parameter in group["params"]:
            if own and sum(p.numel() for p in own) + parameter.numel() > most:
                yield group | {"params": own}
                own = []
            own.append(parameter)
        yield group | {"params": own}


def set_trainable(model: "MultimodalModel", learning_rate: dict[str, float]) -> None:
    """Freeze all but the modules that have a learning rate; in the tower only LoRA trains.

    Raises:
        InputError: a module to train is not there.
    """
    model.requires_grad_(False)
    for name in learning_rate:
        module = getattr(model, name, None)
        if module is None:
            raise InputError(f"learning_rate names '{name}', which this model does not have")
        for parameter, tensor in module.named_parameters():
            tensor.requires_grad_(name != "vision" or ".lora_" in parameter)


def parameter_counts(model: "MultimodalModel") -> dict[str, tuple[int, int]]:
    """Trainable and frozen parameters of each module."""
    found = {}
    for name in ("vision", "projector", "llm"):
        module: nn.Module | None = getattr(model, name)
        if module is not None:
            counts = {True: 0, False: 0}
            for parameter in module.parameters():
                counts[parameter.requires_grad] += parameter.numel()
            found[name] = counts[True], counts[False]
    return found


def trainable_table(counts: Mapping[str, tuple[int, int]]) -> str:
    """The counts of `parameter_counts`, one line a module."""
    lines = [f"{'module':<10} {'trainable':>14} {'frozen':>14}"]
    lines += [f"{name:<10} {own[0]:>14,} {own[1]:>14,}" for name, own in counts.items()]
    return "\n".join(lines)


def initialize(
    model: "MultimodalModel",
    learning_rate: dict[str, float],
    config: EngineConfig,
    most_passes: int,
    universal: bool = False,
) -> Any:
    """A DeepSpeed engine around the model, with AdamW over the trainable parameters.

    Args:
        model: what trains, its parameters frozen or not.
        learning_rate: peak of each module that trains.
        config: sharding and precision.
        most_passes: forward passes of one step, at most.
        universal: whether a checkpoint will be loaded that was cut for any number of ranks.
    """
    import deepspeed
    import torch

    if config.gradient_checkpointing:
        model.checkpoint_activations()
    groups = parameter_groups(model, learning_rate)
    trained = sum(parameter.numel() for group in groups for parameter in group["params"])
    if config.zero_stage in (1, 2):  # stage 3 slices by itself
        groups = list(in_slices(groups))
    optimizer = torch.optim.AdamW(
        groups,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=True,
    )
    engine, _, _, _ = deepspeed.initialize(
        model=model,
        optimizer=optimizer,
        config=deepspeed_config(config, most_passes, universal, trained),
    )
    return engine
