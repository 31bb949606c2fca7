"""One run of a search: a mixture and a seed, from the shared alignment to the scores.

Every step has its folder and its manifest, so that what an interrupted run has finished is not done
again. `mixture.json` says what a folder is for; `trial.json`, written last, what came out.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import ray
from upath import UPath

from doctor_sun.evaluation import evaluate
from doctor_sun.evaluation.evaluate import EvaluateConfig
from doctor_sun.evaluation.tasks import find_task
from doctor_sun.files import complete_file
from doctor_sun.ratios.merged import merge_exports
from doctor_sun.ratios.mixtures import Budget, Mode, shares_at
from doctor_sun.ratios.shared_stages import Dtype
from doctor_sun.ratios.shared_stages import exported as exported_to
from doctor_sun.ratios.space import Space
from doctor_sun.training import publish, stage
from doctor_sun.training.progress import read_metrics
from doctor_sun.training.stage import StageConfig, Stopped

if TYPE_CHECKING:
    from ray.train import UserCallback

PLANNED, DONE = "mixture.json", "trial.json"
Point = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A mixture and which of its runs this is."""

    point: Point
    repeat: int = 0
    """Added to the seed of the stages' files."""

    @property
    def name(self) -> str:
        """The name of its folder."""
        return "-".join([*(f"{share:.4g}" for share in self.point), f"seed{self.repeat}"])


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stage that a trial's model came from."""

    stage: str
    """`alignment` or `instruction`."""
    folder: str
    """Trials that share the stage name the same."""
    read: Mapping[str, Mapping[str, int]]
    """Its rows and tokens by data set."""
    hours: float
    """Accelerator hours of its steps (on CPUs: hours of a worker)."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came out of a trial."""

    trial: Trial
    parts: Sequence[Part] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    """By column, `specialised.BENCHMARK` or `general.BENCHMARK`; empty of one that was stopped."""
    stopped: float | None = None
    """The share of its schedule after which it was stopped."""

    @property
    def alignment(self) -> str:
        """The folder of its alignment."""
        return next(part.folder for part in self.parts if part.stage == "alignment")

    def objectives(self) -> tuple[float, float]:
        """Specialised and general score: the means of their benchmarks."""
        return self._mean("specialised"), self._mean("general")

    def _mean(self, objective: str) -> float:
        own = [v for name, v in self.scores.items() if name.startswith(f"{objective}.")]
        return sum(own) / len(own)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """All that the trials of a search share; sent to them once."""

    folder: str
    """Of the search."""
    settings: str
    """Hash of all that decides a trial's outcome but its mixture and repeat."""
    space: Space
    budgets: Mapping[str, Budget]
    """By the search's name of the stage."""
    mode: Mode
    evaluation: EvaluateConfig
    objectives: Mapping[str, Sequence[str]]
    """Benchmarks by objective."""
    dtype: Dtype
    alignment_repeats: bool
    """Whether each repeat has an alignment of its own."""
    merged: bool = False
    """Whether tunings are merged from experts instead of trained."""
    rungs: int = 0
    """How often a trial is measured before it ends, to be compared and perhaps stopped."""

    def alignment(self, trial: Trial) -> StageConfig:
        """The alignment of a trial."""
        shares = shares_at(self.space, trial.point)["alignment"]
        mixed = self._stage("alignment", shares, self.mode, self._alignment_repeat(trial))
        return replace(mixed, output=self.alignment_folder(trial))

    def alignment_folder(self, trial: Trial) -> str:
        """The folder of a trial's alignment, by its mixture."""
        shares = shares_at(self.space, trial.point)["alignment"]
        name = "-".join(f"{share:.4g}" for share in shares[1:])
        return f"{self.folder}/alignments/{name}-seed{self._alignment_repeat(trial)}"

    def _alignment_repeat(self, trial: Trial) -> int:
        return trial.repeat if self.alignment_repeats else 0

    def tuning(self, trial: Trial) -> StageConfig:
        """The instruction tuning of a trial."""
        shares = shares_at(self.space, trial.point)["instruction"]
        mixed = self._stage("instruction", shares, self.mode, trial.repeat)
        if self.rungs:
            mixed = replace(mixed, checkpoint_every=math.ceil(mixed.steps / self.rungs))
        return self._tuned(mixed, trial, self.tuning_folder(trial))

    def experts(self, trial: Trial) -> list[StageConfig]:
        """Tunings of a trial's alignment on one part of the mixture each, with equal tokens."""
        sources = self.space.stages["instruction"]
        aligned = UPath(self.alignment_folder(trial)).name
        found = []
        for place, source in enumerate(sources):
            alone = [float(place == other) for other in range(len(sources))]
            mixed = self._stage("instruction", alone, "equal-compute", trial.repeat)
            name = f"{aligned}-{source.replace('/', '_')}-seed{trial.repeat}"
            found.append(self._tuned(mixed, trial, f"{self.folder}/experts/{name}"))
        return found

    def tuning_folder(self, trial: Trial) -> str:
        """The folder of a trial's instruction tuning."""
        return f"{self.folder_of(trial)}/instruct"

    def folder_of(self, trial: Trial) -> UPath:
        """The folder of a trial."""
        return UPath(self.folder) / "trials" / trial.name

    def _stage(self, name: str, shares: Sequence[float], mode: Mode, repeat: int) -> StageConfig:
        budget = self.budgets[name]
        return budget.mixed(shares, mode, budget.config.seed + repeat)

    def _tuned(self, mixed: StageConfig, trial: Trial, folder: str) -> StageConfig:
        start = f"{self.alignment_folder(trial)}/model"
        return replace(mixed, output=folder, model=replace(mixed.model, start_from=start))

    def scored(self, manifest: Mapping[str, Any]) -> dict[str, float]:
        """The scores of an evaluation, by column."""
        return {
            f"{objective}.{name}": manifest["figures"][name]["corrected"][find_task(name).headline]
            for objective, names in self.objectives.items()
            for name in (find_task(one).name for one in names)
        }


def run_trial(
    bench: Bench, trial: Trial, shared: Any, callbacks: Sequence["UserCallback"] = ()
) -> Outcome:
    """Align, tune, export, evaluate; write the outcome into the trial's folder.

    Args:
        bench: what trials share.
        trial: which one.
        shared: the actor `SharedStages`.
        callbacks: of Ray Train, for the tuning.
    """
    folder = bench.folder_of(trial)
    write_json(folder / PLANNED, {"settings": bench.settings, **asdict(trial)})
    aligning = bench.alignment(trial)
    aligned = part_of("alignment", aligning.output, ray.get(shared.manifest.remote(aligning)))
    if bench.merged:
        outcome = merge_experts(bench, trial, shared, aligned)
    else:
        outcome = tune(bench, trial, aligned, callbacks)
    write_json(folder / DONE, {"settings": bench.settings, **asdict(outcome)})
    return outcome


def tune(bench: Bench, trial: Trial, aligned: Part, callbacks: Sequence["UserCallback"]) -> Outcome:
    """Tune on the trial's mixture, export, evaluate."""
    tuning = bench.tuning(trial)
    try:
        manifest = stage.run(tuning, callbacks)
    except Stopped:
        share = read_metrics(tuning.output)[-1]["step"] / tuning.steps
        tuned = part_of("instruction", tuning.output)
        return Outcome(trial=trial, parts=[aligned, tuned], stopped=share)
    exported = export(bench, tuning.output, bench.folder_of(trial))
    return Outcome(
        trial=trial,
        parts=[aligned, part_of("instruction", tuning.output, manifest)],
        scores=score(bench, exported, bench.folder_of(trial)),
    )


def merge_experts(bench: Bench, trial: Trial, shared: Any, aligned: Part) -> Outcome:
    """Merge the experts of the trial's alignment by its shares, evaluate."""
    experts = bench.experts(trial)
    manifests = [ray.get(shared.manifest.remote(one, bench.dtype)) for one in experts]
    folder = bench.folder_of(trial)
    shares = shares_at(bench.space, trial.point)["instruction"]
    merged = str(folder / "export")
    task = ray.remote(num_cpus=1)(merge_exports)
    ray.get(task.remote([exported_to(one) for one in experts], shares, merged))
    parts = [
        part_of("instruction", one.output, manifest)
        for one, manifest in zip(experts, manifests, strict=True)
    ]
    return Outcome(trial=trial, parts=[aligned, *parts], scores=score(bench, merged, folder))


def export(bench: Bench, checkpoint: str, folder: UPath) -> str:
    """Export a stage's model; returns the folder."""
    exported = str(folder / "export")
    publish.run(publish.ExportConfig(checkpoint=checkpoint, output=exported, dtype=bench.dtype))
    return exported


def score(bench: Bench, model: str, folder: UPath) -> dict[str, float]:
    """Evaluate an exported model; its scores by column."""
    asked = replace(bench.evaluation, model=model, name=folder.name)
    return bench.scored(evaluate.run(replace(asked, output=str(folder / "evaluate"))))


def part_of(name: str, folder: str, manifest: Mapping[str, Any] | None = None) -> Part:
    """What a stage read and took; nothing is known of what one read that has no manifest."""
    hours = sum(step["seconds"] * step["workers"] for step in read_metrics(folder)) / 3600
    read = by_source(manifest) if manifest else {}
    return Part(stage=name, folder=folder, read=read, hours=hours)


def by_source(manifest: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Rows and tokens that a stage read, by data set, from the manifest."""
    found: dict[str, dict[str, int]] = {}
    for kind, read in manifest["counts"]["by_kind"].items():
        source = found.setdefault(kind.rsplit("/", 1)[0], {"rows": 0, "tokens": 0})
        for what in source:
            source[what] += read[what]
    return found


def write_json(path: UPath, content: Mapping[str, Any]) -> None:
    """Write a JSON file, complete or not at all."""
    with complete_file(path) as stream:
        stream.write(json.dumps(content, indent=1).encode())


def read_trials(folder: str, settings: str) -> tuple[list[Outcome], list[Trial]]:
    """The finished and the unfinished trials of a search's folder, those of its settings alone."""
    finished, begun = [], []
    for path in sorted((UPath(folder) / "trials").glob("*"), key=str):
        planned = _read(path / PLANNED)
        if planned is None or planned.pop("settings") != settings:
            continue
        trial = _trial(planned)
        done = _read(path / DONE)
        if done is None or done.pop("settings") != settings:
            begun.append(trial)
        else:
            parts = [Part(**part) for part in done["parts"]]
            finished.append(Outcome(**{**done, "trial": trial, "parts": parts}))
    return finished, begun


def _trial(values: Mapping[str, Any]) -> Trial:
    return Trial(point=tuple(values["point"]), repeat=values["repeat"])


def _read(path: UPath) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
