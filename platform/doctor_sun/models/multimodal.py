"""The multimodal model: vision tower, projector and language model in one module.

Shapes: B batch, T text tokens, P patches of an image, I images of the batch, H hidden width.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from doctor_sun.models.chat_template import IGNORE_INDEX

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from doctor_sun.models.vision_tower import VisionTower


class MultimodalModel(nn.Module):
    """A causal language model that reads projected patch tokens where `<image>` tokens stand.

    Without a vision tower it is the language model alone, so that one training loop serves the
    text stages too.
    """

    def __init__(
        self,
        llm: PreTrainedModel,
        vision: VisionTower | None = None,
        projector: nn.Module | None = None,
        image_token_id: int = -1,
    ) -> None:
        super().__init__()
        self.llm = llm
        self.vision = vision
        self.projector = projector
        self.image_token_id = image_token_id
        self.checkpoint_projector = False

    def checkpoint_activations(self) -> None:
        """Compute activations again in the backward pass instead of keeping them."""
        self.llm.gradient_checkpointing_enable({"use_reentrant": False})
        self.checkpoint_projector = True
        if self.vision is not None and any(p.requires_grad for p in self.vision.parameters()):
            self.vision.visual.set_grad_checkpointing()

    def embed(self, input_ids: Tensor, pixel_values: Tensor | None) -> Tensor:
        """Input embeddings [B, T, H], image tokens replaced by projected patches (equation 1).

        A batch without images still runs the tower, on a black image whose features are multiplied
        by zero: otherwise its rank would miss collectives that the others wait for.
        """
        embedded = self.llm.get_input_embeddings()(input_ids)
        if self.vision is None:
            return embedded
        if pixel_values is None:
            size = self.vision.image_size
            black = embedded.new_zeros(1, 3, size, size)
            return embedded + 0.0 * self.project(black).sum()
        projected = self.project(pixel_values).to(embedded.dtype)
        places = (input_ids == self.image_token_id).unsqueeze(-1)
        if int(places.sum()) != projected.shape[0] * projected.shape[1]:
            raise ValueError(
                f"{int(places.sum())} image tokens for {projected.shape[0]} images "
                f"of {projected.shape[1]} patches"
            )
        return embedded.masked_scatter(places, projected)

    def project(self, pixel_values: Tensor) -> Tensor:
        """Images [I, 3, size, size] -> projected patches [I, P, H]."""
        if self.vision is None or self.projector is None:
            raise ValueError("a text-only model reads no images")
        features = self.vision(pixel_values.to(self.vision.dtype))
        if self.checkpoint_projector:
            return checkpoint(self.projector, features, use_reentrant=False)
        return self.projector(features)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        labels: Tensor | None = None,
        pixel_values: Tensor | None = None,
        row_lengths: Sequence[int] | None = None,
    ) -> Tensor:
        """Sum of each row's token losses [rows] (equation 2), or logits [B, T, vocab].

        The losses are sums so that the caller can weigh them by the token count of the whole global
        batch, and tell one row's from another's. Logits are computed only where a label is: prompts
        and image tokens need none.

        Args:
            input_ids: [B, T], a row each, or [1, T], all rows one behind another.
            attention_mask: [B, T]; none where rows are packed.
            labels: [B, T]; none asks for logits.
            pixel_values: [I, 3, size, size] in the order of their tokens.
            row_lengths: tokens of each packed row; none where rows are padded.
        """
        hidden = self.llm.get_decoder()(
            inputs_embeds=self.embed(input_ids, pixel_values),
            attention_mask=attention_mask,
            use_cache=False,
            **_packed_inputs(row_lengths, input_ids.device),
        ).last_hidden_state  # [B, T, H]
        head = self.llm.get_output_embeddings()
        if labels is None:
            return head(hidden)
        targets = labels[:, 1:]
        labelled = targets != IGNORE_INDEX
        logits = head(hidden[:, :-1][labelled])  # [labelled tokens, vocab]
        losses = F.cross_entropy(logits.float(), targets[labelled], reduction="none")
        batch_row, place = labelled.nonzero().unbind(1)
        if row_lengths is None:
            return losses.new_zeros(len(labels)).index_add(0, batch_row, losses)
        ends = torch.tensor(row_lengths, device=place.device).cumsum(0)
        row = torch.searchsorted(ends, place + 1, right=True)
        return losses.new_zeros(len(row_lengths)).index_add(0, row, losses)


def _packed_inputs(row_lengths: Sequence[int] | None, device: torch.device) -> dict[str, Any]:
    """What the decoder is told of packed rows: positions [1, T], lengths, and their bounds."""
    if row_lengths is None:
        return {}
    positions = torch.cat([torch.arange(length) for length in row_lengths])
    bounds = torch.tensor([0, *accumulate(row_lengths)], dtype=torch.int32)
    return {
        "position_ids": positions.unsqueeze(0).to(device),
        "row_lengths": row_lengths,
        "row_bounds": bounds.to(device),
    }


def pack_batch(rows: list[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor, list[int]]:
    """Put token ids and labels of all rows one behind another: both [1, T], and each row's tokens.

    The first token of a row carries no loss: what stands before it belongs to another row.
    """
    input_ids = torch.tensor([[token for ids, _ in rows for token in ids]])
    labels = torch.tensor([[token for _, own in rows for token in (IGNORE_INDEX, *own[1:])]])
    return input_ids, labels, [len(ids) for ids, _ in rows]


def pad_batch(
    rows: list[tuple[list[int], list[int]]], padding_id: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Right-pad token ids and labels: input_ids, attention_mask and labels, each [B, T]."""
    longest = max(len(ids) for ids, _ in rows)
    input_ids = torch.full((len(rows), longest), padding_id, dtype=torch.long)
    attention_mask = torch.zeros((len(rows), longest), dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORE_INDEX, dtype=torch.long)
    for row, (ids, targets) in enumerate(rows):
        input_ids[row, : len(ids)] = torch.as_tensor(ids)
        attention_mask[row, : len(ids)] = 1
        labels[row, : len(ids)] = torch.as_tensor(targets)
    return input_ids, attention_mask, labels
