"""Export a trained stage: LoRA merged, one Hugging Face LLaVA folder."""

from dataclasses import dataclass
from typing import Any, Literal

import ray
from upath import UPath

from doctor_sun.cluster import connect
from doctor_sun.config import JobConfig
from doctor_sun.errors import InputError
from doctor_sun.local_folders import written_folder
from doctor_sun.models.build import MODEL_FILE
from doctor_sun.runs import Step


@dataclass(kw_only=True)
class ExportConfig(JobConfig):
    """Which checkpoint is exported, and in which precision."""

    checkpoint: str
    """Output folder of `jobs/instruct.py` (or `jobs/align.py`), or the `model` folder in it."""

    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Precision of the written weights."""


def model_folder(checkpoint: str) -> UPath:
    """The model folder of a stage's output.

    Raises:
        InputError: there is none.
    """
    for folder in (UPath(checkpoint), UPath(checkpoint) / "model"):
        if (folder / MODEL_FILE).is_file():
            return folder.absolute()
    raise InputError(
        f"{checkpoint} holds no multimodal model: expected {MODEL_FILE} there or in its 'model'"
    )


def export(checkpoint: str, folder: str, dtype: str) -> list[str]:
    """Write the Hugging Face folder; returns the names of its files."""
    import torch

    from doctor_sun.models.export import export_folder

    with written_folder(folder) as written:
        export_folder(checkpoint, written, getattr(torch, dtype))
        return sorted(file.name for file in written.iterdir() if file.is_file())


def run(config: ExportConfig) -> dict[str, Any]:
    """Export the checkpoint, unless a finished export of it exists."""
    step = Step(config, "export", {"checkpoint": str(model_folder(config.checkpoint))})
    if step.reused:
        return step.manifest
    folder = str(step.folder.absolute())
    with connect(config.address):
        task = ray.remote(num_cpus=1)(export)
        names = ray.get(task.remote(str(model_folder(config.checkpoint)), folder, config.dtype))
    return step.finish(outputs=[name for name in names if name != "state.json"])
