"""What an evaluation asks: a model folder, or a model at an endpoint."""

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import SecretStr
from upath import UPath

from doctor_sun.asking.answers import AnswerIndex
from doctor_sun.asking.budget import BudgetConfig, cost, open_purse
from doctor_sun.asking.chat_client import EndpointConfig
from doctor_sun.errors import InputError
from doctor_sun.evaluation.inference import DecodingConfig
from doctor_sun.runs import content_hash
from doctor_sun.vllm_engine import EngineConfig, model_path, takes_images

if TYPE_CHECKING:
    from doctor_sun.asking.asker import Ask


@dataclass(frozen=True, kw_only=True)
class AskedModel:
    """A folder or an endpoint, and how it is asked."""

    name: str
    """What tables call it."""
    images: bool
    """Whether it can be shown images."""
    decoding: DecodingConfig
    folder: UPath | None = None
    """None for a model at an endpoint."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    endpoint_model: str = ""
    budget: BudgetConfig = field(default_factory=BudgetConfig)

    @classmethod
    def of_folder(
        cls, location: str, name: str | None, engine: EngineConfig, decoding: DecodingConfig
    ) -> "AskedModel":
        """A model folder.

        Raises:
            InputError: the folder holds no model.
        """
        folder = model_path(location, "--model")
        described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        # What the steps of a run call their folders says less than the folder above.
        own = folder.parent.name if folder.name in ("model", "export") else folder.name
        return cls(
            folder=folder,
            name=name or own,
            images=takes_images(described),
            engine=engine,
            decoding=decoding,
        )

    @classmethod
    def of_endpoint(
        cls,
        endpoint: EndpointConfig,
        model: str,
        name: str | None,
        budget: BudgetConfig,
        decoding: DecodingConfig,
    ) -> "AskedModel":
        """A model at an endpoint.

        Raises:
            InputError: it is not named.
        """
        if not model:
            raise InputError("--endpoint.base_url needs --endpoint_model, its model's name")
        return cls(
            name=name or model,
            images=True,
            endpoint=endpoint,
            endpoint_model=model,
            budget=budget,
            decoding=decoding,
        )

    @property
    def description(self) -> dict[str, str]:
        """What `metrics.json` says of it."""
        return {"name": self.name, "source": str(self.folder or self.endpoint.base_url)}

    def identity(self) -> str:
        """What decides its answers: the weights and their type, or the endpoint's model."""
        if self.folder:
            return f"{content_hash(str(self.folder))} {self.engine.dtype}"
        return f"{self.endpoint.base_url} {self.endpoint_model}"

    def asker(self, answers: UPath) -> "Ask":
        """What asks it, and stores its answers in a folder."""
        from doctor_sun.asking.asker import endpoint_asker
        from doctor_sun.asking.engine import engine_asker

        if self.folder:
            batch, replicas = self.decoding.batch, self.decoding.replicas
            return engine_asker(self.folder, self.engine, answers, batch, replicas)
        index = AnswerIndex.of(answers)
        spent = cost(index.prompt_tokens, index.completion_tokens, self.budget)
        # A server of one's own may want no key; an empty header would not be one.
        key = SecretStr(os.environ.get(self.endpoint.key_variable) or "none")
        purse = open_purse(self.budget, spent, self.endpoint.timeout)
        return endpoint_asker(self.endpoint, self.budget, key, purse, answers)
