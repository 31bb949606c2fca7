"""Which rows each training process reads: a stated share of the stage's order, decoded ahead."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.data import DataIterator, Dataset
from ray.train import DataConfig

from doctor_sun.training.micro_batches import Cut
from doctor_sun.training.prepare import decode_images, rows_of_rank

DECODED_TOGETHER = 64  # rows whose images are decoded in one call


class RankShards(DataConfig):
    """Gives each rank its rows in the stage's order, images decoded by tasks ahead of the step.

    Ray's own split deals out whole blocks, so which rows make a step would depend on where blocks
    end, and rows of similar length would not meet in one step.
    """

    def __init__(
        self, tokens: NDArray[np.int32], cut: Cut, image_size: int, square_padding: bool
    ) -> None:
        """Remember how to share out and decode.

        Args:
            tokens: [rows] length of each row, in the stage's order.
            cut: which rows make a micro-batch.
            image_size: side of the tower's square, 0 where no image is read.
            square_padding: whether images are padded rather than cropped.
        """
        super().__init__(datasets_to_split=[])
        self.tokens, self.cut = tokens, cut
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
        micro_batches = self.cut.micro_batches(self.tokens.tolist(), world_size)
        shared = {"micro_batches": micro_batches, "world": world_size}
        return [
            {name: self._shard(rows, shared | {"rank": rank}) for name, rows in datasets.items()}
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
