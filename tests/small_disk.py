"""A disk that fills up."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Callable[[int], None]]:
    """A new folder on a disk of so many bytes; what is yielded gives it another size."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")

    try:
        yield partial(resize_disk, folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def resize_disk(folder: Path, size: int) -> None:
    """Give the disk of a folder another size, in bytes."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)
