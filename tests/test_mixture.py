"""The realised mixture equals the requested one, whatever the rows' order."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doctor_sun.errors import InputError
from doctor_sun.records import sha256
from doctor_sun.training.mixture import MixtureItem, counts_of, select


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
