"""The exported folder gives the training model's logits; LoRA merged equals LoRA applied."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from doctor_sun.errors import InputError
from doctor_sun.models.build import BuiltModel, ModelConfig, build_model, load_model, save_model
from doctor_sun.models.chat_template import encode
from doctor_sun.models.export import save_llava
from doctor_sun.models.image_transform import (
    build_image_processor,
    decode_image,
    normalise,
    to_uint8,
)
from doctor_sun.models.low_rank import LowRankConfig
from tests.tiny_models import build_clip, build_llm

TURNS = [
    {"role": "user", "text": "<image>\n病变在哪一侧？"},
    {"role": "assistant", "text": "左侧"},
]


def png(seed: int, height: int = 40, width: int = 52) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def trained_like(tmp_path: Path, projector: str, padding: bool = True) -> BuiltModel:
    """A model whose adapters have moved, as after training."""
    built = build_model(
        ModelConfig(
            llm=build_llm(tmp_path / "llm"),
            vision=build_clip(tmp_path / "clip"),
            projector=projector,  # type: ignore[arg-type]
            square_padding=padding,
            low_rank=LowRankConfig(rank=4, alpha=8),
        )
    )
    for name, parameter in built.model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    built.model.eval()
    return built


def training_logits(built: BuiltModel, image: bytes) -> torch.Tensor:
    processor = build_image_processor(built.image_size, built.config.square_padding)
    pixels = normalise(processor, torch.from_numpy(to_uint8(processor, [decode_image(image)])))
    ids, _ = encode(TURNS, built.tokenizer, built.image_tokens, 256)
    with torch.no_grad():
        return built.model(torch.tensor([ids]), torch.ones(1, len(ids)), pixel_values=pixels)


@pytest.mark.parametrize("projector", ["linear", "mlp2x_gelu"])
@pytest.mark.parametrize("padding", [True, False])
def test_transformers_gives_the_training_models_logits(
    tmp_path: Path, projector: str, padding: bool
) -> None:
    built = trained_like(tmp_path, projector, padding)
    image = png(1)
    expected = training_logits(built, image)
    save_model(built, tmp_path / "model", llm_trained=True)
    save_llava(load_model(tmp_path / "model"), tmp_path / "llava", torch.float32)

    llava = AutoModelForImageTextToText.from_pretrained(tmp_path / "llava").eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "llava")
    messages = [
        {
            "role": "user",
            "content": [{"type": "image"}, {"type": "text", "text": "病变在哪一侧？"}],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "左侧"}]},
    ]
    prompt = processor.apply_chat_template(messages, tokenize=False)
    inputs = processor(
        images=decode_image(image), text=prompt, add_special_tokens=False, return_tensors="pt"
    )
    with torch.no_grad():
        logits = llava(**inputs).logits
    assert logits.shape == expected.shape
    assert float((logits - expected).abs().max()) <= 1e-4


def test_merged_low_rank_equals_applied(tmp_path: Path) -> None:
    from doctor_sun.models.low_rank import merge_low_rank

    built = trained_like(tmp_path, "linear")
    before = training_logits(built, png(2))
    assert built.model.vision is not None
    merge_low_rank(built.model.vision)
    assert not [n for n, _ in built.model.named_parameters() if "lora" in n]
    torch.testing.assert_close(training_logits(built, png(2)), before, atol=2e-5, rtol=0)


def test_low_rank_reaches_every_kept_block_and_nothing_else(tmp_path: Path) -> None:
    built = trained_like(tmp_path, "linear")
    assert built.model.vision is not None
    assert len(built.model.vision.blocks) == 2  # of three: the last one never shapes the tokens
    adapted = {n.split(".lora_")[0] for n, _ in built.model.named_parameters() if ".lora_" in n}
    assert len(adapted) == 2 * 6


def test_projector_of_another_width_is_refused(tmp_path: Path) -> None:
    built = trained_like(tmp_path, "linear")
    save_model(built, tmp_path / "model", llm_trained=False)
    wider = ModelConfig(
        llm=build_llm(tmp_path / "wider", hidden=192),
        vision=str(tmp_path / "clip"),
        start_from=str(tmp_path / "model"),
    )
    with pytest.raises(InputError, match=r"projector\.safetensors belongs to another architecture"):
        build_model(wider)


def test_linear_projector_too_wide_for_exact_export_is_refused(tmp_path: Path) -> None:
    from doctor_sun.models.export import projector_tensors

    with pytest.raises(InputError, match="mlp2x_gelu"):
        projector_tensors(torch.nn.Linear(64, 100), 100)
