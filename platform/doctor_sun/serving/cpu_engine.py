"""The CPU engine of a replica: vLLM's core process does the work itself.

ray.serve.llm always gives a CPU engine a worker process of its own; for one worker that is one
more process to start and one more hop for each step.
"""

from typing import Any

from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine


class CpuEngine(VLLMEngine):
    """The vLLM engine of `ray.serve.llm`, single-process executor."""

    def _prepare_engine_config(self, callback_ctx: Any) -> tuple[Any, Any, Any]:
        arguments, frontend, config = super()._prepare_engine_config(callback_ctx)
        config.parallel_config.distributed_executor_backend = "uni"
        return arguments, frontend, config
