"""ZeRO stages, passes, packing, offload and checkpointing change speed and memory, not losses."""

import os
import socket
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp

from tests.tiny_models import build_clip, build_llm

STEPS = 12
GLOBAL_BATCH = 8
TOLERANCE = 2e-4  # fp32; the stages reduce gradients in different orders
HALF_TOLERANCE = 3e-2  # bf16 against fp32


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


def _batch(rows: list[Row], built: Any, packed: bool) -> Any:
    from doctor_sun.models.multimodal import pack_batch, pad_batch
    from doctor_sun.training.loop import MicroBatch

    mask = lengths = None
    if packed:
        ids, labels, lengths = pack_batch([row[:2] for row in rows])
    else:
        ids, mask, labels = pad_batch([row[:2] for row in rows], built.tokenizer.pad_token_id)
    images = [row[2] for row in rows if row[2] is not None]
    inputs: Any = {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": labels,
        "pixel_values": torch.stack(images) if images else None,
        "row_lengths": lengths,
    }
    return MicroBatch(inputs=inputs, ids=[""] * len(rows), kinds=[0] * len(rows))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a group of processes trains: all of them on the same global batch."""

    passes: tuple[int, ...] = (2, 2)  # rows of each forward pass of a rank
    packed: bool = False
    engine: dict[str, Any] = field(default_factory=dict)
    modules: tuple[str, ...] = ("llm", "projector", "vision")
    save_at: int = 0  # step whose checkpoint is kept
    resume: str = ""  # the setting whose checkpoint this one goes on from


def train_all(rank: int, world: int, settings: dict[str, Setting], folder: str, port: int) -> None:
    """Train once with each setting in one group of processes; rank 0 writes what it saw."""
    import torch.distributed as dist

    from doctor_sun.training.engine import start_collectives

    os.environ["LOCAL_RANK"] = str(rank)
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world
    )
    start_collectives("gloo")
    found = {name: train(rank, world, setting, folder, name) for name, setting in settings.items()}
    if rank == 0:
        torch.save(found, f"{folder}/found.pt")
    dist.barrier()
    dist.destroy_process_group()


def train(rank: int, world: int, setting: Setting, folder: str, name: str) -> dict[str, Any]:
    """The losses of a short training, the parameters that are whole, whether frozen ones moved."""
    from doctor_sun.models.build import ModelConfig, build_model
    from doctor_sun.models.low_rank import LowRankConfig
    from doctor_sun.training import checkpoint
    from doctor_sun.training.engine import EngineConfig, initialize, set_trainable
    from doctor_sun.training.loop import train_steps
    from doctor_sun.training.validation import answer, validate

    torch.manual_seed(0)
    built = build_model(
        ModelConfig(
            llm=f"{folder}/llm",
            vision=f"{folder}/clip",
            low_rank=LowRankConfig(rank=4, dropout=0.0) if "vision" in setting.modules else None,
        )
    )
    rates = dict.fromkeys(setting.modules, 1e-3)
    set_trainable(built.model, rates)
    frozen = {
        n: p.detach().clone() for n, p in built.model.named_parameters() if not p.requires_grad
    }
    config, passes, done = EngineConfig(**setting.engine), len(setting.passes), 0
    if setting.resume:
        source = f"{folder}/{setting.resume}"
        with checkpoint.for_ranks(source, world) as converted:
            engine = initialize(built.model, rates, config, passes, converted is not None)
            done = checkpoint.load(engine, *(converted or (source,)))
    else:
        engine = initialize(built.model, rates, config, passes)
    share = GLOBAL_BATCH // world
    rows = _rows(built)[rank * share : (rank + 1) * share]
    micros = []
    for count in setting.passes:
        micros.append(_batch(rows[:count], built, setting.packed))
        rows = rows[count:]
    losses = []
    for result in train_steps(
        engine, [micros] * (STEPS - done), start=done, total=STEPS, warmup_share=0.1, seed=0
    ):
        losses.append(result.loss)
        if result.step == setting.save_at:
            checkpoint.save(engine, f"{folder}/{name}", result.step)
    held_out = validate(engine, micros, ["any"])
    prompt = (micros[0].inputs["input_ids"][:1, :12], None)  # on this rank's first row
    pad, end = built.tokenizer.pad_token_id, built.tokenizer.eos_token_id
    found = {
        "losses": losses,
        "validation": held_out.loss,
        "answers": answer(engine, [prompt], end, pad, most_tokens=4 + 4 * rank),
        "resident": sum(p.data.numel() for p in built.model.parameters() if p.requires_grad),
        "frozen_moved": any(
            not torch.equal(p, frozen[n].to(p.dtype))
            for n, p in built.model.named_parameters()
            if n in frozen and p.numel()  # stage 3 keeps no parameter whole
        ),
    }
    engine.destroy()
    return found


HALF = STEPS // 2
SETTINGS = {
    **{f"stage {stage}": Setting(engine={"zero_stage": stage}, save_at=HALF) for stage in range(4)},
    "a row a pass": Setting(passes=(1, 1, 1, 1)),
    "packed": Setting(passes=(4,), packed=True),
    "packed, unevenly": Setting(passes=(3, 1), packed=True),
    "packed, stage 3": Setting(passes=(3, 1), packed=True, engine={"zero_stage": 3}),
    "checkpointing": Setting(engine={"gradient_checkpointing": True}),
    "checkpointing, packed, stage 3": Setting(
        passes=(3, 1), packed=True, engine={"zero_stage": 3, "gradient_checkpointing": True}
    ),
    "bf16": Setting(engine={"precision": "bf16"}),
    "bf16, packed, stage 3": Setting(
        passes=(3, 1), packed=True, engine={"precision": "bf16", "zero_stage": 3}
    ),
    "offload": Setting(engine={"offload_optimizer": True}),
    "offload, one pass": Setting(passes=(4,), engine={"offload_optimizer": True}),
    "offload, stage 3": Setting(
        engine={"zero_stage": 3, "offload_optimizer": True, "offload_parameters": True}
    ),
}
ONE_GROUP = Setting(engine={"zero_stage": 3}, modules=("llm",), save_at=HALF)
RESUMED = {
    **{
        f"stage {stage}": Setting(
            passes=(GLOBAL_BATCH,), engine={"zero_stage": stage}, resume=f"stage {stage}"
        )
        for stage in range(3)
    },
    "one group": replace(ONE_GROUP, passes=(GLOBAL_BATCH,), save_at=0, resume="one group"),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each setting of two processes gave, one process alone, and one that goes on from two."""
    folder = tmp_path_factory.mktemp("zero")
    build_llm(folder / "llm")
    build_clip(folder / "clip")
    alone = Setting(passes=(GLOBAL_BATCH,), engine={"zero_stage": 0})
    resumed = {f"{name}, resumed": setting for name, setting in RESUMED.items()}
    results = {}
    for world, settings in (
        (2, {**SETTINGS, "one group": ONE_GROUP}),
        (1, {"alone": alone, **resumed}),
    ):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        mp.spawn(train_all, args=(world, settings, str(folder), port), nprocs=world)
        results |= torch.load(folder / "found.pt")
    return results


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_sharding_passes_and_packing_leave_the_losses_as_they_are(
    found: dict[str, dict[str, Any]], name: str
) -> None:
    alone, losses = (torch.tensor(found[setting]["losses"]) for setting in ("alone", name))
    half = "precision" in SETTINGS[name].engine
    tolerance = HALF_TOLERANCE if half else TOLERANCE
    torch.testing.assert_close(losses, alone, atol=tolerance, rtol=0)
    assert losses[-1] < 0.7 * losses[0]
    assert found[name]["validation"] == pytest.approx(found["alone"]["validation"], abs=tolerance)
    assert half or found[name]["answers"] == found["alone"]["answers"]
    assert not found[name]["frozen_moved"]


@pytest.mark.slow
def test_stage_3_keeps_no_parameter_whole(found: dict[str, dict[str, Any]]) -> None:
    assert [found[f"stage {stage}"]["resident"] > 0 for stage in range(4)] == [True] * 3 + [False]


@pytest.mark.slow
@pytest.mark.parametrize("name", RESUMED)
def test_one_process_goes_on_from_a_checkpoint_of_two(
    found: dict[str, dict[str, Any]], name: str
) -> None:
    undisturbed, resumed = (
        torch.tensor(found[setting]["losses"]) for setting in (name, f"{name}, resumed")
    )
    assert len(resumed) == STEPS - HALF
    torch.testing.assert_close(resumed, undisturbed[HALF:], atol=TOLERANCE, rtol=0)
