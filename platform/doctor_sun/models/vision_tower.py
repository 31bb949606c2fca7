"""The vision encoder: an open_clip ViT up to the layer whose patch tokens the projector reads.

The attention of each block is rebuilt from separate `nn.Linear` layers: open_clip's packed
`nn.MultiheadAttention` hides its projections from LoRA and from ZeRO-3's hooks.
"""

from pathlib import Path
from pickle import UnpicklingError

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from doctor_sun.errors import InputError
from doctor_sun.imports import absent
from doctor_sun.local_folders import local_copy

with absent("sklearn", "wandb"):  # three seconds, for metrics and loggers that nothing here uses
    import open_clip

LOCAL_WEIGHTS = "open_clip_model.safetensors"
LOCAL_CONFIG = "open_clip_config.json"


class LinearAttention(nn.Module):
    """Multi-head self-attention with `q_proj, k_proj, v_proj, out_proj` as plain Linear layers.

    Numerically equal to the `nn.MultiheadAttention` it is made from; the names are those of
    Hugging Face's CLIP, so export is a rename.
    """

    def __init__(self, packed: nn.MultiheadAttention) -> None:
        super().__init__()
        self.num_heads = packed.num_heads
        names = ("q_proj", "k_proj", "v_proj")
        weights = packed.in_proj_weight.detach().chunk(3)
        biases = packed.in_proj_bias.detach().chunk(3)
        out = packed.out_proj
        parts = [*zip(names, weights, biases, strict=True), ("out_proj", out.weight, out.bias)]
        for name, weight, bias in parts:
            linear = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
            linear.load_state_dict({"weight": weight.detach(), "bias": bias.detach()})
            setattr(self, name, linear)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """Attend; `query`, `key`, `value` and the result are [batch, tokens, width]."""

        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

        attended = F.scaled_dot_product_attention(
            heads(self.q_proj(query)),
            heads(self.k_proj(key)),
            heads(self.v_proj(value)),
            attn_mask=attn_mask,
        )
        return self.out_proj(attended.transpose(1, 2).flatten(2)), None


class VisionTower(nn.Module):
    """Images [batch, 3, height, width] -> patch tokens [batch, patches, width], CLS left out.

    Blocks behind the chosen layer, the last norm and the head never shape these tokens, so they
    are removed: nothing that is stored, sharded or adapted is dead.
    """

    def __init__(self, visual: nn.Module, layer: int = -2) -> None:
        super().__init__()
        self.image_size: int = visual.image_size[0]
        self.patch_size: int = visual.patch_size[0]
        self.patches: int = visual.grid_size[0] * visual.grid_size[1]
        self.width: int = visual.conv1.out_channels
        self.quick_gelu: bool = isinstance(
            visual.transformer.resblocks[0].mlp.gelu, open_clip.transformer.QuickGELU
        )
        visual.prune_intermediate_layers([layer], prune_norm=True, prune_head=True)
        for block in visual.transformer.resblocks:
            block.attn = LinearAttention(block.attn)
        self.visual = visual
        self.requires_grad_(False)

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks that are kept."""
        return self.visual.transformer.resblocks

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights, in which images are to come."""
        return self.visual.conv1.weight.dtype

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Patch tokens [batch, patches, width] of normalised images [batch, 3, size, size]."""
        found = self.visual.forward_intermediates(
            pixel_values, indices=1, intermediates_only=True, output_fmt="NLC"
        )
        return found["image_intermediates"][0]


def load_vision_tower(name: str, pretrained: str | None = None, layer: int = -2) -> VisionTower:
    """Load a tower; on the meta device (`torch.device("meta")`) its shapes only.

    Args:
        name: as for `load_image_encoder`.
        pretrained: as for `load_image_encoder`.
        layer: which block's output is read, counted from the end.

    Raises:
        InputError: no such architecture or folder, or weights of another architecture.
    """
    return VisionTower(load_image_encoder(name, pretrained), layer)


def load_image_encoder(name: str, pretrained: str | None = None) -> nn.Module:
    """The whole image encoder of a CLIP; on the meta device its shapes only.

    Args:
        name: an open_clip architecture (`ViT-L-14-336-quickgelu`), or a folder with
            `open_clip_config.json` and `open_clip_model.safetensors`.
        pretrained: for an architecture, open_clip's tag (`openai`) or a weights file; None
            leaves it untrained.

    Raises:
        InputError: no such architecture or folder, or weights of another architecture.
    """
    device = torch.get_default_device()
    shapes_only = device.type == "meta"
    folder = local_copy(name, weights=not shapes_only)
    is_folder = Path(folder).is_dir()
    if is_folder and not (Path(folder) / LOCAL_CONFIG).is_file():
        raise InputError(f"vision tower {name} is a folder without {LOCAL_CONFIG}")
    if not is_folder and open_clip.get_model_config(name) is None:
        raise InputError(
            f"vision tower '{name}' is neither a folder nor an architecture of open_clip"
        )
    if pretrained is not None:
        pretrained = local_copy(pretrained)
    try:
        model = open_clip.create_model(
            f"local-dir:{folder}" if is_folder else name,
            None if shapes_only else pretrained,  # a tag is downloaded whatever load_weights says
            device=device,
            load_weights=not shapes_only,
        )
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise InputError(
            f"vision tower {name}: weights do not fit the architecture ({first})"
        ) from None
    except UnpicklingError:
        raise InputError(f"vision tower {name}: {pretrained} holds more than weights") from None
    visual: nn.Module = model.visual
    return visual
