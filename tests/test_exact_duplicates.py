"""Equal rows are found by what they say and show; the same row is kept however they are cut."""

from hypothesis import given
from hypothesis import strategies as st

from doctor_sun.data.exact_duplicates import duplicate_key
from doctor_sun.data.rows import keeper_order
from doctor_sun.data.text_form import agreement, content_units, normalised


def row(text: str, *keys: str) -> dict[str, object]:
    return {"turns": [{"role": "assistant", "text": text}], "image_keys": list(keys)}


def test_the_key_ignores_case_width_and_blanks_only() -> None:
    assert duplicate_key(row("A  B\n")) == duplicate_key(row("ａ b"))
    assert duplicate_key(row("5 mg")) != duplicate_key(row("50 mg"))
    assert duplicate_key(row("a")) != duplicate_key(row("a."))
    assert duplicate_key(row("a", "x")) != duplicate_key(row("a", "y"))
    assert duplicate_key(row("a", "x")) != duplicate_key(row("a"))


@given(st.text(max_size=40))
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalised(text)
    assert normalised(once) == once


def test_keeper_order() -> None:
    rank = keeper_order(["best", "good"])
    rows = [
        {"source": "other", "length": 99, "id": "a"},
        {"source": "good", "length": 9, "id": "c"},
        {"source": "good", "length": 9, "id": "b"},
        {"source": "good", "length": 10, "id": "d"},
        {"source": "best", "length": 1, "id": "e"},
    ]
    assert [r["id"] for r in sorted(rows, key=rank)] == ["e", "d", "b", "c", "a"]


def test_agreement_counts_words_and_their_order() -> None:
    one = content_units("No focal consolidation, effusion or pneumothorax.")
    assert agreement(one, content_units("no focal consolidation effusion pneumothorax")) == 1
    assert agreement(one, content_units("Pneumothorax, effusion, focal consolidation, no")) < 0.8
    assert agreement(content_units("左肺结节"), content_units("左肺的结节。")) == 1
    assert agreement(content_units(""), content_units("")) == 1
