"""A stage's checkpoints: every rank's shard in one folder, resumed by any number of ranks.

A folder holds one DeepSpeed tag, `step<N>`, and DeepSpeed's file `latest` that names it. Frozen
weights are not in it: they come from the model's own folder.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

LATEST = "latest"
UNIVERSAL = "step"  # tag of a checkpoint that was cut into parameters
RESHARDING = (  # silently wrong in DeepSpeed 0.19: all modules get the first one's learning rate
    "a checkpoint of ZeRO stage 3 in which several modules train cannot be shared out anew among "
    "another number of workers"
)


def save(engine: Any, folder: str | Path, step: int) -> None:
    """Write this rank's shard; the checkpoint is whole when every rank has done so."""
    engine.save_checkpoint(
        str(folder), tag=f"step{step}", client_state={"step": step}, exclude_frozen_parameters=True
    )


def tag_folder(folder: str | Path) -> Path:
    """The folder of the checkpoint's tag."""
    return Path(folder) / (Path(folder) / LATEST).read_text(encoding="utf-8").strip()


def ranks_of(folder: str | Path) -> int:
    """Ranks whose optimizer shards a checkpoint holds; 0 where it is not sharded."""
    return len(list(tag_folder(folder).glob("*zero_pp_rank_*_optim_states.pt")))


@contextmanager
def for_ranks(folder: str | Path, world: int) -> Iterator[tuple[str, str] | None]:
    """The checkpoint cut for any number of ranks (folder and tag), where `world` asks for it.

    One process of each node converts, the others wait for it; what it wrote is deleted at the end.

    Raises:
        RuntimeError: the conversion failed.
    """
    import torch.distributed as dist

    if ranks_of(folder) in (0, world):
        yield None
        return
    node, first = os.uname().nodename, int(os.environ.get("LOCAL_RANK", "0")) == 0
    made = tempfile.mkdtemp() if first else ""
    try:
        if first:
            _convert(tag_folder(folder), Path(made) / UNIVERSAL)
        found: list[tuple[str, str]] = [("", "")] * world
        dist.all_gather_object(found, (node, made))
        yield next(path for name, path in found if name == node and path), UNIVERSAL
        dist.barrier()  # all have read it
    finally:
        if made:
            shutil.rmtree(made)


def _convert(tag: Path, target: Path) -> None:
    """DeepSpeed's own conversion, in a process of its own: it prints, and keeps what it reads."""
    command = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--input_folder"]
    command += [str(tag), "--output_folder", str(target), "--inject_missing_state"]
    environment = os.environ | {"DS_ACCELERATOR": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"the checkpoint {tag} cannot be converted for other ranks: {last}")


def load(engine: Any, folder: str | Path, tag: str | None = None) -> int:
    """Load this rank's part; returns the steps that the checkpoint has behind it."""
    _, state = engine.load_checkpoint(str(folder), tag=tag, load_module_strict=False)
    return int(state["step"])


def consolidate(folder: str | Path, zero_stage: int) -> "dict[str, Tensor]":
    """The trained tensors of a sharded checkpoint, whole and in fp32, by parameter name."""
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if zero_stage == 0:
        import torch

        state = torch.load(
            tag_folder(folder) / "mp_rank_00_model_states.pt",
            map_location="cpu",
            weights_only=False,
        )
        return state["module"]
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    found = get_fp32_state_dict_from_zero_checkpoint(str(folder), exclude_frozen_parameters=True)
    return {name: tensor.clone() for name, tensor in found.items()}
