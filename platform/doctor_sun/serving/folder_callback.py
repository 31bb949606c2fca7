"""A model that is a folder needs no download."""

from ray.llm._internal.common.callbacks.base import CallbackBase


class FolderCallback(CallbackBase):
    """Skips the download task, which would start a worker process on each node for nothing."""

    async def on_before_node_init(self) -> None:
        """Tell the server that the node is ready as it is."""
        self.ctx.run_init_node = False
