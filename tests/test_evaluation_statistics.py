"""Intervals cover, controls differ, baselines are the strongest guess."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doctor_sun.evaluation.statistics import (
    bootstrap_means,
    column_means,
    false_discovery,
    majority_answers,
    paired_p,
    shuffled_partners,
)


def test_intervals_cover_the_truth_at_their_level() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        clusters = np.repeat(np.arange(60), 4)
        chance = generator.beta(3, 2, size=60)[clusters]  # questions of one image are alike
        hits = (generator.random(240) < chance).astype(float)
        low, high = bootstrap_means(hits[:, None], list(clusters), draws=500, seed=trial)[0]
        covered += low <= 0.6 <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_clustered_intervals_are_wider_where_images_decide() -> None:
    clusters = np.repeat(np.arange(30), 8)
    hits = (clusters % 2).astype(float)[:, None]  # all questions of an image agree
    grouped = np.diff(bootstrap_means(hits, list(clusters)))[0, 0]
    single = np.diff(bootstrap_means(hits, range(240)))[0, 0]
    assert grouped > 2 * single


def test_constant_columns_have_no_width_and_empty_ones_no_bounds() -> None:
    table = np.array([[1.0, np.nan, 0.5], [1.0, np.nan, np.nan], [1.0, np.nan, 0.5]])
    bounds = bootstrap_means(table, ["a", "a", "b"], draws=300)
    assert bounds[0].tolist() == [1, 1]
    assert np.isnan(bounds[1]).all()
    assert bounds[2].tolist() == [0.5, 0.5]
    assert np.isnan(column_means(table)[1])


def test_paired_differences_are_tighter_than_their_parts() -> None:
    generator = np.random.default_rng(1)
    model = (generator.random(400) < 0.7).astype(float)
    worse = np.where(generator.random(400) < 0.1, 0.0, model)
    paired = np.diff(bootstrap_means((model - worse)[:, None], range(400)))[0, 0]
    alone = np.diff(bootstrap_means(model[:, None], range(400)))[0, 0]
    assert paired < alone


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")), min_size=1, max_size=60),
    st.integers(0, 5),
)
def test_shuffled_partners_share_the_group_and_never_the_truth(
    items: list[tuple[str, str]], seed: int
) -> None:
    groups, truths = [g for g, _ in items], [t for _, t in items]
    partners = shuffled_partners(groups, truths, seed)
    for group in set(groups):
        inside = [i for i, g in enumerate(groups) if g == group]
        counts = Counter(truths[i] for i in inside)
        lent = [partners[i] for i in inside]
        if len(counts) == 1:
            assert lent == [None] * len(inside)
            continue
        for index, partner in zip(inside, lent, strict=True):
            assert partner is not None
            assert groups[partner] == group
            assert truths[partner] != truths[index]
        if 2 * max(counts.values()) <= len(inside):
            assert sorted(p for p in lent if p is not None) == inside  # a permutation
    assert partners == shuffled_partners(groups, truths, seed)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")), min_size=1))
def test_no_constant_answer_beats_the_majority(items: list[tuple[str, str]]) -> None:
    groups, answers = [g for g, _ in items], [a for _, a in items]
    majority = majority_answers(groups, answers)
    for group in set(groups):
        inside = [i for i, g in enumerate(groups) if g == group]
        assert len({majority[i] for i in inside}) == 1
        hits = sum(majority[i] == answers[i] for i in inside)
        assert hits == max(Counter(answers[i] for i in inside).values())


def test_an_empty_group_name_is_a_group_like_any_other() -> None:
    assert majority_answers(["", ""], ["x", "x"]) == ["x", "x"]
    with pytest.raises(ValueError, match="zip"):
        majority_answers(["a"], [])


def test_strata_weigh_alike_whatever_their_size() -> None:
    values = np.array([[1.0]] * 90 + [[0.0]] * 10)
    strata = ["large"] * 90 + ["small"] * 10
    assert column_means(values, strata)[0] == 0.5
    assert bootstrap_means(values, range(100), strata, draws=200)[0].tolist() == [0.5, 0.5]
    assert column_means(values)[0] == 0.9


def test_p_values_are_even_without_a_difference_and_small_with_one() -> None:
    generator = np.random.default_rng(2)
    found = []
    for seed in range(100):
        clusters = np.repeat(np.arange(40), 3)
        noise = generator.choice([-1.0, 0.0, 1.0], size=40)[clusters]  # an image's questions agree
        p = paired_p(noise, list(clusters), seed=seed)
        assert p is not None
        found.append(p)
    rejected = np.mean(np.array(found) < 0.1)
    assert 0.04 <= rejected <= 0.17
    better = paired_p(np.where(generator.random(120) < 0.4, 1.0, 0.0), range(120))
    assert better is not None
    assert better < 0.001
    assert paired_p(np.zeros(5), range(5)) == 1.0
    assert paired_p(np.full(5, np.nan), range(5)) is None
    assert paired_p(np.array([0.5]), ["a"]) == 1.0
    # Where strata weigh alike, the many items of one do not outvote the few of the other.
    change = np.concatenate([np.full(200, 0.0), np.full(10, 1.0)])
    strata = ["many"] * 200 + ["few"] * 10
    p = paired_p(change, range(210), strata)
    assert p is not None
    assert p < 0.01
    few = paired_p(np.ones(4), range(4))
    assert few == pytest.approx(2 / 16)  # all permutations of four signs


def test_adjusted_p_values_keep_their_order_and_their_gaps() -> None:
    adjusted = false_discovery([0.01, None, 0.04, 0.03])
    assert adjusted == [pytest.approx(0.03), None, pytest.approx(0.04), pytest.approx(0.04)]
    assert false_discovery([None]) == [None]
