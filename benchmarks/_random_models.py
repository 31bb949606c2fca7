"""Multimodal models of random weights and published shapes, and rows to train them with.

What the GPU benchmarks share: a way of training is a `Setting`.
"""

import gc
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.distributed as dist

IMAGE_TOKEN = 7
LLAMAS = {
    "8B": {"hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32},
    "3B": {"hidden_size": 3072, "intermediate_size": 8192, "num_attention_heads": 24},
    "small": {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 8},
}
LAYERS = {"8B": 32, "3B": 28, "small": 4}
VOCABULARY = {"8B": 128320, "3B": 128320, "small": 2000}  # with `<image>`, in tiles of 64
KEY_HEADS = {"8B": 8, "3B": 8, "small": 2}
TIED = {"8B": False, "3B": True, "small": False}
TOWERS = {
    "large": "ViT-L-14-336-quickgelu",
    "small": {"image_size": 96, "layers": 4, "width": 128, "head_width": 64, "patch_size": 16},
}
TEXTS = {  # median tokens of a row's text, spread of the logarithm, most, and what of it is asked
    "align": (60, 0.5, 448, 0.3),
    "instruct": (350, 0.6, 1472, 0.5),
}
RATES = {
    "align": {"projector": 1e-3},
    "instruct": {"llm": 5e-6, "projector": 5e-6, "vision": 5e-6},
}
HALF = {"precision": "bf16", "backend": "nccl", "zero_stage": 2}
AGAIN = HALF | {"gradient_checkpointing": True}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way of training."""

    stage: str
    llm: str
    layers: int = 0  # of the language model; 0 takes all
    tower: str = "large"
    rows: int = 32  # of a step
    micro_batch: int = 8
    pack_tokens: int = 0
    engine: Mapping[str, Any] = field(default_factory=dict)
    needs_gib: int = 0  # of the GPU's memory; a smaller one leaves it out


def start(backend: str) -> None:
    """A process group of this process alone."""
    from doctor_sun.training.engine import start_collectives

    os.environ.setdefault("LOCAL_RANK", "0")
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    start_collectives(backend)


def random_language_model(llm: str, layers: int, dtype: torch.dtype) -> Any:
    """A Llama of random weights on the default device."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    from doctor_sun.models.packed_attention import use_packed_attention

    config = LlamaConfig(
        **LLAMAS[llm],
        num_hidden_layers=layers or LAYERS[llm],
        num_key_value_heads=KEY_HEADS[llm],
        vocab_size=VOCABULARY[llm],
        tie_word_embeddings=TIED[llm],
        max_position_embeddings=8192,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    use_packed_attention(model)
    return model


def random_model(setting: Setting, device: str) -> Any:
    """A multimodal model of random weights, in the precision of its engine."""
    import open_clip

    from doctor_sun.models.build import BuiltModel, ModelConfig
    from doctor_sun.models.low_rank import LowRankConfig, add_low_rank
    from doctor_sun.models.multimodal import MultimodalModel
    from doctor_sun.models.projector import build_projector
    from doctor_sun.models.vision_tower import VisionTower

    torch.manual_seed(0)
    dtype = torch.bfloat16 if setting.engine.get("precision") == "bf16" else torch.float32
    chosen = TOWERS[setting.tower]
    if isinstance(chosen, str):
        chosen = open_clip.get_model_config(chosen)["vision_cfg"]
    with torch.device(device):
        llm = random_language_model(setting.llm, setting.layers, dtype)
        vision = open_clip.model.CLIPVisionCfg(**chosen)
        tower = VisionTower(open_clip.model._build_vision_tower(64, vision, quick_gelu=True))
        projector = build_projector("linear", tower.width, llm.config.hidden_size)
        if "vision" in RATES[setting.stage]:
            add_low_rank(tower, LowRankConfig(dropout=0.0))
    model = MultimodalModel(llm, tower.to(dtype), projector.to(dtype), IMAGE_TOKEN)
    pads: Any = SimpleNamespace(pad_token_id=0)
    return BuiltModel(model, pads, ModelConfig(llm=""), tower.patches, tower.image_size)


def cut_of(setting: Setting) -> Any:
    """How its steps are cut into forward passes."""
    from doctor_sun.training.micro_batches import Cut

    return Cut(
        global_batch=setting.rows,
        micro_batch=setting.micro_batch,
        pack_tokens=setting.pack_tokens,
    )


def draw_rows(setting: Setting, built: Any, steps: int) -> pa.Table:
    """Rows with a picture each, in the stage's order: padded ones grouped by length."""
    from doctor_sun.training.mixture import group_by_length

    generator = np.random.default_rng(1)
    median, spread, most, asked = TEXTS[setting.stage]
    if setting.llm == "small":
        median, most = median // 4, most // 4
    count = steps * setting.rows
    drawn = generator.lognormal(np.log(median), spread, count)
    texts = np.clip(drawn, 8, most).astype(np.int64)
    if not setting.pack_tokens:
        index = pa.table({"id": [str(i) for i in range(count)], "position": range(count)})
        zeros = np.zeros_like(texts)
        grouped = group_by_length(index, texts, zeros, setting.rows, min(16, steps), seed=3)
        texts = texts[[int(row) for row in grouped["id"].to_pylist()]]
    ids, labels = [], []
    for length in texts:
        words = generator.integers(IMAGE_TOKEN + 1, VOCABULARY[setting.llm] - 1, length)
        row = np.concatenate([np.full(built.image_tokens, IMAGE_TOKEN), words])
        carries = np.arange(len(row)) >= built.image_tokens + max(1, int(asked * length))
        ids.append(row)
        labels.append(np.where(carries, row, -100))
    pictures = [
        [generator.integers(0, 255, 3 * built.image_size**2, dtype=np.uint8).tobytes()]
        for _ in range(setting.rows)
    ]
    tokens = [len(row) for row in ids]
    table = {
        "id": [str(place) for place in range(count)],
        "kind": ["random/en"] * count,
        "input_ids": ids,
        "labels": labels,
        "pixels": [pictures[place % setting.rows] for place in range(count)],
        "tokens": tokens,
        "label_tokens": [int((row >= 0).sum()) for row in labels],
        "pictures": [1] * count,
        "pass": cut_of(setting).micro_batches(tokens, world=1),
    }
    return pa.table(table)


def steps_of(rows: pa.Table, setting: Setting, built: Any) -> Iterator[Any]:
    """The micro-batches of each step, as a worker makes them."""
    from doctor_sun.training.batches import make_steps

    tables = (rows.slice(at, setting.rows) for at in range(0, rows.num_rows, setting.rows))
    return make_steps(tables, built, {"random/en": 0}, packed=setting.pack_tokens > 0)


def started_engine(setting: Setting, built: Any, rates: dict[str, float]) -> Any:
    """The DeepSpeed engine of a setting around a model, ready to train."""
    from doctor_sun.training.engine import EngineConfig, initialize, set_trainable

    set_trainable(built.model, rates)
    engine = initialize(
        built.model, rates, EngineConfig(**setting.engine), cut_of(setting).most_passes(1)
    )
    engine.train()
    return engine


def attempt(work: Callable[..., Any], *arguments: Any) -> Any:
    """What the work returns, or why it failed; what it held is let go."""
    try:
        return work(*arguments)
    except Exception as error:
        traceback.print_exc()
        return {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"}
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
