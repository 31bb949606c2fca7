"""What a running stage shows: a line now and then, every step in metrics.jsonl and TensorBoard.

Runs in Ray Train's controller, the one place that hears of every report. After a restart the
steps since the last checkpoint appear again; readers keep the last word on each step.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from ray.train import Checkpoint, UserCallback
from upath import UPath

METRICS = "metrics.jsonl"
DIVERGED = "diverged.json"
TENSORBOARD = "tensorboard"


class Progress(UserCallback):
    """Write each report to `metrics.jsonl` and TensorBoard, and print a line of it."""

    def __init__(self, name: str, folder: str, total_steps: int, global_batch: int) -> None:
        self.name = name
        self.folder = folder
        self.total_steps = total_steps
        self.global_batch = global_batch
        self.events: Any = None
        self.last_step = 0

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None
    ) -> None:
        """Record the first worker's report: its figures are already summed over all ranks."""
        report = metrics[0]
        if "diverged" in report:
            path = UPath(self.folder) / DIVERGED
            path.write_text(json.dumps(report["diverged"]), encoding="utf-8")
        steps = report["steps"]
        if not steps:
            return
        seconds = report["seconds"] / len(steps)
        memory = max(rank["memory_gib"] for rank in metrics)
        for step in steps:
            step |= {"seconds": seconds, "memory_gib": memory}
        with (UPath(self.folder) / METRICS).open("a", encoding="utf-8") as stream:
            for step in steps:
                stream.write(json.dumps(step) + "\n")
        self._to_tensorboard(steps)
        print(self._line(steps, seconds) + ("  checkpoint" if checkpoint else ""), flush=True)

    def _to_tensorboard(self, steps: list[dict[str, Any]]) -> None:
        """Add steps to the stage's event files (`tensorboard --logdir RUN`)."""
        first = steps[0]["step"]
        if self.events is None or first <= self.last_step:
            # Torch's writer would import torch. A new file makes readers drop what it repeats.
            from tensorboardX import SummaryWriter

            self.events = SummaryWriter(str(Path(self.folder) / TENSORBOARD), purge_step=first)
        for step in steps:
            for name, value in shown_values(step).items():
                self.events.add_scalar(name, value, step["step"])
        self.events.flush()
        self.last_step = steps[-1]["step"]

    def _line(self, steps: list[dict[str, Any]], seconds: float) -> str:
        """Mean loss and speed of the steps since the last line."""
        count, last = len(steps), steps[-1]
        tokens = sum(step["tokens"] for step in steps)
        padded = sum(step["padded_tokens"] for step in steps)
        left = timedelta(seconds=round(seconds * (self.total_steps - last["step"])))
        norm = last["gradient_norm"]
        return (
            f"[{self.name}] step {last['step']}/{self.total_steps}  "
            f"loss {sum(step['loss'] for step in steps) / count:.4f}  "
            + ("" if norm is None else f"norm {norm:.2f}  ")
            + f"lr {max(last['learning_rate'].values()):.1e}  "
            f"{tokens / count / seconds:,.0f} tokens/s  {self.global_batch / seconds:.1f} rows/s  "
            f"padding {1 - tokens / padded:.0%}  {last['memory_gib']:.1f} GiB  {left} left"
        )


def shown_values(step: Mapping[str, Any]) -> dict[str, float]:
    """What TensorBoard shows of a step, by name."""
    values = {
        "loss/all": step["loss"],
        **{f"loss/{kind}": loss for kind, (loss, _) in step["loss_by_kind"].items()},
        **{f"learning_rate/{name}": rate for name, rate in step["learning_rate"].items()},
        "speed/tokens_per_second": step["tokens"] / step["seconds"],
        "speed/padding_share": 1 - step["tokens"] / step["padded_tokens"],
        "memory_gib": step["memory_gib"],
    }
    norm = step["gradient_norm"]
    return values if norm is None else values | {"gradient_norm": norm}


def read_metrics(folder: str | UPath) -> list[dict[str, Any]]:
    """Every step's figures, in order, the last report of each step."""
    path = UPath(folder) / METRICS
    if not path.is_file():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return list({row["step"]: row for row in sorted(rows, key=lambda r: r["step"])}.values())
