"""The tiny preset's starting points: a tokenizer, a small Llama and a small CLIP.

The Llama reads plain text only (`pretraining/` of the corpus), the CLIP sees captioned images of
training anatomies only (`captioned/`). Both train at the same time, one core each.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from upath import UPath

from doctor_sun.cluster import connect
from doctor_sun.config import JobConfig
from doctor_sun.local_folders import local_copy, written_folder
from doctor_sun.runs import Step
from doctor_sun.training.contrastive import ContrastiveConfig
from doctor_sun.training.pretrain import LanguageModelConfig


@dataclass(kw_only=True)
class BasesConfig(JobConfig):
    """What the tiny starting points are and how long they train."""

    corpus: str
    """Folder that `jobs/corpus.py` wrote: its `pretraining/` and `captioned/` are read."""

    vocabulary: int = 4096
    """Tokens of the byte-level BPE tokenizer, special tokens included."""

    language_model: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    """The small Llama."""

    contrastive: ContrastiveConfig = field(default_factory=ContrastiveConfig)
    """The small CLIP."""

    seed: int = 1024
    """Seed of weights, order and augmentation."""


def _progress(line: str) -> None:
    """Print from a worker; Ray forwards it to the driver."""
    print(f"[bases] {line}", flush=True)


def build_tokenizer(texts: list[str], vocabulary: int, folder: UPath) -> None:
    """Train the tokenizer and save it."""
    from doctor_sun.models.tokenizer import train_tokenizer

    with written_folder(folder) as written:
        train_tokenizer(texts, vocabulary).save_pretrained(written)


def build_language_model(
    texts: list[str],
    tokenizer_folder: UPath,
    config: LanguageModelConfig,
    seed: int,
    folder: UPath,
    progress: Callable[[str], None] = _progress,
) -> float:
    """Pre-train the Llama, save it with its tokenizer, return its final loss."""
    import torch
    from transformers import AutoTokenizer

    from doctor_sun.training.pretrain import pretrain_language_model

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(local_copy(str(tokenizer_folder)))
    model, loss = pretrain_language_model(texts, tokenizer, config, seed, progress)
    with written_folder(folder) as written:
        model.save_pretrained(written)
        tokenizer.save_pretrained(written)
    return loss


def build_clip(
    encoded: list[bytes],
    captions: list[str],
    tokenizer_folder: UPath,
    config: ContrastiveConfig,
    seed: int,
    folder: UPath,
    progress: Callable[[str], None] = _progress,
) -> float:
    """Train the CLIP, save it as a folder open_clip reads, return its final loss."""
    import json

    import open_clip
    import torch
    from safetensors.torch import save_file
    from transformers import AutoTokenizer

    from doctor_sun.models.image_transform import build_image_processor, decode_image, to_uint8
    from doctor_sun.models.vision_tower import LOCAL_CONFIG, LOCAL_WEIGHTS
    from doctor_sun.training.contrastive import train_contrastive

    torch.set_num_threads(1)
    settings = json.loads(Path(config.architecture).read_text(encoding="utf-8"))
    processor = build_image_processor(settings["vision_cfg"]["image_size"], square_padding=True)
    pixels = to_uint8(processor, [decode_image(image) for image in encoded])
    tokenizer = AutoTokenizer.from_pretrained(local_copy(str(tokenizer_folder)))
    model, loss = train_contrastive(pixels, captions, tokenizer, processor, config, seed, progress)
    described = {"model_cfg": settings, "preprocess_cfg": open_clip.get_model_preprocess_cfg(model)}
    with written_folder(folder) as written:
        written.mkdir(parents=True, exist_ok=True)
        save_file(model.state_dict(), written / LOCAL_WEIGHTS)
        (written / LOCAL_CONFIG).write_text(json.dumps(described, indent=2), encoding="utf-8")
    return loss


def run(config: BasesConfig) -> dict[str, Any]:
    """Make the starting points, unless a finished run of the same inputs has them."""
    step = Step(config, "bases", {"corpus": config.corpus})
    if step.reused:
        return step.manifest
    folder = step.folder.absolute()
    config.contrastive.architecture = str(Path(config.contrastive.architecture).absolute())
    with connect(config.address):
        texts = ray.data.read_parquet(f"{config.corpus}/pretraining").to_pandas()["text"].tolist()
        pairs = ray.data.read_parquet(
            f"{config.corpus}/captioned", columns=["images", "turns"]
        ).take_all()
        encoded = [row["images"][0] for row in pairs]
        captions = [row["turns"][-1]["text"] for row in pairs]
        step.say(f"{len(texts)} texts, {len(captions)} captioned images")
        build_tokenizer(texts, config.vocabulary, folder / "tokenizer")
        shared = (folder / "tokenizer",)
        llm = ray.remote(num_cpus=1)(build_language_model).remote(
            texts, *shared, config.language_model, config.seed, folder / "llm"
        )
        clip = ray.remote(num_cpus=1)(build_clip).remote(
            encoded, captions, *shared, config.contrastive, config.seed, folder / "clip"
        )
        llm_loss, clip_loss = ray.get([llm, clip])
    return step.finish(
        outputs=["llm", "clip"],
        counts={"texts": len(texts), "captioned_images": len(captions)},
        figures={"language_model_loss": llm_loss, "contrastive_loss": clip_loss},
    )
