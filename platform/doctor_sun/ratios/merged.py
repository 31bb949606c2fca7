"""Merged experts: a proxy of a mixture that trains nothing (arXiv 2602.04937).

One expert is trained on each part of the mixture alone, from the same alignment; a mixture's model
is then the mean of their weights, weighed by its shares.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from doctor_sun.local_folders import local_copy, written_folder


def merge_exports(experts: Sequence[str], shares: Sequence[float], folder: str) -> None:
    """Write the weighted mean of exported models (Hugging Face folders with the same tensors).

    Args:
        experts: their folders.
        shares: weight of each; they sum to one.
        folder: where to.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    first, *others = (Path(local_copy(expert)) for expert in experts)
    with written_folder(folder) as written:
        shutil.copytree(first, written, dirs_exist_ok=True)
        for file in sorted(first.glob("*.safetensors")):
            opened = [safe_open(place / file.name, "pt") for place in (first, *others)]
            merged = {}
            for name in opened[0].keys():  # noqa: SIM118  # not a mapping
                tensors = [one.get_tensor(name) for one in opened]
                total = sum(
                    share * tensor.float() for share, tensor in zip(shares, tensors, strict=True)
                )
                merged[name] = total.to(tensors[0].dtype).contiguous()
            save_file(merged, written / file.name, {"format": "pt"})
