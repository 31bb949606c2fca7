"""Curated rows -> the rows of one stage, tokenised once, in the order they are trained on.

Ray Data reads and tokenises; a row that cannot fit goes to the stage's ledger with the reason.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from numpy.typing import NDArray
from ray.data import Dataset

from doctor_sun.errors import InputError
from doctor_sun.records import IMAGE_PLACEHOLDER
from doctor_sun.training.micro_batches import Cut
from doctor_sun.training.mixture import MixtureItem, group_by_length, select

if TYPE_CHECKING:
    from doctor_sun.training.stage import StageConfig

INDEX_COLUMNS = ["id", "domain", "language", "task", "source"]
LENGTHS = ["tokens", "label_tokens", "pictures"]


@dataclass(kw_only=True)
class OrderedRows:
    """Rows in the order in which they are read."""

    rows: Dataset
    """Columns id, kind (`source/language`), position, input_ids, labels, images; sorted by
    position."""

    order: pa.Table
    """Columns id, position, kind and the lengths of each row, by position."""


@dataclass(kw_only=True)
class PreparedRows:
    """The rows of a stage and what happened to the others."""

    train: OrderedRows

    validation: OrderedRows | None
    """Rows that are never trained on."""

    misfits: pa.Table
    """Rows that cannot be trained on, and the reason."""

    realised: dict[str, int]
    """Rows by item of the mixture."""

    by_kind: dict[str, dict[str, int]]
    """Rows and tokens that are trained on, by kind."""

    @property
    def kinds(self) -> list[str]:
        """Every kind of the rows that are read."""
        held_out = [] if self.validation is None else self.validation.order["kind"].to_pylist()
        return sorted({*self.by_kind, *held_out})


@lru_cache(maxsize=1)
def _tokenizer(llm: str) -> Any:
    from doctor_sun.models.chat_template import load_tokenizer

    return load_tokenizer(llm)


def pictures_column(names: Collection[str]) -> str:
    """The column with an entry for each picture: their bytes, or where only lengths matter keys."""
    return "images" if "images" in names else "image_keys"


def encode_rows(
    batch: pa.Table, llm: str, image_tokens: int, max_length: int, stage: str
) -> pa.Table:
    """Add input_ids, labels, their numbers (tokens, label_tokens) and the reason not to train.

    The reason of a row that can be trained on is null.
    """
    from doctor_sun.models.chat_template import IGNORE_INDEX, DoesNotFit, encode

    tokenizer = _tokenizer(llm)
    ids: list[list[int]] = []
    labels: list[list[int]] = []
    reasons: list[str | None] = []
    pictures = pc.list_value_length(batch[pictures_column(batch.column_names)])
    for turns, images in zip(batch["turns"].to_pylist(), pictures.to_pylist(), strict=True):
        reason = None
        row_ids: list[int] = []
        row_labels: list[int] = []
        places = sum(turn["text"].count(IMAGE_PLACEHOLDER) for turn in turns)
        if places != images:
            reason = f"{places} places for {images} images"
        elif images and not image_tokens:
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
    labelled = [sum(label != IGNORE_INDEX for label in row) for row in labels]
    table = table.append_column("label_tokens", pa.array(labelled, pa.int64()))
    table = table.append_column("pictures", pictures)
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


@dataclass(kw_only=True)
class EncodedRows:
    """The tokenised rows that the mixture wants."""

    rows: Dataset
    """Columns of `encode_rows`."""

    index: pa.Table
    """Of the rows that fit: id, domain, language, task, source, tokens, label_tokens, pictures."""

    misfits: pa.Table
    """Of the others: the same, and the reason."""


def encode_data(
    data: str, items: list[MixtureItem], stage: str, encoding: dict[str, Any], pictures: str
) -> EncodedRows:
    """Read and tokenise the rows that any item of the mixture wants.

    Args:
        data: folder of Parquet files with the sample schema.
        items: the stage's mixture.
        stage: name for messages.
        encoding: keyword arguments of `encode_rows` (llm, image_tokens, max_length).
        pictures: `images`, or `image_keys` where no picture will be looked at.

    Raises:
        InputError: no row fits.
    """
    rows = ray.data.read_parquet(data, columns=[*INDEX_COLUMNS, "turns", pictures])
    matching = rows.map_batches(
        _keep_matching, fn_kwargs={"items": items}, batch_format="pyarrow", batch_size=None
    )
    encoded = matching.map_batches(
        encode_rows,
        fn_kwargs={**encoding, "stage": stage},
        batch_format="pyarrow",
        batch_size=256,
    ).materialize()
    thin = encoded.select_columns([*INDEX_COLUMNS, *LENGTHS, "reason"])
    table = pa.concat_tables(ray.get(thin.to_arrow_refs()))
    misfit = np.asarray(table["reason"].is_valid().combine_chunks())
    index = table.filter(pa.array(~misfit)).drop_columns(["reason"])
    if not index.num_rows:
        raise InputError(f"stage '{stage}': none of the {table.num_rows} rows of {data} fits")
    return EncodedRows(rows=encoded, index=index, misfits=table.filter(pa.array(misfit)))


def choose_rows(
    index: pa.Table, items: list[MixtureItem], cut: Cut, steps: int, length_window: int, seed: int
) -> tuple[pa.Table, dict[str, int]]:
    """The rows that a stage reads, in its order, and how many each item of the mixture gave.

    Args:
        index: rows to choose from.
        items: the stage's mixture.
        cut: how a global batch is cut.
        steps: global batches of the stage.
        length_window: global batches whose rows are grouped by length, where rows are padded.
        seed: of choice and order.

    Returns:
        Columns id, position, tokens, label_tokens, pictures, kind; and rows by item.
    """
    drawn, realised = select(index, items, steps * cut.global_batch, seed)
    described = with_lengths(drawn, index)
    window = 1 if cut.pack_tokens else length_window
    lengths, pictures = (described[name].to_numpy() for name in ("tokens", "pictures"))
    order = group_by_length(described, lengths, pictures, cut.global_batch, window, seed)
    return with_lengths(order, index), realised


def with_lengths(rows: pa.Table, index: pa.Table) -> pa.Table:
    """Columns id and position of some rows, with their lengths and kind."""
    place = {row: number for number, row in enumerate(index["id"].to_pylist())}
    found = index.take(pa.array([place[row] for row in rows["id"].to_pylist()], pa.int64()))
    table = rows.select(["id", "position"])
    for name in LENGTHS:
        table = table.append_column(name, found[name])
    return table.append_column("kind", pa.array(kinds(found), pa.string()))


@dataclass(kw_only=True)
class Plan:
    """Which rows a stage reads, before any of them is moved."""

    encoded: EncodedRows

    order: pa.Table
    """Of `choose_rows`."""

    held_out: pa.Table | None
    """Of `hold_out`; none validates on nothing."""

    realised: dict[str, int]
    """Rows by item of the mixture."""


def plan_rows(config: "StageConfig", image_tokens: int, pictures: str) -> Plan:
    """Tokenise a stage's data, and choose and order its rows.

    Args:
        config: of the stage.
        image_tokens: that an image takes.
        pictures: `images`, or `image_keys` where no picture will be looked at.

    Raises:
        InputError: no row matches the mixture, or none fits.
    """
    encoding = {
        "llm": config.model.llm,
        "image_tokens": image_tokens,
        "max_length": config.max_length,
    }
    data, mixture, seed = config.data_folder(), config.mixture, config.seed
    encoded = encode_data(data, mixture, config.stage, encoding, pictures)
    index, held_out = encoded.index, None
    if config.validation.rows:
        asked = config.validation.mixture or mixture
        index, held_out = hold_out(index, asked, config.validation.rows, seed)
    order, realised = choose_rows(
        index, mixture, config.cut, config.steps, config.length_window, seed
    )
    return Plan(encoded=encoded, order=order, held_out=held_out, realised=realised)


def prepare_rows(plan: Plan) -> PreparedRows:
    """Put the tokenised rows, read with their pictures, into the stage's order."""
    columns = (plan.order[name].to_pylist() for name in ("kind", "tokens"))
    by_kind: dict[str, dict[str, int]] = {}
    for kind, tokens in zip(*columns, strict=True):
        counted = by_kind.setdefault(kind, {"rows": 0, "tokens": 0})
        counted["rows"] += 1
        counted["tokens"] += tokens
    rows, held_out = plan.encoded.rows, plan.held_out
    return PreparedRows(
        train=_in_order(rows, plan.order),
        validation=None if held_out is None else _in_order(rows, held_out),
        misfits=plan.encoded.misfits,
        realised=plan.realised,
        by_kind=dict(sorted(by_kind.items())),
    )


def hold_out(
    index: pa.Table, items: list[MixtureItem], rows: int, seed: int
) -> tuple[pa.Table, pa.Table]:
    """Keep rows of the mixture out of training.

    Returns:
        The index without them, and them as `choose_rows` gives rows, shortest first.
    """
    drawn, _ = select(index, items, rows, seed + 1)
    own = pc.is_in(index["id"], value_set=pc.unique(drawn["id"]))
    held = index.filter(own).sort_by([("tokens", "ascending"), ("id", "ascending")])
    held = held.append_column("position", pa.array(range(held.num_rows), pa.int64()))
    return index.filter(pc.invert(own)), with_lengths(held, index)


def _in_order(encoded: Dataset, order: pa.Table) -> OrderedRows:
    """The rows of an order, sorted by their place in it."""
    placed = encoded.map_batches(
        place_rows, fn_kwargs={"order": order}, batch_format="pyarrow", batch_size=None
    )
    rows = placed.select_columns(["id", "kind", "position", "input_ids", "labels", "images"])
    return OrderedRows(rows=rows.sort("position").materialize(), order=order)


def _keep_matching(batch: pa.Table, items: list[MixtureItem]) -> pa.Table:
    """Rows that any item of the mixture wants."""
    kept = np.zeros(batch.num_rows, dtype=bool)
    for item in items:
        kept |= item.matches(batch)
    return batch.filter(pa.array(kept))


def ledger_of(misfits: pa.Table, stage: str) -> pa.Table:
    """Rows that cannot be trained on, in the ledger's columns."""
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
