"""LoRA on the vision tower's blocks, chosen by module and merged before export."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from doctor_sun.models.vision_tower import VisionTower

TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj", "c_fc", "c_proj")


@dataclass(kw_only=True)
class LowRankConfig:
    """LoRA of the vision tower (the paper: rank 64, alpha 16, dropout 0.05)."""

    rank: int = 64
    """Rank of each adapter."""

    alpha: float = 16.0
    """Scale: the adapter's output is multiplied by alpha / rank."""

    dropout: float = 0.05
    """Dropout probability on the adapter's input."""


def add_low_rank(tower: "VisionTower", config: LowRankConfig) -> None:
    """Put adapters on every Linear of every block of the tower; only they are trainable."""
    from peft import LoraConfig, inject_adapter_in_model

    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        bias="none",
        target_modules=list(TARGETS),
    )
    inject_adapter_in_model(lora, tower)


def merge_low_rank(module: "nn.Module") -> None:
    """Add each adapter's product to its base weight and put the base layer back in its place."""
    from peft.tuners.lora import LoraLayer

    for name, layer in list(module.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge(safe_merge=True)
            parent, _, child = name.rpartition(".")
            setattr(module.get_submodule(parent), child, layer.get_base_layer())
