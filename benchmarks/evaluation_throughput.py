#!/usr/bin/env python
"""Answers a second of an evaluation: vLLM under Ray Data (what `jobs/evaluate.py` runs) against
vLLM alone with the same settings, and against a plain loop of transformers.

    make demo && python benchmarks/evaluation_throughput.py

All answer the same held-out questions greedily in float32 on one core. Start-up is not counted: the
first batch warms an engine up, the rest is timed. Three rounds each, in turn; the median counts.
Fails below 0.9 of vLLM alone, or when more than one answer in fifty differs from it.
"""

import argparse
import io
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
from upath import UPath

from doctor_sun.asking.answers import AnswerIndex
from doctor_sun.asking.asker import ASKS
from doctor_sun.asking.engine import engine_asker
from doctor_sun.cluster import WORKER_ENVIRONMENT, connect
from doctor_sun.evaluation.inference import Question
from doctor_sun.evaluation.tasks import TASKS, Item
from doctor_sun.vllm_engine import EngineConfig, engine_arguments, engine_environment

RESULTS = Path(__file__).parent / "results"
MAX_TOKENS = 24
BATCH = 256
ENGINE = EngineConfig(dtype="float32", max_model_len=512, max_num_seqs=64, images_per_prompt=1)
ROUNDS = 3
BAR = 0.9


def questions_of(items: list[Item]) -> list[Question]:
    """What the evaluation asks."""
    return [
        Question.of(item, item, model="", identity="", max_tokens=MAX_TOKENS, temperature=0.0)
        for item in items
    ]


def under_ray(model: Path, items: list[Item]) -> tuple[list[str], float]:
    """Answers, and questions a second from the end of the first batch to the last answer."""
    import ray
    import ray.data

    questions = questions_of(items)
    with tempfile.TemporaryDirectory() as temporary, connect(None):
        folder = UPath(temporary)
        blocks = [
            ray.put(
                pa.Table.from_pylist(
                    [
                        {
                            "key": question.key,
                            "body": json.dumps(question.request().body),
                            "most_prompt": 0,
                            "most_completion": MAX_TOKENS,
                        }
                        for question in questions[start : start + BATCH]
                    ],
                    schema=ASKS,
                )
            )
            for start in range(0, len(questions), BATCH)
        ]
        asked = engine_asker(model, ENGINE, folder, BATCH, 1)(ray.data.from_arrow_refs(blocks))
        tables = iter(asked.iter_batches(batch_size=None, batch_format="pyarrow"))
        first = next(tables).num_rows
        started = time.perf_counter()
        done = sum(table.num_rows for table in tables)
        seconds = time.perf_counter() - started
        import numpy as np

        keys = np.array([question.key for question in questions], "S32")
        found = AnswerIndex.of(folder).places(keys).read()
    assert first + done == len(questions)
    return [found[question.key].text.strip() for question in questions], done / seconds


def alone(model: Path, items: list[Item]) -> tuple[list[str], float]:
    """`LLM.chat` on the same batches in this process."""
    os.environ.update(engine_environment(ENGINE) | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"})
    os.environ.update({name: value for name, value in WORKER_ENVIRONMENT.items() if value})
    from PIL import Image
    from vllm import LLM, SamplingParams

    llm = LLM(str(model), seed=0, **engine_arguments(ENGINE, model))
    sampling = SamplingParams(temperature=0.0, max_tokens=MAX_TOKENS)
    texts: list[str] = []
    started = 0.0
    for start in range(0, len(items), BATCH):
        conversations: list[Any] = [
            [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "image_pil",
                            "image_pil": Image.open(io.BytesIO(item.image or b"")).convert("RGB"),
                        },
                        {"type": "text", "text": item.question},
                    ],
                }
            ]
            for item in items[start : start + BATCH]
        ]
        outputs = llm.chat(conversations, sampling, use_tqdm=False)
        texts += [output.outputs[0].text.strip() for output in outputs]
        started = started or time.perf_counter()
    return texts, (len(items) - BATCH) / (time.perf_counter() - started)


def with_transformers(model: Path, items: list[Item]) -> tuple[list[str], float]:
    """`generate` on padded batches of 16."""
    import torch
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    torch.set_num_threads(1)  # the engines are given one core as well
    llava = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(model)
    processor.tokenizer.padding_side = "left"
    texts: list[str] = []
    started = time.perf_counter()
    for start in range(0, len(items), 16):
        chosen = items[start : start + 16]
        prompts = [
            processor.apply_chat_template(
                [
                    {
                        "role": "user",
                        "content": [{"type": "image"}, {"type": "text", "text": item.question}],
                    }
                ],
                add_generation_prompt=True,
            )
            for item in chosen
        ]
        images = [Image.open(io.BytesIO(item.image or b"")).convert("RGB") for item in chosen]
        inputs = processor(
            images=images, text=prompts, return_tensors="pt", padding=True, add_special_tokens=False
        )
        with torch.no_grad():
            ids = llava.generate(**inputs, max_new_tokens=MAX_TOKENS, do_sample=False)
        said = processor.tokenizer.batch_decode(
            ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        texts += [text.strip().rstrip("\ufffd") for text in said]
    return texts, len(items) / (time.perf_counter() - started)


CONTENDERS = {"ray": under_ray, "vllm": alone, "transformers": with_transformers}


def main() -> None:
    """Run all in processes of their own, print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--model", type=Path, default=Path("runs/tiny/export"), help="exported")
    parser.add_argument("--benchmark", help="phantom questions; default: those beside the model")
    parser.add_argument("--repeat", type=int, default=4, help="how often each question is asked")
    parser.add_argument("--quick", action="store_true", help="one round instead of three")
    parser.add_argument("--only", choices=CONTENDERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    model = arguments.model.absolute()
    benchmark = UPath(arguments.benchmark or model.parent / "corpus" / "benchmark")
    if not (model / "config.json").is_file() or not benchmark.exists():
        sys.exit(f"error: {model} or {benchmark} is not there: `make demo` makes them")
    known = list(TASKS["phantom"].load(benchmark, "published"))
    items = [
        # Another key each time, and a text of its own: no cache of an engine knows it.
        Item(**{**vars(item), "question": f"{item.question}{' ' * again}"})
        for again in range(arguments.repeat)
        for item in known
    ]
    if arguments.only:
        texts, speed = CONTENDERS[arguments.only](model, items)
        print(json.dumps({"texts": texts, "speed": speed}))
        return
    speeds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    texts: dict[str, list[str]] = {}
    for _ in range(1 if arguments.quick else ROUNDS):
        for name in CONTENDERS:
            found = _in_own_process(name)
            speeds[name].append(found["speed"])
            texts[name] = found["texts"]
    median = {name: statistics.median(own) for name, own in speeds.items()}
    agree = {
        name: sum(a == b for a, b in zip(own, texts["vllm"], strict=True))
        for name, own in texts.items()
    }
    result = {
        "questions": len(items),
        "questions_per_second": speeds,
        "answers_equal_to_vllm": agree,
        "ratio_to_transformers": median["ray"] / median["transformers"],
        "ratio": median["ray"] / median["vllm"],
        "cpus": os.cpu_count(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "evaluation_throughput.json").write_text(json.dumps(result, indent=2))
    print(f"{'':<16}{'questions/s':>12}{'least':>8}{'most':>8}{'answers as vllm':>18}")
    for name, own in speeds.items():
        cells = f"{median[name]:>12.1f}{min(own):>8.1f}{max(own):>8.1f}"
        print(f"{name:<16}{cells}{f'{agree[name]} of {len(items)}':>18}")
    print(f"ratio: {result['ratio']:.2f} (questions a second, to vLLM alone; bar {BAR})")
    print(f"ratio: {result['ratio_to_transformers']:.2f} (questions a second, to transformers)")
    if result["ratio"] < BAR or agree["ray"] < 0.98 * len(items):
        sys.exit(1)


def _in_own_process(name: str) -> dict[str, Any]:
    """One contender's answers and speed; an engine leaves threads and memory behind."""
    import subprocess

    command = [sys.executable, *sys.argv, "--only", name]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
