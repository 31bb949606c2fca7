"""Which rows a stage reads, in which order: the mixture, exact to the row and from a seed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from doctor_sun.errors import InputError


@dataclass(kw_only=True)
class MixtureItem:
    """One part of a stage's data and its share of the rows."""

    share: float
    """Share of the stage's rows; the shares of all items are scaled to sum to one."""

    domain: str | None = None
    """`medical` or `general`; none takes both."""

    language: str | None = None
    """`en` or `zh`; none takes both."""

    tasks: list[str] = field(default_factory=list)
    """Of `caption`, `vqa`, `instruction`; empty takes all."""

    sources: list[str] = field(default_factory=list)
    """Names of sources; empty takes all."""

    def matches(self, index: pa.Table) -> NDArray[np.bool_]:
        """Which rows of an index (columns domain, language, task, source) belong to the item."""
        kept = np.ones(index.num_rows, dtype=bool)
        wanted = {
            "domain": [self.domain] if self.domain else [],
            "language": [self.language] if self.language else [],
            "task": self.tasks,
            "source": self.sources,
        }
        for column, values in wanted.items():
            if values:
                found = pc.is_in(index[column], value_set=pa.array(values))
                kept &= np.asarray(found.combine_chunks())
        return kept

    def describe(self) -> str:
        """The item in words, for messages and counts."""
        parts = [self.domain, self.language, "+".join(self.tasks), "+".join(self.sources)]
        return "/".join(part for part in parts if part) or "everything"


def counts_of(shares: Sequence[float], total: int) -> list[int]:
    """Whole numbers that sum to `total`, each within one of its share (largest remainders)."""
    exact = np.asarray(shares, dtype=float) / sum(shares) * total
    counts = np.floor(exact).astype(int)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: total - counts.sum()]] += 1
    return [int(c) for c in counts]


def hash_rank(ids: pa.ChunkedArray, seed: int) -> NDArray[np.uint64]:
    """A pseudo-random number a row from its id and the seed (the SplitMix64 finalizer).

    Unlike a shuffle, it does not depend on the rows' order, so it is the same under any sharding.
    """
    first = [int(i[:16], 16) for i in ids.to_pylist()]
    x = np.asarray(first, dtype=np.uint64)
    x ^= np.uint64((seed * 0x9E3779B97F4A7C15) % 2**64)
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def select(
    index: pa.Table, items: Sequence[MixtureItem], samples: int, seed: int
) -> tuple[pa.Table, dict[str, int]]:
    """Choose the rows of a stage and their order.

    A part with fewer rows than its share is read again from its start, as often as it takes.

    Args:
        index: columns id, domain, language, task, source; one row a usable sample.
        items: the mixture.
        samples: rows the stage reads.
        seed: of the choice and the order.

    Returns:
        Columns id and position (0-based place in the stage's order), and the rows of each item.

    Raises:
        InputError: an item matches no row.
    """
    ranks = hash_rank(index["id"], seed)
    chosen: list[NDArray[np.int64]] = []
    realised: dict[str, int] = {}
    for item, count in zip(items, counts_of([i.share for i in items], samples), strict=True):
        pool = np.flatnonzero(item.matches(index))
        if count and not len(pool):
            raise InputError(f"the mixture's item '{item.describe()}' matches no row of the data")
        if count:
            ordered = pool[np.argsort(ranks[pool], kind="stable")]
            chosen.append(np.resize(ordered, count))
        realised[item.describe()] = count
    rows = np.concatenate(chosen)
    # The order must come from ids, not from where the rows happen to stand in the index.
    rows = rows[np.argsort(ranks[rows], kind="stable")]
    positions = np.random.default_rng(seed).permutation(len(rows))
    return pa.table({"id": index["id"].take(pa.array(rows)), "position": positions}), realised


def group_by_length(
    order: pa.Table,
    tokens: NDArray[np.int64],
    pictures: NDArray[np.int64],
    global_batch: int,
    window: int,
    seed: int,
) -> pa.Table:
    """Deal rows out in global batches of one modality and similar length: little is padding.

    The rows of `window` consecutive global batches are sorted by length, those without pictures
    before the others, and cut into batches again, in random order. A row moves within its window
    only: each window keeps the mixture.

    Args:
        order: columns id and position (others are left out); rows of whole global batches.
        tokens: [rows] length of each row of `order`.
        pictures: [rows] how many it has.
        global_batch: rows of one optimizer step.
        window: global batches that are sorted together; 1 leaves every batch its rows.
        seed: of the batches' order.
    """
    by_position = np.argsort(order["position"].to_numpy(), kind="stable")
    ids = order["id"].take(pa.array(by_position))
    lengths, pictured = tokens[by_position], pictures[by_position] > 0
    generator = np.random.default_rng(seed)
    dealt: list[NDArray[np.int64]] = []
    for start in range(0, len(ids), window * global_batch):
        own = slice(start, start + window * global_batch)
        in_order = np.lexsort((lengths[own], pictured[own]))
        dealt.append(start + generator.permutation(in_order.reshape(-1, global_batch)).ravel())
    return pa.table({"id": ids.take(pa.array(np.concatenate(dealt))), "position": range(len(ids))})
