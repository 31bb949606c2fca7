"""Folders of an object store for engines that want them on a disk: copied whole, in or out.

Weights are mapped into memory, DeepSpeed and safetensors write to paths; a folder that is on a disk
already is used where it is.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from upath import UPath

from doctor_sun.errors import InputError
from doctor_sun.files import in_object_store
from doctor_sun.records import sha256

CACHE = "DOCTOR_SUN_CACHE"
"""Environment variable: where a node keeps its copies of models."""
WEIGHTS = (".safetensors", ".bin", ".pt")
STAMPS = ("size", "ETag", "etag", "LastModified", "mtime", "created")  # as stores name them


def local_copy(location: str, weights: bool = True) -> str:
    """The path of a folder (or file): its own, or that of this node's copy.

    The copy is made once, whoever asks first, and again when the store's content has changed.

    Args:
        location: a path, a URI, or a name that is neither, which is given back.
        weights: whether files of weights are copied too.

    Raises:
        InputError: there is nothing at the location.
    """
    if "://" not in location:
        return location
    place = UPath(location)
    if not in_object_store(place):
        return place.path
    found = {
        name: [str(details.get(stamp)) for stamp in STAMPS]
        for name, details in sorted(place.fs.find(place.path, detail=True).items())
        if weights or not name.endswith(WEIGHTS)
    }
    if not found:
        raise InputError(f"{location} holds no files")
    root = place.path.rstrip("/")
    names = {name: name.removeprefix(root).lstrip("/") for name in found}
    content = sha256(*(part for name in found for part in (names[name], *found[name])))
    target = _cache() / content[:16]
    with FileLock(target.with_suffix(".lock")):
        if not target.exists():
            part = target.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            try:
                place.fs.get(list(found), [str(part / name) for name in names.values()])
                part.rename(target)
            finally:
                shutil.rmtree(part, ignore_errors=True)  # room for the next attempt
    return str(target)


def _cache() -> Path:
    folder = Path(os.environ.get(CACHE) or Path.home() / ".cache" / "doctor-sun" / "models")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def written_folder(location: str | UPath) -> Iterator[Path]:
    """A folder on a disk to write into, whose files are at the location when the block ends."""
    place = UPath(location)
    if not in_object_store(place):
        yield Path(place.path)
        return
    with tempfile.TemporaryDirectory(dir=_cache()) as folder:
        yield Path(folder)
        files = [file for file in sorted(Path(folder).rglob("*")) if file.is_file()]
        there = [(place / file.relative_to(folder).as_posix()).path for file in files]
        place.fs.put([str(file) for file in files], there)
