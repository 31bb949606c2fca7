"""Why a row is gone, or what it came from.

    python -m doctor_sun.data.why runs/tiny/curate ID

ID is a row's id or the first characters of it. Says what each curation step did to the row, the row
that was kept in its place, the rows it was made from and the rows made from it. Never prints what a
row says unless asked with --text, and then only what is left in the curated data.
"""

import argparse
import json
from collections.abc import Iterator
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from upath import UPath

from doctor_sun.data.curated import data_files
from doctor_sun.data.ledger import read_ledger
from doctor_sun.errors import InputError, one_line_errors

SHORTEST = 8  # characters of an id that suffice


def ledger_entries(folder: UPath, id: str) -> list[dict[str, str]]:
    """What the ledger says of the rows whose id begins so, in the order of the steps."""
    found = []
    for entries in read_ledger(folder):
        own = entries.filter(pc.starts_with(entries["id"], id))
        found += own.to_pylist()
    return found


def curated_rows(folder: UPath, id: str, text: bool) -> list[dict[str, Any]]:
    """The curated rows whose id begins so or that were made from such a row."""
    columns = ["id", "source", "source_key", "parents", "made_by", *(["turns"] if text else [])]
    found = []
    for file in data_files(folder):
        with file.open("rb") as stream:
            table = pq.read_table(stream, columns=columns)
        own = pc.starts_with(table["id"], id)
        lists = table["parents"].combine_chunks()
        flat = pc.fill_null(pc.starts_with(lists.flatten(), id), False)
        parents = set(lists.value_parent_indices().filter(flat).to_pylist())
        child = [number in parents for number in range(table.num_rows)]
        found += table.filter(pc.or_(own, child)).to_pylist()
    return found


def story(folder: UPath, id: str, text: bool = False) -> Iterator[str]:
    """The lines of the answer.

    Raises:
        InputError: the folder is no curation, the id too short, ambiguous or unknown.
    """
    if not (folder / "ledger").exists():
        raise InputError(f"{folder} holds no ledger: name the output folder of jobs/curate.py")
    if len(id) < SHORTEST:
        raise InputError(f"'{id}' is too short: give at least {SHORTEST} characters of the id")
    entries = ledger_entries(folder, id)
    rows = curated_rows(folder, id, text)
    own = [row for row in rows if row["id"].startswith(id)]
    ids = sorted({entry["id"] for entry in entries} | {row["id"] for row in own})
    if len(ids) > 1:
        raise InputError(f"{len(ids)} ids begin with '{id}': give more of it")
    if not ids:
        raise InputError(
            f"no row '{id}' in the ledger or the data: untouched rows that came in "
            "are in the data, so it was never read"
        )
    yield f"row {ids[0]}"
    for entry in entries:
        yield f"  {entry['step']}: {entry['verdict']}, {entry['reason']}{_evidence(entry)}"
    for row in own:
        edited = f", changed by {row['made_by']}" if row["made_by"] else ""
        yield f"  in the curated data: {row['source']} {row['source_key']}{edited}"
        if row["parents"]:
            yield f"  made from: {', '.join(row['parents'])}"
        if text:
            yield from (f"    {turn['role']}: {turn['text']}" for turn in row["turns"])
    if not own:
        yield "  not in the curated data"
    children = [row["id"] for row in rows if not row["id"].startswith(id)]
    if children:
        yield f"  rows made from it: {', '.join(children)}"


def _evidence(entry: dict[str, str]) -> str:
    evidence = json.loads(entry["evidence"] or "{}")
    said = ", ".join(f"{name} {value}" for name, value in evidence.items())
    return f" ({said})" if said else ""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m doctor_sun.data.why", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument("folder", help="output folder of jobs/curate.py (path or URI)")
    parser.add_argument("id", help="the row's id, or its first characters")
    parser.add_argument("--text", action="store_true", help="print the curated conversation too")
    arguments = parser.parse_args()
    with one_line_errors():
        for line in story(UPath(arguments.folder), arguments.id, arguments.text):
            print(line)


if __name__ == "__main__":
    main()
