"""The multimodal model: vision tower, projector and language model in one module.

Shapes: B batch, T text tokens, P patches of an image, I images of the batch, H hidden width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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

    def embed(self, input_ids: Tensor, pixel_values: Tensor | None) -> Tensor:
        """Input embeddings [B, T, H], image tokens replaced by projected patches (equation 1).

        A batch without images still runs the tower, on a black image whose features are multiplied
        by zero: otherwise its rank would miss collectives that the others wait for.
        """
        embedded = self.llm.get_input_embeddings()(input_ids)
        if self.vision is None or self.projector is None:
            return embedded
        if pixel_values is None:
            size = self.vision.image_size
            black = embedded.new_zeros(1, 3, size, size)
            return embedded + 0.0 * self.projector(self.vision(black)).sum()
        projected = self.projector(self.vision(pixel_values)).to(embedded.dtype)  # [I, P, H]
        places = (input_ids == self.image_token_id).unsqueeze(-1)
        if int(places.sum()) != projected.shape[0] * projected.shape[1]:
            raise ValueError(
                f"{int(places.sum())} image tokens for {projected.shape[0]} images "
                f"of {projected.shape[1]} patches"
            )
        return embedded.masked_scatter(places, projected)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        labels: Tensor | None = None,
        pixel_values: Tensor | None = None,
    ) -> Tensor:
        """Sum of each row's token losses [B] (equation 2), or logits [B, T, vocab].

        The losses are sums so that the caller can weigh them by the token count of the whole global
        batch, and tell one row's from another's. Logits are computed only where a label is: prompts
        and image tokens need none.
        """
        hidden = self.llm.get_decoder()(
            inputs_embeds=self.embed(input_ids, pixel_values),
            attention_mask=attention_mask,
            use_cache=False,
        ).last_hidden_state  # [B, T, H]
        head = self.llm.get_output_embeddings()
        if labels is None:
            return head(hidden)
        targets = labels[:, 1:]
        labelled = targets != IGNORE_INDEX
        logits = head(hidden[:, :-1][labelled])  # [labelled tokens, vocab]
        losses = F.cross_entropy(logits.float(), targets[labelled], reduction="none")
        return losses.new_zeros(len(labels)).index_add(0, labelled.nonzero()[:, 0], losses)


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
