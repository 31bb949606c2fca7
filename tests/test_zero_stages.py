"""ZeRO stage 0, 1, 2 and 3 give the same losses; batches split differently give the same step."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp

from tests.tiny_models import build_clip, build_llm

STEPS = 20
GLOBAL_BATCH = 8
TOLERANCE = 2e-4  # fp32; the stages reduce gradients in different orders


Row = tuple[list[int], list[int], torch.Tensor | None]


def _rows(built: Any) -> list[Row]:
    """One global batch of conversations of unequal length, some with an image."""
    from doctor_sun.models.chat_template import encode

    rows = []
    for number in range(GLOBAL_BATCH):
        has_image = number % 4 == 1  # with two ranks, some micro-batches hold no image at all
        question = ("<image>\n" if has_image else "") + "Which side? " * (1 + number % 3)
        turns = [
            {"role": "user", "text": question},
            {"role": "assistant", "text": "左侧" * (number + 1)},
        ]
        generator = torch.Generator().manual_seed(number)
        size = built.image_size
        image = torch.randn(3, size, size, generator=generator) if has_image else None
        rows.append((*encode(turns, built.tokenizer, built.image_tokens, 256), image))
    return rows


def _batch(rows: list[Row], built: Any) -> Any:
    from doctor_sun.models.multimodal import pad_batch
    from doctor_sun.training.loop import MicroBatch

    ids, mask, labels = pad_batch([row[:2] for row in rows], built.tokenizer.pad_token_id)
    images = [row[2] for row in rows if row[2] is not None]
    inputs: Any = {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": labels,
        "pixel_values": torch.stack(images) if images else None,
    }
    return MicroBatch(inputs=inputs, ids=[""] * len(rows), kinds=[0] * len(rows))


def train(rank: int, world: int, stage: int, micro: int, folder: str, port: int) -> None:
    """Train in one process of a group; rank 0 writes the losses and the sharding it saw."""
    import torch.distributed as dist

    from doctor_sun.models.build import ModelConfig, build_model
    from doctor_sun.models.low_rank import LowRankConfig
    from doctor_sun.training.engine import (
        EngineConfig,
        initialize,
        set_trainable,
        start_collectives,
    )
    from doctor_sun.training.loop import train_steps

    os.environ["LOCAL_RANK"] = str(rank)
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world
    )
    start_collectives("gloo")
    torch.manual_seed(0)
    built = build_model(
        ModelConfig(
            llm=f"{folder}/llm",
            vision=f"{folder}/clip",
            low_rank=LowRankConfig(rank=4, dropout=0.0),
        )
    )
    rates = {"llm": 1e-3, "projector": 1e-3, "vision": 1e-3}
    set_trainable(built.model, rates)
    frozen = {
        n: p.detach().clone() for n, p in built.model.named_parameters() if not p.requires_grad
    }
    share = GLOBAL_BATCH // world
    engine = initialize(built.model, rates, EngineConfig(zero_stage=stage), micro, share // micro)  # type: ignore[arg-type]
    rows = _rows(built)[rank * share : (rank + 1) * share]
    micros = [_batch(rows[i : i + micro], built) for i in range(0, share, micro)]
    found = train_steps(engine, [micros] * STEPS, start=0, total=STEPS, warmup_share=0.1, seed=0)
    losses = [result.loss for result in found]
    resident = sum(p.data.numel() for p in built.model.parameters() if p.requires_grad)
    unchanged = stage == 3 or all(
        torch.equal(p, frozen[n]) for n, p in built.model.named_parameters() if n in frozen
    )
    if rank == 0:
        result = {"losses": losses, "resident": resident, "frozen_unchanged": unchanged}
        torch.save(result, f"{folder}/result.pt")
    dist.barrier()
    dist.destroy_process_group()


def losses_of(folder: Path, port: int, world: int = 2, stage: int = 2, micro: int = 2) -> Any:
    mp.spawn(train, args=(world, stage, micro, str(folder), port), nprocs=world)
    return torch.load(folder / "result.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zero")
    build_llm(path / "llm")
    build_clip(path / "clip")
    return path


@pytest.mark.slow
def test_every_stage_gives_the_same_losses_and_shards_what_it_says(
    folder: Path, unused_port: int
) -> None:
    results = {stage: losses_of(folder, unused_port + stage, stage=stage) for stage in range(4)}
    for stage in range(4):
        torch.testing.assert_close(
            torch.tensor(results[stage]["losses"]),
            torch.tensor(results[0]["losses"]),
            atol=TOLERANCE,
            rtol=0,
        )
        assert results[stage]["frozen_unchanged"]
    assert results[0]["losses"][-1] < 0.5 * results[0]["losses"][0]
    assert [results[s]["resident"] > 0 for s in range(4)] == [True, True, True, False]


@pytest.mark.slow
def test_losses_do_not_depend_on_micro_batches_or_ranks(folder: Path, unused_port: int) -> None:
    split = losses_of(folder, unused_port, world=2, micro=1)["losses"]
    whole = losses_of(folder, unused_port + 1, world=1, micro=8)["losses"]
    torch.testing.assert_close(torch.tensor(split), torch.tensor(whole), atol=TOLERANCE, rtol=0)
