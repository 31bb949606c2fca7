"""Curation scored against what was planted: recall and false positives of each step."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from upath import UPath

from doctor_sun.files import read_parquet

# Which step should deal with each kind of plant.
STEP_OF = {
    "exact_duplicate": "exact_duplicates",
    "near_duplicate": "near_duplicates",
    "identifier": "privacy",
    "shuffled": "perplexity",
    "junk": "charset",
    "charset": "charset",
}
PAIRED = ("exact_duplicate", "near_duplicate")  # one of the row and its twin must go
CONTROL = "clinical_twin"  # must be kept


def read_truth(path: str) -> dict[str, dict[str, str]]:
    """The planted rows by id, from a corpus's `truth/planted.parquet`."""
    return {row["id"]: row for row in read_parquet(UPath(path)).to_pylist()}


def score(
    truth: Mapping[str, Mapping[str, str]], ledger: list[Mapping[str, str]]
) -> dict[str, dict[str, Any]]:
    """How each kind of plant fared, and what each step did to rows that were not planted.

    Args:
        truth: planted rows by id.
        ledger: all ledger entries, in the order of the steps.

    Returns:
        By kind: `planted`; `found` (by its own step, or before it by another one); `by_step`.
        Under `not_planted`: by step, rows dropped or edited that are neither planted nor a plant's
        twin. Real duplicates and real identifiers are among them, so they are an upper bound of
        the false positives.
    """
    fate: dict[str, dict[str, str]] = defaultdict(dict)
    for entry in ledger:
        if entry["verdict"] != "review":
            fate[entry["id"]][entry["step"]] = entry["verdict"]
    kinds: dict[str, dict[str, Any]] = {}
    for id, row in truth.items():
        kind = kinds.setdefault(row["plant"], {"planted": 0, "found": 0, "by_step": {}})
        kind["planted"] += 1
        step = _step_that_found(row["plant"], fate.get(id, {}), fate.get(row["twin"], {}))
        if step:
            kind["found"] += 1
            kind["by_step"][step] = kind["by_step"].get(step, 0) + 1
    involved = set(truth) | {row["twin"] for row in truth.values()}
    others: dict[str, int] = defaultdict(int)
    for id, steps in fate.items():
        if id not in involved:
            for step in steps:
                others[step] += 1
    return {**kinds, "not_planted": dict(others)}


def _step_that_found(plant: str, own: Mapping[str, str], twin: Mapping[str, str]) -> str:
    """The step that dealt with a plant, "" when none did (a selection ratio does not count)."""
    steps = [step for step in own if own[step] == "dropped" or step == STEP_OF.get(plant)]
    if plant in PAIRED:
        steps += [step for step in twin if twin[step] == "dropped"]
    steps = [step for step in steps if step not in ("selection", "ingest")]
    expected = STEP_OF.get(plant, "")
    return expected if expected in steps else next(iter(steps), "")
