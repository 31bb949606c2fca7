#!/usr/bin/env python
"""The paper's claim for two fine-tuning stages, small: what each stage does to either ability.

    make demo && python benchmarks/two_stages.py

From the demo's base and data: the stage `medical`, then `hybrid` (80% general) on top of it, and
beside them one mixed stage of as many rows of either domain as the two together. Three seeds each.
Ability is the loss (nats a token) on instruction rows that none of them was trained on: a tenth of
the curated rows, chosen by id. Intervals are 95% t-intervals over the seeds of the difference to
the base. Says whether the claim holds (general ability falls after `medical`, is back at the base's
after `hybrid`, medical ability stays); fails only when training fails.
"""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from _seeds import t_interval

from doctor_sun.cluster import connect
from doctor_sun.config import load
from doctor_sun.models.build import ModelConfig, build_model
from doctor_sun.models.chat_template import DoesNotFit, encode
from doctor_sun.models.multimodal import pad_batch
from doctor_sun.training.mixture import MixtureItem
from doctor_sun.training.stage import StageConfig, run

RESULTS = Path(__file__).parent / "results"
CONFIGS = Path(__file__).parent.parent / "configs" / "tiny"
DOMAINS = ("medical", "general")
MEASURED = 300  # held-out rows of each domain
BATCH = 32


def split(curated: Path, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Write the rows to train on; return the others by domain."""
    files = sorted((curated / "data").glob("*.parquet"))
    rows = pa.concat_tables(pq.read_table(file) for file in files)
    rows = rows.filter(pc.equal(rows["task"], "instruction"))
    held_out = pa.array([int(row[:4], 16) % 10 == 0 for row in rows["id"].to_pylist()])
    folder.mkdir()
    pq.write_table(rows.filter(pc.invert(held_out)), folder / "rows.parquet", row_group_size=500)
    rest = rows.filter(held_out).sort_by("id")
    return {
        domain: rest.filter(pc.equal(rest["domain"], domain)).slice(0, MEASURED).to_pylist()
        for domain in DOMAINS
    }


def loss_of(llm: str, rows: list[dict[str, Any]]) -> float:
    """Mean loss of a language model over the labelled tokens of rows."""
    built = build_model(ModelConfig(llm=llm))
    built.model.eval()
    encoded = []
    for row in rows:
        try:
            encoded.append(encode(row["turns"], built.tokenizer, 0, 256))
        except DoesNotFit:
            continue
    encoded.sort(key=lambda pair: len(pair[0]))
    total, tokens = 0.0, 0
    with torch.no_grad():
        for start in range(0, len(encoded), BATCH):
            ids, mask, labels = pad_batch(
                encoded[start : start + BATCH], built.tokenizer.pad_token_id
            )
            total += float(built.model(ids, mask, labels).sum())
            tokens += int((labels[:, 1:] != -100).sum())
    return total / tokens


def train(name: str, seed: int, data: Path, folder: Path, llm: str, **changes: Any) -> str:
    """Run one of the demo's text stages; returns the model's folder."""
    config = load(StageConfig, str(CONFIGS / f"{name}.yaml"), output=str(folder))
    run(replace(config, data=str(data), seed=seed, model=ModelConfig(llm=llm), **changes))
    return str(folder / "model")


def mixed_stage() -> dict[str, Any]:
    """Rows, and shares of the domains, of one stage in place of the two."""
    files = [str(CONFIGS / f"{name}.yaml") for name in ("medical", "hybrid")]
    stages = [load(StageConfig, file, output="-") for file in files]
    counts = dict.fromkeys(DOMAINS, 0.0)
    for stage in stages:
        whole = sum(item.share for item in stage.mixture)
        for item in stage.mixture:
            counts[str(item.domain)] += stage.samples * item.share / whole
    mixture = [
        MixtureItem(share=count, domain=domain, tasks=["instruction"])
        for domain, count in counts.items()
    ]
    return {"samples": sum(stage.samples for stage in stages), "mixture": mixture}


def main() -> None:
    """Train, measure, print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--run", type=Path, default=Path("runs/tiny"), help="the demo's folder")
    parser.add_argument("--quick", action="store_true", help="two seeds instead of three")
    arguments = parser.parse_args()
    base, curated = arguments.run / "bases" / "llm", arguments.run / "curate"
    for path in (base, curated / "manifest.json"):
        if not path.exists():
            sys.exit(f"error: {path} is not there: `make demo` makes it")
    seeds = (1, 2) if arguments.quick else (1, 2, 3)
    base_llm = str(base.absolute())
    losses: dict[str, list[dict[str, float]]] = {"medical": [], "hybrid": [], "mixed": []}
    with tempfile.TemporaryDirectory() as temporary, connect(None):
        folder = Path(temporary)
        held_out = split(curated, folder / "data")
        before = {domain: loss_of(base_llm, rows) for domain, rows in held_out.items()}
        for seed in seeds:
            own = folder / str(seed)
            own.mkdir()
            medical = train("medical", seed, folder / "data", own / "medical", base_llm)
            models = {
                "medical": medical,
                "hybrid": train("hybrid", seed, folder / "data", own / "hybrid", medical),
                "mixed": train(
                    "medical", seed, folder / "data", own / "mixed", base_llm, **mixed_stage()
                ),
            }
            for name, model in models.items():
                losses[name].append({d: loss_of(model, rows) for d, rows in held_out.items()})
    table = {
        name: {
            domain: t_interval([row[domain] - before[domain] for row in found])
            for domain in DOMAINS
        }
        for name, found in losses.items()
    }
    result = {
        "base": before,
        "change": table,
        "losses": losses,
        "held_out_rows": {domain: len(rows) for domain, rows in held_out.items()},
        "seeds": seeds,
        "cpus": os.cpu_count(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "two_stages.json").write_text(json.dumps(result, indent=2))
    print(f"{'held-out loss':<24}{'medical':>28}{'general':>28}")
    print(f"{'base':<24}{before['medical']:>28.3f}{before['general']:>28.3f}")
    for name, row in table.items():
        cells = [f"{mean:+.3f} ({low:+.3f} to {high:+.3f})" for mean, low, high in row.values()]
        print(f"{name:<24}{cells[0]:>28}{cells[1]:>28}")
    print("\n".join(findings(table)))
    ratio = table["medical"]["general"][0] / table["hybrid"]["general"][0]
    print(f"ratio: {ratio:.2f} (change of general loss after medical, to that after hybrid)")


def findings(table: dict[str, dict[str, tuple[float, float, float]]]) -> list[str]:
    """Each part of the claim, and whether it was seen."""
    fallen, back = (table[name]["general"][1] for name in ("medical", "hybrid"))
    kept = table["hybrid"]["medical"][2]
    parts = {
        "general ability falls after `medical`": fallen > 0,
        "after `hybrid` it is not below the base's": back <= 0,
        "after `hybrid` medical ability is above the base's": kept < 0,
    }
    return [f"{'seen' if seen else 'NOT seen'}: {part}" for part, seen in parts.items()]


if __name__ == "__main__":
    main()
