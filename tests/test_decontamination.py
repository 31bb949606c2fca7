"""Each kind of leak is dropped with the item named; common questions on other pictures stay."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray.data
from PIL import Image
from upath import UPath

from doctor_sun.data.benchmarks import BENCHMARKS
from doctor_sun.data.decontamination import (
    DecontaminationConfig,
    TextConfig,
    check,
    decide,
)
from doctor_sun.data.decontamination.items import read_held_out
from doctor_sun.data.decontamination.survey import look_at
from doctor_sun.data.image_fingerprint import fingerprint
from doctor_sun.data.ledger import LINES, StepResult
from doctor_sun.data.rows import THIN_SCHEMA, collect
from doctor_sun.errors import InputError
from tests.benchmark_layouts import CHINESE, LAYOUTS, VIGNETTE
from tests.test_decontamination_text import MEDICAL, index_of

ORDER = list(BENCHMARKS).index
ABOUT_IMAGE = "Which chamber of the heart appears markedly dilated on the axial slice shown above?"


def thin_row(
    part: int, number: int, text: str, encoded: bytes | None = None, **fields: Any
) -> dict[str, Any]:
    found = fingerprint(encoded) if encoded else None
    names = ("file", "perceptual", "mirrored")
    prints = [{name: getattr(found, name) for name in names}] if found else []
    return {
        **dict.fromkeys(THIN_SCHEMA.names, ""),
        "id": f"{part}-{number}",
        "source": "s",
        "language": "en",
        "split": "train",
        "image_keys": [found.pixels] if found else [],
        "fingerprints": prints,
        "turns": [{"role": "user", "text": text}, {"role": "assistant", "text": "No"}],
        "parents": [],
        "part": part,
        "row": number,
        **fields,
    }


def recoded(encoded: bytes, size: int | None = None) -> bytes:
    """The picture as a JPEG of good quality, resized on request."""
    stream = io.BytesIO()
    with Image.open(io.BytesIO(encoded)) as image:
        changed = image.resize((size, size)) if size else image
        changed.convert("RGB").save(stream, "JPEG", quality=90)
    return stream.getvalue()


def shown(seed: int, size: int = 96) -> bytes:
    """A smooth picture of its own for each seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8))
    stream = io.BytesIO()
    coarse.resize((size, size), Image.Resampling.BICUBIC).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def config(tmp_path: Path) -> DecontaminationConfig:
    """Held-out sets with pictures and without; most registered benchmarks are not given."""
    given = {}
    for name in ("medqa", "cmb"):
        LAYOUTS[name](tmp_path / name)
        given[name] = str(tmp_path / name)
    own = [
        {"id": "frog", "language": "en", "question": "Is there a fracture?", "answer": "No"},
        {"id": "zone", "language": "en", "question": "Where is the nodule?", "answer": "left"},
    ]
    own.append({"id": "long", "language": "en", "question": ABOUT_IMAGE, "answer": "wide QRS"})
    for number, line in enumerate(own):
        line["image"] = shown(number)
    pq.write_table(pa.Table.from_pylist(own), tmp_path / "own.parquet")
    return DecontaminationConfig(benchmarks=given, own={"ours": str(tmp_path / "own.parquet")})


PLANTED = [
    ("pair", thin_row(0, 0, "<image>\nIs there a fracture?", shown(0))),
    ("image", thin_row(0, 1, "Describe it.", shown(1))),
    ("text", thin_row(0, 2, f"{VIGNETTE} Please explain.")),
    ("text", thin_row(1, 0, CHINESE, language="zh")),
    ("near pair", thin_row(1, 1, "Where is the nodule? left", recoded(shown(1)))),
    ("near image", thin_row(1, 6, "Is there a fracture?", recoded(shown(0)))),  # 2 bits apart
    ("near image", thin_row(1, 2, "What is shown?", recoded(shown(1), 128))),
    ("held-out row", thin_row(1, 3, "What is shown?", shown(7))),
    ("text", thin_row(0, 5, ABOUT_IMAGE)),
    ("other picture", thin_row(0, 6, f"{ABOUT_IMAGE} Wide QRS", shown(8))),
    ("", thin_row(0, 7, ABOUT_IMAGE, shown(8))),
    ("", thin_row(0, 3, "Is there a fracture?", shown(5))),
    ("", thin_row(0, 4, "Where is the nodule? left", shown(6))),
    ("", thin_row(1, 4, "Is there a fracture?", shown(7), split="test")),
    ("", thin_row(1, 5, VIGNETTE, split="test")),
]


def decided(rows: list[dict[str, Any]], config: DecontaminationConfig, work: Path) -> StepResult:
    """The step on rows whose parts are blocks."""
    parts = sorted({row["part"] for row in rows})
    blocks = [[row for row in rows if row["part"] == part] for part in parts]
    tables = [pa.Table.from_pylist(block, schema=THIN_SCHEMA) for block in blocks]
    return decide(ray.data.from_arrow(tables), config, UPath(work))


def lines_by_id(result: StepResult) -> dict[str, dict[str, Any]]:
    """The line of each row; of a row for review the one that says so."""
    lines = collect(result.lines, LINES).to_pylist()
    own = [line["id"] for line in lines if line["verdict"] != "review"]
    assert len(set(own)) == len(own)
    return {line["id"]: line for line in sorted(lines, key=lambda line: line["verdict"] != "")}


@pytest.mark.slow
def test_each_kind_of_leak_is_named_and_nothing_else_is_touched(
    ray_cluster: None, config: DecontaminationConfig, tmp_path: Path
) -> None:
    result = decided([row for _, row in PLANTED], config, tmp_path / "work")
    lines = lines_by_id(result)
    for level, row in PLANTED:
        line = lines[row["id"]]
        evidence = json.loads(line["evidence"]) if line["evidence"] else {}
        assert evidence.get("level", "") == level
        for_review = level in ("near image", "other picture")
        verdict = "review" if for_review else "dropped" if level else ""
        assert line["verdict"] == verdict
        assert set(evidence) <= {"level", "benchmark", "item", "containment", "distance"}
    assert json.loads(lines["0-0"]["evidence"])["item"] == "frog"
    assert result.figures["not_checked"] == sorted(set(LAYOUTS) - {"medqa", "cmb"}, key=ORDER)
    registry = result.figures["registry"]
    assert registry["ours"]["pictures"] == 3
    assert registry["medqa"]["items"] == 1


@pytest.mark.slow
def test_blocks_and_interruptions_do_not_change_the_lines(
    ray_cluster: None, config: DecontaminationConfig, tmp_path: Path
) -> None:
    rows = [row for _, row in PLANTED]
    config.text.common_rows = 1
    whole = lines_by_id(decided(rows, config, tmp_path / "a"))
    single = [row | {"part": number} for number, row in enumerate(rows)]
    for id, line in lines_by_id(decided(single[::-1], config, tmp_path / "b")).items():
        assert line | {"part": 0} == whole[id] | {"part": 0}
    rest = [row for row in rows if row["part"] == 1]  # part 0 was finished before
    for id, line in lines_by_id(decided(rest, config, tmp_path / "a")).items():
        assert line == whole[id]


def test_the_survey_counts_a_sample_of_rows_and_all_held_out_pictures() -> None:
    index, grams = index_of([MEDICAL])
    rows = [thin_row(0, n, VIGNETTE, shown(n), split="test" if n else "train") for n in range(3)]
    table = pa.Table.from_pylist(rows, schema=THIN_SCHEMA)
    found = look_at(table, index.tokens.vocabulary, grams.table, 1.0).to_pylist()
    counted = [line["rows"] for line in found if line["kind"] == "gram"]
    assert counted == [3] * len(grams.table.hashes)
    assert sum(line["kind"] == "test" for line in found) == 2
    none = look_at(table, index.tokens.vocabulary, grams.table, 0.0).to_pylist()
    assert [line["rows"] for line in none if line["kind"] == "rows"] == [0]


def test_pictures_are_numbered_by_their_pixels(tmp_path: Path) -> None:
    for name in ("slake", "vqa-rad", "medqa"):
        (tmp_path / name).mkdir()
        LAYOUTS[name](tmp_path / name)
    (tmp_path / "vqa-rad" / "VQA_RAD Image Folder" / "synpic1.jpg").unlink()
    held_out = read_held_out({n: str(tmp_path / n) for n in ("slake", "vqa-rad", "medqa")}, {})
    pictures = [(item.benchmark, item.picture) for item in held_out.items]
    assert pictures == [("slake", 0), ("slake", 0), ("vqa-rad", 1), ("vqa-rad", 1), ("medqa", -1)]
    assert held_out.registry["mmbench-dev"]["checked"] is False
    same = read_held_out({"medqa": str(tmp_path / "medqa")}, {}).registry["medqa"]
    assert same == held_out.registry["medqa"]


def test_a_configuration_that_cannot_work_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a long question"):
        check(DecontaminationConfig(text=TextConfig(words=8, long_words=4)))
    with pytest.raises(InputError, match="parts of 1"):
        check(DecontaminationConfig(survey_share=2.0))
    with pytest.raises(InputError, match="vqa-rad"):
        check(DecontaminationConfig(benchmarks={"vqa_rad": str(tmp_path)}))
    with pytest.raises(InputError, match=r"private\.pem does not exist"):
        check(DecontaminationConfig(key=str(tmp_path / "private.pem")))
    with pytest.raises(InputError, match="registered"):
        read_held_out({}, {"medqa": "x"})
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match="no held-out item"):
        read_held_out({}, {"mine": str(tmp_path / "empty.jsonl")})
