"""A model folder on the cluster in place of an endpoint."""

from dataclasses import dataclass, field

from doctor_sun.vllm_engine import EngineConfig


@dataclass(kw_only=True)
class LocalModelConfig:
    """A language model folder (Hugging Face, with a chat template) and how vLLM runs it."""

    folder: str | None = None
    """The folder, on a disk that every node has or in an object store; none asks the endpoint."""

    engine: EngineConfig = field(default_factory=lambda: EngineConfig(max_model_len=8192))
    """How vLLM runs it."""

    batch: int = 64
    """Requests that are sent to an engine at a time and stored together."""

    replicas: int = 1
    """Engines side by side."""
