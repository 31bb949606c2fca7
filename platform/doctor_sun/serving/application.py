"""The Serve application: exported folders behind one OpenAI-compatible API.

`ray.serve.llm` runs the engines; here are its settings, typed, and what makes it start faster.
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doctor_sun.config import parse
from doctor_sun.serving.audit import AuditConfig
from doctor_sun.serving.guard.body import BodyConfig
from doctor_sun.serving.guard.front import FrontConfig
from doctor_sun.serving.guard.keys import Keys, KeysConfig
from doctor_sun.serving.guard.pictures import PictureConfig
from doctor_sun.serving.guard.remote import RemoteConfig
from doctor_sun.serving.guard.requests import RequestConfig
from doctor_sun.serving.models import Models
from doctor_sun.serving.safety import Safety, SafetyConfig
from doctor_sun.vllm_engine import (
    ENGINE_ENVIRONMENT,
    EngineConfig,
    check_model_folder,
    engine_arguments,
    engine_environment,
)

if TYPE_CHECKING:
    from ray.serve import Application
    from ray.serve.llm import LLMConfig

HEADROOM = 32  # requests that a full replica still takes, to tell them so itself
QUIET = {"log_level": "ERROR", "enable_access_log": False}
"""Serve's own logs: a refused request would be a warning with the whole call stack, and the access
log would hold paths that a client made up. The audit log has what happened."""


@dataclass(kw_only=True)
class ServeConfig(EngineConfig):
    """What is served, to whom, and how far it scales; the defaults suit a small model on CPU."""

    model: str
    """Exported Hugging Face LLaVA folder, on a disk that every node has or in an object store (not
    for an engine that spans nodes)."""

    name: str = "doctor-sun"
    """The model's name in requests."""

    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Further models behind the same endpoint, by name: the keys in which each differs, `model`
    among them."""

    canary: dict[str, float] = field(default_factory=dict)
    """Shares (0 to 1) of the requests for `name` that variants answer, by their names; a
    conversation stays with one of them."""

    min_replicas: int = 1
    """Engines that always run."""

    max_replicas: int = 1
    """Engines that may run under load."""

    target_ongoing_requests: float = 16
    """Requests per engine that autoscaling aims at."""

    upscale_delay_seconds: float = 10
    """How long the load must be higher before engines are added."""

    downscale_delay_seconds: float = 300
    """How long the load must be lower before engines are stopped."""

    max_ongoing_requests: int = 64
    """Requests that an engine answers or keeps waiting; more are refused with 503 and a time."""

    drain_seconds: float = 120
    """What requests that are under way get to end, when a replica is to stop."""

    node_labels: dict[str, str] = field(default_factory=dict)
    """Labels of the nodes that engines may take (`ray.io/accelerator-type: H100`, or those of `ray
    start --labels`); none takes any node."""

    engine_metrics: bool = False
    """Offer vLLM's own metrics (its queue, its cache) to Prometheus too; costs a little a step."""

    front: FrontConfig = field(default_factory=FrontConfig)
    api_keys: KeysConfig = field(default_factory=KeysConfig)
    body: BodyConfig = field(default_factory=BodyConfig)
    requests: RequestConfig = field(default_factory=RequestConfig)
    pictures: PictureConfig = field(default_factory=PictureConfig)
    remote: RemoteConfig = field(default_factory=RemoteConfig)
    safety: SafetyConfig = field(default_factory=SafetyConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)

    def __post_init__(self) -> None:
        Models(self.name, list(self.variants), self.canary)
        Safety(self.safety)

    def variant(self, name: str) -> "ServeConfig":
        """The settings of a further model.

        Raises:
            InputError: an unknown key.
        """
        own = {key: getattr(self, key) for key in ENGINE_KEYS} | self.variants[name]
        return serve_config({**own, "name": name})


ENGINE_KEYS = (
    *(one.name for one in fields(EngineConfig)),
    *("model", "min_replicas", "max_replicas", "target_ongoing_requests"),
    *("upscale_delay_seconds", "downscale_delay_seconds", "max_ongoing_requests", "drain_seconds"),
    "node_labels",
)
"""What a variant takes from the main model where it says nothing."""


def serve_config(arguments: Mapping[str, Any]) -> ServeConfig:
    """Typed settings from `key=value` arguments or a YAML mapping.

    Raises:
        InputError: an unknown key (the nearest is named), a value of the wrong type, no model.
    """
    given = [
        f"--{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in arguments.items()
    ]
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
        InputError: a model folder is missing or holds no exported model, or the keys are wrong.
    """
    variants = [config.variant(name) for name in config.variants]
    folders = [check_model_folder(one.model) for one in (config, *variants)]
    Keys.load(config.api_keys)
    with quiet_import():
        from ray import serve
        from ray.serve.llm import build_llm_deployment

        from doctor_sun.serving.server import IngressServer, Server

    others = {
        one.name: build_llm_deployment(
            _engine(one, folder), deployment_cls=Server, override_serve_options=_options(one)
        )
        for one, folder in zip(variants, folders[1:], strict=True)
    }
    return build_llm_deployment(
        _engine(config, folders[0]),
        deployment_cls=serve.ingress()(IngressServer),
        override_serve_options=_options(config),
        bind_kwargs={"settings": config, "variants": others},
    )


def _engine(config: ServeConfig, folder: Path) -> "LLMConfig":
    """The engine of a model, as `ray.serve.llm` wants it."""
    from ray.llm._internal.common.callbacks.base import CallbackConfig
    from ray.serve.llm import LLMConfig

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
    return LLMConfig(
        model_loading_config={"model_id": config.name, "model_source": str(folder)},
        engine_kwargs=engine_arguments(config, folder)
        | {"enable_log_requests": False, "disable_log_stats": not config.engine_metrics},
        deployment_config={"ray_actor_options": {"num_cpus": 0}},  # the bundle has the cores
        runtime_env={"env_vars": environment},
        callback_config=CallbackConfig(
            callback_class=f"{here}.folder_callback.FolderCallback",
            callback_kwargs={"model": config.model},
        ),
        log_engine_metrics=config.engine_metrics,
        **hardware,
    )


def _options(config: ServeConfig) -> dict[str, Any]:
    """How Serve runs the replicas of a model."""
    placed = {"placement_group_bundle_label_selector": [config.node_labels]}
    return {
        **(placed if config.node_labels else {}),
        "autoscaling_config": {
            "min_replicas": config.min_replicas,
            "max_replicas": config.max_replicas,
            "target_ongoing_requests": config.target_ongoing_requests,
            "upscale_delay_s": config.upscale_delay_seconds,
            "downscale_delay_s": config.downscale_delay_seconds,
        },
        "max_ongoing_requests": config.max_ongoing_requests + HEADROOM,
        "max_constructor_retry_count": 2,  # what fails to start once fails again
        "max_surge_percent": 100,  # an update starts the new replicas before it stops the old ones
        "rolling_update_percentage": 1.0,
        "graceful_shutdown_timeout_s": config.drain_seconds,
        "graceful_shutdown_wait_loop_s": 0.2,  # between looks at whether a replica is idle
        "health_check_period_s": 2,
        "logging_config": QUIET,
    }
