"""A model folder on the cluster, asked in place of an endpoint: vLLM engines in Ray Data actors."""

import gc
import io
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.data
from upath import UPath

from doctor_sun.asking.answers import Segment
from doctor_sun.asking.asker import DONE, Ask
from doctor_sun.asking.chat_client import Answer
from doctor_sun.asking.requests import REFUSED, image_of
from doctor_sun.local_folders import local_copy
from doctor_sun.vllm_engine import EngineConfig, engine_arguments, engine_environment


def engine_asker(
    folder: UPath, engine: EngineConfig, answers: UPath, batch: int, replicas: int
) -> Ask:
    """Ask a model folder.

    Args:
        folder: of the model, on a disk that every node has or in an object store.
        engine: how vLLM runs it.
        answers: folder of the stored answers.
        batch: requests that are sent to an engine at a time and stored together.
        replicas: engines side by side.
    """

    def ask(asks: ray.data.Dataset) -> ray.data.Dataset:
        return asks.map_batches(
            Engine,
            fn_constructor_args=(str(folder), engine, str(answers)),
            batch_size=batch,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=replicas),
            num_cpus=engine.cpus,
            num_gpus=engine.gpus,
        )

    return ask


class Engine:
    """A vLLM engine in a Ray Data actor: batches of `ASKS` in, `DONE` out."""

    def __init__(self, folder: str, engine: EngineConfig, answers: str) -> None:
        # One process: the actor is the engine. vLLM reads these when it is imported.
        os.environ.update(engine_environment(engine))
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        warnings.simplefilter("ignore")
        from vllm import LLM

        gc.freeze()  # start-up collects garbage five times; what is imported need not be walked
        folder = local_copy(folder)
        self.llm = LLM(folder, seed=0, **engine_arguments(engine, Path(folder)))
        self.answers = UPath(answers)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Answer a batch; each answer is stored before it counts."""
        asks = batch.to_pylist()
        segment = Segment(self.answers, [ask["key"] for ask in asks])
        asks = [ask for ask in asks if ask["key"] not in segment.known]
        done = [
            {"key": key, "error": "", "prompt_tokens": 0, "completion_tokens": 0}
            for key in segment.known
        ]
        for ask, answer in zip(
            asks, self._answers([json.loads(ask["body"]) for ask in asks]), strict=True
        ):
            tokens = {"prompt_tokens": 0, "completion_tokens": 0}
            if answer:
                segment.add(ask["key"], answer)
                tokens = {name: getattr(answer, name) for name in tokens}
            done.append({"key": ask["key"], "error": "" if answer else REFUSED, **tokens})
        segment.close()
        return pa.Table.from_pylist(done, schema=DONE)

    def _answers(self, bodies: Sequence[Mapping[str, Any]]) -> list[Answer | None]:
        """An answer a request; None where the engine refuses it."""
        from vllm.exceptions import VLLMClientError

        if not bodies:
            return []
        try:
            return [*self._chat(bodies)]
        # vLLM refuses a whole batch for one request that does not fit.
        except (VLLMClientError, ValueError):
            if len(bodies) == 1:
                return [None]
            half = len(bodies) // 2
            return self._answers(bodies[:half]) + self._answers(bodies[half:])

    def _chat(self, bodies: Sequence[Mapping[str, Any]]) -> list[Answer]:
        from vllm import SamplingParams

        outputs = self.llm.chat(
            [[_message(message) for message in body["messages"]] for body in bodies],
            [
                SamplingParams(
                    temperature=body["temperature"],
                    max_tokens=body["max_tokens"],
                    seed=0 if body["temperature"] else None,  # a generator a request costs time
                )
                for body in bodies
            ],
            use_tqdm=False,
        )
        return [
            Answer(
                text=output.outputs[0].text,
                finish=output.outputs[0].finish_reason or "stop",
                prompt_tokens=len(output.prompt_token_ids or ()),
                completion_tokens=len(output.outputs[0].token_ids),
            )
            for output in outputs
        ]


def _message(message: Mapping[str, Any]) -> Any:
    """A message of a request as the engine wants it: pictures decoded, as RGB."""
    from PIL import Image

    if isinstance(message["content"], str):
        return message
    content: list[Any] = []
    for part in message["content"]:
        if part["type"] == "text":
            content.append(part)
            continue
        with Image.open(io.BytesIO(image_of(part))) as image:
            content.append({"type": "image_pil", "image_pil": image.convert("RGB")})
    return {"role": message["role"], "content": content}
