"""Rows that a causal language model finds improbable: shuffled words, junk, broken sentences.

Each distinct utterance is scored once (negative log-likelihood of its tokens, the first given the
beginning-of-text token); a row's score is the mean over the tokens of its utterances, short ones
left out, and perplexity is its exponential. A row is dropped when its score is above a quantile of
its source and language *and* far above the median in robust standard deviations: a clean source
loses nothing, a dirty one what stands out.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import ray
import ray.data

from doctor_sun.data.ledger import Decision, StepResult
from doctor_sun.data.rows import Row, chunked, collect
from doctor_sun.errors import InputError
from doctor_sun.records import IMAGE_PLACEHOLDER

SAID = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "source", "language")),
        ("texts", pa.list_(pa.string())),
    ]
)
SCORED = pa.schema([("text", pa.string()), ("tokens", pa.int64()), ("nll", pa.float64())])
ROWS_PER_CALL = 512  # sorted by length inside
ROBUST = 1.4826  # median absolute deviation to standard deviation, for normal scores


@dataclass(kw_only=True)
class PerplexityConfig:
    """The judge and its thresholds."""

    model: str | None = None
    """Folder of a causal language model (transformers) with its tokenizer; none leaves the step
    out."""

    quantile: float = 0.95
    """Only rows above this quantile of their source and language can be dropped."""

    deviations: float = 3.0
    """Robust standard deviations above the median from which a row is dropped."""

    least_deviation: float = 0.15
    """Smallest standard deviation assumed, nats per token: equal texts vary little."""

    shortest: int = 12
    """Tokens from which an utterance is judged: short texts have unstable scores."""

    max_tokens: int = 128
    """Tokens of an utterance that are read."""

    batch_size: int = 32
    """Utterances scored at a time."""

    actors: int = 2
    """Scoring processes, one core each."""


class Scorer:
    """A causal language model in one process: texts to tokens and mean negative log-likelihood."""

    def __init__(self, folder: str, config: PerplexityConfig) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(1)
        self.config = config
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        begin = self.tokenizer.bos_token_id
        self.begin = self.model.config.eos_token_id if begin is None else begin

    def score(self, texts: Sequence[str]) -> list[tuple[int, float]]:
        """Number of tokens and mean negative log-likelihood (nats) of each text."""
        encoded = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        tokens = [ids[: self.config.max_tokens] for ids in encoded]
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        scores: list[tuple[int, float]] = [(0, 0.0)] * len(tokens)
        long = [i for i in order if len(tokens[i]) >= self.config.shortest]
        for start in range(0, len(long), self.config.batch_size):
            chosen = long[start : start + self.config.batch_size]
            losses = self._losses([tokens[i] for i in chosen])
            for i, loss in zip(chosen, losses, strict=True):
                scores[i] = (len(tokens[i]), loss)
        return scores

    def _losses(self, tokens: Sequence[Sequence[int]]) -> list[float]:
        """Mean negative log-likelihood of each token sequence, after the beginning token."""
        import torch

        width = max(map(len, tokens))
        ids = torch.full((len(tokens), width + 1), self.begin)
        mask = torch.zeros((len(tokens), width + 1), dtype=torch.long)
        for row, sequence in enumerate(tokens):
            ids[row, 1 : len(sequence) + 1] = torch.tensor(sequence)
            mask[row, : len(sequence) + 1] = 1
        with torch.inference_mode():
            logits = self.model(input_ids=ids, attention_mask=mask).logits[:, :-1]
            losses = torch.nn.functional.cross_entropy(
                logits.transpose(1, 2), ids[:, 1:], reduction="none"
            )
            return ((losses * mask[:, 1:]).sum(1) / mask[:, 1:].sum(1)).tolist()

    def __call__(self, table: pa.Table) -> pa.Table:
        """Score column `text`."""
        texts = table["text"].to_pylist()
        scores = self.score(texts)
        columns = [texts, [count for count, _ in scores], [loss for _, loss in scores]]
        return pa.table(columns, schema=SCORED)


def _said(table: pa.Table) -> pa.Table:
    """What each row says, utterance by utterance."""
    rows = [
        {
            "id": row["id"],
            "source": row["source"],
            "language": row["language"],
            "texts": [t["text"].replace(IMAGE_PLACEHOLDER, "").strip() for t in row["turns"]],
        }
        for row in table.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=SAID)


def decide(rows: ray.data.Dataset, config: PerplexityConfig) -> StepResult:
    """Drop the rows whose score stands out among those of their source and language.

    Raises:
        InputError: no model is configured.
    """
    if config.model is None:
        raise InputError("perplexity.model is not set: give a causal language model's folder")
    mapped = rows.map_batches(_said, batch_format="pyarrow", batch_size=None)
    said = collect(mapped, SAID).to_pylist()
    distinct = sorted({text for row in said for text in row["texts"]})
    scores = score_texts(distinct, config)
    groups: dict[str, list[tuple[Row, float]]] = defaultdict(list)
    for row in said:
        score = row_score(row["texts"], scores)
        if score is not None:
            groups[f"{row['source']}/{row['language']}"].append((row, score))
    limits = {name: threshold([s for _, s in rated], config) for name, rated in groups.items()}
    decisions = [
        _drop(row, score, limits[name])
        for name, rated in sorted(groups.items())
        for row, score in rated
        if score > limits[name]
    ]
    figures = {
        "perplexity_limits": {name: round(math.exp(s), 1) for name, s in sorted(limits.items())},
        "rows_judged": sum(map(len, groups.values())),
        "utterances_scored": len(distinct),
    }
    seen = Counter(row["source"] for row in said)
    return StepResult(decisions=decisions, seen=seen, figures=figures)


def score_texts(texts: Sequence[str], config: PerplexityConfig) -> dict[str, tuple[int, float]]:
    """Tokens and mean negative log-likelihood of each text of sufficient length, by Ray Data."""
    scored = chunked(texts, "text", ROWS_PER_CALL).map_batches(
        Scorer,
        fn_constructor_kwargs={"folder": str(config.model), "config": config},
        compute=ray.data.ActorPoolStrategy(size=config.actors),
        num_cpus=1,
        batch_size=ROWS_PER_CALL,
        batch_format="pyarrow",
    )
    return {
        row["text"]: (row["tokens"], row["nll"])
        for row in collect(scored, SCORED).to_pylist()
        if row["tokens"] >= config.shortest
    }


def row_score(texts: Iterable[str], scores: Mapping[str, tuple[int, float]]) -> float | None:
    """Mean over the tokens of all judged utterances; None where all are too short to judge."""
    judged = [scores[text] for text in texts if text in scores]
    tokens = sum(count for count, _ in judged)
    return sum(count * nll for count, nll in judged) / tokens if tokens else None


def threshold(values: Sequence[float], config: PerplexityConfig) -> float:
    """The score above which a row of a group is dropped."""
    middle = float(np.median(values))
    spread = ROBUST * float(np.median(np.abs(np.asarray(values) - middle)))
    robust = middle + config.deviations * max(spread, config.least_deviation)
    return max(float(np.quantile(values, config.quantile)), robust)


def _drop(row: Row, score: float, limit: float) -> Decision:
    return Decision(
        id=row["id"],
        source=row["source"],
        verdict="dropped",
        reason="improbable text",
        evidence={"perplexity": round(math.exp(score), 1), "limit": round(math.exp(limit), 1)},
    )
