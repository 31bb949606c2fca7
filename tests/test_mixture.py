"""The realised mixture equals the requested one, whatever the rows' order."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doctor_sun.errors import InputError
from doctor_sun.records import sha256
from doctor_sun.training.mixture import MixtureItem, counts_of, group_by_length, select


def index(medical: int, general: int) -> pa.Table:
    domains = ["medical"] * medical + ["general"] * general
    count = len(domains)
    return pa.table(
        {
            "id": [sha256(str(i)) for i in range(count)],
            "domain": domains,
            "language": ["zh" if i % 3 else "en" for i in range(count)],
            "task": ["instruction"] * count,
            "source": ["s"] * count,
        }
    )


ITEMS = [MixtureItem(share=0.2, domain="medical"), MixtureItem(share=0.8, domain="general")]


@given(shares=st.lists(st.floats(0.01, 10), min_size=1, max_size=6), total=st.integers(1, 100_000))
def test_counts_are_within_one_of_their_share(shares: list[float], total: int) -> None:
    counts = counts_of(shares, total)
    assert sum(counts) == total
    for share, count in zip(shares, counts, strict=True):
        assert abs(count - share / sum(shares) * total) < 1


@settings(max_examples=25, deadline=None)
@given(samples=st.integers(1, 400), seed=st.integers(0, 5))
def test_realised_mixture_is_exact_even_when_rows_are_read_again(samples: int, seed: int) -> None:
    table = index(20, 50)
    order, realised = select(table, ITEMS, samples, seed)
    domain = dict(zip(table["id"].to_pylist(), table["domain"].to_pylist(), strict=True))
    found = [domain[i] for i in order["id"].to_pylist()]
    assert found.count("medical") == realised["medical"]
    assert abs(found.count("medical") - 0.2 * samples) < 1
    assert sorted(order["position"].to_pylist()) == list(range(samples))


def test_order_does_not_depend_on_how_the_rows_were_stored() -> None:
    table = index(30, 60)
    shuffled = table.take(pa.array(np.random.default_rng(0).permutation(table.num_rows)))
    first, _ = select(table, ITEMS, 70, seed=1)
    second, _ = select(shuffled, ITEMS, 70, seed=1)
    assert first.sort_by("position")["id"] == second.sort_by("position")["id"]


def test_more_samples_of_a_part_contain_the_fewer() -> None:
    table = index(30, 60)
    few = set(select(table, ITEMS[:1], 10, seed=1)[0]["id"].to_pylist())
    many = set(select(table, ITEMS[:1], 20, seed=1)[0]["id"].to_pylist())
    assert few < many


def test_an_item_without_rows_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="medical/en/vqa"):
        select(
            index(3, 3),
            [MixtureItem(share=1, domain="medical", language="en", tasks=["vqa"])],
            2,
            0,
        )


@given(batches=st.integers(1, 12), window=st.integers(1, 5), seed=st.integers(0, 3))
def test_grouping_by_length_moves_rows_within_their_window_only(
    batches: int, window: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    count, global_batch = batches * 4, 4
    order = pa.table(
        {"id": [str(i) for i in range(count)], "position": generator.permutation(count)}
    )
    tokens = generator.integers(1, 100, count)
    grouped = group_by_length(order, tokens, global_batch, window, seed)
    assert grouped["position"].to_pylist() == list(range(count))

    before = order.sort_by("position")["id"].to_pylist()
    after = grouped["id"].to_pylist()
    length = dict(zip(order["id"].to_pylist(), tokens, strict=True))
    for start in range(0, count, window * global_batch):
        stop = start + window * global_batch
        assert sorted(before[start:stop]) == sorted(after[start:stop])
        cut = [after[at : at + global_batch] for at in range(start, min(stop, count), global_batch)]
        spans = sorted((min(length[i] for i in b), max(length[i] for i in b)) for b in cut)
        for (_, longest), (shortest, _) in itertools.pairwise(spans):
            assert longest <= shortest  # no two batches overlap in length
