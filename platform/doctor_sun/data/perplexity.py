"""Rows that a language model finds improbable: shuffled words, junk, broken sentences.

The judge is a causal language model or an n-gram model of the corpus itself. A row's score is the
mean negative log-likelihood over the tokens of its utterances, short ones left out; perplexity is
its exponential. A row is dropped when its score is above a quantile of its source and language
*and* far above their median in robust standard deviations: a clean source loses nothing, a dirty
one what stands out. No limit is absolute.

Rows are scored part by part; the scores stay below the step's folder, so that an interrupted run
scores each part once. The limits then follow from all scores, a few bytes a row.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray.data
from numpy.typing import NDArray
from upath import UPath

from doctor_sun.data.corpus_model import train_on
from doctor_sun.data.ledger import LINES, StepResult
from doctor_sun.data.perplexity_scores import RowScores, read_scores
from doctor_sun.data.rows import evidence_text, tables
from doctor_sun.data.source_settings import check_by_source, for_source
from doctor_sun.errors import InputError

ROBUST = 1.4826  # median absolute deviation to standard deviation, for normal scores
BIN_WIDTH, MOST_NATS = 0.25, 14.0
BINS = np.arange(0, MOST_NATS + BIN_WIDTH, BIN_WIDTH)  # edges of the histograms, nats per token


@dataclass(kw_only=True)
class PerplexityConfig:
    """The judge and its thresholds."""

    scorer: Literal["language_model", "ngram"] = "language_model"
    """A causal language model, or an n-gram model trained on a sample of the rows themselves."""

    model: str | None = None
    """Folder of a causal language model (transformers) with its tokenizer."""

    quantile: float = 0.95
    """Only rows above this quantile of their source and language can be dropped."""

    deviations: float = 3.0
    """Robust standard deviations above the median from which a row is dropped."""

    least_deviation: float = 0.15
    """Smallest standard deviation assumed, nats per token: equal texts vary little."""

    by_source: dict[str, dict[str, float]] = field(default_factory=dict)
    """Other `quantile`, `deviations` or `least_deviation` by source, or by source and language
    (`source/zh`); quantile 1 drops none."""

    smallest_group: int = 20
    """Judged rows from which a source and language has a limit of its own; smaller ones share
    that of their language."""

    shortest: int = 12
    """Tokens from which an utterance is judged: short texts have unstable scores."""

    max_tokens: int = 128
    """Tokens of an utterance that are read."""

    batch_size: int = 32
    """Utterances scored at a time by a language model."""

    actors: int = 2
    """Scoring processes, one core each."""

    training_rows: int = 20_000
    """Rows of each source and language that the n-gram model learns from, at most."""

    def __post_init__(self) -> None:
        check_by_source(self.by_source, ("quantile", "deviations", "least_deviation"))


def decide(rows: ray.data.Dataset, config: PerplexityConfig, work: UPath) -> StepResult:
    """Drop the rows whose score stands out among those of their source and language.

    Scores lie in `work/scores/*.parquet` (part, id, source, language, tokens, nll in nats; tokens
    is 0 where all utterances are too short to judge).

    Raises:
        InputError: no model is configured, or there is no text to learn from.
    """
    models: tuple[str, ...] = ()
    if config.scorer == "ngram":
        models = train_on(rows, config.training_rows, work)
    elif config.model is None:
        raise InputError(
            "perplexity.model is not set: give a causal language model's folder, or set "
            "perplexity.scorer to ngram"
        )
    files, scores, reused = _score(rows, config, work, models)
    limits = limits_of(scores, config)
    if not files:
        return StepResult(lines=ray.data.from_arrow(LINES.empty_table()), by_part=True)
    lines = ray.data.from_items(
        [{"file": file} for file in files], override_num_blocks=len(files)
    ).map_batches(
        _lines_of_files, fn_kwargs={"limits": limits}, batch_format="pyarrow", batch_size=None
    )
    figures = _figures(scores, limits) | {"files_scored_earlier": reused}
    return StepResult(lines=lines, figures=figures, by_part=True)


Scores = Mapping[str, NDArray[np.float32]]
"""Judged rows' scores by `source/language`; NaN for a row too short to judge."""


def _score(
    rows: ray.data.Dataset, config: PerplexityConfig, work: UPath, models: tuple[str, ...]
) -> tuple[list[str], Scores, int]:
    """Score all rows in actors; the score files, the scores, and how many files were there."""
    settings = asdict(config)
    scored = rows.map_batches(
        RowScores,
        fn_constructor_kwargs={"settings": settings, "folder": str(work), "models": models},
        compute=ray.data.ActorPoolStrategy(size=config.actors),
        num_cpus=1,
        batch_size=None,
        batch_format="pyarrow",
    )
    files: dict[str, bool] = {}
    groups: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    for table in tables(scored):
        for line in range(table.num_rows):
            files[table["file"][line].as_py()] = table["reused"][line].as_py()
            name = table["group"][line].as_py()
            groups[name].append(table["nll"][line].values.to_numpy(zero_copy_only=False))
    joined = {name: np.concatenate(parts) for name, parts in sorted(groups.items())}
    return sorted(files), joined, sum(files.values())


def limits_of(scores: Scores, config: PerplexityConfig) -> dict[str, float]:
    """The score above which a row of each group is dropped."""
    judged = {name: values[~np.isnan(values)] for name, values in scores.items()}
    limits = {}
    for name, values in judged.items():
        own = values
        if len(values) < config.smallest_group:
            language = name.rpartition("/")[2]
            own = np.concatenate([v for n, v in judged.items() if n.endswith(f"/{language}")])
        limits[name] = threshold(own, config, name)
    return limits


def threshold(
    values: Sequence[float] | NDArray[np.float32], config: PerplexityConfig, name: str = ""
) -> float:
    """The score above which a row of a group is dropped; infinity for an empty group.

    Args:
        values: scores of the group's judged rows.
        config: the thresholds.
        name: the group, `source/language`.
    """
    if not len(values):
        return math.inf
    own = for_source(config, *name.rsplit("/", 1)) if "/" in name else config
    scores = np.asarray(values, np.float64)
    middle = float(np.median(scores))
    spread = ROBUST * float(np.median(np.abs(scores - middle)))
    robust = middle + own.deviations * max(spread, own.least_deviation)
    return max(float(np.quantile(scores, own.quantile)), robust)


def _lines_of_files(listed: pa.Table, limits: Mapping[str, float]) -> pa.Table:
    """The step's lines for the rows of some score files."""
    parts = [_lines(read_scores(UPath(file)), limits) for file in listed["file"].to_pylist()]
    return pa.concat_tables([LINES.empty_table(), *parts])


def _lines(scores: pa.Table, limits: Mapping[str, float]) -> pa.Table:
    """One line a row: dropped where its score is above its group's limit."""
    groups = pc.binary_join_element_wise(scores["source"], scores["language"], "/").to_pylist()
    limit = np.array([limits[group] for group in groups], np.float64)
    nll = scores["nll"].to_numpy()
    with np.errstate(invalid="ignore"):
        dropped = nll > limit  # NaN, too short to judge, is above nothing
    evidence = [
        evidence_text({"perplexity": _perplexity(score), "limit": _perplexity(most)}) if out else ""
        for out, score, most in zip(dropped, nll, limit, strict=True)
    ]
    columns = {
        "part": scores["part"],
        "id": scores["id"],
        "source": scores["source"],
        "verdict": pa.array(np.where(dropped, "dropped", ""), pa.string()),
        "reason": pa.array(np.where(dropped, "improbable text", ""), pa.string()),
        "evidence": pa.array(evidence, pa.string()),
        "turns": pa.nulls(scores.num_rows, LINES.field("turns").type),
    }
    return pa.table(columns, schema=LINES)


def _perplexity(nats: float) -> float:
    return round(math.exp(min(float(nats), 700.0)), 1)


def _figures(scores: Scores, limits: Mapping[str, float]) -> dict[str, Any]:
    """Limits and a histogram of each group; bins are equal for all, in nats per token."""
    histograms = {}
    for name, values in scores.items():
        judged = values[~np.isnan(values)]
        counts, _ = np.histogram(np.minimum(judged, MOST_NATS), BINS)
        histograms[name] = {
            "rows": len(values),
            "judged": len(judged),
            "dropped": int((judged > limits[name]).sum()),
            "median": _perplexity(float(np.median(judged))) if len(judged) else None,
            "limit": _perplexity(limits[name]) if len(judged) else None,
            "counts": counts.tolist(),
        }
    return {
        "perplexity_limits": {n: _perplexity(s) for n, s in limits.items() if s < math.inf},
        "rows_judged": sum(figures["judged"] for figures in histograms.values()),
        "histogram_bin_nats": BIN_WIDTH,
        "histograms": histograms,
    }
