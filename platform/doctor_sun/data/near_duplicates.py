"""Rows that say nearly the same: BERT vectors and FAISS find them, their words confirm them.

A pair is a near duplicate when its cosine reaches the threshold, the texts share nearly all their
content words, and the clinical guard finds no difference. Rows are compared only within a language
and only with rows that show the same pictures. A row is removed only when a *kept* row is its near
duplicate (no chains), and the ledger names that row.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
from numpy.typing import NDArray

from doctor_sun.cluster import connect
from doctor_sun.data.clinical_guard import differences
from doctor_sun.data.embeddings import EncoderConfig, embed
from doctor_sun.data.ledger import Decision, StepResult
from doctor_sun.data.rows import Row, collect, keeper_order
from doctor_sun.data.text_form import agreement, content_units
from doctor_sun.records import text_of

PAIRS = pa.schema([("a", pa.string()), ("b", pa.string()), ("cosine", pa.float32())])
SMALL = 1000  # groups below this size are compared here, larger ones in Ray tasks
FEATURES = pa.schema([(name, pa.string()) for name in ("id", "source", "text", "scope")])


@dataclass(kw_only=True)
class NearDuplicatesConfig:
    """When two rows count as near duplicates."""

    threshold: float = 0.96
    """Cosine of two vectors from which a pair is a candidate (e5 scores lie in 0.72 to 1)."""

    agreement: float = 0.85
    """Part of their content words, and of each two in a row, that a pair must share."""

    source_priority: list[str] = field(default_factory=list)
    """Sources by falling priority; then the longer text, then the smaller id is kept."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """The BERT encoder."""


def near_pairs(
    ids: Sequence[str], vectors: NDArray[np.float32], threshold: float, tile_rows: int = 8192
) -> pa.Table:
    """All pairs of rows whose cosine is at least the threshold, exactly, on a Ray cluster.

    Args:
        ids: [n] names of the rows.
        vectors: [n, width] unit vectors.
        threshold: smallest cosine of a pair.
        tile_rows: rows of a tile; each pair of tiles is one Ray task.

    Returns:
        Table with columns a, b (each pair once) and cosine.
    """
    with connect(None):
        starts = range(0, len(ids), tile_rows)
        tiles = [ray.put(vectors[start : start + tile_rows]) for start in starts]
        tasks = [
            _tile_pairs.remote(tiles[i], tiles[j], i == j, threshold)
            for i in range(len(tiles))
            for j in range(i, len(tiles))
        ]
        corners = [(i, j) for i in range(len(tiles)) for j in range(i, len(tiles))]
        names = np.asarray(ids, dtype=object)
        parts = [PAIRS.empty_table()]
        for (i, j), task in zip(corners, tasks, strict=True):
            a, b, cosines = ray.get(task)
            first, second = names[a + starts[i]], names[b + starts[j]]
            parts.append(pa.table([first, second, cosines], schema=PAIRS))
    return pa.concat_tables(parts)


@ray.remote
def _tile_pairs(
    left: NDArray[np.float32], right: NDArray[np.float32], same: bool, threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Positions in the left and the right tile, and cosines, of the pairs of two tiles."""
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(left.shape[1])
    index.add(left)
    below = float(np.nextafter(np.float32(threshold), np.float32(-1)))  # FAISS excludes the radius
    limits, cosines, a = index.range_search(right, below)
    b = np.repeat(np.arange(len(right)), np.diff(limits.astype(np.int64)))
    wanted = a < b if same else np.ones(len(a), dtype=bool)
    return a[wanted], b[wanted], cosines[wanted]


def _features(table: pa.Table) -> pa.Table:
    """What decides with whom a row is compared, and its rank."""
    rows = [
        {
            "id": row["id"],
            "source": row["source"],
            "text": text_of(row["turns"]),
            "scope": " ".join([row["language"], *row["image_keys"]]),
        }
        for row in table.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=FEATURES)


def decide(rows: ray.data.Dataset, config: NearDuplicatesConfig, encoder: str = "") -> StepResult:
    """Drop each row that a kept row nearly repeats.

    Args:
        rows: the rows so far.
        config: thresholds and encoder.
        encoder: folder of the encoder, where the caller has resolved it already.
    """
    mapped = rows.map_batches(_features, batch_format="pyarrow", batch_size=None)
    features = collect(mapped, FEATURES).to_pylist()
    seen = Counter(row["source"] for row in features)
    members = Counter(row["scope"] for row in features)
    compared = {
        row["id"]: row | {"length": len(row["text"])}
        for row in features
        if members[row["scope"]] > 1
    }
    vectors = embed([row["text"] for row in compared.values()], config.encoder, encoder)
    pairs = _pairs_by_scope(compared, dict(zip(compared, vectors, strict=True)), config.threshold)
    keeper = _Keeper({id: row["text"] for id, row in compared.items()}, config.agreement)
    best_first = sorted(compared.values(), key=keeper_order(config.source_priority))
    decisions = keeper.walk(best_first, pairs)
    figures = {
        "rows_compared": len(compared),
        "candidate_pairs": len(pairs),
        "kept_apart_by_guard": dict(keeper.kept_apart),
    }
    return StepResult(decisions=decisions, seen=seen, figures=figures)


def _pairs_by_scope(
    compared: Mapping[str, Row], vectors: Mapping[str, NDArray[np.float32]], threshold: float
) -> list[tuple[str, str, float]]:
    """All candidate pairs: (id, id, cosine)."""
    scopes: dict[str, list[str]] = defaultdict(list)
    for id in sorted(compared):
        scopes[compared[id]["scope"]].append(id)
    pairs: list[tuple[str, str, float]] = []
    for ids in scopes.values():
        matrix = np.stack([vectors[id] for id in ids])
        if len(ids) < SMALL:
            cosines = np.triu(matrix @ matrix.T, 1)
            found = zip(*np.nonzero(cosines >= threshold), strict=True)
            pairs += [(ids[a], ids[b], float(cosines[a, b])) for a, b in found]
        else:
            table = near_pairs(ids, matrix, threshold)
            columns = (table[name].to_pylist() for name in PAIRS.names)
            pairs += list(zip(*columns, strict=True))
    return pairs


class _Keeper:
    """Decides greedily which rows stay: nothing kept is a near duplicate of another kept row."""

    def __init__(self, texts: Mapping[str, str], least_agreement: float) -> None:
        self.texts = texts
        self.kept_apart: Counter[str] = Counter()
        self.least_agreement = least_agreement
        self.units = {id: content_units(text) for id, text in texts.items()}
        self.sizes = {id: units.total() for id, units in self.units.items()}
        self.same = cache(self._same)

    def walk(
        self, ordered: Iterable[Row], pairs: Iterable[tuple[str, str, float]]
    ) -> list[Decision]:
        """Decisions on the rows, best first."""
        near: dict[str, list[tuple[float, str]]] = defaultdict(list)
        for a, b, cosine in pairs:
            near[a].append((cosine, b))
            near[b].append((cosine, a))
        kept: set[str] = set()
        decisions = []
        for row in ordered:
            id = row["id"]
            twins = sorted(near[id], key=lambda twin: (-twin[0], twin[1]))
            confirmed = (t for t in twins if t[1] in kept and self.same(*sorted((id, t[1]))))
            twin = next(confirmed, None)
            if twin is None:
                kept.add(id)
            else:
                decisions.append(self._drop(row, *twin))
        return decisions

    def _same(self, a: str, b: str) -> bool:
        """Whether words and clinical content of a candidate pair agree."""
        smaller, larger = sorted((self.sizes[a], self.sizes[b]))
        if smaller < self.least_agreement * larger:  # they cannot agree
            return False
        if agreement(self.units[a], self.units[b]) < self.least_agreement:
            return False
        found = differences(self.texts[a], self.texts[b])
        self.kept_apart.update({difference.kind for difference in found})
        return not found

    def _drop(self, row: Row, cosine: float, twin: str) -> Decision:
        shared = agreement(self.units[row["id"]], self.units[twin])
        evidence: dict[str, Any] = {
            "kept": twin,
            "cosine": round(cosine, 4),
            "agreement": round(shared, 3),
        }
        return Decision(
            id=row["id"],
            source=row["source"],
            verdict="dropped",
            reason="nearly the same text",
            evidence=evidence,
        )
