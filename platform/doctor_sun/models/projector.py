"""The projector: vision features -> language-model embeddings (equation 1 of the paper)."""

from torch import nn

from doctor_sun.models.build import ProjectorKind


def build_projector(kind: ProjectorKind, vision_width: int, text_width: int) -> nn.Module:
    """A projector [batch, patches, vision_width] -> [batch, patches, text_width].

    `linear` is what the paper's text describes, `mlp2x_gelu` what its released code trains.
    """
    if kind == "linear":
        return nn.Linear(vision_width, text_width)
    return nn.Sequential(
        nn.Linear(vision_width, text_width), nn.GELU(), nn.Linear(text_width, text_width)
    )
