"""Nearly the same, mirrored or cropped pictures among a few thousand, by perceptual hashes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from doctor_sun.data.image_fingerprint import BLANK

Kind = Literal["near", "mirrored", "changed"]
Hashes = NDArray[np.uint64]

TILE = 256  # pictures compared at a time with all better ranked ones
FAR = 255  # more bits than any two hashes differ in


@dataclass(frozen=True)
class Pictures:
    """Pictures of rows, [n] each, those of the best ranked row first."""

    row: NDArray[np.int64]
    """Position of the row."""
    pixels: NDArray[np.int64]
    """Equal numbers for equal pixels."""
    perceptual: Hashes
    mirrored: Hashes


@dataclass(frozen=True, order=True)
class NearPicture:
    """A picture of a row, and the nearest one of a better ranked row."""

    bits: int
    """In which their hashes differ."""
    row: int
    better: int
    """Position of the better ranked row."""
    kind: Kind


def near_pictures(pictures: Pictures, near: int, changed: int) -> Iterator[NearPicture]:
    """For each picture its nearest one in a better ranked row, if it is near at all.

    Pictures with equal pixels are not compared, nor are pictures of one colour.

    Args:
        pictures: best ranked rows first.
        near: most bits between hashes of nearly the same or mirrored pictures.
        changed: most bits between hashes of pictures of which one is perhaps a crop.
    """
    for start in range(0, len(pictures.row), TILE):
        tile = slice(start, min(start + TILE, len(pictures.row)))
        better = np.arange(tile.stop)
        barred = pictures.row[tile, None] <= pictures.row[None, better]
        barred |= pictures.pixels[tile, None] == pictures.pixels[None, better]
        barred |= pictures.perceptual[None, better] == BLANK
        barred |= pictures.perceptual[tile, None] == BLANK
        as_is = _nearest(pictures.perceptual[tile], pictures.perceptual[better], barred)
        flipped = _nearest(pictures.mirrored[tile], pictures.perceptual[better], barred)
        found = zip(pictures.row[tile].tolist(), *as_is, *flipped, strict=True)
        for row, at, bits, at_mirror, mirror_bits in found:
            if mirror_bits <= near and mirror_bits < bits:
                yield NearPicture(mirror_bits, row, int(pictures.row[at_mirror]), "mirrored")
            elif bits <= changed:
                kind: Kind = "near" if bits <= near else "changed"
                yield NearPicture(bits, row, int(pictures.row[at]), kind)


def _nearest(
    hashes: Hashes, others: Hashes, barred: NDArray[np.bool_]
) -> tuple[list[int], list[int]]:
    """[n] which of the others is nearest (the first of several), and in how many bits it differs.

    Args:
        hashes: [n]
        others: [m]
        barred: [n, m] pairs that do not count.
    """
    bits = np.bitwise_count(hashes[:, None] ^ others[None, :])
    bits[barred] = FAR
    at = bits.argmin(axis=1)
    return at.tolist(), bits[np.arange(len(hashes)), at].tolist()
