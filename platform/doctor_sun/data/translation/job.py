"""Translate curated samples from English into Chinese: ask, check, judge, hold for review, write.

Four passes over the chosen rows, none with pictures but the last: which translations are missing
and their requests; which judgements are missing and theirs; the result. What was answered is never
asked again, so an interrupted run goes on, and a run with other thresholds costs nothing.
"""

import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import SecretStr
from upath import UPath

from doctor_sun.asking.answers import AnswerIndex, Keys
from doctor_sun.asking.asker import Ask, endpoint_asker
from doctor_sun.asking.budget import BudgetConfig, cost, open_purse
from doctor_sun.asking.chat_client import EndpointConfig
from doctor_sun.asking.engine import engine_asker
from doctor_sun.cluster import connect
from doctor_sun.config import JobConfig
from doctor_sun.data.review import DECISIONS, QUEUE, read_decisions, write_private
from doctor_sun.data.rows import tables
from doctor_sun.data.translation.asking import (
    Build,
    Work,
    ask_missing,
    in_tasks,
    missing_works,
    request_keys,
)
from doctor_sun.data.translation.fluency import JudgeConfig
from doctor_sun.data.translation.glossary import read_glossary
from doctor_sun.data.translation.local_model import LocalModelConfig
from doctor_sun.data.translation.outcomes import STEP, Translator, queue_part, write_part
from doctor_sun.data.translation.preservation import PreservationConfig
from doctor_sun.data.translation.prompts import ModelConfig
from doctor_sun.data.translation.report import translation_page
from doctor_sun.errors import InputError
from doctor_sun.records import Domain
from doctor_sun.runs import Step
from doctor_sun.vllm_engine import model_path

ANSWERS = "answers"
KEPT = (ANSWERS, "review")  # paid for, decided by people: outlives a change of configuration


@dataclass(kw_only=True)
class TranslateConfig(JobConfig):
    """What is translated, by which model, and what is accepted."""

    not_in_result = ("endpoint", "budget", "answers")

    data: str
    """Folder of a curation (`data/*.parquet`), or of Parquet files by `records.SCHEMA`."""

    domain: Domain | None = None
    """Translate rows of this domain only."""

    sources: list[str] = field(default_factory=list)
    """Translate rows of these sources only; empty takes all."""

    limit: int | None = None
    """Translate the first rows only, so many."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """The translating model."""

    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    """Where the models are asked."""

    local: LocalModelConfig = field(default_factory=LocalModelConfig)
    """A model folder that vLLM runs on the cluster, in place of an endpoint."""

    glossary: str | None = None
    """Required translations of terms: TSV (English, Chinese) or PO file."""

    preservation: PreservationConfig = field(default_factory=PreservationConfig)
    """Limits of the checks."""

    judge: JudgeConfig = field(default_factory=JudgeConfig)
    """The judge of fluency and adequacy."""

    spot_check: float = 0.01
    """Share of the accepted translations (0 to 1) that enter the review queue as well: what a
    person finds wrong among them says how good the rest is. They are in the data unless
    rejected."""

    budget: BudgetConfig = field(default_factory=BudgetConfig)
    """Prices and caps."""

    answers: str | None = None
    """Folder of the answers that were paid for, which several runs may share; none keeps them in
    the output."""


def check(config: TranslateConfig) -> None:
    """Raise InputError when the configuration cannot work."""
    endpoint = config.endpoint
    if not config.model.model:
        raise InputError("model.model is not set: name the translating model")
    if not config.local.folder and not endpoint.base_url:
        raise InputError("endpoint.base_url is not set (or local.folder, for a model of your own)")
    if not 1 <= endpoint.actors <= endpoint.in_flight:
        raise InputError("endpoint.actors must be at least 1 and at most endpoint.in_flight")
    if not 0 <= config.spot_check <= 1:
        raise InputError(f"spot_check is {config.spot_check}; it must be 0 to 1")
    if not config.local.folder and not os.environ.get(endpoint.key_variable):
        raise InputError(
            f"environment variable {endpoint.key_variable} is not set: it holds the endpoint's key"
        )


def run(config: TranslateConfig) -> dict[str, Any]:
    """Translate into `config.output`; returns the manifest.

    Raises:
        InputError: bad configuration or input, a refused key, a spent budget.
    """
    check(config)
    inputs = {"data": config.data, "glossary": config.glossary, "local": config.local.folder}
    decided = UPath(config.output) / DECISIONS
    inputs["decisions"] = str(decided) if decided.exists() else None
    step = Step(config, STEP, {name: at for name, at in inputs.items() if at}, keep=KEPT)
    if step.reused:
        return step.manifest
    answers = UPath(config.answers) if config.answers else step.folder / ANSWERS
    answers.mkdir(parents=True, exist_ok=True)
    translator = Translator(
        model=config.model,
        judge=config.judge,
        preservation=config.preservation,
        glossary=read_glossary(config.glossary),
        spot_check=config.spot_check,
    )
    with connect(config.address):
        works, keys = chosen_rows(config, translator.requests)
        step.say(f"{sum(len(work.rows) for work in works)} rows to translate")
        errors = _ask(works, keys, translator.requests, config, answers, step)
        if config.judge.ask:
            works = _placed(works, keys, answers)
            _, judged = request_keys(works, translator.judge_requests)
            errors |= _ask(works, judged, translator.judge_requests, config, answers, step)
            keys = [np.concatenate(pair) for pair in zip(keys, judged, strict=True)]
        totals = _write(_placed(works, keys, answers), errors, translator, step.folder)
    return _finish(config, step, works, totals, answers)


def chosen_rows(config: TranslateConfig, build: Build) -> tuple[list[Work], list[Keys]]:
    """The English rows that the configuration chooses, file by file, and their requests' keys.

    Raises:
        InputError: no files, or no row is chosen.
    """
    root = UPath(config.data)
    folder = root / "data" if (root / "data").is_dir() else root
    files = sorted(folder.glob("*.parquet"), key=str)
    if not files:
        raise InputError(f"{folder} holds no Parquet files")
    domain, sources = config.domain, config.sources

    def choose(file: str) -> NDArray[np.int32]:
        with UPath(file).open("rb") as stream:
            table = pq.read_table(stream, columns=["domain", "language", "source"])
        wanted = pc.equal(table["language"], "en")
        if domain:
            wanted = pc.and_(wanted, pc.equal(table["domain"], domain))
        if sources:
            wanted = pc.and_(wanted, pc.is_in(table["source"], pa.array(sources)))
        return np.flatnonzero(wanted.to_numpy()).astype(np.int32)

    listed = [Work(str(file), np.zeros(0, np.int32)) for file in files]
    left = math.inf if config.limit is None else config.limit
    works, keys = [], []
    for work, own in zip(*request_keys(listed, build, choose), strict=True):
        count = int(min(left, len(own)))
        left -= count
        if count:
            works.append(Work(work.file, work.rows[:count]))
            keys.append(own[:count])
    if not works:
        raise InputError(f"{folder} holds no English rows of the chosen domain and sources")
    return works, keys


def _placed(works: Sequence[Work], keys: Sequence[Keys], answers: UPath) -> list[Work]:
    """The works with the places of the answers under their keys."""
    index = AnswerIndex.of(answers)
    return [
        Work(work.file, work.rows, index.places(own)) for work, own in zip(works, keys, strict=True)
    ]


def _ask(
    works: Sequence[Work],
    keys: Sequence[Keys],
    build: Build,
    config: TranslateConfig,
    answers: UPath,
    step: Step,
) -> dict[str, str]:
    """Ask for what is not answered yet; the classes of final errors by key.

    Args:
        works: the rows.
        keys: [works][rows] of their requests.
        build: from rows to requests.
        config: whom to ask, and the budget.
        answers: folder of answers.
        step: for its messages.
    """
    index = AnswerIndex.of(answers)
    missing = missing_works(works, keys, index, config.endpoint.actors)
    wanted = sum(len(work.rows) for work in missing)
    name = build.__name__.replace("_", " ")
    step.say(f"{name}: {wanted} to ask, {len(index.keys)} answers are already there")
    if not missing:
        return {}
    return ask_missing(missing, build, _asker(config, answers, index), step.say)


def _asker(config: TranslateConfig, answers: UPath, index: AnswerIndex) -> Ask:
    if config.local.folder:
        folder = model_path(config.local.folder, "local.folder")
        local = config.local
        return engine_asker(folder, local.engine, answers, local.batch, local.replicas)
    spent = cost(index.prompt_tokens, index.completion_tokens, config.budget)
    key = SecretStr(os.environ[config.endpoint.key_variable])
    purse = open_purse(config.budget, spent, config.endpoint.timeout)
    return endpoint_asker(config.endpoint, config.budget, key, purse, answers)


def _write(
    works: Sequence[Work], errors: Mapping[str, str], translator: Translator, folder: UPath
) -> Counter[str]:
    """Write the result file by file; everything that was counted, by `name` or `name/value`."""
    place, decisions = str(folder), read_decisions(folder)

    def write(number: int, work: Work) -> pa.Table:
        counted = write_part(number, work, translator, errors, decisions, UPath(place))
        return pa.table({"counted": [json.dumps(counted)]})

    totals: Counter[str] = Counter()
    for table in tables(in_tasks(works, write)):
        for line in table["counted"].to_pylist():
            for name, value in json.loads(line).items():
                many = value.items() if isinstance(value, dict) else [("", value)]
                totals.update({f"{name}/{key}" if key else name: n for key, n in many})
    return totals


def _finish(
    config: TranslateConfig,
    step: Step,
    works: Sequence[Work],
    totals: Counter[str],
    answers: UPath,
) -> dict[str, Any]:
    """Check the accounts, join the review queue, write the report and the manifest."""
    rows = sum(len(work.rows) for work in works)
    verdicts = {name: totals[f"verdicts/{name}"] for name in ("dropped", "review")}
    if rows != totals["translated"] + sum(verdicts.values()):
        raise RuntimeError(f"{rows} rows went in, {dict(totals)} came out")
    _join_queue(step.folder, len(works))
    index = AnswerIndex.of(answers)
    spent = cost(index.prompt_tokens, index.completion_tokens, config.budget)
    counts = {"rows_in": rows, "translated": totals["translated"], **verdicts}
    figures: dict[str, Any] = {
        name: {key.split("/", 1)[1]: n for key, n in sorted(totals.items()) if key.startswith(name)}
        for name in ("reasons", "sources", "spot_check", "fluency", "adequacy")
    }
    figures["reviewed"] = totals["reviewed"]
    figures["cost"] = {
        "prompt_tokens": index.prompt_tokens,
        "completion_tokens": index.completion_tokens,
        "money": round(spent.money, 4),
        "currency": config.budget.currency,
    }
    page = translation_page(config.model.model, counts, figures)
    (step.folder / "report.html").write_text(page, encoding="utf-8")
    step.say(", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.items()))
    if unanswered := sum(n for r, n in figures["reasons"].items() if "no answer: " in r):
        step.say(f"{unanswered} rows had no answer; --force true asks for those alone")
    outputs = ["data", "ledger", QUEUE, "report.html"]
    return step.finish(outputs=outputs, counts=counts, figures=figures)


def _join_queue(folder: UPath, parts: int) -> None:
    """The review queue as one file, in the order of the rows."""
    part = folder / f"{QUEUE}.part"
    write_private(part, "")
    with part.open("ab") as joined:
        for number in range(parts):
            with queue_part(folder, number).open("rb") as stream:
                shutil.copyfileobj(stream, joined)
    part.rename(folder / QUEUE)
