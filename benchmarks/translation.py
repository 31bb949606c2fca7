#!/usr/bin/env python
"""Requests a second against a local endpoint that takes 100 ms for an answer, 64 in flight.

    python benchmarks/translation.py [--quick]

Ours (`jobs/translate.py`'s way: Ray Data actors, every answer stored as it comes) beside the bare
`openai` client with as many in flight, Ray Data's own HTTP processor, and the ideal: in flight by
latency. The server counts: whole run, first request to last answer. It shares the cores with the
clients. Passes at 85 % of the ideal, or of the best that a bare client reaches in the same run.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from pydantic import SecretStr
from upath import UPath

from doctor_sun.asking.answers import AnswerIndex
from doctor_sun.asking.asker import endpoint_asker
from doctor_sun.asking.budget import BudgetConfig
from doctor_sun.asking.chat_client import EndpointConfig
from doctor_sun.cluster import connect
from doctor_sun.data.translation.asking import (
    Work,
    ask_missing,
    missing_works,
    request_keys,
)
from doctor_sun.data.translation.fluency import JudgeConfig
from doctor_sun.data.translation.glossary import Glossary
from doctor_sun.data.translation.outcomes import Translator
from doctor_sun.data.translation.preservation import PreservationConfig
from doctor_sun.data.translation.prompts import ModelConfig
from doctor_sun.records import make_sample, to_table

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SERVER = HERE.parent / "tests" / "chat_server.py"
LATENCY, IN_FLIGHT, BAR = 0.1, 64, 0.85
Figures = dict[str, float]


@contextmanager
def served(port: int = 8799) -> Iterator[str]:
    """The server in a process of its own; yields its address."""
    command = [sys.executable, str(SERVER), "--port", str(port), "--latency", str(LATENCY)]
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                figures(f"http://127.0.0.1:{port}")
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def figures(url: str) -> Figures:
    """What the server counted since the last call."""
    with urllib.request.urlopen(url) as answer:
        found: Figures = json.load(answer)
    return found | {"rate": found["requests"] / max(found["seconds"], 1e-9)}


def translator() -> Translator:
    """The job's translator with its defaults."""
    return Translator(
        model=ModelConfig(model="m"),
        judge=JudgeConfig(),
        preservation=PreservationConfig(),
        glossary=Glossary({}),
    )


def rows(count: int) -> list[dict[str, Any]]:
    """Samples of one question and answer, each with another text."""
    return [
        make_sample(
            source="benchmark",
            source_key=str(number),
            domain="medical",
            language="en",
            task="instruction",
            turns=[
                {"role": "user", "text": f"What is seen in the image of case {number}?"},
                {"role": "assistant", "text": f"The left lung shows a {number} mm nodule."},
            ],
        )
        for number in range(count)
    ]


def ours(url: str, samples: list[dict[str, Any]], actors: int) -> Figures:
    """As `jobs/translate.py` asks: keys, missing ones, actors, stored answers."""
    with tempfile.TemporaryDirectory() as folder:
        file, answers = Path(folder) / "rows.parquet", UPath(folder) / "answers"
        answers.mkdir()
        pq.write_table(to_table(samples), file)
        build = translator().requests
        works = [Work(str(file), np.arange(len(samples), dtype=np.int32))]
        works, keys = request_keys(works, build)
        missing = missing_works(works, keys, AnswerIndex.of(answers), actors)
        endpoint = EndpointConfig(base_url=url, in_flight=IN_FLIGHT, actors=actors)
        ask = endpoint_asker(endpoint, BudgetConfig(), SecretStr("key"), None, answers)
        figures(url)
        errors = ask_missing(missing, build, ask, print)
        found = figures(url)
        stored = len(AnswerIndex.of(answers).keys)
    if errors or stored != len(samples):
        sys.exit(f"error: {len(errors)} errors, {stored} of {len(samples)} answers stored")
    return found


def bare(url: str, samples: list[dict[str, Any]], aiohttp: bool) -> Figures:
    """The client as its documentation shows it, or over aiohttp with unparsed answers."""
    import httpx2
    import openai

    bodies = [dict(r.body) for r in translator().requests(samples, {}) if r]
    limits = httpx2.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)

    async def run() -> None:
        transport = openai.DefaultAioHttpClient if aiohttp else openai.DefaultAsyncHttpxClient
        slots = asyncio.Semaphore(IN_FLIGHT)
        async with openai.AsyncOpenAI(
            api_key="key", base_url=url, http_client=transport(limits=limits)
        ) as client:

            async def one(body: dict[str, Any]) -> None:
                async with slots:
                    if aiohttp:
                        await client.post("/chat/completions", cast_to=object, body=body)
                    else:
                        await client.chat.completions.create(**body)

            await asyncio.gather(*map(one, bodies))

    figures(url)
    asyncio.run(run())
    return figures(url)


def ray_processor(url: str, samples: list[dict[str, Any]]) -> Figures:
    """Ray Data's own HTTP processor."""
    import ray.data
    from ray.data.llm import HttpRequestProcessorConfig, build_processor

    config = HttpRequestProcessorConfig(
        url=f"{url}/chat/completions", headers={"Authorization": "Bearer key"}, concurrency=1
    )
    processor = build_processor(config, preprocess=lambda row: {"payload": json.loads(row["body"])})
    bodies = [{"body": json.dumps(r.body)} for r in translator().requests(samples, {}) if r]
    figures(url)
    for _ in processor(ray.data.from_items(bodies)).iter_rows():
        pass
    return figures(url)


def main() -> None:
    """Run all, print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="4,000 requests instead of 20,000")
    parser.add_argument("--actors", type=int, default=2)
    arguments = parser.parse_args()
    count = 4_000 if arguments.quick else 20_000
    samples = rows(count)
    with served() as url:
        found = {
            "openai client": bare(url, samples[: count // 4], aiohttp=False),
            "openai client, aiohttp": bare(url, samples[: count // 4], aiohttp=True),
        }
        with connect(None):
            found["ours, Ray Data"] = ours(url, samples, arguments.actors)
            found["Ray Data's HTTP processor"] = ray_processor(url, samples[:64])
    report(found, count, arguments.actors)


def report(found: dict[str, Figures], count: int, actors: int) -> None:
    """Print the table, write the result, exit when the bar is missed."""
    ideal = IN_FLIGHT / LATENCY
    limit = max(found["openai client"]["rate"], found["openai client, aiohttp"]["rate"])
    own = found["ours, Ray Data"]
    result = {
        "requests": count,
        "in_flight": IN_FLIGHT,
        "latency_seconds": LATENCY,
        "actors": actors,
        "ideal": ideal,
        "client_limit": limit,
        "measured": found,
        "ratio_to_ideal": own["rate"] / ideal,
        "ratio_to_client": own["rate"] / limit,
        "cpus": os.cpu_count(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "translation.json").write_text(json.dumps(result, indent=2))
    print(f"{'':<28}{'requests':>10}{'most in flight':>16}{'requests/s':>12}{'steady':>9}")
    for name, row in found.items():
        numbers = f"{row['requests']:>10.0f}{row['most_in_flight']:>16.0f}"
        print(f"{name:<28}{numbers}{row['rate']:>12.1f}{row['steady']:>9.1f}")
    print(f"{'ideal':<28}{'':>10}{IN_FLIGHT:>16}{ideal:>12.1f}")
    ratio = own["rate"] / min(ideal, limit)
    print(f"ratio: {own['rate'] / limit:.2f} (requests a second, to the bare client)")
    print(f"ratio: {own['rate'] / ideal:.2f} (requests a second, to what latency allows)")
    if ratio < BAR or own["most_in_flight"] > IN_FLIGHT:
        sys.exit(1)


if __name__ == "__main__":
    main()
