"""Which rows meet in one forward pass: a global batch cut into micro-batches, for all ranks.

The loss is a mean over the labelled tokens of the whole global batch, so the cut changes the speed
of a step and nothing else.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from doctor_sun.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How global batches are cut."""

    global_batch: int
    """Rows of one optimizer step."""

    micro_batch: int
    """Rows of one forward pass that are padded to the longest; unused where rows are packed."""

    pack_tokens: int = 0
    """Tokens of one forward pass of packed rows; 0 pads."""

    def most_passes(self, world: int) -> int:
        """The most forward passes that a rank makes in one step.

        Raises:
            InputError: so many ranks cannot share the rows.
        """
        rows = 1 if self.pack_tokens else self.micro_batch
        passes = self.global_batch // world if self.pack_tokens else self._padded_passes(world)
        if not 0 < passes * world <= self.global_batch:
            raise InputError(
                f"global_batch {self.global_batch} does not give each of {world} workers a row in "
                f"every forward pass: make it a multiple of workers{' x micro_batch' * (rows > 1)}"
            )
        return passes

    def _padded_passes(self, world: int) -> int:
        return math.ceil(self.global_batch / (world * self.micro_batch))

    def micro_batches(self, tokens: Sequence[int], world: int) -> NDArray[np.int32]:
        """[rows] the micro-batch of each row; number m is rank `m % world`'s pass `m // world`.

        Args:
            tokens: [rows] length of each row, in the stage's order, whole global batches.
            world: ranks.
        """
        if self.pack_tokens:
            starts = range(0, len(tokens), self.global_batch)
            packs = [
                _packs(tokens[start : start + self.global_batch], self.pack_tokens, world)
                for start in starts
            ]
            return np.concatenate(packs)
        # Neighbours are of similar length: each rank's share is every `world`-th row.
        place = np.arange(len(tokens)) % self.global_batch
        rank = place % world
        rows_of_rank = (self.global_batch - rank + world - 1) // world
        number = place // world * self._padded_passes(world) // rows_of_rank
        return (number * world + rank).astype(np.int32)


def _packs(tokens: Sequence[int], limit: int, world: int) -> NDArray[np.int32]:
    """[rows] the pack of each row: as few as keep the limit, a multiple of the ranks, evened out.

    The longest row goes first, to the emptiest pack: ranks then wait little for one another. Where
    the ranks do not divide the rows, two rows that fill a pack each may have to share one.
    """
    longest_first = np.argsort(-np.asarray(tokens), kind="stable")
    count = math.ceil(sum(tokens) / (limit * world)) * world
    while True:
        filled = [(0, pack) for pack in range(count)]
        packs = np.empty(len(tokens), dtype=np.int32)
        for row in longest_first:
            fill, pack = heapq.heappop(filled)
            packs[row] = pack
            heapq.heappush(filled, (fill + int(tokens[row]), pack))
        if max(fill for fill, _ in filled) <= limit or count + world > len(tokens):
            return packs
        count += world
