#!/usr/bin/env python
"""Batch inference: vLLM under Ray Data (what `jobs/evaluate.py` runs) against plain transformers.

    python benchmarks/batch_inference.py --model runs/tiny/export

Both answer the same held-out questions greedily in float32. Start-up is measured apart from
answering. Fails when more than one answer in fifty differs: the engines must agree before their
speeds compare.
"""

import argparse
import io
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from upath import UPath

from doctor_sun.cluster import connect
from doctor_sun.evaluation.inference import Ask, DecodingConfig, answer_all
from doctor_sun.vllm_engine import EngineConfig

RESULTS = Path(__file__).parent / "results"
MAX_TOKENS = 24


def with_vllm(model: str, items: list[dict[str, Any]]) -> tuple[list[str], float, float]:
    """Answers, seconds of start-up, seconds of answering."""
    asks = [Ask(key=item["id"], prompt=item["question"], image=item["image"]) for item in items]
    moments = [time.perf_counter()]
    with tempfile.TemporaryDirectory() as folder, connect(None):
        answers, _ = answer_all(
            asks,
            model=str(Path(model).absolute()),
            engine=EngineConfig(
                dtype="float32", max_model_len=512, max_num_seqs=64, images_per_prompt=1
            ),
            decoding=DecodingConfig(max_tokens=MAX_TOKENS, batch=len(asks) // 4),
            folder=UPath(folder) / "answers",
            address=None,
            say=lambda line: moments.append(time.perf_counter()),
        )
    # Each line marks a finished batch; the first also carries the engine's start.
    per_batch = (moments[-1] - moments[1]) / (len(moments) - 2)
    total = per_batch * (len(moments) - 1)
    return [answers[ask.key] for ask in asks], moments[-1] - moments[0] - total, total


def with_transformers(
    model: str, items: list[dict[str, Any]], batch: int = 16
) -> tuple[list[str], float, float]:
    """Answers of `generate` on padded batches, seconds to load, seconds to answer."""
    started = time.perf_counter()
    import torch
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    torch.set_num_threads(1)  # the vLLM engine is given one core as well
    llava = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(model)
    processor.tokenizer.padding_side = "left"
    loaded = time.perf_counter()
    answers: list[str] = []
    for start in range(0, len(items), batch):
        chosen = items[start : start + batch]
        prompts = [
            processor.apply_chat_template(
                [
                    {
                        "role": "user",
                        "content": [{"type": "image"}, {"type": "text", "text": item["question"]}],
                    }
                ],
                add_generation_prompt=True,
            )
            for item in chosen
        ]
        images = [Image.open(io.BytesIO(item["image"])).convert("RGB") for item in chosen]
        inputs = processor(
            images=images, text=prompts, return_tensors="pt", padding=True, add_special_tokens=False
        )
        with torch.no_grad():
            ids = llava.generate(**inputs, max_new_tokens=MAX_TOKENS, do_sample=False)
        said = ids[:, inputs["input_ids"].shape[1] :]
        answers += [
            text.strip().rstrip("\ufffd")
            for text in processor.tokenizer.batch_decode(said, skip_special_tokens=True)
        ]
    return answers, loaded - started, time.perf_counter() - loaded


def main() -> None:
    """Run both, print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--model", default="runs/tiny/export", help="exported folder")
    parser.add_argument(
        "--benchmark", help="questions (Parquet); default: the corpus beside the model"
    )
    parser.add_argument("--quick", action="store_true", help="200 questions instead of all")
    arguments = parser.parse_args()
    questions = arguments.benchmark or (
        Path(arguments.model).parent / "corpus" / "benchmark" / "phantom.parquet"
    )
    for path in (Path(arguments.model) / "config.json", Path(questions)):
        if not path.is_file():
            sys.exit(f"error: {path} is not there: `make demo` makes it")
    items = pq.read_table(questions).to_pylist()
    if arguments.quick:
        items = items[:200]
    ours, our_start, our_seconds = with_vllm(arguments.model, items)
    theirs, their_start, their_seconds = with_transformers(arguments.model, items)
    agree = sum(a == b for a, b in zip(ours, theirs, strict=True))
    result = {
        "questions": len(items),
        "equal_answers": agree,
        "vllm": {"start_seconds": our_start, "questions_per_second": len(items) / our_seconds},
        "transformers": {
            "start_seconds": their_start,
            "questions_per_second": len(items) / their_seconds,
        },
        "ratio": their_seconds / our_seconds,
        "cpus": os.cpu_count(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "batch_inference.json").write_text(json.dumps(result, indent=2))
    print(f"{'':<26}{'start, s':>10}{'questions/s':>14}")
    for name in ("vllm", "transformers"):
        row = result[name]
        print(f"{name:<26}{row['start_seconds']:>10.1f}{row['questions_per_second']:>14.1f}")
    print(f"equal greedy answers: {agree} of {len(items)}")
    print(f"ratio: {result['ratio']:.2f}")
    if agree < 0.98 * len(items):
        sys.exit(1)


if __name__ == "__main__":
    main()
