"""Repetitions go, whatever is meant to be said twice stays; very common sentences are counted."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from doctor_sun.data.repeated_sentences import (
    RepeatedSentencesConfig,
    decide,
    repeated,
    without,
)
from doctor_sun.data.text_form import sentences
from doctor_sun.errors import InputError
from tests.duplicate_rows import dataset, lines, row

TEXTS = st.lists(
    st.sampled_from(
        [
            "No mass is seen in either lung. ",
            "双肺未见明显实变影。",
            "5 mg a day is enough now.\n",
            "\n",
        ]
    ),
    max_size=8,
).map("".join) | st.text(max_size=60)


def cleaned(text: str) -> str:
    pieces = sentences(text)
    return without(pieces, repeated(pieces, 6))


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("双肺清晰。心影不大！", ["双肺清晰。", "心影不大！"]),
        ("他说：“好。”然后走了。", ["他说：“好。”", "然后走了。"]),
        ("No mass. None seen.", ["No mass. ", "None seen."]),
        ("Give 5.5 mg, e.g. at night.", ["Give 5.5 mg, e.g. at night."]),
        ("Dr. Li agrees. Is it so?\nYes", ["Dr. Li agrees. ", "Is it so?\n", "Yes"]),
    ],
)
def test_sentences(text: str, pieces: list[str]) -> None:
    assert sentences(text) == pieces


@given(TEXTS)
def test_sentences_are_the_text_and_cleaning_only_takes_away(text: str) -> None:
    assert "".join(sentences(text)) == text
    once = cleaned(text)
    assert cleaned(once) == once
    assert len(once) <= len(text)
    assert {piece.strip() for piece in sentences(once)} == {p.strip() for p in sentences(text)}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (
            "双肺纹理清晰，未见实变影。双肺纹理清晰，未见实变影。心影不大。",
            "双肺纹理清晰，未见实变影。心影不大。",
        ),
        (
            "The lungs are clear without opacity. The heart is normal in size. "
            "The  lungs are clear without opacity.\n\nThank you.",
            "The lungs are clear without opacity. The heart is normal in size.\n\nThank you.",
        ),
        ("Take one tablet after each meal. " * 5, "Take one tablet after each meal. "),
    ],
)
def test_a_repeated_sentence_goes(text: str, left: str) -> None:
    assert cleaned(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "No. No. No.",
        "1. Take it with water after meals.\n2. Take it with water after meals.",
        "- take it with water after meals\n- take it with water after meals",
        "Left breast. No suspicious mass or calcification is seen. "
        "Right breast. No suspicious mass or calcification is seen.",
        "阿司匹林用于抗血小板。每日一次，饭后口服一片。美托洛尔用于控制心率。每日一次，饭后口服一片。",
        "Aspirin thins the blood of patients. Take one tablet after each meal. "
        "Statins lower the cholesterol of patients. Take one tablet after each meal.",
        "The dose for this patient is 5 mg. The dose for this patient is 50 mg.",
        "<image> is the first of the two films. <image> is the first of the two films.",
    ],
)
def test_what_is_meant_twice_stays(text: str) -> None:
    assert cleaned(text) == text


BYE = "请问还有什么可以帮您的吗？"
AGAIN = "The lungs are clear without opacity. "


def rows_with_common_sentences() -> list[dict[str, object]]:
    answers = [f"第{n}个回答说明了这种情况。请多休息并注意饮食。{BYE}" for n in range(40)]
    rows = [row(f"{n:03d}", "怎么办？", text, part=n % 4) for n, text in enumerate(answers)]
    rows += [row(f"c{n:03d}", "Describe.", "One and the same short caption.") for n in range(40)]
    rows.append(row("x", "Read it.", f"{AGAIN}The heart is normal in size. {AGAIN}"))
    rows.append(row("y", "q", f"This answer has another sentence only. {BYE}", source="t"))
    return sorted(rows, key=lambda r: str(r["part"]))


@pytest.mark.slow
def test_edits_inside_and_counts_across(tmp_path: Path, ray_cluster: None) -> None:
    rows = rows_with_common_sentences()
    found = []
    for blocks, order in ((5, rows), (1, rows[::-1])):
        config = RepeatedSentencesConfig(least_rows=20, partitions=blocks)
        result = decide(dataset(order, blocks), config, UPath(tmp_path))
        found.append((lines(result), result.figures))
    assert found[0] == found[1]
    ours, figures = found[0]
    assert len(ours) == len(rows)
    edited = [line for line in ours if line["verdict"]]
    assert [(line["id"], line["verdict"]) for line in edited] == [("x", "edited")]
    assert edited[0]["turns"][1]["text"] == f"{AGAIN}The heart is normal in size. "
    assert figures["in_many_rows"]["s"]["rows"] == 81
    assert list(figures["in_many_rows"]["s"]["rows_by_md5"].values()) == [40, 40]
    assert figures["in_many_rows"]["t"]["sentences"] == 0
    assert BYE[:4] not in json.dumps([figures, [line["evidence"] for line in ours]])


@pytest.mark.slow
def test_common_sentences_are_taken_out_or_marked(tmp_path: Path, ray_cluster: None) -> None:
    rows = rows_with_common_sentences()
    config = RepeatedSentencesConfig(least_rows=20, across="edit", inside="review", partitions=2)
    found = lines(decide(dataset(rows), config, UPath(tmp_path)))
    edited = {line["id"]: line for line in found if line["verdict"] == "edited"}
    assert sorted(edited) == [f"{n:03d}" for n in range(40)]
    assert edited["007"]["turns"][1]["text"] == "第7个回答说明了这种情况。"
    assert [line["id"] for line in found if line["verdict"] == "review"] == ["x"]
    assert len(found) == len(rows) + 1
    both = RepeatedSentencesConfig(least_rows=20, across="review", partitions=2, long_answer=1)
    rows.append(row("z", "q", f"{AGAIN}{AGAIN}{BYE}"))
    own = [
        line["verdict"] for line in lines(decide(dataset(rows), both, UPath(tmp_path)))[-1:-3:-1]
    ]
    assert own == ["review", "edited"]  # two lines of z: what becomes of it, and that it is marked
    with pytest.raises(InputError, match="least_share"):
        decide(dataset(rows), RepeatedSentencesConfig(least_share=2), UPath(tmp_path))
