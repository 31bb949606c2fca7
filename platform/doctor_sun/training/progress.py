"""What a running stage shows: a line now and then, and every step in metrics.jsonl.

Runs in Ray Train's controller, the one place that hears of every report. After a restart the
steps since the last checkpoint appear again; readers keep the last word on each step.
"""

import json
from typing import Any

from ray.train import Checkpoint, UserCallback
from upath import UPath

METRICS = "metrics.jsonl"


class Progress(UserCallback):
    """Write each report to `metrics.jsonl` and print a line of it."""

    def __init__(self, name: str, folder: str, total_steps: int) -> None:
        self.name = name
        self.folder = folder
        self.total_steps = total_steps

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None
    ) -> None:
        """Record the first worker's report: its figures are already summed over all ranks."""
        report = metrics[0]
        steps = report["steps"]
        with (UPath(self.folder) / METRICS).open("a", encoding="utf-8") as stream:
            for step in steps:
                stream.write(json.dumps(step) + "\n")
        tokens = sum(step["tokens"] for step in steps)
        padded = sum(step["padded_tokens"] for step in steps)
        loss = sum(step["loss"] for step in steps) / len(steps)
        print(
            f"[{self.name}] step {steps[-1]['step']}/{self.total_steps}  loss {loss:.4f}  "
            f"{tokens / report['seconds']:,.0f} tokens/s  padding {1 - tokens / padded:.0%}"
            + ("  checkpoint" if checkpoint else ""),
            flush=True,
        )


def read_metrics(folder: str | UPath) -> list[dict[str, Any]]:
    """Every step's figures, in order, the last report of each step."""
    path = UPath(folder) / METRICS
    if not path.is_file():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return list({row["step"]: row for row in sorted(rows, key=lambda r: r["step"])}.values())
