"""Rows that would let a model see a benchmark's test set are dropped; the ledger names the item.

The held-out sets are read once and sent to every task as compact arrays; rows stream by, part by
part. What counts as the same stands in `judge.py`.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import ray
import ray.data
from upath import UPath

from doctor_sun.data.benchmarks import load_benchmark
from doctor_sun.data.decontamination.items import HeldOut, read_held_out
from doctor_sun.data.decontamination.judge import Index, judge
from doctor_sun.data.decontamination.pictures import PictureIndex
from doctor_sun.data.decontamination.survey import opened, survey
from doctor_sun.data.decontamination.text import ItemGrams, ItemTokens, TextConfig, TextIndex
from doctor_sun.data.decontamination.translated import TranslatedConfig, with_translated
from doctor_sun.data.ledger import StepResult
from doctor_sun.errors import InputError
from doctor_sun.records import sha256

REGISTRY_FILE = "registry.json"


@dataclass(kw_only=True)
class DecontaminationConfig:
    """Which held-out sets are compared with, and what counts as the same."""

    benchmarks: dict[str, str] = field(default_factory=dict)
    """Folder or URI of the publisher's files by benchmark name (`data/benchmarks`). A registered
    benchmark that is not named is reported as not checked."""

    own: dict[str, str] = field(default_factory=dict)
    """Held-out sets of one's own: Parquet or JSON lines by name (`data/benchmarks/plain.py`)."""

    splits: list[str] = field(default_factory=lambda: ["train", "validation"])
    """Splits whose rows are judged; rows of a test split may well be the benchmark."""

    text: TextConfig = field(default_factory=TextConfig)
    """When a row's text holds a held-out question."""

    near_distance: int = 2
    """Bits that two perceptual hashes may differ in to be close. Of copies that were compressed
    (JPEG, quality 40) or resized all lie within 2; of rendered radiographs, 4 % lie within 2 of one
    of 120 others, 18 % within 4, 93 % within 10."""

    near_image: Literal["drop", "review", "off"] = "review"
    """What becomes of a row whose picture is only close to a held-out one."""

    survey_share: float = 1.0
    """Part of the rows that are read beforehand to learn how common each n-gram is in them."""

    translated: TranslatedConfig | None = None
    """Search for items in the other language; none does not search."""

    key: str | None = None
    """PEM file of the Ed25519 private key that signs the exclusion manifest; without one the
    manifest says that it is unsigned."""


def check(config: DecontaminationConfig) -> None:
    """Raise InputError when the configuration cannot work; reads no benchmark yet."""
    for name, folder in config.benchmarks.items():
        load_benchmark(name, folder)
    for path in (*config.own.values(), *([config.key] if config.key else [])):
        if not UPath(path).exists():
            raise InputError(f"decontamination: {path} does not exist")
    text = config.text
    if min(text.words, text.characters) < 1:
        raise InputError("decontamination.text: n-grams need at least one token")
    if text.long_words < text.words or text.long_characters < text.characters:
        raise InputError("decontamination.text: a long question is at least one n-gram long")
    if not 0 < text.containment <= 1 or not 0 <= config.survey_share <= 1:
        raise InputError("decontamination: containment and survey_share are parts of 1")


def decide(rows: ray.data.Dataset, config: DecontaminationConfig, work: UPath) -> StepResult:
    """Drop the rows that hold held-out items.

    Args:
        rows: thin rows, by part.
        config: the held-out sets and thresholds.
        work: takes `registry.json` (what was checked, for the manifest) and the survey.

    Raises:
        InputError: a held-out set is not where or what the configuration says.
    """
    check(config)
    held_out = read_held_out(config.benchmarks, config.own)
    tokens = ItemTokens.of(held_out.items)
    grams = ItemGrams.of(tokens, held_out.items, config.text)
    version = sha256(json.dumps(held_out.registry, sort_keys=True), repr(config))[:16]
    seen = survey(
        *(rows, tokens.vocabulary, grams.table, config.survey_share),
        work / f"survey-{version}.parquet",
    )
    text = TextIndex.of(held_out.items, tokens, grams, seen.having, config.text)
    index = Index(
        text=text,
        pictures=PictureIndex.of(
            held_out, -1 if config.near_image == "off" else config.near_distance
        ),
        benchmarks=[item.benchmark for item in held_out.items],
        ids=[item.id for item in held_out.items],
        pictured=np.asarray([item.picture >= 0 for item in held_out.items], np.bool_),
        held_out=seen.held_out,
        splits=config.splits,
        near_image=config.near_image,
    )
    write_registry(work, held_out)
    if config.translated is not None:
        rows = with_translated(rows, held_out.items, text, config.translated)
    shared = ray.put(index)

    def judge_all(table: pa.Table) -> pa.Table:
        return judge(table, opened(shared))

    lines = rows.map_batches(judge_all, batch_format="pyarrow", batch_size=None)
    common = int((seen.having > config.text.common_rows).sum())
    figures = _figures(held_out, text, common, seen.rows)
    return StepResult(lines=lines, figures=figures, by_part=True, alone=True)


def write_registry(work: UPath, held_out: HeldOut) -> None:
    """Keep what was checked, for the manifest."""
    work.mkdir(parents=True, exist_ok=True)
    (work / REGISTRY_FILE).write_text(json.dumps(held_out.registry, sort_keys=True))


def _figures(held_out: HeldOut, text: TextIndex, common: int, surveyed: int) -> dict[str, Any]:
    """How many items can be found by what."""
    shows = np.asarray([item.shows for item in held_out.items], np.bool_)
    pictured = np.asarray([item.picture >= 0 for item in held_out.items], np.bool_)
    answered = np.asarray([bool(i.answer or i.options) for i in held_out.items], np.bool_)
    by_answer = ~text.long & ~shows & answered
    found = {"long_question": text.long, "question_and_answer": by_answer, "picture": pictured}
    reachable = text.long | by_answer | pictured
    return {
        "registry": held_out.registry,
        "not_checked": [n for n, facts in held_out.registry.items() if not facts["checked"]],
        "items": len(held_out.items),
        "items_found_by": {name: int(chosen.sum()) for name, chosen in found.items()},
        "items_not_findable": int((~reachable).sum()),
        "common_ngrams": common,
        "surveyed_rows": surveyed,
    }
