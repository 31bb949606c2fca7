"""Pre-train a small Llama on plain text: the tiny preset's general language model.

Importing this file is cheap: its configuration is read where nothing trains.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from doctor_sun.models.chat_template import END_OF_TEXT
from doctor_sun.training.schedule import warmup_cosine

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import LlamaForCausalLM, PreTrainedTokenizerBase


@dataclass(kw_only=True)
class LanguageModelConfig:
    """A small Llama and how long it reads."""

    hidden_size: int = 256
    """Width of the hidden states; a linear projector exports exactly when it is at least twice
    the vision tower's width."""

    layers: int = 3
    """Number of transformer blocks."""

    heads: int = 4
    """Number of attention heads."""

    key_value_heads: int = 2
    """Number of key-value heads (grouped-query attention)."""

    intermediate_size: int = 640
    """Width of the feed-forward layers."""

    context_length: int = 512
    """Longest sequence the model will ever read, in tokens."""

    steps: int = 400
    """Optimizer steps."""

    batch_size: int = 16
    """Sequences a step."""

    sequence_length: int = 128
    """Tokens a sequence."""

    learning_rate: float = 2e-3
    """Peak learning rate of AdamW."""


def pack(texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", length: int) -> "Tensor":
    """All texts, an end-of-text token behind each, cut into rows: [rows, length]."""
    import torch

    end = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    encoded = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    ids = [token for text in encoded for token in (*text, end)]
    rows = len(ids) // length
    return torch.tensor(ids[: rows * length]).view(rows, length)


def pretrain_language_model(
    texts: Sequence[str],
    tokenizer: "PreTrainedTokenizerBase",
    config: LanguageModelConfig,
    seed: int,
    progress: Callable[[str], None],
) -> "tuple[LlamaForCausalLM, float]":
    """Train from scratch on plain text; returns the model and the mean loss of the last steps."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.key_value_heads,
            intermediate_size=config.intermediate_size,
            max_position_embeddings=config.context_length,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    rows = pack(texts, tokenizer, config.sequence_length)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=(0.9, 0.95), fused=True
    )
    generator = torch.Generator().manual_seed(seed)
    losses: list[float] = []
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * warmup_cosine(step, config.steps, 0.03)
        batch = rows[torch.randint(len(rows), (config.batch_size,), generator=generator)]
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            progress(f"language model: step {step + 1}/{config.steps}, loss {losses[-1]:.3f}")
    return model, sum(losses[-20:]) / len(losses[-20:])
