"""Rows of a rank -> the micro-batches of each step, padded or packed."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch

from doctor_sun.models.build import BuiltModel
from doctor_sun.models.multimodal import pack_batch, pad_batch
from doctor_sun.training.loop import Batch, MicroBatch

if TYPE_CHECKING:
    from ray.data import DataIterator

PREFETCHED = 8  # batches read ahead of the step, so that a block's arrival is not waited for


def make_batch(
    rows: pa.Table, built: BuiltModel, kinds: Mapping[str, int], packed: bool
) -> MicroBatch:
    """Pad or pack the rows of one micro-batch and normalise its images."""
    columns = (rows[name].to_pylist() for name in ("input_ids", "labels"))
    encoded = list(zip(*columns, strict=True))
    attention_mask = row_lengths = None
    if packed:
        input_ids, labels, row_lengths = pack_batch(encoded)
    else:
        padding = built.tokenizer.pad_token_id
        input_ids, attention_mask, labels = pad_batch(encoded, padding)
    images = [image for images in rows["pixels"].to_pylist() for image in images]
    pixel_values = None
    if images:
        # Imported here: text stages, and the controller that unpickles this module, do without.
        from doctor_sun.models.image_transform import build_image_processor, normalise

        shape = (len(images), 3, built.image_size, built.image_size)
        pixels = np.frombuffer(b"".join(images), dtype=np.uint8).reshape(shape)
        processor = build_image_processor(built.image_size, built.config.square_padding)
        pixel_values = normalise(processor, torch.from_numpy(pixels.copy()))
    inputs: Batch = {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "labels": labels,
        "pixel_values": pixel_values,
        "row_lengths": row_lengths,
    }
    places = [kinds[kind] for kind in rows["kind"].to_pylist()]
    return MicroBatch(inputs=inputs, ids=rows["id"].to_pylist(), kinds=places)


def read_steps(shard: "DataIterator", global_batch: int, world: int) -> Iterator[pa.Table]:
    """A rank's rows of each global batch; reading begins at once, while the model is built."""
    tables = iter(
        shard.iter_batches(
            batch_size=global_batch // world,
            batch_format="pyarrow",
            prefetch_batches=PREFETCHED,
        )
    )
    reader = ThreadPoolExecutor(1)
    first = reader.submit(next, tables)

    def all_tables() -> Iterator[pa.Table]:
        yield first.result()
        reader.shutdown()
        yield from tables

    return by_step(all_tables(), global_batch)


def by_step(tables: Iterable[pa.Table], global_batch: int) -> Iterator[pa.Table]:
    """Cut rows in the stage's order where one global batch ends and the next begins."""
    rest = None
    for table in tables:
        joined = table if rest is None else pa.concat_tables([rest, table])
        steps = joined["position"].to_numpy() // global_batch
        starts = [0, *(np.flatnonzero(np.diff(steps)) + 1)]
        for start, end in pairwise(starts):
            yield joined.slice(start, end - start)
        rest = joined.slice(starts[-1])
    if rest is not None:
        yield rest


def passes(rows: pa.Table) -> Iterator[pa.Table]:
    """The rows of each forward pass of a step."""
    numbers = rows["pass"].to_numpy()
    for number in range(numbers.max() + 1):
        yield rows.filter(pa.array(numbers == number))


def make_steps(
    tables: Iterable[pa.Table], built: BuiltModel, kinds: Mapping[str, int], packed: bool
) -> Iterator[list[MicroBatch]]:
    """The micro-batches of each step, made while the step before is taken."""
    steps = ([make_batch(rows, built, kinds, packed) for rows in passes(t)] for t in tables)
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(next, steps, None)
        while (found := coming.result()) is not None:
            coming = maker.submit(next, steps, None)
            yield found
