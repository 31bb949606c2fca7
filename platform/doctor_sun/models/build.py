"""Build the model of a stage, and read and write our model folders.

A model folder holds `model.json` (what it is made from), `projector.safetensors`,
`low_rank.safetensors` when the tower was adapted, the tokenizer, the image processor, and `llm/`
when the language model was trained; otherwise `model.json` names the language model it stands on.

Importing this file is cheap: the engines are imported where a model is really built. Annotations
that need them are strings one by one, because the configuration parser resolves all of a file
whose annotations are strings.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from doctor_sun.errors import InputError
from doctor_sun.imports import absent
from doctor_sun.local_folders import local_copy
from doctor_sun.models.low_rank import LowRankConfig, add_low_rank

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from doctor_sun.models.multimodal import MultimodalModel

ProjectorKind = Literal["linear", "mlp2x_gelu"]

MODEL_FILE = "model.json"
PROJECTOR_FILE = "projector.safetensors"
LOW_RANK_FILE = "low_rank.safetensors"
VOCABULARY_TILE = 64  # an odd vocabulary (Llama-3's and `<image>`) has slow kernels on GPUs


@dataclass(kw_only=True)
class ModelConfig:
    """What a model is made from."""

    llm: str
    """Language model: a Hugging Face causal-LM folder (on a disk or in an object store), or a hub
    name."""

    vision: str | None = None
    """Vision tower: a folder with open_clip weights, or an open_clip architecture; none for a
    text-only stage."""

    vision_pretrained: str | None = None
    """For an architecture: open_clip's weights tag (`openai`) or a weights file."""

    vision_layer: int = -2
    """Block whose patch tokens are read, counted from the end."""

    projector: ProjectorKind = "linear"
    """`linear` (the paper's text) or `mlp2x_gelu` (its released code)."""

    square_padding: bool = True
    """Pad images to a square before resizing; false crops the centre instead."""

    low_rank: LowRankConfig | None = None
    """LoRA on the vision tower; none leaves the tower as it is."""

    start_from: str | None = None
    """Model folder of an earlier multimodal stage, whose projector (and LoRA) is taken over."""


@dataclass
class BuiltModel:
    """A model with what feeds it."""

    model: "MultimodalModel"
    tokenizer: "PreTrainedTokenizerBase"
    config: ModelConfig
    image_tokens: int = 0
    image_size: int = 0


def load_language_model(llm: str, tokenizer: "PreTrainedTokenizerBase") -> "PreTrainedModel":
    """A causal language model in fp32 whose embedding has a row for every token.

    On the meta device (`torch.device("meta")`) only its configuration is read.

    Raises:
        InputError: the folder or hub name holds no causal language model.
    """
    import torch

    with absent("sklearn"):
        from transformers import AutoConfig, AutoModelForCausalLM

    from doctor_sun.models.packed_attention import use_packed_attention

    shapes_only = torch.get_default_device().type == "meta"
    folder = local_copy(llm, weights=not shapes_only)
    try:
        if shapes_only:
            described = AutoConfig.from_pretrained(folder)
            model = AutoModelForCausalLM.from_config(described, dtype=torch.float32)
        else:
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=True,  # a pickle runs code
            )
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"language model {llm} cannot be loaded ({first})") from None
    if model.get_input_embeddings().num_embeddings < len(tokenizer):
        model.resize_token_embeddings(
            len(tokenizer), pad_to_multiple_of=VOCABULARY_TILE, mean_resizing=not shapes_only
        )
    use_packed_attention(model)
    return model


def build_model(config: ModelConfig) -> BuiltModel:
    """Build a model as a stage starts with it: everything frozen, LoRA and projector in place.

    Raises:
        InputError: a part is missing or has another architecture than the weights given for it.
    """
    from doctor_sun.models.chat_template import load_tokenizer, prepare_tokenizer
    from doctor_sun.models.multimodal import MultimodalModel

    tokenizer = load_tokenizer(config.llm)
    llm = load_language_model(config.llm, tokenizer)
    if config.vision is None:
        model = MultimodalModel(llm)
        model.requires_grad_(False)
        return BuiltModel(model, tokenizer, config)
    from doctor_sun.models.projector import build_projector
    from doctor_sun.models.vision_tower import load_vision_tower

    tower = load_vision_tower(config.vision, config.vision_pretrained, config.vision_layer)
    projector = build_projector(config.projector, tower.width, llm.config.hidden_size)
    if config.low_rank is not None:
        add_low_rank(tower, config.low_rank)
    model = MultimodalModel(llm, tower, projector, prepare_tokenizer(tokenizer))
    model.requires_grad_(False)
    if config.start_from is not None:
        _take_over(model, Path(local_copy(config.start_from)))
    return BuiltModel(model, tokenizer, config, tower.patches, tower.image_size)


def _take_over(model: "MultimodalModel", folder: Path) -> None:
    """Load the projector, and LoRA when both have one, of an earlier stage's model folder."""
    from safetensors.torch import load_file

    described = read_model_file(folder)
    _load_strictly(model.projector, load_file(folder / PROJECTOR_FILE), folder / PROJECTOR_FILE)
    if described["low_rank"] is not None and model.vision is not None:
        adapters = load_file(folder / LOW_RANK_FILE)
        _load_strictly(model.vision, adapters, folder / LOW_RANK_FILE, only=set(adapters))


def read_model_file(folder: Path) -> dict[str, Any]:
    """The description of a model folder.

    Raises:
        InputError: the folder is none of ours.
    """
    if not (folder / MODEL_FILE).is_file():
        raise InputError(f"{folder} is not a model folder: it has no {MODEL_FILE}")
    return json.loads((folder / MODEL_FILE).read_text(encoding="utf-8"))


def _load_strictly(
    module: "nn.Module | None",
    tensors: "dict[str, Tensor]",
    path: Path,
    only: set[str] | None = None,
) -> None:
    """Load tensors whose names and shapes must be those of the module (or of `only`)."""
    if module is None:
        raise InputError(f"{path} holds weights of a part that this model does not have")
    own = {name: t for name, t in module.state_dict().items() if only is None or name in only}
    wrong = sorted(set(own) ^ set(tensors)) or sorted(
        name for name in own if own[name].shape != tensors[name].shape
    )
    if wrong:
        raise InputError(
            f"{path} belongs to another architecture: {len(wrong)} tensors differ, "
            f"the first is '{wrong[0]}'"
        )
    module.load_state_dict(tensors, strict=only is None)


def low_rank_tensors(model: "MultimodalModel") -> "dict[str, Tensor]":
    """The adapters' tensors by their name inside the tower."""
    if model.vision is None:
        return {}
    state = model.vision.state_dict()
    return {name: tensor for name, tensor in state.items() if ".lora_" in name}


def save_model(built: BuiltModel, folder: Path, llm_trained: bool) -> None:
    """Write a model folder; a text-only model is written as a plain Hugging Face folder."""
    from safetensors.torch import save_file

    from doctor_sun.models.image_transform import build_image_processor

    folder.mkdir(parents=True, exist_ok=True)
    model, config = built.model, built.config
    if model.projector is None:
        model.llm.save_pretrained(folder)
        built.tokenizer.save_pretrained(folder)
        return
    described = {**asdict(config), "start_from": None}
    if llm_trained:
        model.llm.save_pretrained(folder / "llm")
        built.tokenizer.save_pretrained(folder / "llm")
        described["llm"] = "llm"
    elif Path(config.llm).is_dir():
        described["llm"] = str(Path(config.llm).absolute())
    if config.vision is not None and Path(config.vision).is_dir():
        described["vision"] = str(Path(config.vision).absolute())
    save_file(model.projector.state_dict(), folder / PROJECTOR_FILE)
    if config.low_rank is not None:
        save_file(low_rank_tensors(model), folder / LOW_RANK_FILE)
    built.tokenizer.save_pretrained(folder)
    build_image_processor(built.image_size, config.square_padding).save_pretrained(folder)
    (folder / MODEL_FILE).write_text(json.dumps(described, indent=2), encoding="utf-8")


def load_model(folder: str | Path) -> BuiltModel:
    """Load a model folder, LoRA not merged.

    Raises:
        InputError: the folder is none of ours, or its weights fit another architecture.
    """
    path = Path(local_copy(str(folder)))
    described = read_model_file(path)
    if described["llm"] == "llm":
        described["llm"] = str(path / "llm")
    low_rank = described["low_rank"]
    described["low_rank"] = LowRankConfig(**low_rank) if low_rank else None
    return build_model(ModelConfig(**{**described, "start_from": str(path)}))
