"""A model folder on the cluster in place of an endpoint: `ray.data.llm`'s vLLM processor."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.data
from upath import UPath

from doctor_sun.asking.answers import Segment
from doctor_sun.asking.asker import DONE, Ask
from doctor_sun.asking.chat_client import Answer
from doctor_sun.errors import InputError
from doctor_sun.vllm_engine import GIB, EngineConfig, engine_environment

TEMPLATE_CPUS = 0.1  # of the actor that applies the chat template
FAILED = "__inference_error__"  # Ray's column of a failed row
TOKENS = ("prompt_tokens", "completion_tokens")


@dataclass(kw_only=True)
class LocalModelConfig:
    """A language model folder (Hugging Face, with a chat template) and how vLLM runs it."""

    folder: str | None = None
    """The folder, readable on every node; none asks the endpoint."""

    engine: EngineConfig = field(default_factory=lambda: EngineConfig(max_model_len=8192))
    """How vLLM runs it."""

    batch: int = 64
    """Requests that are sent to an engine at a time and stored together."""

    replicas: int = 1
    """Engines side by side."""


def engine_arguments(config: EngineConfig, folder: Path) -> dict[str, Any]:
    """vLLM's engine arguments for a language model's folder.

    Raises:
        InputError: there is no model in the folder.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise InputError(f"local.folder: {folder} holds no model (no config.json)")
    limit = json.loads(file.read_text(encoding="utf-8")).get("max_position_embeddings")
    arguments: dict[str, Any] = {
        "dtype": config.dtype,
        "max_model_len": min(config.max_model_len, limit or config.max_model_len),
        "max_num_seqs": config.max_num_seqs,
        "enforce_eager": config.eager,
        "tensor_parallel_size": max(1, config.gpus),
        "disable_log_stats": True,
    }
    if config.kv_cache_gib is not None:
        arguments["kv_cache_memory_bytes"] = int(config.kv_cache_gib * GIB)
    return arguments


def _bundle(config: EngineConfig) -> dict[str, float]:
    """Resources of one worker of an engine; without any, Ray would wait for a GPU."""
    return {"CPU": config.cpus, **({"GPU": 1} if config.gpus else {})}


def local_asker(config: LocalModelConfig, answers: UPath) -> Ask:
    """Ask a model folder through vLLM engines on the cluster."""
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    folder = Path(str(config.folder)).expanduser().absolute()
    processor = build_processor(
        vLLMEngineProcessorConfig(
            model_source=str(folder),
            engine_kwargs=engine_arguments(config.engine, folder),
            runtime_env={"env_vars": engine_environment(config.engine)},
            placement_group_config={"bundle_per_worker": _bundle(config.engine)},
            chat_template_stage={"enabled": True, "num_cpus": TEMPLATE_CPUS},
            # vLLM does both: an actor for either would take a CPU from the engine.
            tokenize_stage={"enabled": False},
            detokenize_stage={"enabled": False},
            batch_size=config.batch,
            concurrency=config.replicas,
            accelerator_type=None,
            should_continue_on_error=True,
            log_engine_metrics=False,
        ),
        preprocess=_prompt,
        postprocess=_said,
    )
    store = str(answers)

    def stored(batch: pa.Table) -> pa.Table:
        rows = batch.to_pylist()
        segment = Segment(UPath(store), [row["key"] for row in rows])
        done = []
        for row in rows:
            # Ray hands a failed row on as it is; the error's own words may quote the prompt.
            error = "engine" if row.get(FAILED) else ""
            tokens = {name: 0 if error else row[name] for name in TOKENS}
            done.append({"key": row["key"], "error": error, **tokens})
            if not error and row["key"] not in segment.known:
                segment.add(row["key"], Answer(text=row["text"], finish=row["finish"], **tokens))
        segment.close()
        return pa.Table.from_pylist(done, schema=DONE)

    def ask(asks: ray.data.Dataset) -> ray.data.Dataset:
        return processor(asks).map_batches(stored, batch_format="pyarrow", batch_size=config.batch)

    return ask


def _prompt(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `ASKS` as the processor wants it."""
    body = json.loads(row["body"])
    most = body["max_tokens"]
    sampling = {"temperature": body["temperature"], "max_tokens": most}
    return {
        "messages": body["messages"],
        "sampling_params": sampling,
        "key": row["key"],
        "most": most,
    }


def _said(row: dict[str, Any]) -> dict[str, Any]:
    """An answer of the processor."""
    made = int(row["num_generated_tokens"])
    return {
        "key": row["key"],
        "text": row["generated_text"],
        "finish": "length" if made >= row["most"] else "stop",
        "prompt_tokens": int(row["num_input_tokens"]),
        "completion_tokens": made,
    }
