"""Attention over packed rows: conversations one behind another in one sequence, each by itself.

Registered with transformers under a name of its own, so that any of its decoders can run it.
Without packed rows it is transformers' own scaled dot-product attention.
"""

from collections.abc import Sequence
from functools import cache
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PACKED = "doctor_sun_packed"


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    row_lengths: Sequence[int] | None = None,
    row_bounds: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each packed row.

    On a GPU in half precision one call of torch's variable-length flash attention; elsewhere one
    call a row, several times as fast on a CPU as one call under a block mask.

    Args:
        module: the decoder's attention layer.
        query: [1, heads, tokens, head width]; key and value may have fewer heads.
        key: see query.
        value: see query.
        attention_mask: for batches that are not packed.
        row_lengths: tokens of each packed row; none when the batch is not packed.
        row_bounds: [rows + 1] int32, where each row begins, and the end of the last.
        kwargs: what transformers passes on (`scaling`, `dropout`, `sliding_window`).

    Returns:
        [1, tokens, heads, head width] and None.

    Raises:
        ValueError: the layer's sliding window is shorter than a row.
    """
    if row_lengths is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    window = kwargs.get("sliding_window")
    if window is not None and max(row_lengths) > window:
        raise ValueError(f"a packed row is longer than the layer's sliding window of {window}")
    scale = kwargs.get("scaling")
    if in_one_call(query):
        from torch.nn.attention.varlen import varlen_attn

        longest = max(row_lengths)
        tokens_first = (x.squeeze(0).transpose(0, 1) for x in (query, key, value))
        attended = varlen_attn(
            *tokens_first,
            row_bounds,
            row_bounds,
            longest,
            longest,
            scale=scale,
            window_size=(-1, 0),
            **_fewer_keys(),
        )
        return attended.unsqueeze(0), None
    rows = zip(*(x.split(list(row_lengths), dim=2) for x in (query, key, value)), strict=True)
    found = [
        F.scaled_dot_product_attention(*row, is_causal=True, scale=scale, enable_gqa=True)
        for row in rows
    ]
    return torch.cat(found, dim=2).transpose(1, 2), None


def in_one_call(query: Tensor) -> bool:
    """Whether torch's variable-length attention takes all rows at once."""
    return query.is_cuda and query.dtype in (torch.bfloat16, torch.float16)


@cache
def _fewer_keys() -> dict[str, bool]:
    """What lets keys have fewer heads than queries: torch 2.11 needs no word for it."""
    from torch.nn.attention.varlen import varlen_attn

    return {"enable_gqa": True} if "enable_gqa" in signature(varlen_attn).parameters else {}


def _mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """A mask for padded batches only: packed rows are kept apart without one."""
    return None if kwargs.get("attention_mask") is None else sdpa_mask(*args, **kwargs)


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, _mask)


def use_packed_attention(llm: PreTrainedModel) -> None:
    """Let a decoder read packed rows, too."""
    llm.set_attn_implementation(PACKED)
