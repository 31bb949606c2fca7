"""The realised mixture equals the requested one, whatever the rows' order."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doctor_sun.errors import InputError
from doctor_sun.records import sha256
from doctor_sun.training.mixture import MixtureItem, counts_of, group_by_length, select
from doctor_sun.training.prepare import encode_rows, hold_out
from tests.tiny_models import build_llm


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
def test_grouping_by_modality_and_length_moves_rows_within_their_window_only(
    batches: int, window: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    count, global_batch = batches * 4, 4
    order = pa.table(
        {"id": [str(i) for i in range(count)], "position": generator.permutation(count)}
    )
    tokens = generator.integers(1, 100, count)
    pictures = generator.integers(0, 2, count)
    grouped = group_by_length(order, tokens, pictures, global_batch, window, seed)
    assert grouped["position"].to_pylist() == list(range(count))

    before = order.sort_by("position")["id"].to_pylist()
    after = grouped["id"].to_pylist()
    modality_and_length = zip(pictures.tolist(), tokens.tolist(), strict=True)
    length = dict(zip(order["id"].to_pylist(), modality_and_length, strict=True))
    for start in range(0, count, window * global_batch):
        stop = start + window * global_batch
        assert sorted(before[start:stop]) == sorted(after[start:stop])
        cut = [after[at : at + global_batch] for at in range(start, min(stop, count), global_batch)]
        spans = sorted((min(length[i] for i in b), max(length[i] for i in b)) for b in cut)
        for (_, longest), (shortest, _) in itertools.pairwise(spans):
            assert longest <= shortest  # no two batches overlap in modality and length


@given(rows=st.integers(1, 60), seed=st.integers(0, 5))
def test_held_out_rows_are_of_the_mixture_and_are_not_trained_on(rows: int, seed: int) -> None:
    table = index(60, 200)
    for name in ("tokens", "label_tokens", "pictures"):
        table = table.append_column(name, pa.array(range(table.num_rows)))
    rest, held_out = hold_out(table, ITEMS, rows, seed)
    assert held_out.num_rows == rows
    assert rest.num_rows + rows == table.num_rows
    assert not set(rest["id"].to_pylist()) & set(held_out["id"].to_pylist())
    domain = dict(zip(table["id"].to_pylist(), table["domain"].to_pylist(), strict=True))
    medical = [domain[row] for row in held_out["id"].to_pylist()].count("medical")
    assert abs(medical - 0.2 * rows) < 1
    lengths = held_out["tokens"].to_pylist()
    assert lengths == sorted(lengths)


def test_a_row_that_cannot_be_trained_on_says_why(tmp_path: Path) -> None:
    def row(text: str, pictures: int) -> dict[str, Any]:
        turns = [{"role": "user", "text": text}, {"role": "assistant", "text": "yes"}]
        return {"turns": turns, "images": [b""] * pictures}

    rows = [row("<image>\na?", 1), row("a?", 1), row("<image> <image> a?", 2), row("a " * 99, 0)]
    llm = build_llm(tmp_path / "llm")
    reasons = {
        image_tokens: encode_rows(
            pa.Table.from_pylist(rows), llm, image_tokens, 60, stage="instruct"
        )["reason"].to_pylist()
        for image_tokens in (9, 0)
    }
    too_long = reasons[9].pop()
    assert "the limit is 60" in too_long
    assert reasons[9] == [None, "0 places for 1 images", None]
    assert reasons[0][0] == "an image row in the text stage 'instruct'"
