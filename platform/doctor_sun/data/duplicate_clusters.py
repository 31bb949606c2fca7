"""Which kept rows stand for how many others: read from the ledger, flat in memory."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.compute as pc
from upath import UPath

from doctor_sun.data.ledger import read_ledger


@dataclass(kw_only=True)
class Cluster:
    """A kept row and the rows that were dropped for it."""

    kept: str
    rows: int
    """The kept row included."""
    dropped: list[str] = field(default_factory=list)
    """Some of the dropped ids."""
    least_cosine: float | None = None


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """All clusters of one step."""

    sizes: Counter[int]
    """How many clusters have so many rows."""
    largest: list[Cluster]


def _lineage(folder: UPath, step: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Id of each dropped row with a kept twin, and the evidence."""
    for entries in read_ledger(folder, step):
        dropped = entries.filter(pc.equal(entries["verdict"], "dropped"))
        for id, text in zip(
            dropped["id"].to_pylist(), dropped["evidence"].to_pylist(), strict=True
        ):
            evidence = json.loads(text or "{}")
            if "kept" in evidence:
                yield id, evidence


def _hash(id: str) -> int:
    return int.from_bytes(hashlib.md5(id.encode()).digest()[:8], "big")


def clusters(folder: UPath, step: str, largest: int = 5, examples: int = 3) -> Clusters:
    """The clusters of a step of a finished curation; eight bytes a dropped row are held."""
    kept = np.fromiter((_hash(e["kept"]) for _, e in _lineage(folder, step)), np.uint64)
    values, counts = np.unique(kept, return_counts=True)
    sizes = Counter((counts + 1).tolist())
    order = np.lexsort((values, -counts))[:largest]
    found: dict[int, Cluster] = {}
    wanted = {int(values[at]): int(counts[at]) + 1 for at in order}
    for id, evidence in _lineage(folder, step) if wanted else ():
        hashed = _hash(evidence["kept"])
        if hashed not in wanted:
            continue
        cluster = found.setdefault(hashed, Cluster(kept=evidence["kept"], rows=wanted[hashed]))
        if len(cluster.dropped) < examples:
            cluster.dropped.append(id)
        if "cosine" in evidence:
            cosines = [c for c in (cluster.least_cosine, evidence["cosine"]) if c is not None]
            cluster.least_cosine = min(cosines)
    return Clusters(sizes=sizes, largest=[found[hashed] for hashed in wanted if hashed in found])
