"""The Serve application: an exported folder behind an OpenAI-compatible API.

`ray.serve.llm` does the serving; here are its settings, typed, and what makes it start faster.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from doctor_sun.config import parse
from doctor_sun.vllm_engine import (
    ENGINE_ENVIRONMENT,
    EngineConfig,
    check_model_folder,
    engine_arguments,
    engine_environment,
)

if TYPE_CHECKING:
    from ray.serve import Application

DRAIN_LOOK_SECONDS = 0.2  # between looks at whether a replica that stops is idle


@dataclass(kw_only=True)
class ServeConfig(EngineConfig):
    """What is served and how far it scales; the defaults suit a small model on CPU."""

    model: str
    """Exported Hugging Face LLaVA folder, readable on every node that may hold a replica."""

    name: str = "doctor-sun"
    """The model's name in requests."""

    min_replicas: int = 1
    """Engines that always run."""

    max_replicas: int = 1
    """Engines that may run under load."""

    target_ongoing_requests: int = 16
    """Requests per engine that autoscaling aims at."""

    max_ongoing_requests: int = 64
    """Requests an engine takes at a time; more wait in the queue."""

    ingress_replicas: int = 1
    """Processes that speak HTTP."""


def serve_config(arguments: Mapping[str, Any]) -> ServeConfig:
    """Typed settings from `key=value` arguments or a YAML mapping.

    Raises:
        InputError: an unknown key (the nearest is named), a value of the wrong type, no model.
    """
    given = [f"--{key}={'null' if value is None else value}" for key, value in arguments.items()]
    return parse(ServeConfig, given)  # type: ignore[type-var]


@contextmanager
def quiet_import() -> Iterator[None]:
    """Keep the root logger as it is: importing `ray.serve.llm` turns it into JSON on stderr."""
    for name in ("VLLM_LOGGING_LEVEL", "VLLM_NO_USAGE_STATS"):
        os.environ.setdefault(name, ENGINE_ENVIRONMENT[name])
    logging.getLogger("vllm").setLevel(logging.ERROR)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def build_application(config: ServeConfig) -> "Application":
    """The application for `serve.run`.

    Raises:
        InputError: the model folder is missing or holds no exported model.
    """
    folder = check_model_folder(config.model)
    with quiet_import():
        from ray.llm._internal.common.callbacks.base import CallbackConfig
        from ray.serve.llm import LLMConfig, build_openai_app

        from doctor_sun.serving.server import Server

    here = "doctor_sun.serving"
    hardware: dict[str, Any] = {
        "placement_group_config": {"bundles": [{"GPU": 1, "CPU": 1}] * config.gpus}
    }
    environment = engine_environment(config)
    if config.gpus == 0:
        hardware = {
            "accelerator_config": {"kind": "cpu"},
            "placement_group_config": {"bundles": [{"CPU": config.cpus}]},
        }
        environment["RAYLLM_VLLM_ENGINE_CLS"] = f"{here}.cpu_engine:CpuEngine"
    model = LLMConfig(
        model_loading_config={"model_id": config.name, "model_source": str(folder)},
        engine_kwargs=engine_arguments(config, folder) | {"enable_log_requests": False},
        deployment_config={
            "autoscaling_config": {
                "min_replicas": config.min_replicas,
                "max_replicas": config.max_replicas,
                "target_ongoing_requests": config.target_ongoing_requests,
            },
            "max_ongoing_requests": config.max_ongoing_requests,
            "max_constructor_retry_count": 2,  # what fails to start once fails again
            "ray_actor_options": {"num_cpus": 0},  # the engine's cores are the bundle's
            "graceful_shutdown_wait_loop_s": DRAIN_LOOK_SECONDS,
        },
        server_cls=Server,
        runtime_env={"env_vars": environment},
        callback_config=CallbackConfig(callback_class=f"{here}.folder_callback.FolderCallback"),
        log_engine_metrics=False,
        **hardware,
    )
    ingress = {
        "autoscaling_config": {
            "min_replicas": config.ingress_replicas,
            "initial_replicas": config.ingress_replicas,
            "max_replicas": config.ingress_replicas,
        },
        "ray_actor_options": {"num_cpus": 0, "runtime_env": {"env_vars": environment}},
        "graceful_shutdown_wait_loop_s": DRAIN_LOOK_SECONDS,
    }
    return build_openai_app({"llm_configs": [model], "ingress_deployment_config": ingress})
