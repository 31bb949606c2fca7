"""Each rank reads its rows of every global batch, at any number of ranks and blocks."""

import itertools

import pyarrow as pa
import pytest
import ray.data

from doctor_sun.training.shards import RankShards

ROWS, GLOBAL_BATCH = 96, 12


@pytest.mark.slow
@pytest.mark.parametrize(("world", "blocks"), [(1, 3), (2, 5), (3, 1)])
def test_the_ranks_share_every_global_batch(ray_cluster: None, world: int, blocks: int) -> None:
    order = pa.table(
        {"position": range(ROWS), "images": pa.array([[]] * ROWS, pa.list_(pa.binary()))}
    )
    bounds = [ROWS * block // blocks for block in range(blocks + 1)]
    rows = ray.data.from_arrow([order.slice(a, b - a) for a, b in itertools.pairwise(bounds)])
    shards = RankShards(0, square_padding=False).configure({"train": rows}, world, None, None)
    assert len(shards) == world
    per_rank = [
        [
            batch["position"].to_pylist()
            for batch in shard["train"].iter_batches(
                batch_size=GLOBAL_BATCH // world, batch_format="pyarrow"
            )
        ]
        for shard in shards
    ]
    for step, parts in enumerate(zip(*per_rank, strict=True)):
        together = sorted(position for part in parts for position in part)
        assert together == list(range(step * GLOBAL_BATCH, (step + 1) * GLOBAL_BATCH))
