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


def local_copy(location: str) -> str:
    """The path of a folder (or file): its own, or that of this node's copy.

    The copy is made once, whoever asks first, and again when the store's content has changed.

    Raises:
        InputError: there is nothing at the location.
    """
    if "://" not in location or not in_object_store(location):
        return location
    place = UPath(location)
    place.fs.invalidate_cache()
    files = sorted(place.fs.find(place.path))
    if not files:
        raise InputError(f"{location} holds no files")
    content = sha256(location, *(part for file in files for part in (file, place.fs.ukey(file))))
    cache = Path(os.environ.get(CACHE) or Path.home() / ".cache" / "doctor_sun")
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / content[:16]
    with FileLock(target.with_suffix(".lock")):
        if not target.exists():
            part = target.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            place.fs.get(place.path, str(part), recursive=True)
            part.rename(target)
    return str(target)


@contextmanager
def written_folder(location: str | UPath) -> Iterator[Path]:
    """A folder on a disk to write into, whose files are at the location when the block ends."""
    place = UPath(location)
    if not in_object_store(place):
        yield Path(str(place))
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
        put_files(Path(folder), place)


def put_files(folder: Path, place: UPath) -> None:
    """Copy all files of a folder on a disk to a place in an object store."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            place.fs.put_file(str(file), (place / file.relative_to(folder).as_posix()).path)
