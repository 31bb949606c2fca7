"""The vectors of the rows that are compared: one file a shard, encoded by actors, kept.

The name of a file follows from the rows, their texts and the encoder: a file that is there is
finished, and an interrupted run encodes no text of it again. Vectors of an earlier run's index are
taken over by the key of the text.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray.data
from numpy.typing import NDArray
from upath import UPath

from doctor_sun.data.embeddings import Encoder, EncoderConfig, encoder_actors
from doctor_sun.data.near_rows import Shard, digest
from doctor_sun.data.packaged_encoder import encoder_folder
from doctor_sun.data.vector_files import Vectors, read_keys, read_vectors, write_vectors
from doctor_sun.errors import InputError

HOW_TO_ENCODE = ("folder", "layers", "max_tokens", "prefix")


def vector_files(
    shards: Sequence[Shard], config: EncoderConfig, folder: UPath, index: UPath | None
) -> tuple[list[str], int]:
    """The vector file of each shard ("" where nothing is compared); texts that were encoded now.

    Args:
        shards: the rows.
        config: the encoder.
        folder: where the files are kept.
        index: an earlier run's index, whose vectors are taken over.
    """
    if index is not None:
        check_encoder(index, config)
    files = [_file(shard, config, folder) for shard in shards]
    present = {file.name for file in folder.glob("*.arrow")}
    jobs = [
        {
            "rows": json.dumps(list(shard.files)),
            "chosen": np.packbits(shard.chosen).tobytes(),
            "seeds": json.dumps(_seeds(shard, index)),
            "file": file,
        }
        for shard, file in zip(shards, files, strict=True)
        if file and UPath(file).name not in present
    ]
    return files, _encode(jobs, config) if jobs else 0


def _file(shard: Shard, config: EncoderConfig, folder: UPath) -> str:
    if not shard.chosen.any():
        return ""
    chosen = np.packbits(shard.chosen).tobytes()
    version = digest(chosen, _how(config).encode(), size=6).hex()
    return str(folder / f"{shard.name}-{version}.arrow")


def _how(config: EncoderConfig) -> str:
    """What the vectors depend on."""
    values = {name: asdict(config)[name] for name in HOW_TO_ENCODE}
    return json.dumps(values | {"folder": config.folder or encoder_folder().name})


def _seeds(shard: Shard, index: UPath | None) -> list[str]:
    """Vector files of an index that may hold vectors of the shard."""
    if index is None or not shard.known:
        return []
    files = [index / "vectors" / f"{UPath(file).stem}.arrow" for file in shard.files]
    return [str(file) for file in files if file.exists()]


def _encode(jobs: Sequence[Mapping[str, Any]], config: EncoderConfig) -> int:
    """Encode what is missing; the number of texts that were encoded."""
    config = replace(config, actors=min(config.actors, len(jobs)))
    encoded = ray.data.from_items(list(jobs), override_num_blocks=len(jobs)).map_batches(
        ShardEncoder,
        fn_constructor_kwargs={
            "folder": config.folder or str(encoder_folder()),
            "config": config,
        },
        **encoder_actors(config),
    )
    counts = [table["encoded"] for table in encoded.iter_batches(batch_format="pyarrow")]
    return int(sum(pc.sum(column).as_py() or 0 for column in counts))


class ShardEncoder:
    """An actor that writes the vector files of shards."""

    def __init__(self, folder: str, config: EncoderConfig) -> None:
        self.folder = folder
        self.config = config

    @cached_property
    def encoder(self) -> Encoder:
        """Loaded when a text is not in an index already."""
        return Encoder(self.folder, self.config)

    def __call__(self, jobs: pa.Table) -> pa.Table:
        """Do some jobs; the number of texts encoded for each."""
        return pa.table({"encoded": [self._do(job) for job in jobs.to_pylist()]})

    def _do(self, job: Mapping[str, Any]) -> int:
        if UPath(job["file"]).exists():
            return 0
        none = np.zeros(0)
        shard = Shard(
            name="",
            files=json.loads(job["rows"]),
            known=False,
            start=0,
            groups=none.astype(np.int64),
            ranks=none.astype(np.uint64),
            chosen=np.unpackbits(np.frombuffer(job["chosen"], np.uint8)).astype(bool),
        )
        table = shard.read(["key", "text"])
        table = table.filter(pa.array(shard.chosen[: table.num_rows]))
        vectors, encoded = self._vectors(table, json.loads(job["seeds"]))
        write_vectors(job["file"], table["key"].combine_chunks(), vectors)
        return encoded

    def _vectors(self, table: pa.Table, seeds: Sequence[str]) -> tuple[Vectors, int]:
        """[n, width] vectors of some texts, and how many of them had to be encoded."""
        keys = table["key"].combine_chunks()
        distinct = keys.unique()
        place = pc.index_in(keys, value_set=distinct).to_numpy()
        known = [(at, read_vectors(seed)) for seed, at in _found(distinct, seeds)]
        missing = np.ones(len(distinct), bool)
        for at, _ in known:
            missing &= at < 0
        first = pc.index_in(distinct.filter(pa.array(missing)), value_set=keys)
        if len(first):
            encoded = self.encoder.encode(table["text"].take(first).to_pylist())
            known.append((np.where(missing, np.cumsum(missing) - 1, -1), encoded))
        vectors = np.zeros((len(distinct), known[0][1].shape[1]), np.float32)
        for at, found in known:
            vectors[at >= 0] = found[at[at >= 0]]
        return vectors[place], len(first)


def _found(keys: pa.Array, seeds: Sequence[str]) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """For each file of vectors, where in it each key stands; -1 where it does not."""
    for seed in seeds:
        at = pc.fill_null(pc.index_in(keys, value_set=read_keys(seed)), -1)
        yield seed, at.to_numpy().astype(np.int64)


def write_encoder(index: UPath, config: EncoderConfig) -> None:
    """Note in an index how its vectors were made."""
    index.mkdir(parents=True, exist_ok=True)
    (index / "encoder.json").write_text(_how(config), encoding="utf-8")


def check_encoder(index: UPath, config: EncoderConfig) -> None:
    """Raise InputError unless an index's vectors were made as the configuration says."""
    note = index / "encoder.json"
    if not note.exists():
        raise InputError(f"near_duplicates.index: {index} is not an index (no encoder.json)")
    if note.read_text(encoding="utf-8") != _how(config):
        raise InputError(
            f"near_duplicates.index: {index} was made by another encoder "
            f"({note.read_text(encoding='utf-8')}); set near_duplicates.encoder to it"
        )
