"""Our model folder -> a plain Hugging Face LLaVA folder that transformers and vLLM load unchanged.

LoRA is merged; the vision tower gets back the blocks that training pruned, so that
`vision_feature_layer` stays the number other engines expect.
"""

from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from doctor_sun.errors import InputError
from doctor_sun.models.build import BuiltModel, load_model
from doctor_sun.models.chat_template import END_OF_TEXT, LLAMA3_TEMPLATE
from doctor_sun.models.image_transform import build_image_processor
from doctor_sun.models.low_rank import merge_low_rank
from doctor_sun.models.vision_tower import LinearAttention, VisionTower, load_image_encoder
from doctor_sun.records import IMAGE_PLACEHOLDER

BLOCK_NAMES = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.q_proj": "self_attn.q_proj",
    "attn.k_proj": "self_attn.k_proj",
    "attn.v_proj": "self_attn.v_proj",
    "attn.out_proj": "self_attn.out_proj",
}


def full_visual(built: BuiltModel) -> nn.Module:
    """The whole open_clip tower: the trained blocks, and the base's behind the chosen layer."""
    config = built.config
    assert config.vision is not None
    assert built.model.vision is not None
    visual: Any = load_image_encoder(config.vision, config.vision_pretrained)
    for block in visual.transformer.resblocks:
        block.attn = LinearAttention(block.attn)
    _, unexpected = visual.load_state_dict(built.model.vision.visual.state_dict(), strict=False)
    if unexpected:
        raise InputError(f"vision tower {config.vision} has no tensor named '{unexpected[0]}'")
    return visual


def vision_config(visual: nn.Module, tower: VisionTower) -> CLIPVisionConfig:
    """The tower's shape in Hugging Face's words."""
    block = visual.transformer.resblocks[0]
    return CLIPVisionConfig(
        hidden_size=tower.width,
        intermediate_size=block.mlp.c_fc.out_features,
        projection_dim=visual.output_dim,
        num_hidden_layers=len(visual.transformer.resblocks),
        num_attention_heads=block.attn.num_heads,
        image_size=tower.image_size,
        patch_size=tower.patch_size,
        layer_norm_eps=visual.ln_post.eps,
        hidden_act="quick_gelu" if tower.quick_gelu else "gelu",
    )


def vision_tensors(visual: nn.Module) -> dict[str, Tensor]:
    """open_clip's tensors under the names of Hugging Face's `CLIPVisionModel`."""
    state = visual.state_dict()
    renamed = {
        "embeddings.class_embedding": state["class_embedding"],
        "embeddings.patch_embedding.weight": state["conv1.weight"],
        "embeddings.position_embedding.weight": state["positional_embedding"],
    }
    for end in ("weight", "bias"):
        renamed[f"pre_layrnorm.{end}"] = state[f"ln_pre.{end}"]
        renamed[f"post_layernorm.{end}"] = state[f"ln_post.{end}"]
        for number in range(len(visual.transformer.resblocks)):
            for ours, theirs in BLOCK_NAMES.items():
                source = f"transformer.resblocks.{number}.{ours}.{end}"
                renamed[f"encoder.layers.{number}.{theirs}.{end}"] = state[source]
    return renamed


def projector_tensors(projector: nn.Module, text_width: int) -> tuple[dict[str, Tensor], str]:
    """The projector as `linear_1 -> activation -> linear_2`, and the activation's name.

    vLLM knows no identity activation, so a single Linear `W x + b` is written with ReLU:
    `linear_1 = [I; -I; 0]`, `linear_2 = [W, -W, 0]`, since relu(x) - relu(-x) = x.

    Raises:
        InputError: a linear projector whose text width is under twice its vision width.
    """
    if isinstance(projector, nn.Sequential):
        state = projector.state_dict()
        return {
            f"linear_{i}.{end}": state[f"{at}.{end}"]
            for i, at in ((1, 0), (2, 2))
            for end in ("weight", "bias")
        }, "gelu"
    assert isinstance(projector, nn.Linear)
    width = projector.in_features
    if text_width < 2 * width:
        raise InputError(
            f"a linear projector needs a text width of at least {2 * width} (twice the vision "
            f"width) to be exported exactly; this one has {text_width}: use mlp2x_gelu"
        )
    identity = torch.eye(width)
    first = torch.zeros(text_width, width)
    first[:width], first[width : 2 * width] = identity, -identity
    second = torch.zeros(text_width, text_width)
    second[:, :width], second[:, width : 2 * width] = projector.weight, -projector.weight
    return {
        "linear_1.weight": first,
        "linear_1.bias": torch.zeros(text_width),
        "linear_2.weight": second,
        "linear_2.bias": projector.bias.detach(),
    }, "relu"


def to_llava(built: BuiltModel) -> LlavaForConditionalGeneration:
    """The same model as transformers' LLaVA, in fp32; merges LoRA in place.

    Raises:
        InputError: the model has no vision tower, or a projector that cannot be exported.
    """
    model = built.model
    if model.vision is None or model.projector is None:
        raise InputError("only a multimodal model can be exported as LLaVA")
    merge_low_rank(model.vision)
    visual = full_visual(built)
    text_config = model.llm.config
    projector, activation = projector_tensors(model.projector, text_config.hidden_size)
    config = LlavaConfig(
        vision_config=vision_config(visual, model.vision),
        text_config=text_config,
        projector_hidden_act=activation,
        image_token_index=model.image_token_id,
        vision_feature_layer=built.config.vision_layer,
        vision_feature_select_strategy="default",
        image_seq_length=model.vision.patches,
        tie_word_embeddings=text_config.tie_word_embeddings,
        pad_token_id=built.tokenizer.pad_token_id,
    )
    llava = LlavaForConditionalGeneration(config).eval()
    _load_part(llava.model.vision_tower, vision_tensors(visual))
    _load_part(llava.model.multi_modal_projector, projector)
    _load_part(llava.model.language_model, model.llm.get_decoder().state_dict())
    llava.lm_head.load_state_dict(model.llm.get_output_embeddings().state_dict())
    return llava


def _load_part(part: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load a part completely, whatever prefix this version of transformers gives its names."""
    own = list(part.state_dict())
    prefix = "vision_model." if own[0].startswith("vision_model.") else ""
    part.load_state_dict({prefix + name: tensor for name, tensor in tensors.items()})


def legacy_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensor names that every transformers since 4.3x and vLLM read.

    transformers 5 drops `vision_model.` and nests all under `model.`; vLLM refuses the former.
    """
    renamed = {}
    for name, tensor in state.items():
        short = name.removeprefix("model.")
        if short.startswith("vision_tower.") and not short.startswith("vision_tower.vision_model."):
            short = short.replace("vision_tower.", "vision_tower.vision_model.", 1)
        elif short.startswith("language_model."):
            short = short.replace("language_model.", "language_model.model.", 1)
        elif short.startswith("lm_head."):
            short = f"language_model.{short}"
        renamed[short] = tensor.contiguous()
    return renamed


def save_llava(built: BuiltModel, folder: Path, dtype: torch.dtype) -> None:
    """Write the Hugging Face folder: weights, configuration, tokenizer, processor, template."""
    llava = to_llava(built).to(dtype)
    folder.mkdir(parents=True, exist_ok=True)
    state = legacy_names(llava.state_dict())
    if llava.config.text_config.tie_word_embeddings:
        state.pop("language_model.lm_head.weight")
    llava.config.architectures = ["LlavaForConditionalGeneration"]
    llava.config.dtype = dtype
    llava.config.save_pretrained(folder)
    save_torch_state_dict(state, folder)
    tokenizer = built.tokenizer
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(END_OF_TEXT)]
    GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=sorted({end for end in ends if end is not None}),
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
    ).save_pretrained(folder)
    LlavaProcessor(
        image_processor=build_image_processor(built.image_size, built.config.square_padding),
        tokenizer=tokenizer,
        patch_size=built.image_size // int(built.image_tokens**0.5),
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token=IMAGE_PLACEHOLDER,
        chat_template=LLAMA3_TEMPLATE,
    ).save_pretrained(folder)


def export_folder(checkpoint: str, folder: Path, dtype: torch.dtype) -> None:
    """Read one of our model folders and write its Hugging Face form."""
    save_llava(load_model(checkpoint), folder, dtype)
