"""Answer the questions of an archive: survey its rows, ask what is new, write what was said.

Three passes by Ray Data, each over pieces of some thousand rows. The survey decodes every picture
and names every request by a hash of what decides its answer; only the first row of a name without
an answer is asked; answers meet their rows again by name.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from upath import UPath

from doctor_sun.asking.answers import KEY_TYPE, AnswerIndex, Keys
from doctor_sun.asking.asker import follow
from doctor_sun.asking.budget import BudgetConfig
from doctor_sun.asking.chat_client import EndpointConfig
from doctor_sun.cluster import connect
from doctor_sun.config import JobConfig
from doctor_sun.data.translation.asking import Work, missing_works
from doctor_sun.errors import InputError
from doctor_sun.evaluation import inference
from doctor_sun.evaluation.asked_model import AskedModel
from doctor_sun.generation.archive import open_archive
from doctor_sun.generation.asks import SURVEY, Asking, DecodingConfig, asks_of, survey
from doctor_sun.generation.outcomes import STEP, write_outcomes
from doctor_sun.generation.rows import Reader
from doctor_sun.generation.tables import ColumnsConfig
from doctor_sun.runs import Step, remove_tree
from doctor_sun.vllm_engine import EngineConfig

ASKED = "asked"
"""Folder of answers by what was asked, which a killed job and a grown archive go on from."""

PASSING = re.compile(r"timeout|connection|not JSON|http (408|409|429|5..)")
"""Classes of an endpoint's errors that asking again may mend."""


@dataclass(kw_only=True)
class GenerateConfig(JobConfig):
    """What is asked, of which model, and how."""

    not_in_result = ("budget", "unanswered")

    data: str
    """Table (Parquet, CSV, TSV, JSON lines) of rows with an image and a question, image (PNG, JPEG,
    WebP, TIFF, BMP, DICOM), or folder with either at any depth; path or URI. A worker holds one row
    group of Parquet: a few hundred rows are enough where images stand in it."""

    question: str = ""
    """Asked of every image of the folder, or row of the tables where it holds no images, in place
    of a column."""

    questions: str | None = None
    """File of several such questions, one a line."""

    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    """What the tables call the parts of a row."""

    image_folder: str | None = None
    """Folder that the paths of images in a table are relative to; none takes the table's own.
    Images that changed there are seen with --force."""

    encoding: str = "utf-8"
    """Of CSV and TSV files and the file of questions (gb18030, ...)."""

    most_pixels: int = 50_000_000
    """Largest image, width times height; a larger one is not decoded."""

    model: str | None = None
    """Model folder: an exported LLaVA, or a language model (then for rows without images)."""

    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    """An OpenAI-compatible endpoint to ask instead of a model folder: set base_url."""

    endpoint_model: str = ""
    """The model's name at the endpoint."""

    budget: BudgetConfig = field(default_factory=BudgetConfig)
    """What the endpoint's answers cost, and how much they may cost together."""

    name: str | None = None
    """What column `model` of the answers says; none takes the folder's name."""

    system: str = ""
    """Instruction before every question, as a system message; empty sends none."""

    engine: EngineConfig = field(default_factory=EngineConfig)
    """How vLLM runs the model."""

    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    """How answers are decoded."""

    unanswered: Literal["stop", "ledger"] = "stop"
    """What to do when an endpoint fails in a way that may pass (timeouts, HTTP 429 and 5xx) in all
    attempts: stop, so that the same command asks again, or put the rows into the ledger. What it
    refuses for good is in the ledger either way."""


def check(config: GenerateConfig) -> None:
    """Raise InputError when the configuration cannot work."""
    endpoint, decoding = config.endpoint, config.decoding
    if bool(config.model) == bool(endpoint.base_url):
        raise InputError("give one of --model and --endpoint.base_url")
    if UPath(config.data).resolve() in UPath(config.output).resolve().parents:
        raise InputError("--output lies in --data, which it would change")
    if config.question and config.questions:
        raise InputError("give one of --question and --questions")
    if not 1 <= endpoint.actors <= endpoint.in_flight:
        raise InputError("endpoint.actors must be at least 1 and at most endpoint.in_flight")
    if min(decoding.max_tokens, decoding.batch, decoding.replicas) < 1 or decoding.temperature < 0:
        raise InputError("decoding takes 1 and more, and a temperature of 0 and more")
    try:
        "".encode(config.encoding)
    except LookupError:
        raise InputError(f"encoding {config.encoding} is unknown") from None


def run(config: GenerateConfig) -> dict[str, Any]:
    """Answer into `config.output`; returns the manifest.

    Raises:
        InputError: bad configuration or input, a spent budget, or not one row was answered.
        RuntimeError: rows were lost, or answered twice.
    """
    check(config)
    model = asked_model(config)
    inputs = {"data": config.data, "questions": config.questions, "model": config.model}
    step = Step(config, STEP, {name: at for name, at in inputs.items() if at}, keep=[ASKED])
    if step.reused:
        return step.manifest
    step.say(f"reading {config.data}")
    reader = open_reader(config, model, step.folder)
    asking = Asking(model=model.endpoint_model, identity=model.identity(), decoding=config.decoding)
    with connect(config.address):
        works, keys = survey(reader, asking, step.folder / SURVEY, step.say)
        actors = config.decoding.replicas if config.model else config.endpoint.actors
        missing = missing_works(works, keys, AnswerIndex.of(step.folder / ASKED), actors)
        say_plan(keys, missing, step)
        errors = {}
        if missing:
            asks = asks_of(missing, reader, asking)
            errors = follow(model.asker(step.folder / ASKED)(asks), rows_of(missing), step.say)
            check_answered(errors, config)
        outcome = write_outcomes(keys, errors, step.folder / ASKED, step.folder, model.name)
    return finish(step, rows_of(works), rows_of(missing), *outcome)


def asked_model(config: GenerateConfig) -> AskedModel:
    """The model of a configuration.

    Raises:
        InputError: its folder holds none, or an endpoint's model is not named.
    """
    at_a_time = inference.DecodingConfig(
        batch=config.decoding.batch, replicas=config.decoding.replicas
    )
    if config.model:
        return AskedModel.of_folder(config.model, config.name, config.engine, at_a_time)
    return AskedModel.of_endpoint(
        config.endpoint, config.endpoint_model, config.name, config.budget, at_a_time
    )


def open_reader(config: GenerateConfig, model: AskedModel, folder: UPath) -> Reader:
    """What reads the archive's rows.

    Raises:
        InputError: there is nothing to ask about, or a table lacks a column.
    """
    questions = questions_of(config)
    archive = open_archive(
        config.data,
        config.columns,
        asked=bool(questions),
        images=config.image_folder,
        encoding=config.encoding,
        listing=folder / SURVEY / "images.jsonl",
    )
    most_images = config.engine.images_per_prompt if model.images else 0
    return Reader(
        archive=archive,
        questions=questions,
        system=config.system,
        most_pixels=config.most_pixels,
        most_images=most_images if model.folder else None,
        plain=not model.folder,
    )


def questions_of(config: GenerateConfig) -> list[str]:
    """What is asked of every image or row, in place of a column.

    Raises:
        InputError: the file of questions holds none, or is in another encoding.
    """
    if not config.questions:
        return [config.question] if config.question else []
    try:
        text = UPath(config.questions).read_text(encoding=config.encoding)
    except UnicodeDecodeError:
        raise InputError(f"{config.questions} is not {config.encoding} text") from None
    lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines()]
    if not any(lines):
        raise InputError(f"{config.questions} holds no question")
    return [line for line in lines if line]


def rows_of(works: Sequence[Work]) -> int:
    """How many rows there are in some works."""
    return sum(len(work.rows) for work in works)


def say_plan(keys: Sequence[Keys], missing: Sequence[Work], step: Step) -> None:
    """Say what there is, and what is asked of it."""
    different = np.unique(np.concatenate([np.zeros(0, KEY_TYPE), *keys]))
    known = np.count_nonzero(different != b"") - rows_of(missing)
    step.say(
        f"{sum(map(len, keys)):,} rows; {rows_of(missing):,} different questions to ask, "
        f"{known:,} answered before"
    )


def check_answered(errors: Mapping[str, str], config: GenerateConfig) -> None:
    """Raise InputError when asking again might help, and that is wanted."""
    kinds = Counter(kind for kind in errors.values() if PASSING.fullmatch(kind))
    if kinds and config.unanswered == "stop":
        listed = ", ".join(f"{kind}: {count:,}" for kind, count in kinds.most_common())
        raise InputError(
            f"{kinds.total():,} questions got no answer ({listed}); the others are kept, and the "
            "same command asks these again (--unanswered ledger goes on without)"
        )


def finish(
    step: Step, rows: int, asked: int, answered: int, reasons: Counter[str]
) -> dict[str, Any]:
    """Check the accounts, say how it ended, write the manifest.

    Raises:
        InputError: not one row was answered.
        RuntimeError: rows were lost, or came out twice.
    """
    if rows != answered + reasons.total():
        raise RuntimeError(
            f"{rows} rows went in, {answered} answers and {reasons.total()} ledger entries came out"
        )
    listed = "; ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
    if not answered:
        remove_tree(step.folder / SURVEY)  # what was missing may be there next time
        raise InputError(f"not one of {rows:,} rows was answered ({listed or 'there are none'})")
    step.say(f"{answered:,} rows answered, {reasons.total():,} in the ledger")
    if listed:
        step.say(f"in the ledger: {listed} (--force reads and asks these again)")
    counts = {"rows": rows, "asked": asked, "answered": answered, "ledger": dict(reasons)}
    manifest = step.finish(outputs=["answers", "ledger", ASKED], counts=counts)
    remove_tree(step.folder / SURVEY)
    return manifest
