"""Which candidate pairs are near duplicates, and which rows then go.

Vectors only propose: a pair is confirmed when the two texts share nearly all their content words
and the clinical guard finds no difference. A row and what was made from it are lineage, never
duplicates. The greedy keeper then walks over all rows, best first: a row goes when a *kept* row is
its confirmed near duplicate. So no two kept rows are near duplicates, and no chain of neighbours
removes a row that no kept row resembles.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from doctor_sun.data.clinical_guard import differences
from doctor_sun.data.rows import Row, keeper_order
from doctor_sun.data.text_form import agreement, content_units

CONFIRMED = pa.schema(
    [
        ("a", pa.string()),  # id of the better row
        ("b", pa.string()),
        ("first", pa.int64()),  # their numbers
        ("second", pa.int64()),
        ("part", pa.int32()),  # where b stands
        ("row", pa.int64()),
        ("cosine", pa.float32()),
        ("agreement", pa.float32()),
        ("verdict", pa.string()),
        ("kinds", pa.list_(pa.string())),  # of clinical differences
    ]
)
SAME, OTHER_WORDS, APART, LINEAGE = (
    *("near duplicate", "other words", "clinical difference", "lineage"),
)
Ints = NDArray[np.int64]


class Verdict(NamedTuple):
    """What became of a candidate pair."""

    name: str
    agreement: float
    kinds: Sequence[str] = ()


class _Text:
    """A row whose words are counted once."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.text: str = row["text"]

    @cached_property
    def units(self) -> Counter[str]:
        return content_units(self.text)

    @cached_property
    def size(self) -> int:
        return self.units.total()


def confirm(
    texts: Sequence[Row], pairs: pa.Table, least_agreement: float, priority: Sequence[str]
) -> pa.Table:
    """The verdict on each pair, by `CONFIRMED`, in the order of the pairs.

    Args:
        texts: rows with number, known and the columns of `near_rows.FEATURES`.
        pairs: numbers a and b, cosine.
        least_agreement: part of their content that the texts of a pair must share.
        priority: sources, the best first.
    """
    found = {row["number"]: _Text(row) for row in texts}
    rank = keeper_order(priority)
    lines = []
    for pair in pairs.to_pylist():
        one, other = sorted(
            (found[pair["a"]], found[pair["b"]]), key=lambda t: (not t.row["known"], rank(t.row))
        )
        verdict = _verdict(one, other, least_agreement)
        lines.append(
            {
                "a": one.row["id"],
                "b": other.row["id"],
                "first": one.row["number"],
                "second": other.row["number"],
                "part": other.row["part"],
                "row": other.row["row"],
                "cosine": pair["cosine"],
                "agreement": verdict.agreement,
                "verdict": verdict.name,
                "kinds": list(verdict.kinds),
            }
        )
    return pa.Table.from_pylist(lines, schema=CONFIRMED)


def _verdict(a: _Text, b: _Text, least: float) -> Verdict:
    if a.row["id"] in b.row["parents"] or b.row["id"] in a.row["parents"]:
        return Verdict(LINEAGE, 0.0)
    smaller, larger = sorted((a.size, b.size))
    if smaller < least * larger:  # they cannot agree
        return Verdict(OTHER_WORDS, 0.0)
    shared = agreement(a.units, b.units)
    if shared < least:
        return Verdict(OTHER_WORDS, shared)
    kinds = sorted({difference.kind for difference in differences(a.text, b.text)})
    return Verdict(APART if kinds else SAME, shared, kinds)


def removals(
    first: Ints, second: Ints, cosines: NDArray[np.float32], ranks: NDArray[np.uint64]
) -> Ints:
    """Which pairs remove their second row, one for each removed row: the greedy walk, vectorised.

    A row that is second in no pair left is kept; the rows it is first to go; pairs of removed rows
    vanish; and again, until no pair is left. That is what a walk over the rows, best first, does.

    Args:
        first: [pairs] numbers of the better rows; "better than" must be an order without cycles.
        second: [pairs] numbers of the worse rows.
        cosines: [pairs] of several kept rows the nearest is named, then the best ranked.
        ranks: [rows] the smaller the better.

    Returns:
        Positions of pairs, ascending by second row.
    """
    left = np.arange(len(first))
    removed = np.zeros(len(ranks), bool)
    while len(left):
        undecided = np.zeros(len(ranks), bool)
        undecided[second[left]] = True
        removed[second[left[~undecided[first[left]]]]] = True
        left = left[~removed[first[left]] & ~removed[second[left]]]
    supports = np.flatnonzero(removed[second] & ~removed[first])
    kept = first[supports]
    order = supports[np.lexsort((kept, ranks[kept], -cosines[supports], second[supports]))]
    new = np.r_[True, second[order][1:] != second[order][:-1]] if len(order) else []
    chosen: Ints = order[np.asarray(new, bool)]
    return chosen


def verdict_counts(confirmed: pa.Table) -> dict[str, dict[str, int]]:
    """Pairs by verdict, and pairs that only the guard keeps apart by kind of difference."""
    kinds = Counter(kind for kinds in confirmed["kinds"].to_pylist() for kind in kinds)
    return {"verdicts": dict(Counter(confirmed["verdict"].to_pylist())), "kinds": dict(kinds)}


def added(counts: Iterator[Mapping[str, Mapping[str, int]]]) -> dict[str, Counter[str]]:
    """Counts of several tasks as one."""
    total: dict[str, Any] = {"verdicts": Counter(), "kinds": Counter()}
    for one in counts:
        for name, values in one.items():
            total[name].update(values)
    return total
