"""Settings of the vLLM engine that evaluation and serving share, and the check of a model folder.

Start-up costs more than the answers of a small model, so nothing is done that an eager engine does
not need: with an explicit KV cache and no compilation vLLM skips its profiling and warm-up passes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from upath import UPath

from doctor_sun.errors import InputError
from doctor_sun.local_folders import local_copy

# For every process of an engine. Quiet: at INFO and WARNING vLLM repeats its settings and hundreds
# of identical lines, and errors in a request are logged with parts of it.
ENGINE_ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # Ray shares the cores out, vLLM would pin all to one
    "HF_HUB_OFFLINE": "1",  # the model is a folder
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONWARNINGS": "ignore",
}
GIB = 1 << 30
FOLDER_FILES = ("config.json", "processor_config.json", "tokenizer_config.json")


@dataclass(kw_only=True)
class EngineConfig:
    """How vLLM runs a model; the defaults are the tiny preset's, on CPU."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of weights and activations; auto takes the folder's."""

    max_model_len: int = 1024
    """Tokens of prompt (image tokens included) and answer together; at most the model's limit."""

    max_num_seqs: int = 32
    """Requests that the engine works on at a time."""

    images_per_prompt: int = 4
    """Images one request may hold; a request with more is refused."""

    kv_cache_gib: float | None = 0.25
    """Memory of the KV cache in GiB; none lets the engine measure what is free (GPUs)."""

    picture_cache_gib: float = 0.5
    """Memory for pictures that come again, as those of a conversation do with each turn."""

    eager: bool = True
    """Run without compilation and CUDA graphs: starts fast, right for small models and CPUs."""

    gpus: int = 0
    """GPUs of one replica (its tensor-parallel size); 0 runs the CPU build."""

    cpus: int = 1
    """CPU cores of one replica."""


def engine_arguments(config: EngineConfig, folder: Path) -> dict[str, Any]:
    """vLLM's engine arguments for a model folder (language model, or with images), without path."""
    described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    text = described.get("text_config", described)
    limit = text.get("max_position_embeddings", config.max_model_len)
    arguments: dict[str, Any] = {
        "dtype": config.dtype,
        "max_model_len": min(config.max_model_len, limit),
        "max_num_seqs": config.max_num_seqs,
        "enforce_eager": config.eager,
        "tensor_parallel_size": max(1, config.gpus),
        "use_tqdm_on_load": False,
        "disable_log_stats": True,
    }
    if takes_images(described):
        arguments["limit_mm_per_prompt"] = {"image": config.images_per_prompt, "video": 0}
        arguments["mm_processor_cache_gb"] = config.picture_cache_gib
    if config.kv_cache_gib is not None:
        arguments["kv_cache_memory_bytes"] = int(config.kv_cache_gib * GIB)
    return arguments


def takes_images(described: Mapping[str, Any]) -> bool:
    """Whether a model's `config.json` has a vision tower."""
    return "vision_config" in described


def model_path(location: str, named: str) -> UPath:
    """The absolute path, or URI, of a folder that holds a model of transformers.

    Raises:
        InputError: it does not; the message begins with what `named` it.
    """
    folder = UPath(location).expanduser().absolute()
    if not (folder / "config.json").is_file():
        raise InputError(f"{named}: {location} holds no model (no config.json)")
    return folder


def engine_environment(config: EngineConfig) -> dict[str, str]:
    """Environment variables of an engine's processes."""
    own = {} if config.gpus else {"OMP_NUM_THREADS": str(config.cpus)}
    if config.eager:
        # vLLM compiles its log-probabilities even then, for 20 s, when they are first asked for.
        own["TORCHDYNAMO_DISABLE"] = "1"
    return ENGINE_ENVIRONMENT | own


def check_model_folder(model: str) -> Path:
    """The absolute path of an exported LLaVA folder, of this node's copy of one in an object store.

    Raises:
        InputError: the folder is missing, incomplete, or holds another kind of model.
    """
    place = UPath(model).expanduser().absolute()
    if not place.is_dir():
        raise InputError(f"model folder {model} does not exist: export one with jobs/export.py")
    missing = [name for name in FOLDER_FILES if not (place / name).is_file()]
    if missing or not any(place.glob("*.safetensors")):
        what = missing[0] if missing else "*.safetensors"
        raise InputError(f"model folder {model} is no exported model: it has no {what}")
    try:
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(f"model folder {model}: config.json is not valid JSON") from None
    if config.get("model_type") != "llava":
        kind = config.get("model_type", "unknown")
        raise InputError(f"model folder {model} holds a model of type '{kind}', not 'llava'")
    return Path(local_copy(str(place)))
