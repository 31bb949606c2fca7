#!/usr/bin/env python
"""What Ray Train, DeepSpeed and Ray Data cost: our job against bare PyTorch, on the same rows.

    python benchmarks/training_overhead.py

Three ways of taking the same steps (same model, rows, order, batches, precision, optimizer), one
process on one thread each, in turn and in two halves:

- bare: a plain PyTorch loop, fed by a torch DataLoader with one worker and prefetching;
- engine: our loop on DeepSpeed, fed by the same DataLoader, without Ray;
- job: `jobs/instruct.py`, on Ray Train, DeepSpeed and Ray Data.

Start-up does not count. Fails when the job has less than 0.9 of the bare loop's tokens a second,
or when Ray Data makes its steps more than 5% longer than the DataLoader's.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

RESULTS = Path(__file__).parent / "results"
BAR, SLOWER = 0.9, 1.05
GLOBAL_BATCH = 16
WARM = 5  # steps at the beginning of each run that do not count
TEXT = "is there a nodule in the left right upper lower zone of this radiograph no yes"
WORDS = TEXT.split()
ROWS = 2000


def make_inputs(folder: Path) -> None:
    """A Llama of nine million parameters, a tower of two, and rows with pictures."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from doctor_sun.models.tokenizer import train_tokenizer
    from doctor_sun.records import make_sample, to_table

    tokenizer = train_tokenizer([" ".join(WORDS)] * 50, 400)
    size = {"hidden_size": 320, "intermediate_size": 1280, "num_hidden_layers": 5}
    heads = {"num_attention_heads": 5, "num_key_value_heads": 5}
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 1, max_position_embeddings=512, **size, **heads
    )
    LlamaForCausalLM(config).save_pretrained(folder / "llm")
    tokenizer.save_pretrained(folder / "llm")
    vision = {"image_size": 96, "layers": 6, "width": 192, "head_width": 64, "patch_size": 16}
    text = {"context_length": 16, "vocab_size": 400, "width": 32, "heads": 2, "layers": 1}
    clip = {"embed_dim": 64, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    make_clip(folder / "clip", clip)
    generator = np.random.default_rng(0)
    samples = []
    for number in range(ROWS):
        pixels = generator.integers(0, 255, (160, 128, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG")
        said = [" ".join(generator.choice(WORDS, generator.integers(8, 60))) for _ in range(2)]
        turns = [
            {"role": "user", "text": f"<image>\n{said[0]}"},
            {"role": "assistant", "text": said[1]},
        ]
        samples.append(
            make_sample(
                source="random",
                source_key=str(number),
                domain="medical",
                language="en",
                task="vqa",
                images=[stream.getvalue()],
                turns=turns,
            )
        )
    (folder / "data").mkdir()
    pq.write_table(to_table(samples), folder / "data" / "rows.parquet", row_group_size=100)


def make_clip(folder: Path, config: dict[str, Any]) -> None:
    """An untrained open_clip model as a folder."""
    import open_clip
    from safetensors.torch import save_file

    from doctor_sun.models.vision_tower import LOCAL_CONFIG, LOCAL_WEIGHTS

    folder.mkdir()
    source = folder / "overhead.json"
    source.write_text(json.dumps(config))
    open_clip.add_model_config(source)
    model = open_clip.create_model("overhead", pretrained=None)
    save_file(model.state_dict(), folder / LOCAL_WEIGHTS)
    described = {
        "model_cfg": config,
        "preprocess_cfg": open_clip.get_model_preprocess_cfg(model),
    }
    (folder / LOCAL_CONFIG).write_text(json.dumps(described))


def stage_config(folder: Path, name: str, steps: int) -> Any:
    """The stage that all three run."""
    from doctor_sun.models.build import ModelConfig
    from doctor_sun.models.low_rank import LowRankConfig
    from doctor_sun.training.engine import EngineConfig
    from doctor_sun.training.mixture import MixtureItem
    from doctor_sun.training.stage import StageConfig

    return StageConfig(
        stage="instruct",
        output=str(folder / name),
        data=str(folder / "data"),
        model=ModelConfig(
            llm=str(folder / "llm"),
            vision=str(folder / "clip"),
            low_rank=LowRankConfig(rank=8, dropout=0.0),
        ),
        learning_rate={"llm": 1e-4, "projector": 1e-3, "vision": 1e-4},
        mixture=[MixtureItem(share=1)],
        samples=steps * GLOBAL_BATCH,
        global_batch=GLOBAL_BATCH,
        micro_batch=GLOBAL_BATCH,
        max_length=400,
        workers=1,
        cpus_per_worker=1,
        checkpoint_every=10**6,
        report_every=20,
        engine=EngineConfig(zero_stage=0),
    )


def as_job(folder: Path, name: str, steps: int) -> tuple[float, float]:
    """Tokens a second and seconds a step of the job, from its own report."""
    from doctor_sun.training.progress import read_metrics
    from doctor_sun.training.stage import run

    config = stage_config(folder, name, steps)
    run(config)
    metrics = read_metrics(config.output)[20:]  # the first report holds the warm-up
    seconds = sum(row["seconds"] for row in metrics)
    return sum(row["tokens"] for row in metrics) / seconds, seconds / len(metrics)


def loader(folder: Path, order: Path, built: Any) -> Iterator[Any]:
    """Micro-batches of the job's own order, from a torch DataLoader."""
    from torch.utils.data import DataLoader, Dataset

    from doctor_sun.training.batches import make_batch
    from doctor_sun.training.prepare import encode_rows
    from doctor_sun.training.shards import decode_images

    rows = pq.read_table(folder / "data" / "rows.parquet")
    encoding = (built.config.llm, built.image_tokens, 400, "instruct")
    table = encode_rows(rows, *encoding)
    place = {row: number for number, row in enumerate(table["id"].to_pylist())}
    wanted = pq.read_table(order)["id"].to_pylist()
    table = table.append_column("kind", pa.array(["random/en"] * table.num_rows))

    class Steps(Dataset):
        """The rows of each step, decoded in the DataLoader's worker."""

        def __len__(self) -> int:
            return len(wanted) // GLOBAL_BATCH

        def __getitem__(self, step: int) -> pa.Table:
            ids = wanted[step * GLOBAL_BATCH : (step + 1) * GLOBAL_BATCH]
            chosen = table.take(pa.array([place[row] for row in ids]))
            return decode_images(chosen, built.image_size, built.config.square_padding)

    steps = DataLoader(Steps(), batch_size=None, num_workers=1, prefetch_factor=8)
    for rows_of_step in steps:
        yield make_batch(rows_of_step, built, {"random/en": 0}, packed=False)


def without_ray(way: str, folder: Path, order: Path, steps: int) -> tuple[float, float]:
    """The same for the bare loop, or for our loop on DeepSpeed without Ray."""
    import torch
    from _one_process import start

    from doctor_sun.models.build import build_model
    from doctor_sun.training.engine import (
        EngineConfig,
        initialize,
        parameter_groups,
        set_trainable,
    )
    from doctor_sun.training.loop import count_labels, row_tokens, train_steps
    from doctor_sun.training.schedule import warmup_cosine

    config = stage_config(folder, "unused", steps)
    start()
    built = build_model(config.model)
    set_trainable(built.model, config.learning_rate)
    built.model.train()
    batches = loader(folder, order, built)
    moments, tokens = [], []
    if way == "engine":
        engine = initialize(built.model, config.learning_rate, EngineConfig(zero_stage=0), 1)
        engine.train()
        found = train_steps(
            engine, ([b] for b in batches), start=0, total=steps, warmup_share=0.03, seed=0
        )
        for result in found:
            moments.append(time.perf_counter())
            tokens.append(result.tokens)
    else:
        groups = parameter_groups(built.model, config.learning_rate)
        optimizer = torch.optim.AdamW(groups, weight_decay=0.0, fused=True)
        trained = [p for group in groups for p in group["params"]]
        for step, batch in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * warmup_cosine(step, steps, 0.03)
            labels = int(count_labels(batch.inputs).sum())
            loss = built.model(**batch.inputs).sum() / labels
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            loss.item()
            moments.append(time.perf_counter())
            tokens.append(int(row_tokens(batch.inputs).sum()))
    seconds = moments[-1] - moments[WARM - 1]
    return sum(tokens[WARM:]) / seconds, seconds / (len(moments) - WARM)


def main() -> None:
    """Run the three, print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="a minute for each instead of three")
    parser.add_argument("--way", choices=["bare", "engine", "job"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--name", default="job", help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=40, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:  # one way, in a process of its own
        order = arguments.folder / "first" / "order" / "instruct.parquet"
        found = (
            as_job(arguments.folder, arguments.name, arguments.steps)
            if arguments.way == "job"
            else without_ray(arguments.way, arguments.folder, order, arguments.steps)
        )
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_inputs(folder)

        def measured(way: str, name: str, steps: int) -> tuple[float, float]:
            command = [sys.executable, __file__, "--way", way, "--folder", str(folder)]
            command += ["--name", name, "--steps", str(steps)]
            environment = os.environ | {"OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"}
            done = subprocess.run(
                command, env=environment, check=True, stdout=subprocess.PIPE, text=True
            )
            tokens, seconds = json.loads(done.stdout.splitlines()[-1])
            return tokens, seconds

        # How long a step is, and the rows' order for the loops without Ray.
        _, seconds = measured("job", "first", 40)
        steps = round((30 if arguments.quick else 90) / seconds)
        ways = ("bare", "engine", "job")
        found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for half in range(2):
            found["job"].append(measured("job", "first" if half == 0 else "second", steps))
            for way in ("bare", "engine"):
                found[way].append(measured(way, "", steps))
    table = {
        way: {
            "tokens_per_second": float(np.mean([tokens for tokens, _ in halves])),
            "seconds_per_step": float(np.mean([seconds for _, seconds in halves])),
        }
        for way, halves in found.items()
    }
    ratio = table["job"]["tokens_per_second"] / table["bare"]["tokens_per_second"]
    longer = table["job"]["seconds_per_step"] / table["engine"]["seconds_per_step"]
    result = {
        "steps": 2 * steps,
        "ways": table,
        "halves": found,
        "ratio": ratio,
        "step_with_ray_data_over_data_loader": longer,
        "cpus": os.cpu_count(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "training_overhead.json").write_text(json.dumps(result, indent=2))
    print(f"{'':<10}{'tokens/s':>12}{'s/step':>10}{'halves, tokens/s':>24}")
    for way, row in table.items():
        halves = ", ".join(f"{tokens:,.0f}" for tokens, _ in found[way])
        print(
            f"{way:<10}{row['tokens_per_second']:>12,.0f}{row['seconds_per_step']:>10.3f}"
            f"{halves:>24}"
        )
    print(f"ratio: {longer:.3f} (time of a step, to one fed by a DataLoader; bar {SLOWER})")
    print(f"ratio: {ratio:.3f} (tokens a second, to bare PyTorch; bar {BAR})")
    if ratio < BAR or longer > SLOWER:
        sys.exit(1)


if __name__ == "__main__":
    main()
