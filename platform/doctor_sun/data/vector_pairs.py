"""All pairs of near vectors on a Ray cluster, searched over partitions, recall audited.

Rows are compared within their group. A small group is compared whole, exactly. A large one is cut
into cells (`vector_cells`): each row is compared in its home cell and in the few cells it visits;
one task searches a *bundle* of neighbouring cells. Some rows are then compared with all others by
brute force; when too few of their pairs were found, more cells are visited. Nothing depends on the
order of the rows, on blocks or on workers. The driver holds a few numbers a row and the pairs,
never a vector.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray
from scipy.stats import beta

from doctor_sun.data.vector_cells import Ints, exact_margin
from doctor_sun.data.vector_tasks import (
    CELL_SAMPLE,
    NOT_COMPARED,
    PAIRS,
    Batch,
    Block,
    Ref,
    Rows,
    bundle_pairs,
    deal,
    joined,
    sample_rows,
    sampled_pairs,
    tile_pairs,
    train_cells,
)

MOST_BATCHES = 64  # of rows: each sends a piece to each bundle


@dataclass(kw_only=True)
class SearchConfig:
    """How near vectors are searched."""

    exact: bool = False
    """Compare all rows of a group with each other, whatever that costs."""

    exact_below: int = 10_000
    """Groups of at most so many rows are compared whole."""

    cell_rows: int = 800
    """Rows of a cell."""

    bundle_rows: int = 25_000
    """Rows of the cells that one task searches."""

    reach: float = 0.3
    """How near a border must be for a row to visit the cell behind it, as part of the distance at
    which no pair can be lost (0 to 1)."""

    most_visits: int = 8
    """Cells that a row visits at most."""

    recall: float = 0.999
    """Below this audited recall the search is repeated with more visits."""

    audit_rows: int = 1000
    """Rows compared with all others by brute force."""

    most_pairs: int | None = None
    """Better ranked near rows that one row is paired with within a cell, at most: bounds what a
    heap of near-identical rows costs. None sets no bound."""


@dataclass(frozen=True, kw_only=True)
class NearPairs:
    """What a search found."""

    table: pa.Table
    """By `PAIRS`: numbers of rows, the better ranked as `a`; each pair once, sorted."""

    figures: Mapping[str, Any]
    """How it was searched, and the audited recall."""


def find_pairs(
    blocks: Sequence[Block],
    sizes: Sequence[int],
    threshold: float,
    config: SearchConfig | None = None,
    *,
    groups: Ints | None = None,
    ranks: NDArray[np.uint64] | None = None,
    known: int = 0,
) -> NearPairs:
    """All pairs of rows of one group whose cosine is at least the threshold.

    Args:
        blocks: unit vectors of consecutive rows, as object references or vector files.
        sizes: rows of each block.
        threshold: smallest cosine of a pair.
        config: how it is searched.
        groups: [n] rows are compared within equal numbers; None compares all with all.
        ranks: [n] the smaller the better; decides the order in a pair and, with `most_pairs`, which
            pairs are made.
        known: so many first rows are of an earlier run: not compared with each other, better ranked
            than all others.
    """
    total = int(sum(sizes))
    rows = Rows(
        groups=np.zeros(total, np.int64) if groups is None else groups,
        ranks=np.zeros(total, np.uint64) if ranks is None else ranks,
        places=np.full(total, NOT_COMPARED, np.int32),
        known=known,
    )
    config = config or SearchConfig()
    small, large = _lay_out(rows, config)
    batches = _batches(blocks, sizes, max(config.bundle_rows, total // MOST_BATCHES))
    search = _Search(batches, rows, threshold)
    figures: dict[str, Any] = {"rows": total, "large_groups": len(large), "recall": 1.0}
    if len(large) and config.exact:
        parts = [search.in_cells([], small, config), search.in_tiles()]
    elif len(large):
        return search.audited(small, large, config, figures)
    else:
        parts = [search.in_cells([], small, config)]
    return NearPairs(table=search.distinct(parts), figures=figures)


def _lay_out(rows: Rows, config: SearchConfig) -> tuple[int, Ints]:
    """Fill `places`; the number of bundles for small groups, and the sizes of the large ones."""
    _, inverse, counts = np.unique(rows.groups, return_inverse=True, return_counts=True)
    large = counts > config.exact_below
    small = ~large & (counts > 1)
    place = np.full(len(counts), NOT_COMPARED, np.int32)
    before = np.cumsum(counts[small]) - counts[small]
    place[small] = before // config.bundle_rows
    place[large] = -2 - np.arange(large.sum())
    rows.places[:] = place[inverse]
    return int(place[small].max(initial=-1)) + 1, counts[large]


def _batches(blocks: Sequence[Block], sizes: Sequence[int], least: int) -> list[Batch]:
    """Consecutive blocks, together about `least` rows."""
    batches: list[Batch] = []
    held: list[Block] = []
    start = rows = 0
    for block, size in zip(blocks, sizes, strict=True):
        if size:
            held.append(block)
            rows += size
        if rows >= least:
            batches.append(Batch(held, start, rows))
            held, start, rows = [], start + rows, 0
    return [*batches, Batch(held, start, rows)] if rows else batches


class _Search:
    """The tasks of one search."""

    def __init__(self, batches: Sequence[Batch], rows: Rows, threshold: float) -> None:
        self.batches = batches
        self.rows = rows
        self.threshold = threshold
        self.shared = ray.put(rows)

    def audited(
        self, small: int, large: Ints, config: SearchConfig, figures: dict[str, Any]
    ) -> NearPairs:
        """Search, audit, and search again with more visits until enough is found."""
        fractions = (CELL_SAMPLE / config.cell_rows, config.audit_rows / large.sum())
        samples = [sample_rows.remote(batch, self.shared, *fractions) for batch in self.batches]
        true_pairs = self._true_pairs([sample[1] for sample in samples])
        attempts: list[dict[str, Any]] = []
        while True:
            apart = 2 * config.reach * exact_margin(self.threshold)
            bundles = np.ceil(large / config.bundle_rows).astype(int)
            models = [
                train_cells([sample[0] for sample in samples], group, int(count), apart)
                for group, count in enumerate(bundles)
            ]
            pairs = self.distinct([self.in_cells(models, small, config)])
            audit = self._audit(pairs, true_pairs, config)
            attempts.append({"reach": config.reach, "most_visits": config.most_visits, **audit})
            if audit["recall"] >= config.recall or config.reach >= 1:
                return NearPairs(table=pairs, figures=figures | audit | {"attempts": attempts})
            config = _wider(config)

    def in_cells(
        self, models: Sequence[tuple[int, Ref]], small: int, config: SearchConfig
    ) -> pa.Table:
        """Pairs found cell by cell.

        Args:
            models: number of bundles and reference to the cells of each large group.
            small: number of bundles that hold small groups; a large group's follow them.
            config: how it is searched.
        """
        firsts = small + np.cumsum([0, *(count for count, _ in models)])
        bundles = int(firsts[-1])
        if not bundles:
            return PAIRS.empty_table()
        margin = config.reach * exact_margin(self.threshold)
        options = (self.shared, firsts, margin, config.most_visits, *(cells for _, cells in models))
        dealt = [
            deal.options(num_returns=bundles).remote(batch, *options) for batch in self.batches
        ]
        pieces = [[one] if bundles == 1 else one for one in dealt]
        wanted = (self.shared, self.threshold, config.most_pairs)
        tasks = [
            bundle_pairs.remote(*wanted, *(one[bundle] for one in pieces))
            for bundle in range(bundles)
        ]
        return _concatenated(tasks)

    def in_tiles(self) -> pa.Table:
        """Pairs within the large groups, by brute force."""
        tasks = [
            tile_pairs.remote(self.batches[i], self.batches[j], self.shared, self.threshold)
            for i in range(len(self.batches))
            for j in range(i + 1)
        ]
        return _concatenated(tasks)

    def distinct(self, parts: Sequence[pa.Table]) -> pa.Table:
        """Each pair once, the better ranked row first, by row."""
        table = pa.concat_tables(parts)
        if not table.num_rows:
            return table
        codes, first = np.unique(self._codes(table), return_index=True)
        low, high = np.divmod(codes, len(self.rows.ranks))
        worse = (self.rows.ranks[low] > self.rows.ranks[high]) & (low >= self.rows.known)
        pairs = [np.where(worse, high, low), np.where(worse, low, high)]
        return pa.table([*pairs, table["cosine"].take(pa.array(first))], schema=PAIRS)

    def _codes(self, table: pa.Table) -> Ints:
        """One number for each pair, whichever row stands first."""
        a, b = table["a"].to_numpy(), table["b"].to_numpy()
        return np.minimum(a, b) * len(self.rows.ranks) + np.maximum(a, b)

    def _true_pairs(self, samples: Sequence[Ref]) -> Ints:
        """Codes of all pairs of the sampled rows."""
        sample = joined.remote(*samples)
        tasks = [
            sampled_pairs.remote(batch, sample, self.shared, self.threshold)
            for batch in self.batches
        ]
        return np.unique(self._codes(_concatenated(tasks)))

    def _audit(self, pairs: pa.Table, true_pairs: Ints, config: SearchConfig) -> dict[str, Any]:
        """Recall on the sampled rows; pairs left out by `most_pairs` are counted apart."""
        missed = true_pairs[~np.isin(true_pairs, self._codes(pairs))]
        left_out = 0
        if config.most_pairs and len(missed):
            better = np.bincount(pairs["b"].to_numpy(), minlength=len(self.rows.ranks))
            full = better >= config.most_pairs
            low, high = np.divmod(missed, len(self.rows.ranks))
            left_out = int((full[low] | full[high]).sum())
        lost, expected = len(missed) - left_out, len(true_pairs) - left_out
        return {
            "audited_pairs": expected,
            "left_out_pairs": left_out,
            "recall": 1 - lost / expected if expected else 1.0,
            # One-sided 95 % bound of Clopper and Pearson: a few pairs cannot show much.
            "recall_at_least": round(float(beta.ppf(0.05, max(expected - lost, 1), lost + 1)), 5),
        }


def _wider(config: SearchConfig) -> SearchConfig:
    """The next attempt; at a reach of 1 no pair is lost."""
    reach = min(1.0, round(1.6 * config.reach, 3))
    most = 2**31 if reach == 1 else 2 * config.most_visits
    return replace(config, reach=reach, most_visits=most)


def _concatenated(tasks: Sequence[Ref]) -> pa.Table:
    """The tables of tasks, each freed as soon as it is here."""
    return pa.concat_tables([PAIRS.empty_table(), *map(ray.get, tasks)])
