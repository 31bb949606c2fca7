"""What identifies a picture: its file, its pixels, and a perceptual hash of it and of its mirror.

The perceptual hash is ImageHash's `phash`: the signs of the 8 x 8 lowest frequencies, against their
median, of the picture shrunk to 32 x 32 grey values. Equal pixels are proof; a small Hamming
distance between perceptual hashes only names candidates (radiographs of different patients are
close to one another).
"""

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from imagehash import phash
from PIL import Image, ImageOps

from doctor_sun.records import sha256

SIDE = 32  # of the picture that is hashed
BLANK = 0  # the perceptual hash of a picture of one colour


@dataclass(frozen=True)
class Fingerprint:
    """One picture's identity."""

    pixels: str
    """sha256 of the decoded RGB pixels, as `records.image_key`."""
    file: str
    """md5 of the encoded bytes."""
    perceptual: int
    """64 bits; 0 for a picture of one colour."""
    mirrored: int
    """The perceptual hash of the picture mirrored left to right."""


def fingerprint(encoded: bytes) -> Fingerprint:
    """The identity of an encoded picture, which is decoded once.

    Raises:
        OSError: the bytes are not a readable image.
    """
    picture = _decoded(encoded)
    pixels = np.asarray(picture)
    small = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return Fingerprint(
        pixels=sha256(str(pixels.shape), pixels.tobytes()),
        file=hashlib.md5(encoded).hexdigest(),
        perceptual=perceptual_hash(small),
        mirrored=perceptual_hash(ImageOps.mirror(small)),
    )


def _decoded(encoded: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return image.convert("RGB")
    except Exception as error:  # broken files raise what their decoder happens to run into
        raise OSError("not a readable image") from error


def perceptual_hash(small: Image.Image) -> int:
    """64 bits of a grey picture of `SIDE` pixels a side, first row and column highest."""
    darkest, brightest = small.getextrema()
    if darkest == brightest:  # its other frequencies are rounding errors
        return BLANK
    return int.from_bytes(np.packbits(phash(small).hash).tobytes(), "big")
