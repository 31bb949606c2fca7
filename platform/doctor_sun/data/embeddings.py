"""Sentence vectors from a BERT encoder, in Ray Data actors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
from numpy.typing import NDArray

from doctor_sun.data.packaged_encoder import encoder_folder
from doctor_sun.data.rows import chunked, tables
from doctor_sun.local_folders import local_copy

TEXTS_PER_CALL = 64  # of about equal length, a few small batches


@dataclass(kw_only=True)
class EncoderConfig:
    """The encoder, and how much of it and of each text is used."""

    folder: str | None = None
    """Any transformers BERT folder; none takes the packaged multilingual-e5-small (random weights
    where that cannot be had)."""

    layers: int = 0
    """Use only so many of its first layers; 0 uses all."""

    max_tokens: int = 128
    """Tokens of a text that are read."""

    prefix: str = "query: "
    """What the encoder expects before each text."""

    batch_size: int = 32
    """Texts encoded at a time."""

    actors: int = 2
    """Encoder processes, one core each."""

    gpus: float = 0
    """Part of a GPU that each encoder process takes."""


class Encoder:
    """A BERT encoder in one process: texts to unit vectors (mean over tokens, then L2)."""

    def __init__(self, folder: str, config: EncoderConfig) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        torch.set_num_threads(1)
        self.config = config
        self.device = "cuda" if config.gpus and torch.cuda.is_available() else "cpu"
        folder = local_copy(folder)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        options = {"dtype": torch.float32, "add_pooling_layer": False}
        options |= {"use_safetensors": True}  # a pickle runs code
        self.model = AutoModel.from_pretrained(folder, **options).eval().to(self.device)
        if config.layers:
            self.model.encoder.layer = self.model.encoder.layer[: config.layers]

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[n, width] unit vectors; texts of about equal length share a batch."""
        vectors = np.zeros((len(texts), self.model.config.hidden_size), dtype=np.float32)
        if not texts:
            return vectors
        ids = self.tokenizer(
            [self.config.prefix + text for text in texts],
            truncation=True,
            max_length=self.config.max_tokens,
            return_attention_mask=False,
        )["input_ids"]
        order = sorted(range(len(texts)), key=lambda i: len(ids[i]))
        for start in range(0, len(order), self.config.batch_size):
            chosen = order[start : start + self.config.batch_size]
            vectors[chosen] = self._encode_batch([ids[i] for i in chosen])
        return vectors

    def _encode_batch(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        import torch

        batch = self.tokenizer.pad({"input_ids": list(ids)}, return_tensors="pt").to(self.device)
        mask = batch["attention_mask"]
        with torch.inference_mode():
            hidden = self.model(input_ids=batch["input_ids"], attention_mask=mask)
            weights = mask[..., None].float()
            means = (hidden.last_hidden_state * weights).sum(1) / weights.sum(1)
            return torch.nn.functional.normalize(means, dim=1).cpu().numpy()

    def __call__(self, table: pa.Table) -> pa.Table:
        """Put column `vector` in the place of column `text`."""
        vectors = self.encode(table["text"].to_pylist())
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        return pa.table({"text": table["text"], "vector": column})


def encoder_actors(config: EncoderConfig) -> dict[str, Any]:
    """How Ray Data starts encoders: arguments of `map_batches`."""
    return {
        "compute": ray.data.ActorPoolStrategy(size=config.actors),
        "num_cpus": 1,
        "num_gpus": config.gpus,
        "batch_size": None,
        "batch_format": "pyarrow",
    }


def embed(texts: Sequence[str], config: EncoderConfig, folder: str = "") -> NDArray[np.float32]:
    """[n, width] unit vectors of texts, each distinct text encoded once, on a Ray cluster.

    Args:
        texts: any number of texts in English or Chinese.
        config: the encoder.
        folder: its folder, where the caller has resolved it already.
    """
    # By length, so that little of a batch is padding; the longest first, so that at the end no
    # process is left alone with them.
    distinct = sorted(set(texts), key=lambda text: (-len(text), text))
    encoded = chunked(distinct, "text", TEXTS_PER_CALL).map_batches(
        Encoder,
        fn_constructor_kwargs={
            "folder": folder or config.folder or str(encoder_folder()),
            "config": config,
        },
        **encoder_actors(config),
    )
    vectors: dict[str, NDArray[np.float32]] = {}
    for table in tables(encoded):
        if table.num_rows:
            flat = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            matrix = flat.reshape(table.num_rows, -1)
            vectors.update(zip(table["text"].to_pylist(), matrix, strict=True))
    return np.stack([vectors[text] for text in texts]) if texts else np.zeros((0, 1), np.float32)
