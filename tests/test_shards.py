"""Each rank reads its rows of every global batch, at any number of ranks and blocks."""

import itertools

import pyarrow as pa
import pytest
import ray.data

from doctor_sun.training.batches import by_step, passes
from doctor_sun.training.micro_batches import Cut
from doctor_sun.training.shards import RankShards

ROWS, GLOBAL_BATCH = 96, 12


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "blocks", "pack_tokens"), [(1, 3, 0), (2, 5, 0), (3, 1, 0), (2, 4, 40)]
)
def test_the_ranks_share_every_global_batch(
    ray_cluster: None, world: int, blocks: int, pack_tokens: int
) -> None:
    order = pa.table(
        {"position": range(ROWS), "images": pa.array([[]] * ROWS, pa.list_(pa.binary()))}
    )
    bounds = [ROWS * block // blocks for block in range(blocks + 1)]
    rows = ray.data.from_arrow([order.slice(a, b - a) for a, b in itertools.pairwise(bounds)])
    cut = Cut(global_batch=GLOBAL_BATCH, micro_batch=2, pack_tokens=pack_tokens)
    tokens = [1 + position % 17 for position in range(ROWS)]
    cuts = {"train": (cut, tokens)}
    shards = RankShards(cuts, 0, square_padding=False).configure({"train": rows}, world, None, None)
    assert len(shards) == world
    per_rank = [
        list(by_step(shard["train"].iter_batches(batch_format="pyarrow"), GLOBAL_BATCH))
        for shard in shards
    ]
    for step, parts in enumerate(zip(*per_rank, strict=True)):
        together = sorted(position for part in parts for position in part["position"].to_pylist())
        assert together == list(range(step * GLOBAL_BATCH, (step + 1) * GLOBAL_BATCH))
        cut_up = [[own["position"].to_pylist() for own in passes(part)] for part in parts]
        assert len({len(own) for own in cut_up}) == 1  # as many passes on every rank
        assert all(rows for own in cut_up for rows in own)
        for rows_of_pass in itertools.chain(*cut_up):
            filled = sum(tokens[position] for position in rows_of_pass)
            assert filled <= pack_tokens if pack_tokens else len(rows_of_pass) == 2
