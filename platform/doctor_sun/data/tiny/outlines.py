"""Lung outlines, real where the package that carries them can be had, drawn otherwise.

The real ones are the 517 lung masks that V7 Labs drew for the COVID-19 image data collection, as
torchxrayvision ships them. An outline is used when its lungs cover a plausible part of the picture
and both are there.
"""

import io
import os
import zipfile
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from doctor_sun.data.assets import ASSETS, cache_folder, read_member
from doctor_sun.records import sha256

PACKAGE = "torchxrayvision"
MEMBER = "torchxrayvision/data/semantic_masks_v7labs_lungs.zip"
AREA = (0.15, 0.55)  # part of the picture that two lungs cover
SMALLEST_LUNG = 0.04  # of the picture
DRAWN = 400  # procedural outlines
STORED_PIXELS = 128
SPLIT_SHARES = (("test", 0.15), ("validation", 0.10))  # the rest trains

Mask = NDArray[np.floating]


@dataclass(frozen=True)
class Outlines:
    """Lung outlines with what tells one from another.

    Attributes:
        names: [n] stable name of each anatomy; its split follows from it.
        lungs: [n, 2, pixels, pixels] uint8 coverage 0..255 of the patient's right and left lung
            (image left and image right, as radiographs are read).
        real: whether they are outlines of real lungs.
    """

    names: tuple[str, ...]
    lungs: NDArray[np.uint8]
    real: bool

    def of_split(self, split: str) -> tuple[int, ...]:
        """Positions of the anatomies of one split, in a fixed order."""
        return _positions(self.names, split)


@cache
def _positions(names: tuple[str, ...], split: str) -> tuple[int, ...]:
    return tuple(i for i, name in enumerate(names) if anatomy_split(name) == split)


def anatomy_split(name: str) -> str:
    """train, validation or test, by a hash of the anatomy's name."""
    position = int(sha256("anatomy", name)[:8], 16) / 2**32
    for split, share in SPLIT_SHARES:
        if position < share:
            return split
        position -= share
    return "train"


def load_outlines(*, offline: bool = False) -> Outlines:
    """The real outlines, prepared once in the cache folder, or drawn ones."""
    packed = read_member(PACKAGE, MEMBER, offline=offline)
    if packed is None:
        return draw_outlines()
    prepared = cache_folder() / f"outlines-{ASSETS[PACKAGE].version}-{STORED_PIXELS}.npz"
    if not prepared.is_file():
        part = prepared.with_suffix(f".{os.getpid()}.part")
        found, masks = _read_masks(packed)
        with part.open("wb") as stream:
            np.savez_compressed(stream, names=np.array(found), lungs=masks)
        part.replace(prepared)
    with np.load(prepared) as arrays:
        names = tuple(str(name) for name in arrays["names"])
        return Outlines(names=names, lungs=arrays["lungs"], real=True)


def _read_masks(packed: bytes) -> tuple[list[str], NDArray[np.uint8]]:
    """All usable masks of the package's zip, by name."""
    names, lungs = [], []
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        for member in sorted(archive.namelist()):
            if member.endswith("/"):
                continue
            with Image.open(io.BytesIO(archive.read(member))) as image:
                small = image.convert("L").resize((STORED_PIXELS,) * 2, Image.Resampling.BOX)
            pair = separate_lungs(np.asarray(small, dtype=np.float32) / 255)
            if pair is not None:
                names.append(member.rsplit("/", 1)[-1])
                lungs.append(np.round(pair * 255).astype(np.uint8))
    return names, np.stack(lungs)


def separate_lungs(coverage: Mask) -> Mask | None:
    """[2, h, w]: image-left and image-right lung, or None when the outline is not usable."""
    if not AREA[0] <= coverage.mean() <= AREA[1]:
        return None
    parts, found = ndimage.label(coverage > 0.5)
    sizes = ndimage.sum_labels(parts > 0, parts, range(1, found + 1)) / coverage.size
    largest = np.argsort(sizes)[::-1][:2]
    if len(largest) < 2 or sizes[largest[1]] < SMALLEST_LUNG:
        return None
    centres = ndimage.center_of_mass(parts > 0, parts, largest + 1)
    (first, a), (second, b) = sorted(zip(largest, centres, strict=True), key=lambda p: p[1][1])
    if b[1] - a[1] < 0.25 * coverage.shape[1] or abs(a[0] - b[0]) > 0.2 * coverage.shape[0]:
        return None
    grown = [ndimage.binary_dilation(parts == part + 1, iterations=2) for part in (first, second)]
    return np.stack([coverage * grown[0], coverage * grown[1] * ~grown[0]])


def draw_outlines(count: int = DRAWN) -> Outlines:
    """Procedural outlines: two half-ellipses with a heart notch, each of its own proportions."""
    y, x = np.mgrid[0:STORED_PIXELS, 0:STORED_PIXELS] / STORED_PIXELS
    lungs = np.zeros((count, 2, STORED_PIXELS, STORED_PIXELS), dtype=np.uint8)
    for i in range(count):
        rng = np.random.default_rng([77, i])
        top, bottom = rng.uniform(0.08, 0.18), rng.uniform(0.80, 0.92)
        gap, width = rng.uniform(0.05, 0.09), rng.uniform(0.26, 0.36)
        heart = ((x - 0.56) / 0.17) ** 2 + ((y - 0.72) / 0.22) ** 2 < 1
        for side, sign in enumerate((-1, 1)):
            across = sign * (x - 0.5) - gap
            height = (bottom - top) / 2 * rng.uniform(0.96, 1.04)
            dome = ((y - (top + bottom) / 2) / height) ** 2 + (across / width) ** 2 < 1
            lungs[i, side] = np.where(dome & (across > 0) & ~heart, 255, 0)
    return Outlines(names=tuple(f"drawn-{i:04d}" for i in range(count)), lungs=lungs, real=False)
