#!/usr/bin/env python
"""The paper's ablations, small: an adapted CLIP against a frozen one, a medical LLM against a
general one.

    make demo && python benchmarks/ablations.py

Each seed aligns and tunes anew on the demo's data, once as the demo does (LoRA on CLIP, the LLM of
the two text stages), once with CLIP frozen (`docs-fv`), once on the base LLM (`docs-gl`), and
answers the phantom questions on anatomies and combinations that were never trained on. Intervals
are 95% t-intervals over the seeds of the difference; where it does not clear zero, the claim is not
seen here. Takes hours on two cores, and goes on where it was stopped; `--quick` trains a hundredth
and shows that it runs.
"""

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _seeds import t_interval

from doctor_sun.cluster import connect
from doctor_sun.config import load
from doctor_sun.evaluation import evaluate
from doctor_sun.training import publish
from doctor_sun.training.stage import StageConfig, run

RESULTS = Path(__file__).parent / "results"
CONFIGS = Path(__file__).parent.parent / "configs" / "tiny"
VARIANTS = ("full", "docs-fv", "docs-gl")
CLAIMS = {
    "docs-fv": "adapting CLIP beats freezing it",
    "docs-gl": "the medical LLM beats the general one",
}


def train(name: str, seed: int, output: Path, model: dict[str, Any], shrink: int) -> Path:
    """Run the demo's `align` or `instruct` with another model and seed; returns the model."""
    config = load(StageConfig, str(CONFIGS / f"{name}.yaml"), output=str(output))
    rates = dict(config.learning_rate)
    if "low_rank" in model:
        rates.pop("vision", None)
    run(
        replace(
            config,
            seed=seed,
            model=replace(config.model, **model),
            learning_rate=rates,
            samples=config.samples // shrink,
        )
    )
    return output / "model"


def score(checkpoint: Path, demo: Path, folder: Path, limit: int | None) -> dict[str, float]:
    """Accuracy of a tuned model on each section of the held-out questions."""
    exported = folder / "export"
    export = load(
        publish.ExportConfig,
        str(CONFIGS / "export.yaml"),
        output=str(exported),
        checkpoint=str(checkpoint),
    )
    publish.run(export)
    asked = load(
        evaluate.EvaluateConfig,
        str(CONFIGS / "evaluate.yaml"),
        output=str(folder / "evaluate"),
        model=str(exported),
        limit=limit,
        **{"benchmarks.phantom": str(demo / "corpus" / "benchmark")},
    )
    evaluate.run(asked)
    metrics = json.loads((folder / "evaluate" / evaluate.METRICS_FILE).read_text(encoding="utf-8"))
    sections = metrics["tasks"]["phantom"]["sections"]
    return {name: section["lines"][0]["model"] for name, section in sections.items()}


def one_seed(seed: int, demo: Path, folder: Path, shrink: int) -> dict[str, dict[str, float]]:
    """Accuracies of the three variants."""
    llms = {"medical": str(demo / "hybrid" / "model"), "general": str(demo / "bases" / "llm")}
    shared = {"vision": str(demo / "bases" / "clip"), "start_from": None}
    aligned = {
        name: train("align", seed, folder / f"align-{name}", {"llm": llm, **shared}, shrink)
        for name, llm in llms.items()
    }
    found = {}
    for variant in VARIANTS:
        name = "general" if variant == "docs-gl" else "medical"
        model = {**shared, "llm": llms[name], "start_from": str(aligned[name])}
        if variant == "docs-fv":
            model["low_rank"] = None
        own = folder / variant
        tuned = train("instruct", seed, own / "instruct", model, shrink)
        found[variant] = score(tuned, demo, own, limit=None if shrink == 1 else 40)
    return found


def main() -> None:
    """Train, answer, print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--demo", type=Path, default=Path("runs/tiny"), help="the demo's folder")
    parser.add_argument("--output", type=Path, default=Path("runs/ablations"), help="its own")
    parser.add_argument("--quick", action="store_true", help="one seed, a hundredth of the rows")
    arguments = parser.parse_args()
    demo, shrink = arguments.demo, 100 if arguments.quick else 1
    if not (demo / "hybrid" / "manifest.json").is_file():
        sys.exit(f"error: {demo}/hybrid is not there: `make demo` makes it")
    output = arguments.output / ("quick" if arguments.quick else "full")
    seeds = (1,) if arguments.quick else (1, 2, 3)
    with connect(None):
        found = {seed: one_seed(seed, demo, output / str(seed), shrink) for seed in seeds}
    sections = list(found[seeds[0]]["full"])
    table = {
        section: {
            variant: t_interval(
                [found[seed]["full"][section] - found[seed][variant][section] for seed in seeds]
            )
            for variant in CLAIMS
        }
        for section in sections
    }
    result = {"accuracy": found, "difference": table, "seeds": seeds, "cpus": os.cpu_count()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "ablations.json").write_text(json.dumps(result, indent=2))
    for section in sections:
        print(f"{section}:")
        for variant in VARIANTS:
            values = [found[seed][variant][section] for seed in seeds]
            print(f"  {variant:<10}" + "".join(f"{value:>8.1%}" for value in values))
        for variant, claim in CLAIMS.items():
            mean, low, high = table[section][variant]
            seen = "seen" if low > 0 else "NOT seen"
            interval = f"{low:+.1%} to {high:+.1%}" if len(seeds) > 1 else "one seed, no interval"
            print(f"  {seen}: {claim}: {mean:+.1%} ({interval})")
    full, frozen = (
        np.mean([found[seed][v][sections[0]] for seed in seeds]) for v in ("full", "docs-fv")
    )
    if frozen:
        print(f"ratio: {full / frozen:.2f} ({sections[0]}, adapted to frozen CLIP)")
    else:
        print("not measured: with CLIP frozen no answer is right")


if __name__ == "__main__":
    main()
