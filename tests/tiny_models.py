"""Random tiny bases for tests: a tokenizer, a Llama, an open_clip tower, in the real formats."""

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from doctor_sun.models.tokenizer import train_tokenizer
from doctor_sun.models.vision_tower import LOCAL_CONFIG, LOCAL_WEIGHTS

TEXTS = [
    "Is there a nodule in this radiograph? yes no",
    "Which side is the finding on? left right upper zone lower zone",
    "这张胸片有什么异常？结节 气胸 胸腔积液 心影增大 正常",
    "病变在哪一侧？左侧 右侧 上野 中野 下野",
]
CLIP = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {
        "image_size": 32,
        "layers": 3,
        "width": 64,
        "head_width": 32,
        "patch_size": 8,
    },
    "text_cfg": {"context_length": 16, "vocab_size": 400, "width": 32, "heads": 2, "layers": 1},
}


def build_llm(folder: Path, hidden: int = 128, seed: int = 0) -> str:
    """A two-layer Llama with its tokenizer; returns the folder."""
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(TEXTS * 20, 400)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=hidden // 64,
        num_key_value_heads=1,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def build_clip(folder: Path, seed: int = 0) -> str:
    """A three-block open_clip model as a folder; returns it."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "doctor-sun-test.json"
    source.write_text(json.dumps(CLIP))
    open_clip.add_model_config(source)
    model = open_clip.create_model("doctor-sun-test", pretrained=None)
    for parameter in model.parameters():  # biases start at zero, which would hide a lost bias
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=float(parameter.detach().mean()), std=0.1)
    save_file(model.state_dict(), folder / LOCAL_WEIGHTS)
    described = {"model_cfg": CLIP, "preprocess_cfg": open_clip.get_model_preprocess_cfg(model)}
    (folder / LOCAL_CONFIG).write_text(json.dumps(described))
    return str(folder)


def build_llava(folder: Path) -> str:
    """An exported LLaVA folder of the random bases, answers depending on the image; returns it."""
    from doctor_sun.models.build import ModelConfig, build_model
    from doctor_sun.models.export import save_llava

    bases = folder.parent / f"{folder.name}-bases"
    built = build_model(
        ModelConfig(
            llm=build_llm(bases / "llm"), vision=build_clip(bases / "clip"), projector="mlp2x_gelu"
        )
    )
    with torch.no_grad():  # fresh weights say the same to every image
        for parameter in built.model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    save_llava(built, folder, torch.float32)
    return str(folder)
