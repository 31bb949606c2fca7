"""The paper's model at full size, on the meta device: parameters of each module, what trains."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from doctor_sun.config import load
from doctor_sun.models.low_rank import add_low_rank
from doctor_sun.models.multimodal import MultimodalModel
from doctor_sun.models.projector import build_projector
from doctor_sun.models.vision_tower import load_vision_tower
from doctor_sun.training.engine import set_trainable
from doctor_sun.training.stage import StageConfig

CONFIGS = Path(__file__).parent.parent / "configs" / "paper"
LLAMA_3_1_8B = LlamaConfig(
    vocab_size=128_256,
    hidden_size=4096,
    intermediate_size=14_336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    tie_word_embeddings=False,
)
LLAMA_PARAMETERS = 8_030_261_248  # as its model card counts
CLIP_PARAMETERS = 303_507_456  # of transformers' CLIPVisionModel, ViT-L/14 at 336 pixels
WIDTH, BLOCKS, RANK = 1024, 24, 64
BLOCK = 4 * (WIDTH + 1) * WIDTH + 2 * 4 * WIDTH * WIDTH + 5 * WIDTH + 4 * WIDTH
# Features come from the last block but one: the last, and the norm after it, are not built.
TOWER_PARAMETERS = CLIP_PARAMETERS - BLOCK - 2 * WIDTH
ADAPTERS = (BLOCKS - 1) * RANK * (4 * 2 * WIDTH + 2 * 5 * WIDTH)
PROJECTOR = {
    "linear": (WIDTH + 1) * 4096,
    "mlp2x_gelu": (WIDTH + 1) * 4096 + (4096 + 1) * 4096,
}


def counts(module: torch.nn.Module) -> tuple[int, int]:
    """Parameters that train, and all."""
    parameters = list(module.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    return trained, sum(p.numel() for p in parameters)


@pytest.mark.parametrize("projector", ["linear", "mlp2x_gelu"])
@pytest.mark.parametrize("stage", ["align", "instruct"])
def test_the_paper_s_model_has_the_published_parameters(stage: str, projector: str) -> None:
    config = load(StageConfig, str(CONFIGS / f"{stage}.yaml"), output="runs/x")
    assert config.model.vision
    with torch.device("meta"):
        llm = LlamaForCausalLM(LLAMA_3_1_8B)
        tower = load_vision_tower(config.model.vision, None, config.model.vision_layer)
        if config.model.low_rank is not None:
            add_low_rank(tower, config.model.low_rank)
        made = build_projector(projector, tower.width, llm.config.hidden_size)  # type: ignore[arg-type]
        model = MultimodalModel(llm, tower, made)
    set_trainable(model, config.learning_rate)
    assert tower.patches == 24 * 24
    assert tower.image_size == 336
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    instruct = stage == "instruct"
    adapters = ADAPTERS if instruct else 0
    assert counts(model.llm) == (LLAMA_PARAMETERS if instruct else 0, LLAMA_PARAMETERS)
    assert counts(tower) == (adapters, TOWER_PARAMETERS + adapters)
    assert counts(made) == (PROJECTOR[projector], PROJECTOR[projector])
