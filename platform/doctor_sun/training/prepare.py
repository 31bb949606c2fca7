"""Curated rows -> the rows of one stage, tokenised once, in the order they are trained on.

Ray Data reads and tokenises; a row that cannot fit goes to the stage's ledger with the reason.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray
from ray.data import Dataset

from doctor_sun.errors import InputError
from doctor_sun.training.mixture import MixtureItem, group_by_length, select

INDEX_COLUMNS = ["id", "domain", "language", "task", "source"]


@dataclass(kw_only=True)
class PreparedRows:
    """The rows of a stage and what happened to the others."""

    rows: Dataset
    """Columns id, kind (`source/language`), position, input_ids, labels, images; sorted by
    position."""

    ledger: pa.Table
    """Rows that cannot be trained on: id, step, verdict, reason, evidence."""

    order: pa.Table
    """Columns id and tokens of every row that is read, in the stage's order (`position`)."""

    realised: dict[str, int]
    """Rows by item of the mixture."""

    by_kind: dict[str, dict[str, int]]
    """Rows and tokens by kind."""


@lru_cache(maxsize=1)
def _tokenizer(llm: str) -> Any:
    from doctor_sun.models.chat_template import load_tokenizer

    return load_tokenizer(llm)


@lru_cache(maxsize=1)
def _processor(image_size: int, square_padding: bool) -> Any:
    from doctor_sun.models.image_transform import build_image_processor

    return build_image_processor(image_size, square_padding)


def encode_rows(
    batch: pa.Table, llm: str, image_tokens: int, max_length: int, stage: str
) -> pa.Table:
    """Add input_ids, labels and tokens (their number) to each row, and reason: why it does not fit.

    The reason of a row that fits is null.
    """
    from doctor_sun.models.chat_template import DoesNotFit, encode

    tokenizer = _tokenizer(llm)
    ids: list[list[int]] = []
    labels: list[list[int]] = []
    reasons: list[str | None] = []
    for turns, images in zip(batch["turns"].to_pylist(), batch["images"].to_pylist(), strict=True):
        reason = None
        row_ids: list[int] = []
        row_labels: list[int] = []
        if images and not image_tokens:
            reason = f"an image row in the text stage '{stage}'"
        else:
            try:
                row_ids, row_labels = encode(turns, tokenizer, image_tokens, max_length)
            except DoesNotFit as error:
                reason = str(error)
        ids.append(row_ids)
        labels.append(row_labels)
        reasons.append(reason)
    table = batch.drop_columns(["turns"])
    table = table.append_column("input_ids", pa.array(ids, pa.list_(pa.int32())))
    table = table.append_column("labels", pa.array(labels, pa.list_(pa.int32())))
    table = table.append_column("tokens", pa.array([len(row) for row in ids], pa.int64()))
    return table.append_column("reason", pa.array(reasons, pa.string()))


def kinds(rows: pa.Table) -> list[str]:
    """What the loss of each row is counted under: its source and language."""
    columns = (rows[name].to_pylist() for name in ("source", "language"))
    return ["/".join(pair) for pair in zip(*columns, strict=True)]


def place_rows(batch: pa.Table, order: pa.Table) -> pa.Table:
    """The rows of a batch that are read, with their kind, once for each position."""
    wanted: NDArray[np.object_] = order["id"].to_numpy(zero_copy_only=False)
    positions = order["position"].to_numpy()
    ids = batch["id"].to_numpy(zero_copy_only=False)
    by_id = np.argsort(ids, kind="stable")
    at = np.searchsorted(ids[by_id], wanted)
    found = np.flatnonzero((at < len(ids)) & (ids[by_id][np.minimum(at, len(ids) - 1)] == wanted))
    taken = batch.take(pa.array(by_id[at[found]]))
    taken = taken.append_column("kind", pa.array(kinds(taken), pa.string()))
    return taken.append_column("position", pa.array(positions[found], pa.int64()))


def decode_images(batch: pa.Table, image_size: int, square_padding: bool) -> pa.Table:
    """Replace encoded images by uint8 pixels, [3, size, size] flattened to bytes."""
    pixels: list[list[bytes]] = [[] for _ in range(batch.num_rows)]
    if image_size:  # a text stage need not import what decodes
        from doctor_sun.models.image_transform import decode_image, to_uint8

        processor = _processor(image_size, square_padding)
        for row, images in enumerate(batch["images"].to_pylist()):
            if images:
                decoded = to_uint8(processor, [decode_image(image) for image in images])
                pixels[row] = [image.tobytes() for image in decoded]
    table = batch.drop_columns(["images"])
    return table.append_column("pixels", pa.array(pixels, pa.list_(pa.binary())))


def rows_of_rank(
    batch: pa.Table, micro_batches: NDArray[np.int32], rank: int, world: int
) -> pa.Table:
    """The rows of a batch that a rank trains on, and in which of its forward passes (`pass`).

    Args:
        batch: rows with their position in the stage's order.
        micro_batches: [rows of the stage] the micro-batch of each, as `Cut` numbers them.
        rank: of this process.
        world: ranks.
    """
    numbers = micro_batches[batch["position"].to_numpy()]
    own = numbers % world == rank
    kept = batch.filter(pa.array(own))
    return kept.append_column("pass", pa.array(numbers[own] // world, pa.int32()))


def prepare_rows(
    data: str,
    items: list[MixtureItem],
    global_batches: int,
    global_batch: int,
    length_window: int,
    seed: int,
    stage: str,
    encoding: dict[str, Any],
) -> PreparedRows:
    """Read, tokenise, choose and order the rows of a stage.

    Args:
        data: folder of Parquet files with the sample schema.
        items: the stage's mixture.
        global_batches: optimizer steps of the stage.
        global_batch: rows of one step.
        length_window: global batches whose rows are grouped by length.
        seed: of choice and order.
        stage: name for messages and the ledger.
        encoding: keyword arguments of `encode_rows` (llm, image_tokens, max_length).

    Raises:
        InputError: no row matches, or none fits.
    """
    columns = [*INDEX_COLUMNS, "turns", "images"]
    rows = ray.data.read_parquet(data, columns=columns)
    matching = rows.map_batches(
        _keep_matching, fn_kwargs={"items": items}, batch_format="pyarrow", batch_size=None
    )
    encoded = matching.map_batches(
        encode_rows,
        fn_kwargs={**encoding, "stage": stage},
        batch_format="pyarrow",
        batch_size=256,
    ).materialize()
    thin = pa.concat_tables(
        ray.get(encoded.select_columns([*INDEX_COLUMNS, "reason", "tokens"]).to_arrow_refs())
    )
    misfit = np.asarray(thin["reason"].is_valid().combine_chunks())
    index = thin.filter(pa.array(~misfit))
    if not index.num_rows:
        raise InputError(f"stage '{stage}': none of the {thin.num_rows} rows of {data} fits")
    drawn, realised = select(index, items, global_batches * global_batch, seed)
    length = dict(zip(index["id"].to_pylist(), index["tokens"].to_pylist(), strict=True))
    tokens = np.asarray([length[row] for row in drawn["id"].to_pylist()])
    order = group_by_length(drawn, tokens, global_batch, length_window, seed)
    lengths = [length[row] for row in order["id"].to_pylist()]
    order = order.append_column("tokens", pa.array(lengths, pa.int32()))
    placed = encoded.map_batches(
        place_rows, fn_kwargs={"order": order}, batch_format="pyarrow", batch_size=None
    )
    kind_of = dict(zip(index["id"].to_pylist(), kinds(index), strict=True))
    by_kind: dict[str, dict[str, int]] = {}
    for row, row_tokens in zip(order["id"].to_pylist(), lengths, strict=True):
        counted = by_kind.setdefault(kind_of[row], {"rows": 0, "tokens": 0})
        counted["rows"] += 1
        counted["tokens"] += row_tokens
    return PreparedRows(
        rows=placed.select_columns(["id", "kind", "position", "input_ids", "labels", "images"])
        .sort("position")
        .materialize(),
        ledger=_ledger(thin.filter(pa.array(misfit)), stage),
        order=order,
        realised=realised,
        by_kind=dict(sorted(by_kind.items())),
    )


def _keep_matching(batch: pa.Table, items: list[MixtureItem]) -> pa.Table:
    """Rows that any item of the mixture wants."""
    kept = np.zeros(batch.num_rows, dtype=bool)
    for item in items:
        kept |= item.matches(batch)
    return batch.filter(pa.array(kept))


def _ledger(misfits: pa.Table, stage: str) -> pa.Table:
    """Rows that do not fit, in the ledger's columns."""
    count = misfits.num_rows
    return pa.table(
        {
            "id": misfits["id"],
            "step": [stage] * count,
            "verdict": ["dropped"] * count,
            "reason": misfits["reason"],
            "evidence": [""] * count,
        }
    )
