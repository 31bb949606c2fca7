"""Rows of an archive: every form of input, every row accounted for, faults that quote nothing."""

import hashlib
import io
import json
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from upath import UPath

from doctor_sun.asking.answers import AnswerIndex, Segment
from doctor_sun.asking.chat_client import Answer
from doctor_sun.data import dicom_pixels
from doctor_sun.data.translation.asking import Work
from doctor_sun.errors import InputError
from doctor_sun.generation.archive import open_archive
from doctor_sun.generation.asks import SURVEY, Asking, DecodingConfig, survey_piece
from doctor_sun.generation.job import ASKED
from doctor_sun.generation.outcomes import write_part
from doctor_sun.generation.pictures import TOO_LARGE
from doctor_sun.generation.rows import Reader, Row
from doctor_sun.generation.tables import PIECE_ROWS, ColumnsConfig
from tests.archives import (
    HASHES,
    PICTURES,
    QUESTIONS,
    SECRET,
    tables_of,
    write_lines,
    write_pictures,
)
from tests.test_sources_dicom import dicom


def reader_of(data: Path, folder: Path, *questions: str, **options: Any) -> Reader:
    """A reader as the job opens it; `folder` stands for the job's."""
    columns = options.pop("columns", ColumnsConfig())
    archive = open_archive(
        str(data),
        columns,
        asked=bool(questions),
        images=options.pop("images", None),
        encoding=options.pop("encoding", "utf-8"),
        listing=UPath(folder / "images.jsonl"),
    )
    limits = {"system": "", "most_pixels": 10_000, "most_images": 2, "plain": False} | options
    return Reader(archive=archive, questions=questions, **limits)


def rows_of(reader: Reader) -> list[Row]:
    return [row for piece in reader.archive.pieces for row in reader.rows(piece)]


def test_a_table_of_any_form_gives_the_same_rows(tmp_path: Path) -> None:
    for name, table in tables_of(tmp_path).items():
        encoding = "gb18030" if name == ".tsv" else "utf-8"
        rows = rows_of(reader_of(table, tmp_path, encoding=encoding))
        assert [row.fault for row in rows] == [""] * len(QUESTIONS), name
        assert [row.question for row in rows] == QUESTIONS, name
        assert [[p.sha256 for p in row.pictures] for row in rows] == [[h] for h in HASHES], name
        assert [row.pictures[0].shown for row in rows] == PICTURES
        assert len({row.id for row in rows}) == len(rows)


def test_a_folder_of_tables_is_read_in_order_and_by_its_own_columns(tmp_path: Path) -> None:
    """Several files, a name and an instruction of the row's own, images in another folder."""
    write_pictures(tmp_path / "scans")
    (tmp_path / "data").mkdir()
    for file, numbers in (("a", [0, 1]), ("b", [2])):
        lines = [
            {"key": n, "ask": QUESTIONS[n], "scan": f"{n}.png", "role": "Be brief." if n else ""}
            for n in numbers
        ]
        write_lines(tmp_path / "data" / f"{file}.jsonl", lines)
    (tmp_path / "data" / "readme.txt").write_text("no table")
    columns = ColumnsConfig(id="key", question="ask", image="scan", system="role")
    options = {"columns": columns, "images": str(tmp_path / "scans"), "system": "Be kind."}
    rows = rows_of(reader_of(tmp_path / "data", tmp_path, **options))
    assert [(row.id, row.file, row.question) for row in rows] == [
        ("0", "a.jsonl", QUESTIONS[0]),
        ("1", "a.jsonl", QUESTIONS[1]),
        ("2", "b.jsonl", QUESTIONS[2]),
    ]
    assert [row.system for row in rows] == ["Be kind.", "Be brief.", "Be brief."]


def test_a_folder_of_pictures_is_asked_each_question(tmp_path: Path) -> None:
    data = tmp_path / "archive"
    write_pictures(tmp_path / "scans")
    (data / "ct").mkdir(parents=True)
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    image.save(data / "a.webp", lossless=True)
    image.save(data / "b.JPG")
    scan = dicom()
    for name in ("1.2.840.7", "IM000001", "scan.dcm"):
        (data / "ct" / name).write_bytes(scan)
    for name in ("notes.txt", "_SUCCESS", ".hidden.png", "ct/DICOMDIR", "labels.csv"):
        (data / name).write_bytes(scan if "DICOM" in name else b"id,label\n1,x\n")
    asked = ["Which side?", "Any nodule?"]
    rows = rows_of(reader_of(data, tmp_path / "job", *asked))
    names = ["a.webp", "b.JPG", "ct/1.2.840.7", "ct/IM000001", "ct/scan.dcm"]
    pairs = [(row.id, row.question) for row in rows]
    assert pairs == [(name, question) for name in names for question in asked]
    assert not any(row.fault for row in rows)
    shown = {row.id: row.pictures[0].shown for row in rows}
    pixels = dicom_pixels.show(dicom_pixels.read(scan)).pixels
    assert (np.asarray(Image.open(io.BytesIO(shown["ct/IM000001"]))) == pixels).all()
    assert shown["b.JPG"] == (data / "b.JPG").read_bytes()
    assert (np.asarray(Image.open(io.BytesIO(shown["a.webp"])).convert("L")) == image).all()
    one = rows_of(reader_of(data / "ct" / "1.2.840.7", tmp_path / "job", *asked))
    assert [row.id for row in one] == ["1.2.840.7"] * 2


def test_without_pictures_in_the_folder_the_question_is_for_the_rows(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    table = pa.table({"image": PICTURES, "question": ["?"] * len(PICTURES)})
    pq.write_table(table, data / "part.parquet")
    (data / "_SUCCESS").touch()
    rows = rows_of(reader_of(data, tmp_path, "Which side?"))
    assert [row.question for row in rows] == ["Which side?"] * len(PICTURES)


def test_a_piece_of_parquet_is_some_rows_whatever_the_row_groups(tmp_path: Path) -> None:
    """One row group for all is what most programs write; a piece of it is read alone."""
    rows = 2 * PIECE_ROWS + 10
    table = pa.table({"question": [f"Is it {row}?" for row in range(rows)]})
    for size in (rows, 700):
        pq.write_table(table, tmp_path / "rows.parquet", row_group_size=size)
        reader = reader_of(tmp_path / "rows.parquet", tmp_path)
        assert len(reader.archive.pieces) == 3
        found = rows_of(reader)
        assert [row.question for row in found] == table["question"].to_pylist()
        assert [row.at for row in found] == list(range(rows))
        some = list(reader.rows(reader.archive.pieces[1], {0, 70, PIECE_ROWS - 1}))
        assert [row.at for row in some] == [PIECE_ROWS, PIECE_ROWS + 70, 2 * PIECE_ROWS - 1]
        assert [row.number for row in some] == [0, 70, PIECE_ROWS - 1]
    broken = bytearray((tmp_path / "rows.parquet").read_bytes())
    middle = len(broken) // 2
    broken[middle : middle + 500] = bytes(500)
    (tmp_path / "rows.parquet").write_bytes(broken)
    with pytest.raises(InputError, match=r"rows\.parquet cannot be read after row \d+"):
        rows_of(reader_of(tmp_path / "rows.parquet", tmp_path))


@pytest.mark.parametrize(
    ("columns", "names", "asked", "complaint"),
    [
        (["text", "image"], {}, [], "rows.parquet has no column 'question' (columns.question"),
        (["question"], {"image": "scan"}, [], "rows.parquet has no column 'scan' (columns.image"),
        (["question"], {"id": "key"}, [], "rows.parquet has no column 'key' (columns.id"),
        (["text"], {}, ["Which side?"], "rows.parquet has no column 'image' (columns.image"),
    ],
)
def test_a_missing_column_is_named_with_its_file(
    tmp_path: Path, columns: list[str], names: dict[str, str], asked: list[str], complaint: str
) -> None:
    table = pa.table({name: ["x"] for name in columns})
    pq.write_table(table, tmp_path / "rows.parquet")
    (tmp_path / "rows.csv").write_text(",".join(columns) + "\n" + ",".join("x" for _ in columns))
    for kind in ("parquet", "csv"):
        with pytest.raises(InputError) as raised:
            reader_of(tmp_path / f"rows.{kind}", tmp_path, *asked, columns=ColumnsConfig(**names))
        assert complaint.replace("parquet", kind) in str(raised.value)


def test_what_cannot_be_an_archive_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").touch()
    with pytest.raises(InputError, match="holds no table"):
        reader_of(empty, tmp_path)
    (empty / "a.png").write_bytes(PICTURES[0])
    with pytest.raises(InputError, match="pictures and no table: ask them something"):
        reader_of(empty, tmp_path)
    (empty / "rows.parquet").write_bytes(b"not Parquet")
    with pytest.raises(InputError, match=r"rows\.parquet cannot be read as Parquet"):
        reader_of(empty, tmp_path)


def test_an_endpoint_is_sent_nothing_but_pixels(tmp_path: Path) -> None:
    image, described = Image.open(io.BytesIO(PICTURES[0])), Image.Exif()
    described[0x010E] = SECRET  # ImageDescription
    stream = io.BytesIO()
    image.save(stream, "JPEG", exif=described)
    table = pa.table({"question": ["?"], "image": [stream.getvalue()]})
    pq.write_table(table, tmp_path / "rows.parquet")
    for plain in (False, True):
        (row,) = rows_of(reader_of(tmp_path / "rows.parquet", tmp_path, plain=plain))
        sent = row.pictures[0].shown
        assert (SECRET.encode() in sent) is not plain
        assert row.pictures[0].sha256 == hashlib.sha256(stream.getvalue()).hexdigest()
        decoded = [np.asarray(Image.open(io.BytesIO(e))) for e in (sent, stream.getvalue())]
        assert (decoded[0] == decoded[1]).all()


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose head states a size; it has no more than the head and a little of the pixels."""
    stream = io.BytesIO()
    Image.new("L", (1, 1)).save(stream, "PNG")
    encoded = bytearray(stream.getvalue())
    encoded[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    encoded[29:33] = zlib.crc32(encoded[12:29]).to_bytes(4, "big")
    return bytes(encoded)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", "unreadable image"),
        (b"no picture", "unreadable image"),
        (PICTURES[0][:-200], "unreadable image"),
        (png_of_size(101, 100), TOO_LARGE),
        (png_of_size(60_000, 60_000), TOO_LARGE),
        (dicom(Rows=60_000, Columns=60_000), TOO_LARGE),
        (dicom(NumberOfFrames=2), "a DICOM file of several frames"),
        (dicom()[:400], "unreadable image"),
        ("scans/9.png", "missing image"),
        ("scans", "missing image"),
        ("../secret.png", "the image's path leads out of the folder"),
        ("/etc/passwd", "the image's path leads out of the folder"),
        ("a\0b.png", "the image's file cannot be read"),
        ("x" * 5000, "the image's file cannot be read"),
        (7, "an image that is neither file nor path"),
        ([PICTURES[0]] * 3, "more images than engine.images_per_prompt"),
        ([None], "missing image"),
    ],
)
def test_an_image_that_cannot_be_shown_says_why(tmp_path: Path, image: Any, reason: str) -> None:
    write_pictures(tmp_path / "scans")
    column = "images" if isinstance(image, list) else "image"
    pq.write_table(pa.table({"question": ["?"], column: [image]}), tmp_path / "rows.parquet")
    (row,) = rows_of(reader_of(tmp_path / "rows.parquet", tmp_path))
    assert row.fault == reason


def test_what_decides_an_answer_decides_its_key(tmp_path: Path) -> None:
    """Marks of images in a text are not asked: images are parts of their own."""

    def key(record: Mapping[str, Any], **asking: Any) -> str:
        pq.write_table(pa.Table.from_pylist([dict(record)]), tmp_path / "rows.parquet")
        (row,) = rows_of(reader_of(tmp_path / "rows.parquet", tmp_path))
        same = {"model": "", "identity": "weights", "decoding": DecodingConfig()} | asking
        return Asking(**same).request(row).key

    record = {"question": "Which side?", "image": PICTURES[0]}
    keys = [
        key(record),
        key(record | {"question": "What side?"}),
        key(record | {"image": PICTURES[1]}),
        key({"question": "Which side?"}),
        key(record | {"images": [PICTURES[0]]}),
        key(record | {"system": "Be brief."}),
        key(record, identity="other weights"),
        key(record, decoding=DecodingConfig(max_tokens=1)),
        key(record, decoding=DecodingConfig(temperature=1)),
        key(record, decoding=DecodingConfig(temperature=1, seed=1)),
    ]
    assert len(set(keys)) == len(keys)
    same = {"id": "7", "question": " <image>\nWhich side?"}
    assert key(record | same, decoding=DecodingConfig(seed=1)) == keys[0]


TEXTS: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(
        [f"Which side of {SECRET}?", "", "  ", "<image>", None, 7, 7.5, True, [SECRET]]
    ),
    st.text(max_size=5),
    st.just(f"{SECRET} \ud800"),
)
IMAGES: st.SearchStrategy[Any] = st.sampled_from(
    [
        *("0.png", "1.png", "broken.png", "gone.png", "../0.png", SECRET, f"{SECRET}\0", "\udc00"),
        *("", None, 7, {}, {"path": "0.png"}, ["0.png"]),
    ]
)
RECORDS = st.one_of(
    st.fixed_dictionaries(
        {"question": TEXTS},
        optional={
            "id": TEXTS,
            "image": IMAGES,
            "images": st.one_of(st.lists(IMAGES, max_size=3), IMAGES),
            "system": TEXTS,
        },
    ),
    st.sampled_from([{}, None, 7, [SECRET]]),
)


@settings(max_examples=60)
@given(st.lists(st.one_of(RECORDS.map(json.dumps), st.just("{" + SECRET)), min_size=1, max_size=12))
def test_rows_in_are_answers_and_ledger(lines: list[str]) -> None:
    """Whatever stands in the lines: each row comes out once, in order; no reason quotes a row."""
    asking = Asking(model="", identity="weights", decoding=DecodingConfig())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number in range(2):
            (folder / f"{number}.png").write_bytes(PICTURES[number])
        (folder / "broken.png").write_bytes(PICTURES[0][:100])
        (folder / "rows.jsonl").write_text("\n".join(lines))
        reader = reader_of(folder / "rows.jsonl", folder)
        keys = survey_piece(0, *reader.archive.pieces, reader, asking, UPath(folder / SURVEY))
        assert len(keys) == len(lines)
        stored = sorted({key.decode() for key in keys if key})[::2]
        segment = Segment(UPath(folder / ASKED), stored)
        for key in stored:
            segment.add(key, Answer(text=key, finish="stop", prompt_tokens=1, completion_tokens=1))
        segment.close()
        places = AnswerIndex.of(UPath(folder / ASKED)).places(keys)
        work = Work("", np.zeros(0, np.int32), places)
        counted = write_part(0, work, {}, UPath(folder), "tiny")
        answers, ledger = (
            pq.read_table(folder / name / "000000.parquet").to_pylist()
            for name in ("answers", "ledger")
        )
    assert [row["answer"] for row in answers] == [k.decode() for k in keys if k.decode() in stored]
    assert len(answers) + len(ledger) == len(lines)
    assert (counted["answered"], sum(counted["reasons"].values())) == (len(answers), len(ledger))
    assert not any(SECRET in row["reason"] + row["evidence"] for row in ledger)
    assert all(row["reason"] for row in ledger)
