"""Stages that trials share (alignments, experts): each runs once, whichever trial asks first."""

import asyncio
from typing import Any, Literal

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from doctor_sun.training import publish, stage
from doctor_sun.training.stage import StageConfig

Dtype = Literal["float32", "bfloat16"]


def exported(config: StageConfig) -> str:
    """Where the export of a shared stage lies."""
    return f"{config.output}-export"


def shared_stages() -> Any:
    """The actor `SharedStages`, on this process's node: it is lost with the search only."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return SharedStages.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]


@ray.remote(num_cpus=0, max_retries=-1)
def _run(config: StageConfig, export: Dtype | None) -> dict[str, Any]:
    manifest = stage.run(config)
    if export:
        folder = exported(config)
        publish.run(publish.ExportConfig(checkpoint=config.output, output=folder, dtype=export))
    return manifest


@ray.remote(num_cpus=0)
class SharedStages:
    """Who asks for a stage that is running waits for it; the work outlives who asked."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    async def manifest(self, config: StageConfig, export: Dtype | None = None) -> dict[str, Any]:
        """The manifest of a stage, which is then complete in its folder.

        Args:
            config: of the stage.
            export: also write the model as a Hugging Face folder, in this precision.
        """
        if config.output not in self.asked:
            self.asked[config.output] = _run.remote(config, export)
        try:
            result = self.asked[config.output]
            return await asyncio.shield(asyncio.wrap_future(result.future()))
        except Exception:
            self.asked.pop(config.output, None)  # the next one to ask tries again
            raise
