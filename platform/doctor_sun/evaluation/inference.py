"""Questions -> answers: batch generation with vLLM through Ray Data, resumable.

Each answer is stored under the hash of what decides it (model, prompt, image, decoding) as soon as
its batch is done, so a killed evaluation asks nothing twice. Decoding is greedy.
"""

import io
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from upath import UPath

from doctor_sun.cluster import connect
from doctor_sun.records import sha256
from doctor_sun.vllm_engine import EngineConfig, engine_arguments, engine_environment

ASKS = pa.schema([("key", pa.string()), ("prompt", pa.string()), ("image", pa.binary())])


@dataclass(kw_only=True)
class DecodingConfig:
    """How answers are decoded: always greedily."""

    max_tokens: int = 24
    """Longest answer, in tokens."""

    batch: int = 64
    """Questions that are sent to an engine at a time and stored together."""

    replicas: int = 1
    """Engines that answer side by side."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One question to the model, and the key under which its answer is stored."""

    key: str
    prompt: str
    image: bytes | None


def ask_key(model_hash: str, prompt: str, image_key: str, max_tokens: int, dtype: str) -> str:
    """The content hash of everything that decides a greedy answer."""
    return sha256(model_hash, prompt, image_key, f"greedy {max_tokens} {dtype}")


class Engine:
    """A vLLM engine in a Ray Data actor: batches of asks in, answers out."""

    def __init__(self, model: str, engine: EngineConfig, max_tokens: int) -> None:
        # One process: the actor is the engine. vLLM reads these when it is imported.
        os.environ.update(engine_environment(engine))
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        import gc
        import warnings

        warnings.simplefilter("ignore")
        from vllm import LLM, SamplingParams

        gc.freeze()  # start-up collects garbage five times; what is imported need not be walked
        self.llm = LLM(model, seed=0, **engine_arguments(engine, Path(model)))
        self.sampling = SamplingParams(temperature=0.0, max_tokens=max_tokens)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Answer a batch of `ASKS`: columns key and prediction."""
        conversations: list[Any] = [conversation(row) for row in batch.to_pylist()]
        outputs = self.llm.chat(conversations, self.sampling, use_tqdm=False)
        texts = [output.outputs[0].text.strip() for output in outputs]
        return pa.table({"key": batch["key"], "prediction": pa.array(texts, pa.string())})


def conversation(ask: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One user turn as in training: the image, if there is one, then the question."""
    from PIL import Image

    content: list[dict[str, Any]] = [{"type": "text", "text": ask["prompt"]}]
    if ask["image"] is not None:
        with Image.open(io.BytesIO(ask["image"])) as image:
            content.insert(0, {"type": "image_pil", "image_pil": image.convert("RGB")})
    return [{"role": "user", "content": content}]


def stored_answers(folder: UPath) -> dict[str, str]:
    """All answers that earlier runs left in a folder, by key."""
    answers = {}
    for path in sorted(folder.glob("*.jsonl"), key=str) if folder.is_dir() else ():
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            answers[row["key"]] = row["prediction"]
    return answers


def store_answers(folder: UPath, answers: Mapping[str, str]) -> None:
    """Write one batch as a file of its own, complete or not there at all."""
    lines = [
        json.dumps({"key": key, "prediction": text}, ensure_ascii=False) + "\n"
        for key, text in answers.items()
    ]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{sha256(*answers)[:32]}.jsonl"
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as stream:
        stream.write("".join(lines))
        stream.flush()
        if hasattr(stream, "fileno"):  # a local file; object stores are complete once closed
            os.fsync(stream.fileno())
    part.rename(path)


def answer_all(
    asks: Iterable[Ask],
    *,
    model: str,
    engine: EngineConfig,
    decoding: DecodingConfig,
    folder: UPath,
    address: str | None,
    say: Callable[[str], None],
) -> tuple[dict[str, str], int]:
    """The answer of every ask, by key, and how many had to be asked now.

    Args:
        asks: the questions; those of one key are asked once.
        model: an exported model folder, readable on every node.
        engine: how vLLM runs it.
        decoding: length, batches, replicas.
        folder: where answers are stored as they come, and found again.
        address: the Ray cluster; only joined when something is left to ask.
        say: prints one line of progress.
    """
    wanted = {ask.key: ask for ask in asks}
    answers = stored_answers(folder)
    missing = [ask for key, ask in wanted.items() if key not in answers]
    if len(missing) < len(wanted):
        say(f"{len(wanted) - len(missing)} of {len(wanted)} answers are already there")
    if missing:
        with connect(address):
            started, done = time.time(), 0
            for batch in _generate(missing, model, engine, decoding):
                store_answers(folder, batch)
                answers |= batch
                done += len(batch)
                say(f"answered {done} of {len(missing)} ({time.time() - started:.0f} s)")
    return {key: answers[key] for key in wanted}, len(missing)


def _generate(
    asks: Sequence[Ask], model: str, engine: EngineConfig, decoding: DecodingConfig
) -> Iterable[dict[str, str]]:
    """Stream the asks through the engines; yields each finished batch."""
    import ray.data

    rows = [{"key": ask.key, "prompt": ask.prompt, "image": ask.image} for ask in asks]
    blocks = [
        pa.Table.from_pylist(rows[start : start + decoding.batch], schema=ASKS)
        for start in range(0, len(rows), decoding.batch)
    ]
    dataset = ray.data.from_arrow(blocks).map_batches(
        Engine,
        fn_constructor_args=(model, engine, decoding.max_tokens),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=decoding.replicas),
        num_cpus=engine.cpus,
        num_gpus=engine.gpus,
    )
    tables: Iterable[Any] = dataset.iter_batches(batch_size=None, batch_format="pyarrow")
    for table in tables:
        yield dict(zip(table["key"].to_pylist(), table["prediction"].to_pylist(), strict=True))
