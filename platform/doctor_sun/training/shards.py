"""Which rows each training process reads: a stated share of the stage's order, decoded ahead."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from ray.data import DataIterator, Dataset
from ray.train import DataConfig

from doctor_sun.training.micro_batches import Cut

DECODED_TOGETHER = 64  # rows whose images are decoded in one call


class RankShards(DataConfig):
    """Gives each rank its rows in the stage's order, images decoded by tasks ahead of the step.

    Ray's own split deals out whole blocks, so which rows make a step would depend on where blocks
    end, and rows of similar length would not meet in one step.
    """

    def __init__(
        self, cuts: Mapping[str, tuple[Cut, Sequence[int]]], image_size: int, square_padding: bool
    ) -> None:
        """Remember how to share out and decode.

        Args:
            cuts: of each data set, which rows make a micro-batch, and the tokens of each row.
            image_size: side of the tower's square, 0 where no image is read.
            square_padding: whether images are padded rather than cropped.
        """
        super().__init__(datasets_to_split=[])
        self.cuts = cuts
        self.decoding = {"image_size": image_size, "square_padding": square_padding}

    def configure(
        self,
        datasets: dict[str, Dataset],
        world_size: int,
        worker_handles: Any,
        worker_node_ids: Any,
        **kwargs: Any,
    ) -> list[dict[str, DataIterator]]:
        """One iterator for each rank and data set."""
        micro_batches = {
            name: cut.micro_batches(tokens, world_size) for name, (cut, tokens) in self.cuts.items()
        }
        return [
            {
                name: self._shard(
                    rows,
                    {"micro_batches": micro_batches[name], "rank": rank, "world": world_size},
                )
                for name, rows in datasets.items()
            }
            for rank in range(world_size)
        ]

    def _shard(self, rows: Dataset, sharing: dict[str, Any]) -> DataIterator:
        shard = rows.map_batches(
            rows_of_rank, fn_kwargs=sharing, batch_format="pyarrow"
        ).map_batches(
            decode_images,
            fn_kwargs=self.decoding,
            batch_format="pyarrow",
            batch_size=DECODED_TOGETHER,
        )
        shard.context.execution_options.preserve_order = True
        return shard.iterator()


def rows_of_rank(
    batch: pa.Table, micro_batches: NDArray[np.int32], rank: int, world: int
) -> pa.Table:
    """The rows of a batch that a rank trains on, and in which of its forward passes (`pass`).

    Args:
        batch: rows with their position in the stage's order.
        micro_batches: [rows of the stage] the micro-batch of each, as `Cut` numbers them.
        rank: of this process.
        world: ranks.
    """
    numbers = micro_batches[batch["position"].to_numpy()]
    own = numbers % world == rank
    kept = batch.filter(pa.array(own))
    return kept.append_column("pass", pa.array(numbers[own] // world, pa.int32()))


def decode_images(batch: pa.Table, image_size: int, square_padding: bool) -> pa.Table:
    """Replace encoded images by uint8 pixels, [3, size, size] flattened to bytes."""
    pixels: list[list[bytes]] = [[] for _ in range(batch.num_rows)]
    if image_size:  # a text stage need not import what decodes
        from doctor_sun.models.image_transform import decode_image, to_uint8

        processor = _processor(image_size, square_padding)
        for row, images in enumerate(batch["images"].to_pylist()):
            if images:
                decoded = to_uint8(processor, [decode_image(image) for image in images])
                pixels[row] = [image.tobytes() for image in decoded]
    table = batch.drop_columns(["images"])
    return table.append_column("pixels", pa.array(pixels, pa.list_(pa.binary())))


@lru_cache(maxsize=1)
def _processor(image_size: int, square_padding: bool) -> Any:
    from doctor_sun.models.image_transform import build_image_processor

    return build_image_processor(image_size, square_padding)
