"""The chain from raw data to a served answer: which steps, in which order, wired how.

A step is a job's own function with its own configuration file; the chain only says where each
finds what the steps before it have written.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upath import UPath

from doctor_sun.cluster import connect
from doctor_sun.config import JobConfig, load
from doctor_sun.data import curation
from doctor_sun.data.tiny import corpus
from doctor_sun.data.tiny.phantom import NORMAL
from doctor_sun.errors import InputError
from doctor_sun.evaluation import evaluate
from doctor_sun.files import read_parquet
from doctor_sun.serving import endpoint
from doctor_sun.serving.application import ServeConfig
from doctor_sun.training import bases, publish, stage

HOST = "127.0.0.1"


@dataclass(kw_only=True)
class PipelineConfig(JobConfig):
    """The chain's configuration files and where it ends."""

    configs: str = "configs/tiny"
    """Folder with one YAML file a step, named after the step."""

    rows: int | None = None
    """Raw rows of the corpus, 1000 to millions; none takes what its file says."""

    serve: bool = True
    """Start the endpoint at the end and ask it a question."""

    port: int = 8000
    """Port of the endpoint."""

    keep_serving: bool = False
    """Leave the endpoint up until the process is interrupted."""


@dataclass(frozen=True)
class Link:
    """One step of the chain: its job's function, and its inputs by configuration key."""

    name: str
    run: Callable[[Any], dict[str, Any]]
    config: type[Any]
    inputs: Mapping[str, str]
    """Configuration key to a path below the chain's folder."""


TOWER = {"model.llm": "hybrid/model", "model.vision": "bases/clip"}
CHAIN = (
    Link("corpus", corpus.run, corpus.CorpusConfig, {}),
    Link("bases", bases.run, bases.BasesConfig, {"corpus": "corpus"}),
    Link(
        "curate",
        curation.run,
        curation.CurateConfig,
        {"raw": "corpus/raw", "truth": "corpus/truth/planted.parquet"},
    ),
    Link("medical", stage.run, stage.StageConfig, {"data": "curate", "model.llm": "bases/llm"}),
    Link("hybrid", stage.run, stage.StageConfig, {"data": "curate", "model.llm": "medical/model"}),
    Link("align", stage.run, stage.StageConfig, {"data": "curate", **TOWER}),
    Link(
        "instruct",
        stage.run,
        stage.StageConfig,
        {"data": "curate", "model.start_from": "align/model", **TOWER},
    ),
    Link("export", publish.run, publish.ExportConfig, {"checkpoint": "instruct"}),
    Link(
        "evaluate",
        evaluate.run,
        evaluate.EvaluateConfig,
        {
            "model": "export",
            "benchmarks.phantom": "corpus/benchmark",
            "benchmarks.shapes": "corpus/benchmark",
        },
    ),
)


def configure(link: Link, config: PipelineConfig) -> Any:
    """The configuration of one step: its file, with the chain's paths put in.

    Raises:
        InputError: the folder has no file for the step, or the file is wrong.
    """
    file = Path(config.configs) / f"{link.name}.yaml"
    if not file.is_file():
        raise InputError(f"{config.configs} has no {file.name} for the step '{link.name}'")
    root = UPath(config.output)
    paths = {key: str(root / path) for key, path in link.inputs.items()}
    more: dict[str, object] = {"force": "true"} if config.force else {}
    if link.name == "corpus":
        more["rows"] = config.rows
    return load(link.config, str(file), output=str(root / link.name), **paths, **more)


def run(config: PipelineConfig) -> dict[str, Any]:
    """Run every step on one Ray cluster, then serve the model and ask it one question."""
    # Refuse before any work.
    configured = [(link, configure(link, config)) for link in CHAIN]
    if config.serve:
        endpoint.check_port(HOST, config.port)
    started = time.time()
    manifests: dict[str, Any] = {}
    with connect(config.address):
        for link, settings in configured:
            manifests[link.name] = link.run(settings)
        if config.serve:
            serve_and_ask(config)
    summarise(config, manifests, time.time() - started)
    return manifests


def serve_and_ask(config: PipelineConfig) -> None:
    """Start the endpoint on the connected cluster and ask about a held-out image."""
    root = UPath(config.output)
    model = ServeConfig(model=str(root / "export"), dtype="float32", max_model_len=512)
    base_url = endpoint.start(model, port=config.port, host=HOST)
    items = read_parquet(root / "corpus" / "benchmark" / "phantom.parquet").to_pylist()
    for language in ("en", "zh"):
        item = next(i for i in items if i["language"] == language and i["finding"] != NORMAL)
        answer = endpoint.ask(base_url, item["image"], item["question"])
        print(f"  asked:    {item['question']}")
        print(f"  answered: {answer}   (truth: {item['answer']})", flush=True)
    if config.keep_serving:
        print(f"serving at {base_url}; stop with Ctrl-C", flush=True)
        while True:
            time.sleep(3600)
    endpoint.stop()


def summarise(config: PipelineConfig, manifests: dict[str, Any], seconds: float) -> None:
    """Say where everything is."""
    root = UPath(config.output)
    print(f"\nthe whole chain took {seconds:.0f} s")
    for name, what in (
        ("curate/report.html", "curation report"),
        ("evaluate/report.html", "evaluation report"),
        ("export", "model (Hugging Face folder)"),
    ):
        print(f"  {what:<28} {root / name}")
    print(f"  {'serve it':<28} serve run serve.app:build_app model={root / 'export'}", flush=True)
