"""Held-out questions are found wherever they stand; common questions are not."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doctor_sun.data.decontamination import (
    TextConfig,
)
from doctor_sun.data.decontamination.grams import (
    GramTable,
    Ragged,
    gram_hashes,
    occurrences,
    row_tokens,
)
from doctor_sun.data.decontamination.items import HeldOutItem
from doctor_sun.data.decontamination.text import ItemGrams, ItemTokens, TextIndex, TextMatch
from doctor_sun.data.rows import THIN_SCHEMA
from tests.benchmark_layouts import CHINESE, CHINESE_MCQ, MCQ, VIGNETTE

WORDS = [f"word{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]


def item(question: str, answer: str = "", **fields: Any) -> HeldOutItem:
    facts = {"benchmark": "b", "id": "1", "language": "en", "options": (), "picture": -1}
    facts |= {"shows": False, "question": question, "answer": answer}
    return HeldOutItem(**{**facts, **fields})  # type: ignore[arg-type]


def index_of(
    items: Sequence[HeldOutItem], rows: float = 1, **options: Any
) -> tuple[TextIndex, ItemGrams]:
    config = TextConfig(**options)
    tokens = ItemTokens.of(items)
    grams = ItemGrams.of(tokens, items, config)
    having = np.full(len(grams.table.hashes), float(rows))
    return TextIndex.of(items, tokens, grams, having, config), grams


def turns(*texts: str) -> pa.ChunkedArray:
    said = [
        [{"role": "user", "text": text}, {"role": "assistant", "text": "Thank you."}]
        for text in texts
    ]
    return pa.chunked_array([pa.array(said, THIN_SCHEMA.field("turns").type)])


def found_in(index: TextIndex, *texts: str) -> list[TextMatch]:
    return sorted(
        index.matches(row_tokens(turns(*texts), index.tokens.vocabulary)), key=lambda m: m.row
    )


MEDICAL = item(VIGNETTE, MCQ["A"], options=tuple(MCQ.values()))
ZH = item(CHINESE, CHINESE_MCQ["A"], options=tuple(CHINESE_MCQ.values()), language="zh")
SHORT = item("Is there a fracture?", "Yes", shows=True)
BOILERPLATE = item("Which is right?", "Heparin", options=("Heparin", "Iron", "Zinc", "Gold"))
SHORT_ZH = item("正确的是", "肝脏", options=("肝脏", "脾脏", "肾脏", "胰腺"), language="zh")


@pytest.mark.parametrize(
    "text",
    [
        VIGNETTE,
        VIGNETTE.upper().replace(" ", "  ").replace("-", " - ").replace(".", " ;"),
        "Lecture notes.\n\n" + VIGNETTE.replace(" that ", "\n\nthat ") + "\n\nSee chapter nine.",
        f"{VIGNETTE} (D) VSD (C) Tricuspid atresia (B) Aortic regurgitation",
        VIGNETTE.replace("two flights", "three flights"),
        f"问：{CHINESE}？",
        CHINESE.replace("，", "；\n").replace("32", "３２"),
    ],
)
def test_a_long_question_is_found_in_any_dress(text: str) -> None:
    index, _ = index_of([MEDICAL, ZH])
    (match,) = found_in(index, "nothing of it here", text)
    assert (match.row, match.level) == (1, "text")
    assert match.containment >= index.config.containment


@pytest.mark.parametrize(
    "text",
    [
        "Is there a fracture? Yes",
        "A 24-year-old woman has chest pain. What is the likely lesion?",
        "Which is right? Aspirin, ibuprofen, or neither? Ibuprofen.",
        "Heparin, iron, zinc and gold. " + "And so on. " * 80 + "Which is right?",
        "患者女，32岁，反复腹痛三周，首先应考虑的疾病是哪一种？胃溃疡",
        "正确的是心脏",
    ],
)
def test_a_common_question_is_no_leak(text: str) -> None:
    index, _ = index_of([MEDICAL, ZH, SHORT, BOILERPLATE, SHORT_ZH])
    assert not found_in(index, text)


@pytest.mark.parametrize(
    ("text", "leaks"),
    [
        ("Which is right? A. Gold B. Zinc C. Iron D. Heparin", True),
        ("正确的是：A. 胰腺 B. 肾脏 C. 脾脏 D. 肝脏", True),
        ("Which is right? A. Gold B. Silver C. Bronze", False),
    ],
)
def test_a_short_question_counts_with_its_options_in_any_order(text: str, leaks: bool) -> None:
    index, _ = index_of([MEDICAL, BOILERPLATE, SHORT_ZH])
    assert [match.level for match in found_in(index, text)] == ["answer"] * leaks


def test_what_many_items_share_says_little() -> None:
    stem = "Which of the following findings is most consistent with the diagnosis of"
    template = [item(f"{stem} disease {word}?", id=word) for word in WORDS]
    index, _ = index_of([*template, MEDICAL])
    assert index.long.tolist() == [False] * len(WORDS) + [True]
    assert not found_in(index, f"{stem} gout?")
    alone, _ = index_of([template[0], MEDICAL])
    assert alone.long.all()


def test_what_many_rows_share_says_little() -> None:
    index, _ = index_of([MEDICAL, SHORT], rows=10_000)
    assert not index.long.any()
    assert not found_in(index, VIGNETTE)
    assert found_in(index, f"{VIGNETTE} {MCQ['A']} {MCQ['B']} {MCQ['C']} {MCQ['D']}")


def test_an_item_that_was_copied_many_times_is_still_found() -> None:
    index, _ = index_of([MEDICAL, ZH], rows=20)
    assert [match.level for match in found_in(index, VIGNETTE)] == ["text"]


def test_boilerplate_does_not_make_up_for_what_is_missing() -> None:
    """The common half of a question is not the question; the rare half is."""
    common, rare = " ".join(WORDS[:12]), " ".join(WORDS[12:])
    items = [item(f"{common} {rare}"), MEDICAL]
    tokens, config = ItemTokens.of(items), TextConfig(containment=0.6)
    grams = ItemGrams.of(tokens, items, config)
    having = np.ones(len(grams.table.hashes))
    having[grams.table.find(row_tokens(turns(common), tokens.vocabulary).ids)[1]] = 1000
    index = TextIndex.of(items, tokens, grams, having, config)
    assert not found_in(index, common)
    assert found_in(index, rare)


sentences = st.lists(st.sampled_from(WORDS[:6]), min_size=1, max_size=14).map(" ".join)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(sentences, min_size=1, max_size=6),
    st.lists(sentences, min_size=1, max_size=5),
    st.sampled_from([0.5, 0.7, 1.0]),
)
def test_prefix_filtering_loses_nothing(
    questions: list[str], rows: list[str], containment: float
) -> None:
    """Every pair at the threshold, by comparing all n-grams of all pairs."""
    items = [item(question, id=str(n), shows=True) for n, question in enumerate(questions)]
    index, grams = index_of(items, words=2, long_words=4, containment=containment)
    tokens = row_tokens(turns(*rows), index.tokens.vocabulary)
    expected = set()
    for row in range(len(rows)):
        has = set(grams.table.find(tokens.text(row))[1].tolist())
        for number in np.flatnonzero(index.long):
            own = grams.grams[number]
            weight = sum(index.weights[gram] for gram in own if gram in has)
            if weight / index.total[number] >= containment - 1e-6:
                expected.add((row, int(number)))
    assert {(match.row, match.item) for match in index.matches(tokens)} == expected


@given(st.lists(st.lists(st.integers(0, 5), max_size=6), max_size=6), st.data())
def test_ragged_lists_round_trip(lists: list[list[int]], data: st.DataObject) -> None:
    ragged = Ragged.of(lists)
    assert [ragged[n].tolist() for n in range(len(lists))] == lists
    numbers = data.draw(st.lists(st.integers(0, len(lists) - 1))) if lists else []
    values, owners = ragged.take(np.asarray(numbers, np.int64))
    assert values.tolist() == [value for n in numbers for value in lists[n]]
    assert owners.tolist() == [at for at, n in enumerate(numbers) for _ in lists[n]]


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 4))
def test_a_gram_is_found_where_it_stands(ids: list[int], size: int) -> None:
    """Exactly the places where a run of known tokens equals one of the table's."""
    sequence = np.asarray(ids, np.int32)
    wanted = [1, 2, 3, 1][:size]
    table = GramTable.of([size], gram_hashes(np.asarray(wanted, np.int32), size)[0])
    positions, _ = table.find(sequence)
    places = [at for at in range(len(ids)) if ids[at : at + size] == wanted]
    assert sorted(positions.tolist()) == places
    assert occurrences(sequence, np.asarray(wanted, np.int32)).tolist() == places
