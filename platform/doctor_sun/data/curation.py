"""From raw data sets to a curated one: the steps in order, the ledger, the report.

Images are read twice only: when rows are ingested (checked) and when the result is written. In
between the steps work on a thin table. Each finished step leaves its decisions on disk; a run that
was interrupted goes on after the last finished step.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
    exact_duplicates,
    near_duplicates,
    perplexity,
    privacy,
    selection,
)
from doctor_sun.data.charset import CharsetConfig
from doctor_sun.data.curation_report import curation_page
from doctor_sun.data.exact_duplicates import ExactDuplicatesConfig
from doctor_sun.data.ingest import IngestConfig, ingest, raw_files, read_rows
from doctor_sun.data.ledger import SCHEMA as LEDGER_SCHEMA
from doctor_sun.data.ledger import Ledger, StepResult, read_ledger
from doctor_sun.data.near_duplicates import NearDuplicatesConfig
from doctor_sun.data.perplexity import PerplexityConfig
from doctor_sun.data.privacy import PrivacyConfig
from doctor_sun.data.rows import rows_after, tables
from doctor_sun.data.selection import SelectionConfig
from doctor_sun.data.tiny.planted_truth import read_truth, score
from doctor_sun.errors import InputError
from doctor_sun.records import SCHEMA, to_table
from doctor_sun.runs import Step

ROW_GROUP = 256
MADE_BY = "curate"


@dataclass(kw_only=True)
class CurateConfig(JobConfig):
    """What is curated, by which steps, in which order."""

    not_in_result = ("stop_after",)

    raw: str
    """Folder of raw data sets: Parquet and JSON lines files by `records.SCHEMA`."""

    order: list[str] = field(default_factory=lambda: list(STEPS))
    """The steps, each at most once; one that is left out is not done."""

    ingest: IngestConfig = field(default_factory=IngestConfig)
    """Reading and checking of raw rows."""

    exact_duplicates: ExactDuplicatesConfig = field(default_factory=ExactDuplicatesConfig)
    """Equal rows."""

    charset: CharsetConfig = field(default_factory=CharsetConfig)
    """Broken characters and scripts."""

    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    """Personal identifiers."""

    perplexity: PerplexityConfig = field(default_factory=PerplexityConfig)
    """Improbable text."""

    near_duplicates: NearDuplicatesConfig = field(default_factory=NearDuplicatesConfig)
    """Rows that say nearly the same."""

    selection: SelectionConfig = field(default_factory=SelectionConfig)
    """Ratios by source."""

    truth: str | None = None
    """What was planted in the raw data (a corpus's `truth/planted.parquet`): the report then
    scores each step."""

    stop_after: str | None = None
    """End after this step without a result, to be resumed; for inspection."""


Decide = Callable[[ray.data.Dataset, Any], StepResult]
STEPS: Mapping[str, Decide] = {
    "exact_duplicates": exact_duplicates.decide,
    "charset": charset.decide,
    "privacy": privacy.decide,
    "perplexity": perplexity.decide,
    "near_duplicates": near_duplicates.decide,
    "selection": selection.decide,
}


def check(config: CurateConfig) -> None:
    """Raise InputError when the configuration cannot work."""
    for name in config.order:
        if name not in STEPS:
            raise InputError(unknown_key(name, list(STEPS), "order"))
    if len(set(config.order)) != len(config.order):
        raise InputError("order names a step twice")
    if "perplexity" in config.order and config.perplexity.model is None:
        raise InputError(
            "perplexity.model is not set: name a causal language model's folder, or "
            "leave 'perplexity' out of order"
        )


def run(config: CurateConfig) -> dict[str, Any]:
    """Curate the raw data into `config.output`; returns the manifest (empty when stopped early)."""
    check(config)
    inputs = {"raw": config.raw}
    named = (config.perplexity.model, config.near_duplicates.encoder.folder, config.truth)
    for name, path in zip(("perplexity_model", "encoder", "truth"), named, strict=True):
        if path:
            inputs[name] = path
    step = Step(config, "curate", inputs=inputs)
    if step.reused:
        return step.manifest
    ledger = Ledger(step.folder)
    with connect(config.address):
        for name in ("ingest", *config.order):
            _do(name, config, ledger, step)
            if name == config.stop_after:
                step.say(f"stopped after {name}; the same command without stop_after goes on")
                return {}
        written = write_result(config.raw, step.folder, ledger)
    ledger.check_count("the written result", written)
    planted = _report(config, step.folder, ledger)
    return step.finish(
        outputs=["data", "ledger", "review", "report.html"],
        counts=_counts(ledger),
        figures={"planted": planted, **{s.step: dict(s.figures) for s in ledger.stages}},
    )


def _do(name: str, config: CurateConfig, ledger: Ledger, step: Step) -> None:
    """One step, or what it decided in an interrupted run."""
    number = ["ingest", *config.order].index(name)
    key = f"{number}-{name}"
    if ledger.resume(key):
        step.say(f"{name}: already done")
        return
    started = time.time()
    thin = step.folder / "steps" / "rows"
    if name == "ingest":
        result = ingest(config.raw, thin, config.ingest)
    else:
        result = STEPS[name](rows_after(ledger, str(thin)), getattr(config, name))
    stage = ledger.record(key, result, round(time.time() - started, 1))
    changed = f"{sum(stage.dropped.values())} dropped, {sum(stage.edited.values())} edited"
    step.say(f"{name}: {sum(stage.rows_in.values())} rows, {changed}, {stage.seconds:.0f} s")


def write_result(raw: str, folder: UPath, ledger: Ledger) -> Counter[str]:
    """Stream the raw rows once more and write what is left, edits applied; rows by source."""
    decided = ray.put((ledger.dropped, ledger.edits))
    target, thin = str(folder / "data"), str(folder / "steps" / "rows")
    UPath(target).mkdir(parents=True, exist_ok=True)

    def write(task: dict[str, Any]) -> dict[str, Any]:
        dropped, edits = ray.get(decided)
        rows = _final_rows(
            raw, task["file"], f"{thin}/{task['number']:06d}.parquet", dropped, edits
        )
        if rows.num_rows:
            path = UPath(target) / f"part-{task['number']:06d}.parquet"
            with path.open("wb") as stream:
                pq.write_table(rows, stream, compression="zstd", row_group_size=ROW_GROUP)
        return {"sources": rows["source"].to_pylist()}

    tasks = [{"number": number, "file": file} for number, file in enumerate(raw_files(raw))]
    done = ray.data.from_items(tasks, override_num_blocks=min(len(tasks), 1000)).map(write)
    counts: Counter[str] = Counter()
    for table in tables(done):
        for sources in table["sources"].to_pylist():
            counts.update(sources)
    return counts


def _final_rows(
    raw: str, file: str, thin: str, dropped: set[str], edits: Mapping[str, Any]
) -> pa.Table:
    """The surviving rows of one raw file."""
    with UPath(thin).open("rb") as stream:
        columns = ["id", "row", "image_keys"]
        checked = {row["row"]: row for row in pq.read_table(stream, columns=columns).to_pylist()}
    samples = []
    for number, row in read_rows(raw, file):
        known = checked.get(number)
        if known is None or isinstance(row, str) or known["id"] in dropped:
            continue
        sample = {name: row[name] for name in SCHEMA.names} | {"image_keys": known["image_keys"]}
        if row["id"] in edits:
            sample |= {"turns": edits[row["id"]], "made_by": MADE_BY}
        samples.append(sample)
    return to_table(samples)


def _report(config: CurateConfig, folder: UPath, ledger: Ledger) -> dict[str, Any] | None:
    """Write report.html and the review queue; the score on planted rows where they are known."""
    entries = read_ledger(folder)
    review = entries.filter(pc.equal(entries["verdict"], "review"))
    (folder / "review").mkdir(parents=True, exist_ok=True)
    with (folder / "review" / "queue.parquet").open("wb") as stream:
        pq.write_table(review.cast(LEDGER_SCHEMA), stream)
    planted = None
    if config.truth:
        lines = entries.to_pylist()
        for line in lines:
            line["step"] = line["step"].split("-", 1)[1]
        planted = score(read_truth(config.truth), lines)
    page = curation_page(ledger.stages, planted)
    (folder / "report.html").write_text(page, encoding="utf-8")
    return planted


def _counts(ledger: Ledger) -> dict[str, Any]:
    """The funnel for the manifest."""
    first, last = ledger.stages[0], ledger.stages[-1]
    steps = {
        stage.step: {
            "in": sum(stage.rows_in.values()),
            "dropped": sum(stage.dropped.values()),
            "edited": sum(stage.edited.values()),
            "review": sum(stage.review.values()),
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
