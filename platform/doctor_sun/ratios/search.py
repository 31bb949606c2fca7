"""`tune/ratios.py run`: the search for the best mixture, as a Ray Tune experiment.

A trial is a light process that runs the stages (Ray Train runs with resources of their own) and the
evaluation; alignments are shared. What counts lies in the output folder: the same command goes on
from there after any interruption, with more `trials` or `seeds` as well.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from upath import UPath

from doctor_sun.cluster import connect
from doctor_sun.config import JobConfig, load, result_keys
from doctor_sun.errors import InputError
from doctor_sun.evaluation.evaluate import EvaluateConfig
from doctor_sun.evaluation.tasks import find_task
from doctor_sun.ratios import report
from doctor_sun.ratios.experiment import run_trials
from doctor_sun.ratios.mixtures import STAGES, Budget, Mode, space_of
from doctor_sun.ratios.propose import ProposeConfig
from doctor_sun.ratios.search_tables import write_tables
from doctor_sun.ratios.searcher import MixtureSearcher, Preset, listed_points
from doctor_sun.ratios.shared_stages import Dtype, shared_stages
from doctor_sun.ratios.space import Space
from doctor_sun.ratios.trial import Bench, Outcome, Trial, export, read_trials, score
from doctor_sun.records import sha256
from doctor_sun.runs import Step
from doctor_sun.training.cost import shapes_of
from doctor_sun.training.mixture import MixtureItem
from doctor_sun.training.prepare import encode_data
from doctor_sun.training.stage import StageConfig

RUNGS = 4
KEPT = ("alignments", "experts", "references", "trials")
"""Folders that outlive a change of the search: each step in them knows what it was made of."""


@dataclass(kw_only=True)
class SearchConfig(JobConfig):
    """What is searched, how, and by which scores."""

    align: list[str]
    """YAML files of the alignment stage, later ones over earlier ones. The parts of its `mixture`
    are what is mixed (the first is what the others leave, the medical data); its shares and
    `samples` set the budget."""

    instruct: list[str]
    """YAML files of the instruction tuning, likewise."""

    evaluate: list[str]
    """YAML files of the evaluation."""

    specialised: list[str]
    """Benchmarks whose mean is the specialised score."""

    general: list[str]
    """Benchmarks whose mean is the general score."""

    preset: Preset = "bayes"
    """`paper-grid`: E1, E2 x V1 to V4. `random`: spread evenly over the space. `bayes`: spread
    first, then where a response surface promises most. `asha`: many of `random`, of which those
    with the higher losses are stopped at a quarter and at half of their schedules."""

    mode: Mode = "fixed-domain"
    """`fixed-domain` keeps the medical rows and adds general ones (the paper), `equal-compute`
    keeps the tokens."""

    trials: int = 16
    """Mixtures of `random` and `asha`, trials of `bayes`, which repeats mixtures by itself."""

    seeds: int = 2
    """Runs of each mixture of `paper-grid` and `random`: without repeats there are no intervals."""

    alignments: list[float] = field(default_factory=list)
    """The only shares of general data that alignments may have, so that trials share few of them;
    empty allows all."""

    alignment_repeats: bool = False
    """Align anew for each seed; else all share one, and its luck is not in the intervals."""

    references: bool = True
    """Score the aligned models too, to say what tuning gained and lost."""

    most: float = 0.7
    """Largest share of general data, or of all parts but the first."""

    at_a_time: int = 1
    """Trials that run at a time; each takes the workers of its stage, then an engine."""

    schedule: float = 1.0
    """Part of the files' rows that is read, as a proxy of whole runs."""

    merged: bool = False
    """Merge each tuning from one expert for each part of the mixture, as a proxy of trained ones:
    two trainings for each alignment instead of one for each mixture."""

    dtype: Dtype = "bfloat16"
    """Of the models that are evaluated."""

    held_out: int = 256
    """Rows on which `asha` measures the loss, half of them medical."""

    preference: float = 0.5
    """Weight of the specialised score in what is recommended; the general score has the rest."""

    initial: int = 6
    """Trials of `bayes` that cover the space before a surface is fitted."""

    seed: int = 0
    """Of the search; the stages have their own."""

    estimate: bool = False
    """Print what the search will take, and run nothing."""

    not_in_result = ("at_a_time", "estimate")

    def __post_init__(self) -> None:
        if min(self.trials, self.seeds, self.at_a_time, self.initial, self.held_out) < 1:
            raise InputError("trials, seeds, at_a_time, initial and held_out are 1 or more")
        if not 0 < self.preference < 1:
            raise InputError("preference must lie between 0 and 1")
        if not 0 < self.most < 1:
            raise InputError("most must lie between 0 and 1")
        if not 0 < self.schedule <= 1:
            raise InputError("schedule is a part of the rows, above 0 and at most 1")
        if self.merged and self.preset == "asha":
            raise InputError("merged models are not trained: there is nothing for asha to stop")
        if not self.specialised or not self.general:
            raise InputError("specialised and general each need a benchmark")

    @property
    def propose(self) -> ProposeConfig:
        """How the next trial is suggested."""
        return ProposeConfig(initial=self.initial, preference=self.preference, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search's files, read and checked."""

    stages: Mapping[str, StageConfig]
    """By the search's name of the stage."""
    evaluation: EvaluateConfig
    space: Space

    @property
    def inputs(self) -> dict[str, str]:
        """What it reads, by name."""
        found = {f"{n} {k}": path for n, c in self.stages.items() for k, path in c.inputs().items()}
        found.pop("instruction start_from", None)  # the search's own alignments
        return found | {f"benchmark {n}": path for n, path in self.evaluation.benchmarks.items()}


def read_search(config: SearchConfig) -> Search:
    """Read the files of a search.

    Raises:
        InputError: a file is missing or wrong, or a benchmark is not in the evaluation.
    """
    files = {"alignment": config.align, "instruction": config.instruct}
    stages = {}
    for name, own in files.items():
        stages[name] = load(StageConfig, *own, output=f"{config.output}/{name}")
        if stages[name].stage != STAGES[name]:
            raise InputError(f"{own[-1]} is of stage '{stages[name].stage}', not '{STAGES[name]}'")
        read = round(stages[name].samples * config.schedule)
        stages[name] = replace(stages[name], samples=max(1, read))
    if config.preset == "asha":
        stages["instruction"] = _measured(stages["instruction"], config.held_out)
    evaluation = load(EvaluateConfig, *config.evaluate, output=f"{config.output}/evaluation")
    asked = {find_task(name).name for name in evaluation.benchmarks}
    for name in (*config.specialised, *config.general):
        if find_task(name).name not in asked:
            raise InputError(f"{config.evaluate[-1]} has no benchmark '{name}'")
    return Search(
        stages=stages, evaluation=evaluation, space=space_of(stages, config.most, config.alignments)
    )


def _measured(stage: StageConfig, rows: int) -> StageConfig:
    """A stage that is measured on rows of equal shares, whatever it is trained on."""
    mixture: list[MixtureItem] = [replace(item, share=1) for item in stage.mixture]
    batch = stage.global_batch
    whole = max(1, round(rows / batch)) * batch
    return replace(stage, validation=replace(stage.validation, rows=whole, mixture=mixture))


def run(config: SearchConfig) -> dict[str, Any]:
    """Search, then report; an interrupted search goes on where it stopped.

    Raises:
        InputError: a file is wrong, or trials failed; the others are finished first.
    """
    search = read_search(config)
    listed = listed_trials(config, search.space)
    if config.estimate:
        from doctor_sun.ratios.search_estimate import estimate

        with connect(config.address):
            return estimate(config, bench_of(config, search, ""), listed)
    read = [*config.align, *config.instruct, *config.evaluate]
    files = {f"file {number}": file for number, file in enumerate(read, 1)}
    step = Step(config, "ratios", {**files, **search.inputs}, keep=KEPT)
    if step.reused:
        return step.manifest
    hashes = {name: entry["hash"] for name, entry in step.inputs.items() if name in search.inputs}
    with connect(config.address):
        bench = bench_of(config, search, settings_of(config, search, hashes))
        shared = shared_stages()
        finished, begun = read_trials(bench.folder, bench.settings)
        searcher = MixtureSearcher(
            bench.space, listed, config.trials, config.propose, finished, begun
        )
        step.say(
            f"{len(finished)} trials are finished, {len(begun)} were begun, "
            f"{searcher.left} are left"
        )
        failed = run_trials(bench, searcher, shared, config.at_a_time)
        finished, _ = read_trials(bench.folder, bench.settings)
        outcomes = [one for one in finished if not listed or one.trial in listed]
        wanted = len(listed) or config.trials
        if len(outcomes) < wanted:
            why = f" ({len(failed)} failed: {'; '.join(failed)})" if failed else ""
            raise InputError(
                f"{len(outcomes)} of {wanted} trials are finished{why}; the same command goes on"
            )
        references = scored_references(bench, outcomes) if config.references else {}
        ray.kill(shared)
    tables = write_tables(step.folder, bench, outcomes, references)
    reported = report.run(
        report.ReportConfig(
            output=str(step.folder / "report"),
            results=str(step.folder / tables.results),
            ledger=str(step.folder / tables.ledger),
            preference=config.preference,
            most=config.most,
            seed=config.seed,
            force=True,
        )
    )
    return step.finish(
        outputs=[*asdict(tables).values(), "report"],
        counts={
            "trials": len(outcomes),
            "stopped early": sum(one.stopped is not None for one in outcomes),
            "alignments": len({one.alignment for one in outcomes}),
        },
        figures=reported["figures"],
    )


def listed_trials(config: SearchConfig, space: Space) -> list[Trial]:
    """The trials of a preset that does not look at results, those of the first seed first."""
    points = listed_points(config.preset, space, config.trials, config.seed)
    seeds = 1 if config.preset == "asha" else config.seeds
    return [Trial(point=point, repeat=repeat) for repeat in range(seeds) for point in points]


def settings_of(config: SearchConfig, search: Search, hashes: Mapping[str, str]) -> str:
    """Hash of all that decides what comes out of a mixture."""
    known = {name: result_keys(stage) for name, stage in search.stages.items()}
    known["evaluation"] = result_keys(search.evaluation)
    ways = (config.mode, config.alignment_repeats, config.merged, config.dtype)
    whole = [known, ways, config.specialised, config.general, config.preset == "asha", dict(hashes)]
    return sha256(json.dumps(whole, sort_keys=True, default=str))


def bench_of(config: SearchConfig, search: Search, settings: str) -> Bench:
    """What the trials share: the files, and the lengths of the rows that they choose from."""
    here = Path.cwd()
    located = {
        name: replace(
            stage,
            data=str(here / stage.data) if "://" not in stage.data else stage.data,
            model=stage.located_model(),
        )
        for name, stage in search.stages.items()
    }
    folders = {n: str(UPath(p).absolute()) for n, p in search.evaluation.benchmarks.items()}
    return Bench(
        folder=str(UPath(config.output).absolute()),
        settings=settings,
        space=search.space,
        budgets={name: budget_of(stage) for name, stage in located.items()},
        mode=config.mode,
        evaluation=replace(search.evaluation, benchmarks=folders),
        objectives={"specialised": config.specialised, "general": config.general},
        dtype=config.dtype,
        alignment_repeats=config.alignment_repeats,
        merged=config.merged,
        rungs=RUNGS if config.preset == "asha" else 0,
    )


def budget_of(stage: StageConfig) -> Budget:
    """Tokenise a stage's rows."""
    shapes = shapes_of(stage.model, stage.learning_rate, stage.engine)
    encoded = encode_data(
        stage.data_folder(),
        stage.mixture,
        stage.stage,
        {
            "llm": stage.model.llm,
            "image_tokens": shapes.image_tokens,
            "max_length": stage.max_length,
        },
        "image_keys",
    )
    return Budget(config=stage, index=encoded.index, operations=shapes.operations)


def scored_references(bench: Bench, outcomes: list[Outcome]) -> dict[str, dict[str, float]]:
    """The scores of the aligned models, by their names."""
    found = {}
    for folder in sorted({one.alignment for one in outcomes}):
        own = UPath(bench.folder) / "references" / UPath(folder).name
        found[f"aligned {own.name}"] = score(bench, export(bench, folder, own), own)
    return found
