"""The scores of a part's rows, computed in an actor and kept in a file of their own."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from upath import UPath

from doctor_sun.data import ngram
from doctor_sun.data.corpus_model import groups, halves
from doctor_sun.files import read_parquet, write_parquet
from doctor_sun.local_folders import local_copy
from doctor_sun.records import IMAGE_PLACEHOLDER, sha256

SETTINGS = b"doctor_sun.settings"  # key of what a file's scores depend on, in its metadata
DECIDING = ("scorer", "model", "shortest", "max_tokens")
SCORES = pa.schema(
    [
        ("part", pa.int32()),
        *((name, pa.string()) for name in ("id", "source", "language")),
        ("tokens", pa.int32()),
        ("nll", pa.float32()),
    ]
)
SUMMARY = pa.schema(
    [
        ("file", pa.string()),
        ("reused", pa.bool_()),
        ("group", pa.string()),
        ("nll", pa.list_(pa.float32())),
    ]
)


class LanguageModelScorer:
    """A causal language model in one process: texts to tokens and mean negative log-likelihood."""

    def __init__(self, folder: str, *, shortest: int, max_tokens: int, batch_size: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(1)
        self.shortest, self.max_tokens, self.batch_size = shortest, max_tokens, batch_size
        folder = local_copy(folder)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,  # a pickle runs code
        ).eval()
        begin = self.tokenizer.bos_token_id
        self.begin = self.model.config.eos_token_id if begin is None else begin

    def score(self, texts: Sequence[str]) -> list[tuple[int, float]]:
        """Number of tokens and mean negative log-likelihood (nats) of each text; (0, 0) of those
        too short to judge.
        """
        if not texts:
            return []
        encoded = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        tokens = [ids[: self.max_tokens] for ids in encoded]
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        scores: list[tuple[int, float]] = [(0, 0.0)] * len(tokens)
        long = [i for i in order if len(tokens[i]) >= self.shortest]
        for start in range(0, len(long), self.batch_size):
            chosen = long[start : start + self.batch_size]
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


class RowScores:
    """Scores blocks of rows, each the rows of one part, and writes them; used in an actor pool.

    Args:
        settings: the step's configuration as a dict.
        folder: the step's folder; score files go to `scores` below it.
        models: the n-gram models of the two halves; () where a language model judges.
    """

    def __init__(self, settings: Mapping[str, Any], folder: str, models: tuple[str, ...]) -> None:
        self.shortest, self.most = settings["shortest"], settings["max_tokens"]
        deciding: dict[str, Any] = {name: settings[name] for name in DECIDING}
        if models:
            loaded = [ngram.load(UPath(model)) for model in models]
            self.ngrams = [ngram.NgramScorer(model) for model in loaded]
            deciding["models"] = [ngram.fingerprint(model) for model in loaded]
        else:
            self.model = LanguageModelScorer(
                settings["model"],
                shortest=self.shortest,
                max_tokens=self.most,
                batch_size=settings["batch_size"],
            )
        self.judged_by_ngrams = bool(models)
        self.settings = sha256(json.dumps(deciding, sort_keys=True)).encode()
        self.folder = UPath(folder) / "scores"

    def __call__(self, table: pa.Table) -> pa.Table:
        """A summary of the block: its score file, and the scores of each group."""
        if not table.num_rows:
            return SUMMARY.empty_table()
        name = f"{table['part'][0].as_py():06d}-{sha256(table['id'][0].as_py())[:8]}.parquet"
        file = self.folder / name
        scores = self._kept(file, table)
        reused = scores is not None
        if scores is None:
            scores = self._scored(table)
            write_parquet(file, scores.replace_schema_metadata({SETTINGS: self.settings}))
        return _summary(file, reused, scores)

    def _kept(self, file: UPath, table: pa.Table) -> pa.Table | None:
        """The scores that an interrupted run has left for exactly these rows."""
        if not file.exists():
            return None
        scores = read_scores(file)
        same_judge = (scores.schema.metadata or {}).get(SETTINGS) == self.settings
        return scores if same_judge and scores["id"].equals(table["id"]) else None

    def _scored(self, table: pa.Table) -> pa.Table:
        """Tokens and mean negative log-likelihood of each row; each distinct text scored once."""
        half = halves(table["id"]).tolist() if self.judged_by_ngrams else [0] * table.num_rows
        said = [
            [(h, turn["text"].replace(IMAGE_PLACEHOLDER, "").strip()) for turn in turns]
            for h, turns in zip(half, table["turns"].to_pylist(), strict=True)
        ]
        distinct = list(dict.fromkeys(text for texts in said for text in texts))
        known = dict(zip(distinct, self._score(distinct), strict=True))
        rated = [row_score([known[text] for text in texts], self.shortest) for texts in said]
        columns = {name: table[name] for name in ("part", "id", "source", "language")}
        columns["tokens"] = pa.array([tokens for tokens, _ in rated], pa.int32())
        columns["nll"] = pa.array([nll for _, nll in rated], pa.float32())
        return pa.table(columns, schema=SCORES)

    def _score(self, texts: Sequence[tuple[int, str]]) -> list[tuple[int, float]]:
        if not self.judged_by_ngrams:
            return self.model.score([text for _, text in texts])
        scores: list[tuple[int, float]] = [(0, 0.0)] * len(texts)
        for half in (0, 1):  # a row is judged by the model of the other half
            own = [number for number, (h, _) in enumerate(texts) if h == half]
            rated = self.ngrams[1 - half].score([texts[n][1] for n in own], self.most)
            for number, score in zip(own, rated, strict=True):
                scores[number] = score
        return scores


def row_score(scores: Sequence[tuple[int, float]], shortest: int) -> tuple[int, float]:
    """Tokens of a row's judged utterances and the mean over them; (0, NaN) where none is long
    enough.
    """
    judged = [(tokens, nll) for tokens, nll in scores if tokens >= shortest]
    total = sum(tokens for tokens, _ in judged)
    return total, sum(tokens * nll for tokens, nll in judged) / total if total else float("nan")


def _summary(file: UPath, reused: bool, scores: pa.Table) -> pa.Table:
    names = groups(scores)
    nll: NDArray[np.float32] = scores["nll"].to_numpy()
    found = sorted(set(names.to_pylist()))
    values = [nll[pc.equal(names, name).to_numpy(zero_copy_only=False)] for name in found]
    lists = pa.array([list(value) for value in values], SUMMARY.field("nll").type)
    count = len(found)
    return pa.table([[str(file)] * count, [reused] * count, found, lists], schema=SUMMARY)


def read_scores(file: UPath) -> pa.Table:
    """A part's scores by `SCORES`."""
    return read_parquet(file)
