"""Held-out pictures among the pictures of rows: the same pixels, the same file, or nearly so.

Equal pixels or an equal file are proof. A small distance between perceptual hashes is a sign only
(radiographs of different patients look alike), as is a small distance to the mirrored picture.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from doctor_sun.data.decontamination.grams import Ragged
from doctor_sun.data.decontamination.items import HeldOut
from doctor_sun.data.image_fingerprint import BLANK

TILE = 64  # pictures of rows compared at a time with all held-out ones


@dataclass(frozen=True)
class PictureMatch:
    """A held-out picture in a row."""

    row: int
    picture: int
    distance: int
    """Bits between the perceptual hashes; 0 too where the pixels or files are equal."""
    same: bool
    """Whether pixels or files are equal."""
    mirrored: bool = False


def short_key(keys: Sequence[str | None]) -> NDArray[np.uint64]:
    """[n] the first 64 bits of hexadecimal digests; 0 for null."""
    return np.asarray([int(key[:16], 16) if key else 0 for key in keys], np.uint64)


@dataclass(frozen=True)
class PictureIndex:
    """What is sent to every task to find held-out pictures."""

    keys: NDArray[np.uint64]
    """Sorted: the first 64 bits of pixel keys and of file MD5s."""
    picture_of_key: NDArray[np.int64]
    perceptual: NDArray[np.uint64]
    """[pictures]"""
    items: Ragged
    """By picture: the items that ask about it."""
    distance: int
    """Largest distance of a near picture; negative looks for none."""

    @classmethod
    def of(cls, held_out: HeldOut, distance: int) -> "PictureIndex":
        """From all held-out pictures."""
        numbers = np.arange(len(held_out.pictures))
        pixels = short_key([picture.pixels for picture in held_out.pictures])
        keys = np.concatenate([pixels, short_key(list(held_out.files))])
        owners = np.concatenate([numbers, np.asarray(list(held_out.files.values()), np.int64)])
        order = np.argsort(keys, kind="stable")
        pictures = np.asarray([item.picture for item in held_out.items], np.int64)
        asking = np.flatnonzero(pictures >= 0)
        return cls(
            keys=keys[order],
            picture_of_key=owners[order],
            perceptual=np.asarray([p.perceptual for p in held_out.pictures], np.uint64),
            items=Ragged.grouped(pictures[asking], asking, len(numbers)),
            distance=distance,
        )

    def matches(self, rows: pa.Table) -> Iterator[PictureMatch]:
        """Every held-out picture among the rows' pictures, each at its smallest distance.

        Args:
            rows: with the columns image_keys and fingerprints.
        """
        if not len(self.keys):
            return
        owners, pixels = _flat(rows["image_keys"])
        yield from self._same(owners, short_key(pixels.to_pylist()))
        owners, prints = _flat(rows["fingerprints"])
        yield from self._same(owners, short_key(prints.field("file").to_pylist()))
        for name in ("perceptual", "mirrored"):
            hashes = prints.field(name).fill_null(0).to_numpy(zero_copy_only=False)
            yield from self._near(owners, hashes, name == "mirrored")

    def _same(self, owners: NDArray[np.int64], keys: NDArray[np.uint64]) -> Iterator[PictureMatch]:
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        for number in np.flatnonzero((self.keys[at] == keys) & (keys != 0)):
            picture = int(self.picture_of_key[at[number]])
            yield PictureMatch(int(owners[number]), picture, 0, same=True)

    def _near(
        self, owners: NDArray[np.int64], hashes: NDArray[np.uint64], mirrored: bool
    ) -> Iterator[PictureMatch]:
        if self.distance < 0:
            return
        usable = np.flatnonzero(hashes != BLANK)
        for start in range(0, len(usable), TILE):
            tile = usable[start : start + TILE]
            bits = np.bitwise_count(hashes[tile, None] ^ self.perceptual[None, :])
            near = (bits <= self.distance) & (self.perceptual != BLANK)
            for number, picture in np.argwhere(near):
                row, distance = int(owners[tile[number]]), int(bits[number, picture])
                yield PictureMatch(row, int(picture), distance, same=False, mirrored=mirrored)


def _flat(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], pa.Array]:
    """All values of a column of lists, and which row each is from."""
    lists = column.combine_chunks()
    owners = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    return owners, pc.list_flatten(lists)
