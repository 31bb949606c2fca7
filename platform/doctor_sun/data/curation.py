"""From raw data sets to a curated one: the steps in order, the ledger, the report.

Images are read twice only: when rows are ingested (checked) and when the result is written. In
between the steps work on thin rows. A step that has finished is not done again, nor is a part of
one that judges each row alone: the same command goes on where a run was interrupted.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
import ray.data
from upath import UPath

from doctor_sun.cluster import connect
from doctor_sun.config import JobConfig, unknown_key
from doctor_sun.data import (
    charset,
    decontamination,
    exact_duplicates,
    image_duplicates,
    near_duplicates,
    perplexity,
    privacy,
    repeated_sentences,
    selection,
)
from doctor_sun.data.charset import CharsetConfig
from doctor_sun.data.curation_report import ReportConfig, curation_page, gather
from doctor_sun.data.data_card import data_card
from doctor_sun.data.decontamination import DecontaminationConfig, write_exclusions
from doctor_sun.data.decontamination.manifest import FILE as EXCLUSIONS
from doctor_sun.data.exact_duplicates import ExactDuplicatesConfig
from doctor_sun.data.image_duplicates import ImageDuplicatesConfig
from doctor_sun.data.ingest import (
    IngestConfig,
    Shard,
    checked_rows,
    drop_repeated_ids,
    ingest,
    shards_of,
)
from doctor_sun.data.ledger import SCHEMA as LEDGER_SCHEMA
from doctor_sun.data.ledger import Ledger, Part, StepResult, ledger_table, read_ledger
from doctor_sun.data.near_duplicates import NearDuplicatesConfig
from doctor_sun.data.perplexity import PerplexityConfig
from doctor_sun.data.privacy import PrivacyConfig
from doctor_sun.data.repeated_sentences import RepeatedSentencesConfig
from doctor_sun.data.rows import rows_after
from doctor_sun.data.selection import SelectionConfig
from doctor_sun.data.sources import SourceConfig, open_source
from doctor_sun.data.tiny.planted_truth import read_truth, score
from doctor_sun.errors import InputError
from doctor_sun.files import write_parquet
from doctor_sun.records import SCHEMA, to_table
from doctor_sun.runs import Step, remove_tree

ROW_GROUP = 256
MADE_BY = "curate"


@dataclass(kw_only=True)
class CurateConfig(JobConfig):
    """What is curated, by which steps, in which order."""

    not_in_result = ("stop_after",)

    raw: str | None = None
    """Folder of samples: Parquet and JSON lines files by `records.SCHEMA`."""

    sources: list[SourceConfig] = field(default_factory=list)
    """Published data sets, each as its publisher ships it
    (`python -m doctor_sun.data.sources` lists the kinds)."""

    order: list[str] = field(default_factory=lambda: list(STEPS))
    """The steps, each at most once; one that is left out is not done."""

    ingest: IngestConfig = field(default_factory=IngestConfig)
    """Reading and checking of raw rows."""

    exact_duplicates: ExactDuplicatesConfig = field(default_factory=ExactDuplicatesConfig)
    """Equal rows."""

    image_duplicates: ImageDuplicatesConfig = field(default_factory=ImageDuplicatesConfig)
    """Pictures that several rows show."""

    repeated_sentences: RepeatedSentencesConfig = field(default_factory=RepeatedSentencesConfig)
    """Sentences that stand twice in a row, or in many rows."""

    charset: CharsetConfig = field(default_factory=CharsetConfig)
    """Broken characters and scripts."""

    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    """Personal identifiers."""

    perplexity: PerplexityConfig = field(default_factory=PerplexityConfig)
    """Improbable text."""

    near_duplicates: NearDuplicatesConfig = field(default_factory=NearDuplicatesConfig)
    """Rows that say nearly the same."""

    decontamination: DecontaminationConfig = field(default_factory=DecontaminationConfig)
    """Rows that give benchmark items away."""

    selection: SelectionConfig = field(default_factory=SelectionConfig)
    """Ratios by source."""

    report: ReportConfig = field(default_factory=ReportConfig)
    """What the report shows."""

    truth: str | None = None
    """What was planted in the raw data (a corpus's `truth/planted.parquet`): the report then
    scores each step."""

    stop_after: str | None = None
    """End after this step without a result, to be resumed; for inspection."""


Decide = Callable[[ray.data.Dataset, Any, UPath], StepResult]
STEPS: Mapping[str, Decide] = {
    "exact_duplicates": exact_duplicates.decide,
    "image_duplicates": image_duplicates.decide,
    "repeated_sentences": repeated_sentences.decide,
    "charset": charset.decide,
    "privacy": privacy.decide,
    "perplexity": perplexity.decide,
    "near_duplicates": near_duplicates.decide,
    "decontamination": decontamination.decide,
    "selection": selection.decide,
}
TAKING_IN = ("ingest", "repeated_ids")  # before every other step


def check(config: CurateConfig) -> None:
    """Raise InputError when the configuration cannot work."""
    for name in config.order:
        if name not in STEPS:
            raise InputError(unknown_key(name, list(STEPS), "order"))
    if len(set(config.order)) != len(config.order):
        raise InputError("order names a step twice")
    if config.stop_after not in (None, *TAKING_IN, *config.order):
        raise InputError(unknown_key(str(config.stop_after), config.order, "stop_after"))
    needs_model = config.perplexity.scorer == "language_model" and config.perplexity.model is None
    if "perplexity" in config.order and needs_model:
        raise InputError(
            "perplexity.model is not set: name a causal language model's folder, set "
            "perplexity.scorer to ngram, or leave 'perplexity' out of order"
        )
    decontamination.check(config.decontamination)
    if not config.raw and not config.sources:
        raise InputError("nothing to curate: set raw (a folder of samples) or sources")


def all_sources(config: CurateConfig) -> list[SourceConfig]:
    """The configured sources, the folder of samples among them."""
    raw = [SourceConfig(kind="samples", path=config.raw)] if config.raw else []
    return [*raw, *config.sources]


def input_paths(config: CurateConfig) -> dict[str, str]:
    """Everything that decides the result, by name."""
    inputs = {source.name or source.kind: source.path for source in config.sources}
    if len(inputs) < len(config.sources):
        raise InputError("two sources have the same name; set sources.name")
    named = {
        "raw": config.raw,
        "perplexity_model": config.perplexity.model,
        "encoder": config.near_duplicates.encoder.folder,
        "index": config.near_duplicates.index,
        "truth": config.truth,
        **{f"benchmark {name}": path for name, path in config.decontamination.benchmarks.items()},
        **{f"held-out {name}": path for name, path in config.decontamination.own.items()},
    }
    return inputs | {name: path for name, path in named.items() if path}


def run(config: CurateConfig) -> dict[str, Any]:
    """Curate the raw data into `config.output`; returns the manifest (empty when stopped early)."""
    check(config)
    step = Step(config, "curate", inputs=input_paths(config))
    ledger = Ledger(step.folder)
    if step.reused:
        _forget_rows(ledger)
        return step.manifest
    shards = shards_of([open_source(source) for source in all_sources(config)])
    with connect(config.address):
        for number, name in enumerate((*TAKING_IN, *config.order)):
            _do(f"{number:02d}-{name}", name, shards, config, ledger, step)
            if name == config.stop_after:
                step.say(f"stopped after {name}; the same command without stop_after goes on")
                return {}
        written = write_result(shards, step.folder, ledger)
        ledger.check_count("the written result", written)
        planted = _report(config, step, ledger)
    outputs = ["data", "ledger", "review", "report.html", "README.md"]
    for stage in ledger.stages:
        if stage.step.endswith("-decontamination"):
            work = step.folder / "steps" / stage.step
            write_exclusions(step.folder, work, config.decontamination, stage.step)
            outputs.append(EXCLUSIONS)
    manifest = step.finish(
        outputs=outputs,
        counts=_counts(ledger),
        figures={"planted": planted, **{s.step: dict(s.figures) for s in ledger.stages}},
    )
    _forget_rows(ledger)
    return manifest


def _forget_rows(ledger: Ledger) -> None:
    """Delete the rows as they came in, identifiers and all, which an earlier run may have left."""
    if ledger.thin.exists():
        remove_tree(ledger.thin)


def _do(
    key: str, name: str, shards: Sequence[Shard], config: CurateConfig, ledger: Ledger, step: Step
) -> None:
    """One step, or what it decided in an interrupted run."""
    if ledger.resume(key):
        step.say(f"{name}: already done")
        return
    started = time.time()
    finished = ledger.finished_parts(key)
    if finished:
        step.say(f"{name}: {len(finished)} parts already done")
    work = step.folder / "steps" / key
    if name == "ingest":
        result = ingest(shards, ledger.thin, config.ingest, finished)
    elif name == "repeated_ids":
        result = drop_repeated_ids(rows_after(ledger, finished))
    else:
        result = STEPS[name](rows_after(ledger, finished), getattr(config, name), work)
    stage = ledger.record(key, result, lambda: time.time() - started)
    rows, dropped = sum(stage.rows_in.values()), stage.by_source("dropped").total()
    edited = stage.by_source("edited").total()
    step.say(f"{name}: {rows} rows, {dropped} dropped, {edited} edited, {stage.seconds:.0f} s")


def write_result(shards: Sequence[Shard], folder: UPath, ledger: Ledger) -> Counter[str]:
    """Read each shard once more and write what is left of it, edits applied; rows by source."""
    target = folder / "data"
    target.mkdir(parents=True, exist_ok=True)
    place = str(target)
    by_part = {shard.part: shard for shard in shards}

    def write(task: dict[str, Any]) -> dict[str, Any]:
        part = Part(**task["part"])
        path = UPath(place) / f"part-{part.number:06d}.parquet"
        if not path.exists():
            write_parquet(path, _final_rows(by_part[part.number], part), ROW_GROUP)
        with path.open("rb") as stream:
            sources = pq.read_table(stream, columns=["source"])["source"].to_pylist()
        return {"rows": json.dumps(Counter(sources))}

    left = ledger.stages[-1].parts
    parts = [{"part": asdict(part)} for part in ledger.parts() if left.get(str(part.number))]
    counts: Counter[str] = Counter()
    if parts:
        done = ray.data.from_items(parts, override_num_blocks=len(parts)).map(write)
        for row in done.iter_rows():
            counts.update(json.loads(row["rows"]))
    return counts


def _final_rows(shard: Shard, part: Part) -> pa.Table:
    """The surviving rows of one shard."""
    kept = {row["row"]: row for row in part.read().to_pylist()}
    samples = []
    for number, reason, sample in checked_rows(shard):
        known = kept.get(number)
        if known is None or reason:
            continue
        row = {name: sample[name] for name in SCHEMA.names}
        edited = [dict(turn) for turn in row["turns"]] != known["turns"]
        samples.append(row | ({"turns": known["turns"], "made_by": MADE_BY} if edited else {}))
    return to_table(samples)


def _report(config: CurateConfig, step: Step, ledger: Ledger) -> dict[str, Any] | None:
    """Write the report, the data card and the review queue; the score on planted rows."""
    folder = step.folder
    write_review_queue(folder)
    planted = score_planted(folder, config.truth) if config.truth else None
    findings = gather(folder, ledger.stages, planted, config.report)
    (folder / "report.html").write_text(curation_page(findings), encoding="utf-8")
    card = data_card(findings, all_sources(config))
    (folder / "README.md").write_text(card, encoding="utf-8")
    return planted


def write_review_queue(folder: UPath) -> None:
    """Put the ledger's entries for review into one file."""
    target = folder / "review" / "queue.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as stream, pq.ParquetWriter(stream, LEDGER_SCHEMA) as writer:
        for entries in read_ledger(folder):
            writer.write_table(entries.filter(pc.equal(entries["verdict"], "review")))


def score_planted(folder: UPath, truth: str) -> dict[str, Any]:
    """How the steps dealt with planted faults (a small corpus: the ledger is read whole)."""
    lines = ledger_table(folder).to_pylist()
    for line in lines:
        line["step"] = line["step"].split("-", 1)[1]
    return score(read_truth(truth), lines)


def _counts(ledger: Ledger) -> dict[str, Any]:
    """The funnel for the manifest."""
    first, last = ledger.stages[0], ledger.stages[-1]
    steps = {
        stage.step: {
            "in": sum(stage.rows_in.values()),
            **{name: stage.by_source(name).total() for name in ("dropped", "edited", "review")},
            "out": stage.rows_out().total(),
            "seconds": stage.seconds,
        }
        for stage in ledger.stages
    }
    return {
        "rows_in": sum(first.rows_in.values()),
        "rows_out": last.rows_out().total(),
        "by_source": dict(last.rows_out()),
        "steps": steps,
    }
