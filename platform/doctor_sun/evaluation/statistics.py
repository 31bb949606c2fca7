"""Intervals, baselines and controls: what a difference between two scores is worth.

Questions about one image stand or fall together, so the bootstrap draws images (clusters), not
questions. Baseline and control are compared with the model question by question (paired).
"""

import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
LEVEL = 0.95
CHUNK = 250  # draws at a time, which bounds the memory: CHUNK x clusters x 8 bytes


def bootstrap_means(
    values: NDArray[np.float64],
    clusters: Sequence[Hashable],
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Percentile bootstrap intervals of column means, clusters drawn with replacement.

    Args:
        values: [items, columns]; NaN where a column does not apply to an item.
        clusters: one label an item (its image); items of one label are drawn together.
        draws: bootstrap samples.
        level: coverage of the intervals.
        seed: of the draws; all columns share them.

    Returns:
        [columns, 2]: lower and upper bounds; NaN for a column without any value.
    """
    labels = {label: i for i, label in enumerate(dict.fromkeys(clusters))}
    member = np.array([labels[label] for label in clusters], dtype=np.int64)
    sums = np.zeros((len(labels), values.shape[1]))
    counts = np.zeros_like(sums)
    np.add.at(sums, member, np.nan_to_num(values))
    np.add.at(counts, member, ~np.isnan(values))
    generator = np.random.default_rng(seed)
    even = np.full(len(labels), 1 / max(1, len(labels)))
    means = []
    for start in range(0, draws, CHUNK):
        drawn = generator.multinomial(len(labels), even, size=min(CHUNK, draws - start))
        total = drawn @ counts
        with np.errstate(invalid="ignore", divide="ignore"):
            means.append(np.where(total > 0, (drawn @ sums) / total, np.nan))
    return _quantiles(np.concatenate(means), level)


def _quantiles(means: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """Bounds [columns, 2] of means [draws, columns], columns that are all NaN kept NaN."""
    bounds = np.full((means.shape[1], 2), np.nan)
    filled = ~np.isnan(means).all(axis=0)
    tails = [(1 - level) / 2, (1 + level) / 2]
    if filled.any():
        bounds[filled] = np.nanquantile(means[:, filled], tails, axis=0).T
    return bounds


def column_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means [columns] over the items each column applies to; NaN where there are none."""
    counts = (~np.isnan(values)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts > 0, np.nansum(values, axis=0) / counts, np.nan)


def majority_answers(groups: Sequence[Hashable], answers: Sequence[str]) -> list[str]:
    """The most frequent gold answer of each item's group, one an item.

    It is learned from the benchmark's own gold answers: no blind guesser that knows only the group
    can do better, so beating it is the honest bar.
    """
    counts: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for group, answer in zip(groups, answers, strict=True):
        counts[group][answer] += 1
    best = {group: max(sorted(found), key=found.__getitem__) for group, found in counts.items()}
    return [best[group] for group in groups]


def shuffled_partners(
    groups: Sequence[Hashable], truths: Sequence[Hashable], seed: int = 0
) -> list[int | None]:
    """For each item another one of its group whose image shows something else.

    Within a group the items are sorted by truth and shifted by the size of the largest class: a
    derangement in which no item meets its own truth. A class of more than half the group has no
    such permutation; its surplus draws among the others instead (images then repeat).

    Args:
        groups: what must stay equal, one an item (language and question kind).
        truths: what must differ, one an item (the finding that the image shows).
        seed: of the shuffle.

    Returns:
        Indices of the items that lend their image; None where a group knows only one truth.
    """
    generator = random.Random(seed)
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    partners: list[int | None] = [None] * len(groups)
    for indices in members.values():
        generator.shuffle(indices)
        indices.sort(key=lambda i: str(truths[i]))
        shift = max(Counter(truths[i] for i in indices).values())
        for place, index in enumerate(indices):
            partner = indices[(place + shift) % len(indices)]
            if truths[partner] == truths[index]:
                others = [i for i in indices if truths[i] != truths[index]]
                partners[index] = generator.choice(others) if others else None
            else:
                partners[index] = partner
    return partners


def masked_columns(
    column: NDArray[np.float64], groups: Sequence[Mapping[str, str]], by: Sequence[str]
) -> dict[tuple[str, ...], NDArray[np.float64]]:
    """One column [items] split by the values of some groups, NaN outside each part."""
    keys = [tuple(group[name] for name in by) for group in groups]
    member = {key: np.array([k == key for k in keys]) for key in sorted(set(keys))}
    return {key: np.where(inside, column, np.nan) for key, inside in member.items()}
