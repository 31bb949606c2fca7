"""Let a CPU build of torch import PyPI's torchvision, which is built against CUDA.

Run once by `make setup` with the environment's own Python. torchvision registers Python kernels
for two operators that its CUDA library would have declared; a hook in site-packages declares them
in every process (Ray's and vLLM's children too) just before torchvision is imported. Nothing is
written where torch has CUDA or torchvision is a CPU build (PyTorch's own CPU index): there it is
not needed.
"""

import sysconfig
from importlib import metadata
from pathlib import Path

NAME = "_torchvision_on_cpu"
HOOK = '''"""Declare torchvision's operators before it is imported (scripts/cpu_torchvision.py)."""

import sys


class _DeclareOperators:
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            library = torch.library.Library("torchvision", "FRAGMENT")
            for operator in ("nms", "qnms"):
                library.define(
                    f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                )
            sys._torchvision_operators = library  # lives as long as the process
        return None


sys.meta_path.insert(0, _DeclareOperators())
'''


def main() -> None:
    """Write the hook, where it is needed."""
    torch, torchvision = metadata.version("torch"), metadata.version("torchvision")
    if "+cpu" not in torch or "+cpu" in torchvision:
        return
    site_packages = Path(sysconfig.get_paths()["purelib"])
    (site_packages / f"{NAME}.py").write_text(HOOK, encoding="utf-8")
    (site_packages / f"{NAME}.pth").write_text(f"import {NAME}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
