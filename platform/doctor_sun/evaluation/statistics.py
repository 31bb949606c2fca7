"""Intervals, baselines and controls: what a difference between two scores is worth.

Questions about one image stand or fall together, so the bootstrap draws images (clusters), not
questions. Baseline, control and other models are compared question by question (paired).
"""

import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

DRAWS = 2000
PERMUTATIONS = 9999
BATCHED = 2_000_000  # signs in memory at a time
LEVEL = 0.95
CHUNK = 250  # draws at a time, which bounds the memory: CHUNK x clusters x 8 bytes


def bootstrap_means(
    values: NDArray[np.float64],
    clusters: Sequence[Hashable],
    strata: Sequence[Hashable] | None = None,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Percentile bootstrap intervals of column means, clusters drawn with replacement.

    Args:
        values: [items, columns]; NaN where a column does not apply to an item.
        clusters: one label an item (its image); items of one label are drawn together.
        strata: one label an item; each stratum is drawn apart and its mean weighs as much as any
            other's. None takes all items as one.
        draws: bootstrap samples.
        level: coverage of the intervals.
        seed: of the draws; all columns share them.

    Returns:
        [columns, 2]: lower and upper bounds; NaN for a column without any value.
    """
    generator = np.random.default_rng(seed)
    drawn = [
        _drawn_means(values[inside], [clusters[i] for i in inside], draws, generator)
        for inside in _strata(strata, len(clusters))
    ]
    return _quantiles(_mean_of_rest(np.stack(drawn)), level)


def column_means(
    values: NDArray[np.float64], strata: Sequence[Hashable] | None = None
) -> NDArray[np.float64]:
    """Means [columns] over the items each column applies to; NaN where there are none.

    With `strata` the mean of their means.
    """
    return _mean_of_rest(
        np.stack([_mean_of_rest(values[inside]) for inside in _strata(strata, len(values))])
    )


def _strata(labels: Sequence[Hashable] | None, count: int) -> list[NDArray[np.int64]]:
    """The items of each stratum."""
    if labels is None or not count:
        return [np.arange(count)]
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        members[label].append(index)
    return [np.array(inside) for inside in members.values()]


def _mean_of_rest(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over the first axis of what is not NaN; NaN where nothing is."""
    counts = (~np.isnan(values)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: NDArray[np.float64] = np.where(
            counts > 0, np.nansum(values, axis=0) / counts, np.nan
        )
    return means


def _drawn_means(
    values: NDArray[np.float64],
    clusters: Sequence[Hashable],
    draws: int,
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """Means [draws, columns] of clusters drawn with replacement."""
    sums, counts = cluster_sums(values, clusters)
    even = np.full(len(sums), 1 / max(1, len(sums)))
    means = []
    for start in range(0, draws, CHUNK):
        drawn = generator.multinomial(len(sums), even, size=min(CHUNK, draws - start))
        total = drawn @ counts
        with np.errstate(invalid="ignore", divide="ignore"):
            means.append(np.where(total > 0, (drawn @ sums) / total, np.nan))
    return np.concatenate(means)


def cluster_sums(
    values: NDArray[np.float64], clusters: Sequence[Hashable]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[clusters, columns] sums of what is not NaN, and how many that are."""
    labels = {label: i for i, label in enumerate(dict.fromkeys(clusters))}
    member = np.array([labels[label] for label in clusters], dtype=np.int64)
    sums = np.zeros((len(labels), values.shape[1]))
    counts = np.zeros_like(sums)
    np.add.at(sums, member, np.nan_to_num(values))
    np.add.at(counts, member, ~np.isnan(values))
    return sums, counts


def _quantiles(means: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """Bounds [columns, 2] of means [draws, columns], columns that are all NaN kept NaN."""
    bounds = np.full((means.shape[1], 2), np.nan)
    filled = ~np.isnan(means).all(axis=0)
    tails = [(1 - level) / 2, (1 + level) / 2]
    if filled.any():
        bounds[filled] = np.nanquantile(means[:, filled], tails, axis=0).T
    return bounds


def paired_p(
    differences: NDArray[np.float64],
    clusters: Sequence[Hashable],
    strata: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> float | None:
    """Two-sided p-value of a mean paired difference: the signs of whole clusters are flipped.

    Args:
        differences: [items] of one minus the other; NaN where there is nothing to compare.
        clusters: one label an item.
        strata: one label an item, where the means of these weigh alike.
        seed: of the permutations; all are taken where there are fewer than `PERMUTATIONS`.

    Returns:
        The p-value; None where nothing can be compared.
    """
    weighted = differences.copy()
    for inside in _strata(strata, len(differences)):
        weighted[inside] /= max(1, int((~np.isnan(differences[inside])).sum()))
    sums, counts = cluster_sums(weighted[:, None], clusters)
    paired = sums[counts[:, 0] > 0, 0]
    if not len(paired):
        return None
    if len(paired) == 1 or not paired.any():
        return 1.0
    found = stats.permutation_test(
        (paired,),
        np.sum,
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        batch=max(1, BATCHED // len(paired)),
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def false_discovery(p_values: Sequence[float | None]) -> list[float | None]:
    """Benjamini and Hochberg's adjustment over all cells that are looked at together."""
    known = [p for p in p_values if p is not None]
    adjusted = iter(stats.false_discovery_control(known)) if known else iter(())
    return [None if p is None else float(next(adjusted)) for p in p_values]


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
