"""What a running stage shows: a line now and then, every step in metrics.jsonl and TensorBoard.

Runs in Ray Train's controller, the one place that hears of every report. After a restart the
steps since the last checkpoint appear again; readers keep the last word on each step.
"""

import json
import tempfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from ray.train import Checkpoint, UserCallback
from upath import UPath

from doctor_sun.errors import InputError, disk_is_full, find_input_error
from doctor_sun.files import append_lines, in_object_store, read_text
from doctor_sun.step_log import StepLog
from doctor_sun.training.cost import Linear
from doctor_sun.training.trackers import Tracker, TrackingConfig, trackers
from doctor_sun.training.validation import VALIDATION_LOSS

COUNTS = ("tokens", "squared_tokens", "label_tokens", "images")  # as `Linear.of` takes them
METRICS = "metrics.jsonl"
DIVERGED = "diverged.json"
STOP = "stop"
"""A file of this name in the stage's folder ends the stage early, by itself: a Train run that is
killed from outside can leave its placement group behind (Ray issue 54305)."""
TENSORBOARD = "tensorboard"


class Progress(UserCallback):
    """Write each report to `metrics.jsonl` and TensorBoard, and print a line of it."""

    def __init__(
        self,
        *,
        name: str,
        folder: str,
        total_steps: int,
        global_batch: int,
        operations: Linear,
        tracking: TrackingConfig,
        settings: Mapping[str, str],
        log: StepLog,
    ) -> None:
        """Remember what is needed to make figures of reports.

        Args:
            name: of the stage.
            folder: of the stage.
            total_steps: of the stage.
            global_batch: rows of a step.
            operations: what a token, a label and an image cost.
            tracking: where figures go besides the folder.
            settings: what trackers are told of the stage.
            log: of the stage, for the controller's lines.
        """
        self.name = name
        self.folder = folder
        self.total_steps = total_steps
        self.global_batch = global_batch
        self.operations = operations
        self.tracking = tracking
        self.settings = settings
        self.events: Any = None
        self.events_folder: tempfile.TemporaryDirectory[str] | None = None
        self.trackers: list[Tracker] | None = None  # opened in the controller, not in the driver
        self.log = log
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
        peak = sum(rank["peak"] for rank in metrics)
        for step in steps:
            counts = (step[name] for name in COUNTS)
            step |= {
                "seconds": seconds,
                "workers": len(metrics),
                "memory_gib": memory,
                "operations": self.operations.of(*counts),
            }
            if peak:
                step["utilisation"] = step["operations"] / seconds / peak
        validated = {name: report[name] for name in report if name.startswith("validation_")}
        steps[-1] |= validated
        said = self._line(steps, seconds)
        if validated:
            said += f"  validation loss {validated[VALIDATION_LOSS]:.4f}"
        said += "  checkpoint" if checkpoint else ""
        print(f"[{self.name}] {said}", flush=True)
        try:
            self.log.write(said)
            append_lines(UPath(self.folder) / METRICS, map(json.dumps, steps))
            self._to_tensorboard(steps)
            self._to_trackers(steps)
        except OSError as error:
            raise self._no_space() if disk_is_full(error) else error from None

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, Exception]) -> None:
        """End the stage where trying again is in vain: the input is wrong, or the disk is full.

        Raises:
            InputError: what Ray Train then ends with, whatever `max_failures` says.
        """
        for error in worker_exceptions.values():
            wrong = find_input_error(error)
            if wrong is not None:
                raise wrong
            if disk_is_full(error):
                raise self._no_space()

    def _no_space(self) -> InputError:
        where = "a node's disk" if in_object_store(self.folder) else f"the disk of {self.folder}"
        return InputError(
            f"stage '{self.name}' stopped after step {self.last_step}: no space is left on "
            f"{where}; the last checkpoint is kept, and the same command goes "
            "on from it"
        )

    def _to_tensorboard(self, steps: list[dict[str, Any]]) -> None:
        """Add steps to the stage's event files (`tensorboard --logdir RUN`)."""
        first, place = steps[0]["step"], UPath(self.folder) / TENSORBOARD
        if in_object_store(place) and self.events_folder is None:
            self.events_folder = tempfile.TemporaryDirectory()  # event files are appended to
        if self.events is None or first <= self.last_step:
            # Torch's writer would import torch. A new file makes readers drop what it repeats.
            from tensorboardX import SummaryWriter

            folder = self.events_folder.name if self.events_folder else place.path
            self.events = SummaryWriter(folder, purge_step=first)
        for step in steps:
            for name, value in shown_values(step).items():
                self.events.add_scalar(name, value, step["step"])
        self.events.flush()
        if self.events_folder:
            newest = max(Path(self.events_folder.name).iterdir(), key=lambda f: f.stat().st_mtime)
            place.fs.put_file(str(newest), (place / newest.name).path)
        self.last_step = steps[-1]["step"]

    def _to_trackers(self, steps: list[dict[str, Any]]) -> None:
        """Give steps to the trackers that are configured."""
        if self.trackers is None:
            self.trackers = trackers(self.tracking, self.name, self.folder, self.settings)
        for tracker in self.trackers:
            for step in steps:
                tracker.log(step["step"], shown_values(step))
            if steps[-1]["step"] == self.total_steps:
                tracker.close()

    def _line(self, steps: list[dict[str, Any]], seconds: float) -> str:
        """Mean loss and speed of the steps since the last line."""
        count, last = len(steps), steps[-1]
        tokens = sum(step["tokens"] for step in steps)
        padded = sum(step["padded_tokens"] for step in steps)
        left = timedelta(seconds=round(seconds * (self.total_steps - last["step"])))
        norm = last["gradient_norm"]
        return (
            f"step {last['step']}/{self.total_steps}  "
            f"loss {sum(step['loss'] for step in steps) / count:.4f}  "
            + ("" if norm is None else f"norm {norm:.2f}  ")
            + f"lr {max(last['learning_rate'].values()):.1e}  "
            f"{tokens / count / seconds:,.0f} tokens/s  {self.global_batch / seconds:.1f} rows/s  "
            f"padding {1 - tokens / padded:.0%}  "
            + (f"MFU {last['utilisation']:.0%}  " if "utilisation" in last else "")
            + f"{last['memory_gib']:.1f} GiB  {left} left"
        )


def shown_values(step: Mapping[str, Any]) -> dict[str, float]:
    """What TensorBoard shows of a step, by name."""
    values = {
        "loss/all": step["loss"],
        **{f"loss/{kind}": loss for kind, (loss, _) in step["loss_by_kind"].items()},
        **{f"learning_rate/{name}": rate for name, rate in step["learning_rate"].items()},
        "speed/tokens_per_second": step["tokens"] / step["seconds"],
        "speed/padding_share": 1 - step["tokens"] / step["padded_tokens"],
        "speed/operations_per_second": step["operations"] / step["seconds"],
        "memory_gib": step["memory_gib"],
    }
    if "utilisation" in step:
        values["speed/utilisation"] = step["utilisation"]
    norm = step["gradient_norm"]
    if norm is not None:
        values["gradient_norm"] = norm
    if VALIDATION_LOSS in step:
        values["validation/all"] = step[VALIDATION_LOSS]
        for kind, (loss, _) in step["validation_by_kind"].items():
            values[f"validation/{kind}"] = loss
    return values


def read_metrics(folder: str | UPath) -> list[dict[str, Any]]:
    """Every step's figures, in order, the last report of each step."""
    path = UPath(folder) / METRICS
    if not path.is_file():
        return []
    rows = [json.loads(line) for line in read_text(path).splitlines()]
    return list({row["step"]: row for row in sorted(rows, key=lambda r: r["step"])}.values())
