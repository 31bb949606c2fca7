"""Train a small open_clip model contrastively on captioned images: the tiny preset's CLIP.

Without this step the tiny multimodal model never leaves the level of a blind one.

Importing this file is cheap: its configuration is read where nothing trains.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from doctor_sun.models.chat_template import END_OF_TEXT
from doctor_sun.training.schedule import warmup_cosine

if TYPE_CHECKING:
    import torch
    from open_clip.model import CLIP
    from torch import Tensor
    from transformers import LlavaImageProcessor, PreTrainedTokenizerBase


@dataclass(kw_only=True)
class ContrastiveConfig:
    """The open_clip architecture and how long it trains."""

    architecture: str = "configs/tiny/clip/doctor-sun-tiny.json"
    """open_clip model configuration file; the model's name is the file's stem."""

    steps: int = 500
    """Optimizer steps."""

    batch_size: int = 64
    """Image-caption pairs a step."""

    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""

    weight_decay: float = 0.05
    """Weight decay of AdamW."""

    shift: int = 3
    """Augmentation: largest random shift, in pixels."""


def tokenize_captions(
    captions: Sequence[str], tokenizer: "PreTrainedTokenizerBase", length: int
) -> "Tensor":
    """Caption ids with an end-of-text token behind each, padded: [captions, length]."""
    import torch

    end = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    ids = torch.full((len(captions), length), tokenizer.pad_token_id, dtype=torch.long)
    for row, caption in enumerate(tokenizer(list(captions), add_special_tokens=False)["input_ids"]):
        kept = [*caption[: length - 1], end]
        ids[row, : len(kept)] = torch.tensor(kept)
    return ids


def augment(pixels: "Tensor", shift: int, generator: "torch.Generator") -> "Tensor":
    """Shift and change the exposure of uint8 images [batch, 3, size, size], one draw an image."""
    import torch
    import torch.nn.functional as F

    padded = F.pad(pixels.float(), (shift,) * 4, mode="replicate")
    size = pixels.shape[-1]
    offsets = torch.randint(2 * shift + 1, (len(pixels), 2), generator=generator).tolist()
    moved = torch.stack(
        [
            image[:, y : y + size, x : x + size]
            for image, (y, x) in zip(padded, offsets, strict=True)
        ]
    )
    gain = 0.85 + 0.3 * torch.rand((len(pixels), 1, 1, 1), generator=generator)
    bias = 20 * torch.rand((len(pixels), 1, 1, 1), generator=generator) - 10
    return (moved * gain + bias).clamp(0, 255)


def contrastive_loss(image: "Tensor", text: "Tensor", scale: "Tensor", same: "Tensor") -> "Tensor":
    """CLIP's symmetric cross-entropy, every pair with an equal caption counted as a positive.

    Args:
        image: unit vectors [batch, width].
        text: unit vectors [batch, width].
        scale: inverse temperature.
        same: [batch, batch], true where two pairs have one caption; the diagonal is true.
    """
    import torch.nn.functional as F

    targets = same.float() / same.sum(1, keepdim=True)
    logits = scale * image @ text.T
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


def train_contrastive(
    pixels: NDArray[np.uint8],
    captions: Sequence[str],
    tokenizer: "PreTrainedTokenizerBase",
    processor: "LlavaImageProcessor",
    config: ContrastiveConfig,
    seed: int,
    progress: Callable[[str], None],
) -> "tuple[CLIP, float]":
    """Train from scratch; returns the model and the mean loss of the last steps.

    Args:
        pixels: [images, 3, size, size], one caption each.
        captions: the captions, in the same order.
        tokenizer: of the language model; the text tower reads the same ids.
        processor: normalises the pixels.
        config: architecture and schedule.
        seed: of the weights, the order and the augmentation.
        progress: called with a line now and then.
    """
    import open_clip
    import torch

    from doctor_sun.models.image_transform import normalise

    torch.manual_seed(seed)
    open_clip.add_model_config(config.architecture)
    name = config.architecture.rsplit("/", 1)[-1].removesuffix(".json")
    model = open_clip.create_model(name, pretrained=None)
    numbers = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
    caption_of = torch.tensor([numbers[caption] for caption in captions])
    text = tokenize_captions(list(numbers), tokenizer, model.context_length)
    images = torch.from_numpy(pixels)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=config.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=config.weight_decay,
        fused=True,
    )
    generator = torch.Generator().manual_seed(seed)
    losses: list[float] = []
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * warmup_cosine(step, config.steps, 0.05)
        chosen = torch.randint(len(images), (config.batch_size,), generator=generator)
        shown = normalise(processor, augment(images[chosen], config.shift, generator))
        # Each caption is encoded once, however many images of the batch it describes.
        distinct, place = caption_of[chosen].unique(return_inverse=True)
        same = place[:, None] == place[None, :]
        image_vectors = model.encode_image(shown, normalize=True)
        text_vectors = model.encode_text(text[distinct], normalize=True)[place]
        loss = contrastive_loss(image_vectors, text_vectors, model.logit_scale.exp(), same)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, 4.6052)  # CLIP: at most 100
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            progress(f"CLIP: step {step + 1}/{config.steps}, loss {losses[-1]:.3f}")
    return model, sum(losses[-20:]) / len(losses[-20:])
