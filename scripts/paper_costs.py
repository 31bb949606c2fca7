#!/usr/bin/env python
"""What the paper's four training stages take with an 8B model: hours and money, by GPUs.

    python scripts/paper_costs.py [--gpus 8 64] [--price 2.5] [--utilisation align=0.425 ...]

`--estimate` of a stage reads its real rows; this draws rows of published sizes instead, so that
the price is known before there is any data: lengths of texts are log-normal, an image is 576 tokens
(CLIP ViT-L/14-336). Operations are counted on the real model without weights. Utilisations are
those that `benchmarks/gpu_training.py` saw on one H100, rows packed and activations computed again:
`align` with an 8B, `instruct` with a 3B; those of the text stages are assumed. What GPUs lose by
waiting for each other is not in them. The paper's batches of 16 rows keep few GPUs busy: a GPU gets
four rows a step at least, so that with many of them the batch is larger.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from tabulate import tabulate

from doctor_sun.config import load
from doctor_sun.models.tokenizer import train_tokenizer
from doctor_sun.training.cost import build_shapes, training_cost
from doctor_sun.training.estimate import memory_table, totals
from doctor_sun.training.stage import TEXT_STAGES, StageConfig

ROOT = Path(__file__).parents[1]
# Llama 3.1 8B, as its publisher's config.json says.
LLAMA = {
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
}
TEXTS = {  # of a row's text: median tokens, spread of the logarithm, share that carries loss
    "medical": (350, 0.6, 0.6),
    "hybrid": (350, 0.6, 0.6),
    "align": (60, 0.5, 0.7),
    "instruct": (350, 0.6, 0.5),
}
UTILISATION = {"medical": 0.3, "hybrid": 0.3, "align": 0.322, "instruct": 0.21}
DRAWN = 30_720  # rows whose lengths stand for all: whole batches of all stages
ROWS_A_GPU = 4  # of a step, at least
PACK_TOKENS = 8192


def language_model(folder: Path) -> str:
    """The configuration of an 8B model, without weights, and a tokenizer."""
    from transformers import LlamaConfig

    LlamaConfig(**LLAMA).save_pretrained(folder)
    train_tokenizer(["Which side is the nodule on? 病变在哪一侧？"] * 20, 400).save_pretrained(
        folder
    )
    return str(folder)


def order_of(config: StageConfig, image_tokens: int) -> pa.Table:
    """Lengths of as many rows as stand for the stage's."""
    middle, spread, answered = TEXTS[config.stage]
    drawn = np.random.default_rng(0).lognormal(np.log(middle), spread, DRAWN)
    texts = np.clip(drawn, 8, config.max_length - image_tokens).astype(np.int64)
    pictures = np.full(DRAWN, int(config.stage not in TEXT_STAGES))
    tokens = texts + image_tokens * pictures
    labels = (answered * texts).astype(np.int64)
    return pa.table({"tokens": tokens, "label_tokens": labels, "pictures": pictures})


def main() -> None:
    """Count, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 64])
    parser.add_argument(
        "--price", type=float, default=2.5, help="of an H100 hour, in your currency"
    )
    parser.add_argument("--utilisation", nargs="*", default=[], help="STAGE=SHARE of the peak")
    arguments = parser.parse_args()
    given = dict(one.split("=") for one in arguments.utilisation)
    if unknown := given.keys() - UTILISATION.keys():
        parser.error(f"no stage {', '.join(unknown)}: there are {', '.join(UTILISATION)}")
    utilisation = UTILISATION | {stage: float(share) for stage, share in given.items()}
    lines, together = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        llm = language_model(Path(folder))
        for stage in TEXTS:
            config = load(
                StageConfig,
                str(ROOT / "configs" / "paper" / f"{stage}.yaml"),
                **{"output": "unused", "model.llm": llm, "accelerator.name": "H100"},
                **{"accelerator.utilisation": utilisation[stage], "pack_tokens": PACK_TOKENS},
            )
            built = build_shapes(replace(config.model, start_from=None))
            cost = training_cost(built, config.learning_rate, config.engine)
            order = order_of(config, built.image_tokens)
            read = totals(order, config.cut, config.workers)
            share = config.samples / read.rows
            hours = config.accelerator.hours(
                share
                * cost.operations.of(read.tokens, read.squared_tokens, read.labels, read.images)
            )
            together += hours
            lines.append([stage, config.samples, share * read.tokens / 1e6])
            lines[-1] += [f"{utilisation[stage]:.1%}", hours, hours * arguments.price]
            for gpus in arguments.gpus:
                batch = max(config.global_batch, ROWS_A_GPU * gpus)
                shared = replace(config, workers=gpus, global_batch=batch)
                found = memory_table(cost, totals(order, shared.cut, gpus), shared)
                lines[-1] += [hours / gpus, found[config.engine.zero_stage]["all"], batch]
    heads = ["stage", "rows", "M tokens", "of peak", "H100 hours", "price"]
    heads += [h for n in arguments.gpus for h in (f"{n} GPUs: hours", "GiB of each", "batch")]
    print(tabulate(lines, heads, floatfmt=",.2f", intfmt=","))
    price = together * arguments.price
    print(f"\ntogether {together:,.0f} H100 hours, {price:,.0f} at {arguments.price:g} an hour")


if __name__ == "__main__":
    main()
