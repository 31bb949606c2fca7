"""Files are cut into pieces that lose nothing, repeat nothing and do not depend on one another."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from upath import UPath

from doctor_sun.data.sources import json_arrays, pieces
from doctor_sun.data.sources.record import Broken, Record, matches

TEXT = st.text(
    st.one_of(st.sampled_from('",\\[]{}:\n\r\t @血压é'), st.characters(codec="utf-8")), max_size=12
)
VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)
fast = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 50)
    monkeypatch.setattr(pieces, "PIECE_ROWS", 3)


def read(path: Path) -> list[Record]:
    found = []
    for piece in pieces.pieces(UPath(path), path.name):
        found += list(pieces.records(UPath(path.parent), piece))
    assert len({record.place for record in found}) == len(found)
    return found


def contents(path: Path) -> list[Any]:
    return [record.content for record in read(path)]


@fast
@given(
    rows=st.lists(VALUE, max_size=12), indent=st.sampled_from([None, 1]), chunk=st.integers(1, 9)
)
def test_json_arrays(tmp_path: Path, rows: list[Any], indent: int | None, chunk: int) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows, indent=indent, ensure_ascii=False), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_arrays, "CHUNK", chunk)
        assert contents(path) == rows


@fast
@given(rows=st.lists(VALUE, max_size=30))
def test_json_lines(tmp_path: Path, rows: list[Any]) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_bytes(("\r\n" if len(rows) % 2 else "\n").join(lines).encode())
    assert contents(path) == rows


@fast
@given(rows=st.lists(st.tuples(TEXT, TEXT), max_size=20))
def test_tables(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    path = tmp_path / "a.csv"
    kept = [row for row in rows if not any("\0" in cell for cell in row)]
    stream = io.StringIO()
    csv.writer(stream).writerows([("one", "two"), *kept])
    path.write_bytes(b"\xef\xbb\xbf" + stream.getvalue().encode("utf-8", "surrogatepass"))
    assert contents(path) == [{"one": one, "two": two} for one, two in kept]


@pytest.mark.parametrize("group", [1, 2, 5, 100])
def test_parquet(tmp_path: Path, group: int) -> None:
    path = tmp_path / "a.parquet"
    rows = [{"number": number, "text": f"row {number}"} for number in range(17)]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    assert contents(path) == rows
    assert [record.at for record in read(path)] == list(range(17))
    assert len(pieces.pieces(UPath(path), "a.parquet")) == {1: 6, 2: 8, 5: 4, 100: 1}[group]


def test_a_small_file_is_one_piece_that_is_named_as_the_file(tmp_path: Path) -> None:
    for name, content in (("a.jsonl", "{}\n{}"), ("a.json", "[1, 2]"), ("a.csv", "x\n1\n")):
        (tmp_path / name).write_text(content)
        assert pieces.pieces(UPath(tmp_path / name), name) == [name]
    (tmp_path / "a@0-3.jsonl").write_text("{}\n" * 40)
    assert len(read(tmp_path / "a@0-3.jsonl")) == 40  # a name that looks like a piece's end


def test_a_broken_element_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"a": 1}, {"a": nothing}, {"a": 2, }, , {"a": 3}]')
    found = contents(path)
    assert [content for content in found if not isinstance(content, Broken)] == [{"a": 1}, {"a": 3}]
    assert [str(content) for content in found if isinstance(content, Broken)] == [
        "malformed JSON"
    ] * 3


@pytest.mark.parametrize(
    "text", ['[{"a": 1}, {"a": "no end}]', '[{"a": 1}, {"a": 2', '[{"a": 1}, {"a": 2}}, {"a": 3}]']
)
def test_an_array_that_breaks_off_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    first, *others = contents(tmp_path / "a.json")
    assert first == {"a": 1}
    assert str(others[-1]) == json_arrays.CUT_SHORT


def test_an_endless_element_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_arrays, "LONGEST", 1000)
    monkeypatch.setattr(json_arrays, "CHUNK", 64)
    (tmp_path / "a.json").write_text('["fine", "' + "x" * 5000 + '", "lost"]')
    first, second = contents(tmp_path / "a.json")
    assert first == "fine"
    assert isinstance(second, Broken)


def test_lines_that_are_no_text_and_tables_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\nfine\n\n")
    broken, fine = contents(tmp_path / "a.txt")
    assert (str(broken), fine) == ("not UTF-8 text", "fine")
    (tmp_path / "a.csv").write_bytes(
        b'x,y\n1,2\n\xff,3\n4\n5,6,7\n"8,' + b"9" * 140_000 + b"\n10,11\n"
    )
    found = [c if isinstance(c, dict) else str(c) for c in contents(tmp_path / "a.csv")]
    assert found == [
        {"x": "1", "y": "2"},
        "not UTF-8 text",
        "1 fields for 2",
        "3 fields for 2",
        "malformed table row",
        {"x": "10", "y": "11"},
    ]


def test_lines_under_the_name_of_an_array(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('\n {"a": 1}\n{"a": 2}\n')
    assert contents(tmp_path / "a.json") == [{"a": 1}, {"a": 2}]


def test_wildcards_stand_in_a_name_only() -> None:
    assert matches("data/train-1.parquet", "data/train-*.parquet")
    assert not matches("data/other/train-1.parquet", "data/train-*.parquet")
    assert not matches("data/train-1.parquet", "*/train-1.parquet")
