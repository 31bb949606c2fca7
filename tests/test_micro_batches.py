"""Micro-batches: every row once, the same passes on all ranks; packed rows stay by themselves."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from doctor_sun.models.build import ModelConfig, build_model
from doctor_sun.models.chat_template import encode
from doctor_sun.models.multimodal import pack_batch, pad_batch
from doctor_sun.training.batches import by_step, passes
from doctor_sun.training.micro_batches import Cut
from tests.tiny_models import build_clip, build_llm

LONGEST = 100


@settings(max_examples=100, deadline=None)
@given(
    world=st.integers(1, 4),
    rows_of_rank=st.integers(1, 6),
    steps=st.integers(1, 3),
    limit=st.integers(LONGEST, 300),
    data=st.data(),
)
def test_packs_hold_every_row_once_within_the_limit(
    world: int, rows_of_rank: int, steps: int, limit: int, data: Any
) -> None:
    global_batch = world * rows_of_rank
    lengths = st.lists(
        st.integers(1, LONGEST), min_size=steps * global_batch, max_size=steps * global_batch
    )
    tokens = data.draw(lengths)
    cut = Cut(global_batch=global_batch, micro_batch=1, pack_tokens=limit)
    packs = cut.micro_batches(tokens, world)
    for step in range(steps):
        own = slice(step * global_batch, (step + 1) * global_batch)
        filled = np.bincount(packs[own], weights=tokens[own])
        assert len(filled) % world == 0
        assert len(filled) <= world * cut.most_passes(world)
        assert filled.min() > 0
        assert filled.max() <= limit


@pytest.mark.parametrize(("world", "micro"), [(1, 4), (2, 2), (2, 4), (4, 1)])
def test_padded_micro_batches_are_of_equal_size(world: int, micro: int) -> None:
    cut = Cut(global_batch=16, micro_batch=micro)
    numbers = cut.micro_batches([1] * 32, world)
    for step in (numbers[:16], numbers[16:]):
        assert np.bincount(step).tolist() == [micro] * (16 // micro)


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5), seed=st.integers(0, 9))
def test_rows_are_cut_where_a_step_ends(sizes: list[int], seed: int) -> None:
    """However the tables that arrive are cut, and however many rows of a step a rank has."""
    generator = np.random.default_rng(seed)
    position = np.flatnonzero(generator.random(sum(sizes) * 4) < 0.4)
    tables, start = [], 0
    for size in sizes:
        tables.append(pa.table({"position": position[start : start + size]}))
        start += size
    found = [table["position"].to_numpy() for table in by_step(filter(len, tables), 8)]
    assert all(len(set(step // 8)) == 1 for step in found)
    joined = np.concatenate(found) if found else np.array([])
    assert joined.tolist() == position[: sum(sizes)].tolist()
    assert len(found) == len(set(joined // 8))


def test_a_step_s_rows_are_read_pass_by_pass() -> None:
    rows = pa.table({"id": list("abcd"), "pass": [1, 0, 1, 0]})
    assert [part["id"].to_pylist() for part in passes(rows)] == [["b", "d"], ["a", "c"]]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_packed_row_has_the_loss_and_gradient_it_has_alone(
    tmp_path: Path, checkpointing: bool
) -> None:
    built = build_model(
        ModelConfig(llm=build_llm(tmp_path / "llm"), vision=build_clip(tmp_path / "clip"))
    )
    model = built.model
    model.requires_grad_(True)
    if checkpointing:
        model.checkpoint_activations()
        model.train()
    rows, images = [], []
    for number in range(5):
        mark = "<image>\n" * (number % 3)  # none, one and two images
        turns = [
            {"role": "user", "text": mark + "哪一侧? " * (number + 1)},
            {"role": "assistant", "text": "left " * (5 - number)},
            {"role": "user", "text": "Is there a nodule?"},
            {"role": "assistant", "text": "有"},
        ]
        rows.append(encode(turns, built.tokenizer, built.image_tokens, 256))
        images.append(torch.randn(number % 3, 3, built.image_size, built.image_size))
    pixels = torch.cat(images)
    input_ids, labels, lengths = pack_batch(rows)
    packed = model(input_ids, None, labels, pixels, lengths)
    packed.sum().backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    alone = []
    for row, own in zip(rows, images, strict=True):
        ids, mask, row_labels = pad_batch([row], 0)
        alone.append(model(ids, mask, row_labels, own if len(own) else None))
    torch.cat(alone).sum().backward()
    torch.testing.assert_close(packed, torch.cat(alone), atol=1e-4, rtol=1e-5)
    for name, parameter in model.named_parameters():
        if name in gradients:
            torch.testing.assert_close(gradients[name], parameter.grad, atol=2e-4, rtol=1e-4)
    ids, mask, padded_labels = pad_batch(rows, 0)
    padded = model(ids, mask, padded_labels, pixels)
    torch.testing.assert_close(padded, torch.cat(alone), atol=1e-4, rtol=1e-5)
