"""`vllm serve` whose engine does the work itself, as ours does: no worker process on CPUs.

vLLM would give it one, so that OpenMP's threads are bound before the worker starts; with one
thread that nothing binds there is no need.
"""

import runpy

from vllm.platforms.cpu import CpuPlatform

_checked = CpuPlatform.check_and_update_config


def check_and_update_config(config: object) -> None:
    """What vLLM does with its configuration on CPUs, less the worker process."""
    _checked(config)
    config.parallel_config.distributed_executor_backend = "uni"


if __name__ == "__main__":
    CpuPlatform.check_and_update_config = staticmethod(check_and_update_config)
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__", alter_sys=True)
