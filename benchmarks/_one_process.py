"""One training process for the benchmarks: process group, a random Llama, a DeepSpeed engine."""

import os
from typing import Any

import torch
import torch.distributed as dist
from transformers import LlamaConfig, LlamaForCausalLM

from doctor_sun.models.multimodal import MultimodalModel
from doctor_sun.models.packed_attention import use_packed_attention
from doctor_sun.training.engine import EngineConfig, initialize, start_collectives


def start() -> None:
    """A process group of this process alone, on one thread."""
    os.environ.setdefault("LOCAL_RANK", "0")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    start_collectives("gloo")


def random_llama(
    hidden: int, layers: int, vocabulary: int, positions: int, seed: int = 0
) -> MultimodalModel:
    """A text-only model of random weights, all of which train."""
    torch.manual_seed(seed)
    llm = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            intermediate_size=4 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=hidden // 64,
            num_key_value_heads=hidden // 64,
            max_position_embeddings=positions,
        )
    )
    use_packed_attention(llm)
    return MultimodalModel(llm)


def engine_of(model: MultimodalModel, most_passes: int, **engine: Any) -> Any:
    """A DeepSpeed engine around the model."""
    made = initialize(model, {"llm": 1e-3}, EngineConfig(**engine), most_passes)
    made.train()
    return made
