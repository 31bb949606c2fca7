"""What becomes of each row: a line of the answers, or a line of the ledger."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from upath import UPath

from doctor_sun.asking.answers import AnswerIndex, Keys
from doctor_sun.asking.chat_client import Answer
from doctor_sun.asking.requests import REFUSED
from doctor_sun.data.ledger import SCHEMA as LEDGER
from doctor_sun.data.rows import evidence_text, tables
from doctor_sun.data.translation.asking import Work, in_tasks
from doctor_sun.files import read_parquet, write_parquet
from doctor_sun.generation.asks import SURVEY, surveyed_file

STEP = "generate"
ANSWERS = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "question", "answer", "finish")),
        *(("prompt_tokens", pa.int64()), ("completion_tokens", pa.int64())),
        *(("image_sha256", pa.string()), ("model", pa.string())),
    ]
)
"""`image_sha256` is the image file's; of several, with spaces between, "" of none."""
REASONS = {REFUSED: "refused by the engine: mostly longer than engine.max_model_len"}
CHANGED = "changed while the job read it"


def write_outcomes(
    keys: Sequence[Keys], errors: Mapping[str, str], asked: UPath, folder: UPath, model: str
) -> tuple[int, Counter[str]]:
    """Write answers and ledger, one file each for every surveyed piece.

    Args:
        keys: [pieces][rows] of the requests.
        errors: classes of error by key.
        asked: folder of the stored answers.
        folder: of the job; the surveyed rows are in its folder `SURVEY`.
        model: its name.

    Returns:
        Rows that were answered, and rows in the ledger by reason.
    """
    index, place = AnswerIndex.of(asked), str(folder)

    def write(number: int, work: Work) -> pa.Table:
        counted = write_part(number, work, errors, UPath(place), model)
        return pa.table({"counted": [json.dumps(counted)]})

    works = [Work("", np.zeros(0, np.int32), index.places(own)) for own in keys]
    answered, reasons = 0, Counter[str]()
    for table in tables(in_tasks(works, write)):
        for line in table["counted"].to_pylist():
            part = json.loads(line)
            answered += part["answered"]
            reasons.update(part["reasons"])
    return answered, reasons


def write_part(
    number: int, work: Work, errors: Mapping[str, str], folder: UPath, model: str
) -> dict[str, Any]:
    """Write one piece's answers and ledger; how many rows are in which."""
    answers = work.places.read() if work.places else {}
    answered, refused = [], []
    for row in read_parquet(surveyed_file(folder / SURVEY, number)).to_pylist():
        if row["key"] in answers:
            answered.append(_answered(row, answers[row["key"]], model))
        else:
            refused.append(_refused(row, errors.get(row["key"], "")))
    for name, lines, schema in (("answers", answered, ANSWERS), ("ledger", refused, LEDGER)):
        table = pa.Table.from_pylist(lines, schema=schema)
        write_parquet(folder / name / f"{number:06d}.parquet", table)
    reasons = Counter(line["reason"] for line in refused)
    return {"answered": len(answered), "reasons": reasons}


def _answered(row: Mapping[str, Any], answer: Answer, model: str) -> dict[str, Any]:
    kept = {name: row[name] for name in ("id", "question", "image_sha256")}
    said = vars(answer) | {"answer": answer.text.strip(), "model": model}
    return kept | {name: said[name] for name in ANSWERS.names if name in said}


def _refused(row: Mapping[str, Any], error: str) -> dict[str, Any]:
    reason = row["fault"] or REASONS.get(error, f"no answer: {error or CHANGED}")
    return {
        "id": row["id"],
        "step": STEP,
        "verdict": "dropped",
        "reason": reason,
        "evidence": evidence_text({"at": row["at"]}),
        "source": row["file"],
    }
