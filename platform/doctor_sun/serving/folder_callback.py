"""Where a replica has its model: in its folder, or in its node's copy of an object store's."""

import asyncio

from ray.llm._internal.common.callbacks.base import CallbackBase

from doctor_sun.vllm_engine import check_model_folder


class FolderCallback(CallbackBase):
    """In place of the download task, a process on each node, which knows only public stores."""

    async def on_before_node_init(self) -> None:
        """Tell the engine the path on this node, and the server that the node is ready."""
        folder = await asyncio.to_thread(check_model_folder, self.kwargs["model"])
        self.llm_config.get_engine_config().hf_model_id = str(folder)
        self.ctx.run_init_node = False
