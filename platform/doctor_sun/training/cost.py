"""What a model's training costs: operations and memory, counted on the real model without weights.

The model is built on the meta device and run there, forwards and backwards: PyTorch counts the
operations, its hooks see each tensor that is kept for the backward pass. Attention counts whole, as
in the PaLM paper's utilisation, and computing activations again does not count.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from doctor_sun.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from doctor_sun.models.build import BuiltModel, ModelConfig
    from doctor_sun.models.multimodal import MultimodalModel
    from doctor_sun.training.engine import EngineConfig

SHORT, LONG = 256, 512  # tokens of the two runs that tell a linear from a quadratic part


@dataclass(frozen=True, kw_only=True)
class Linear:
    """An amount for each unit of what is read."""

    token: float = 0.0
    squared_token: float = 0.0  # of each row: its tokens times its tokens
    label: float = 0.0
    image: float = 0.0

    def of(self, tokens: float, squared_tokens: float, labels: float, images: float) -> float:
        """The amount for so much."""
        return (
            self.token * tokens
            + self.squared_token * squared_tokens
            + self.label * labels
            + self.image * images
        )


@dataclass(frozen=True, kw_only=True)
class TrainingCost:
    """Of one model in one stage."""

    operations: Linear
    """Floating-point operations, forwards and backwards."""

    activations: Linear
    """Bytes kept between them."""

    block_activations: Linear
    """Bytes of the blocks whose activations are there at once, where they are computed again."""

    modules: Mapping[str, tuple[int, int]]
    """Trained and frozen parameters of each module."""


def build_shapes(config: "ModelConfig") -> "BuiltModel":
    """The model on the meta device: every shape, no weight; only configurations are read."""
    import torch

    from doctor_sun.models.build import build_model

    logging.disable(logging.WARNING)  # open_clip warns of the weights that are not wanted
    try:
        with torch.device("meta"):
            return build_model(config)
    finally:
        logging.disable(logging.NOTSET)


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """What is known of a model before its weights are read."""

    image_tokens: int  # that an image takes; 0 without a tower
    image_size: int  # side of the square the tower reads
    operations: Linear  # floating-point operations of training it


def shapes_of(
    config: "ModelConfig", learning_rate: Mapping[str, float], engine: "EngineConfig"
) -> Shapes:
    """Build a stage's model without weights and look at it."""
    built = build_shapes(config)
    cost = training_cost(built, learning_rate, engine)
    return Shapes(
        image_tokens=built.image_tokens, image_size=built.image_size, operations=cost.operations
    )


def training_cost(
    built: "BuiltModel", learning_rate: Mapping[str, float], engine: "EngineConfig"
) -> TrainingCost:
    """Count what a token, a label and an image cost.

    Args:
        built: of `build_shapes`.
        learning_rate: of each module that trains.
        engine: precision, and whether activations are computed again.

    Raises:
        InputError: a weight is to train but has no part in the loss.
    """
    import torch

    from doctor_sun.training.engine import parameter_counts, set_trainable

    model = built.model
    set_trainable(model, dict(learning_rate))
    model.train()
    modules = parameter_counts(model)
    dtype = torch.bfloat16 if engine.precision == "bf16" else torch.float32
    model.to(dtype)
    whole = _passes(built, dtype)
    _refuse_dead(model)
    kept, of_blocks = whole[1], Linear()
    if engine.gradient_checkpointing:
        model.checkpoint_activations()
        kept = _passes(built, dtype)[1]
        layers = model.llm.config.num_hidden_layers
        blocks = 1 if model.vision is None else len(model.vision.blocks)
        of_blocks = Linear(token=whole[1].token / layers, image=whole[1].image / blocks)
    return TrainingCost(
        operations=whole[0], activations=kept, block_activations=of_blocks, modules=modules
    )


def _refuse_dead(model: "MultimodalModel") -> None:
    """Refuse trained weights that the backward pass has not reached (embeddings are not run)."""
    embeddings = model.llm.get_input_embeddings().weight
    dead = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.grad is None and parameter is not embeddings
    ]
    if dead:
        raise InputError(
            f"{len(dead)} tensors are to train but have no part in the loss, the first is "
            f"'{dead[0]}'"
        )


def _passes(built: "BuiltModel", dtype: "torch.dtype") -> tuple[Linear, Linear]:
    """Operations, and bytes kept, of the parts of the model."""
    import torch

    model = built.model
    hidden = model.llm.config.hidden_size
    upstream = any(p.requires_grad for p in model.parameters())

    def empty(*shape: int) -> "Tensor":
        return torch.empty(*shape, dtype=dtype, device="meta", requires_grad=upstream)

    def decoder(tokens: int) -> "Tensor":
        return model.llm.get_decoder()(
            inputs_embeds=empty(1, tokens, hidden),
            attention_mask=torch.empty(1, 1, tokens, tokens, device="meta"),  # not looked at
            row_lengths=[tokens],
            use_cache=False,
        ).last_hidden_state

    def head() -> "Tensor":
        return model.llm.get_output_embeddings()(empty(1, SHORT, hidden))

    def pictures() -> "Tensor":
        size = built.image_size
        pixels = torch.empty(1, 3, size, size, dtype=dtype, device="meta")
        return model.project(pixels)

    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    short, long = (_count(partial(decoder, tokens), own) for tokens in (SHORT, LONG))
    labels = _count(head, own)
    image = _count(pictures, own) if model.vision is not None else (0, 0)
    # a t + b t^2 through both runs. Fused attention keeps nothing quadratic: no b in memory.
    quadratic = [(long[i] / LONG - short[i] / SHORT) / (LONG - SHORT) for i in (0, 1)]
    linear = [short[i] / SHORT - quadratic[i] * SHORT for i in (0, 1)]
    # Logits, the same in fp32, their softmax and their gradient.
    logits = model.llm.get_output_embeddings().out_features * (2 * dtype.itemsize + 2 * 4)
    return (
        Linear(
            token=linear[0], squared_token=quadratic[0], label=labels[0] / SHORT, image=image[0]
        ),
        Linear(token=linear[1], label=labels[1] / SHORT + logits, image=image[1]),
    )


def _count(forward: "Callable[[], Tensor]", own: set[int]) -> tuple[int, int]:
    """Operations of a forward and a backward pass, and bytes kept between them."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    kept: dict[int, int] = {}

    def remember(tensor: "Tensor") -> "Tensor":
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    with FlopCounterMode(display=False) as counter:
        with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
            result = forward()
        if result.requires_grad:
            result.sum().backward()
    return counter.get_total_flops(), sum(size for name, size in kept.items() if name not in own)
