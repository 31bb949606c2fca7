"""Label spans: exactly the assistant's tokens and end-of-turn carry loss; text round-trips."""

from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doctor_sun.models.chat_template import (
    END_OF_TURN,
    IGNORE_INDEX,
    SPECIAL_TOKENS,
    DoesNotFit,
    encode,
)
from doctor_sun.models.tokenizer import train_tokenizer
from tests.tiny_models import TEXTS

IMAGE_TOKENS = 9


@lru_cache(maxsize=1)
def tokenizer() -> Any:
    return train_tokenizer(TEXTS * 20, 400)


text = st.text(
    alphabet=st.one_of(
        st.sampled_from("左右侧肺结节有无，。？5mg \n"),
        st.characters(codec="utf-8", exclude_characters="<"),
    ),
    min_size=1,
    max_size=30,
)
dialogue = st.lists(st.tuples(text, text), min_size=1, max_size=4)


def turns_of(exchanges: list[tuple[str, str]], image: bool) -> list[dict[str, str]]:
    turns = []
    for number, (question, answer) in enumerate(exchanges):
        mark = "<image>\n" if image and number == 0 else ""
        turns += [
            {"role": "user", "text": mark + question},
            {"role": "assistant", "text": answer},
        ]
    return turns


@settings(max_examples=500, deadline=None)
@given(exchanges=dialogue, image=st.booleans())
def test_exactly_the_assistants_words_carry_loss(
    exchanges: list[tuple[str, str]], image: bool
) -> None:
    ids, labels = encode(turns_of(exchanges, image), tokenizer(), IMAGE_TOKENS, 10_000)
    assert len(ids) == len(labels)
    assert all(label in (token, IGNORE_INDEX) for token, label in zip(ids, labels, strict=True))
    spans: list[list[int]] = [[]]
    for label in labels:
        if label != IGNORE_INDEX:
            spans[-1].append(label)
        elif spans[-1]:
            spans.append([])
    spoken = [tokenizer().decode(span) for span in spans if span]
    assert spoken == [answer + END_OF_TURN for _, answer in exchanges]


@settings(max_examples=50, deadline=None)
@given(exchanges=dialogue)
def test_text_round_trips(exchanges: list[tuple[str, str]]) -> None:
    ids, _ = encode(turns_of(exchanges, False), tokenizer(), IMAGE_TOKENS, 10_000)
    decoded = tokenizer().decode(ids)
    for question, answer in exchanges:
        assert question + END_OF_TURN in decoded
        assert answer + END_OF_TURN in decoded


@settings(max_examples=50, deadline=None)
@given(exchanges=dialogue, limit=st.integers(20, 120))
def test_cutting_keeps_every_image_token(exchanges: list[tuple[str, str]], limit: int) -> None:
    turns = turns_of(exchanges, True)
    whole, _ = encode(turns, tokenizer(), IMAGE_TOKENS, 10_000)
    image_token = tokenizer().convert_tokens_to_ids("<image>")
    try:
        ids, labels = encode(turns, tokenizer(), IMAGE_TOKENS, limit)
    except DoesNotFit:
        first, _ = encode(turns[:2], tokenizer(), IMAGE_TOKENS, 10_000)
        assert len(first) > limit
        return
    assert len(ids) <= limit
    assert ids == whole[: len(ids)]
    assert ids.count(image_token) == IMAGE_TOKENS
    assert any(label != IGNORE_INDEX for label in labels)


def test_an_image_behind_the_cut_is_refused() -> None:
    turns = turns_of([("a", "b"), ("c", "d")], image=False)
    turns[2]["text"] = "<image>\nc"
    with pytest.raises(DoesNotFit, match="image"):
        encode(turns, tokenizer(), IMAGE_TOKENS, 30)


def test_special_tokens_keep_their_own_ids() -> None:
    ids = [tokenizer().convert_tokens_to_ids(token) for token in SPECIAL_TOKENS]
    assert len(set(ids)) == len(SPECIAL_TOKENS)
    assert tokenizer().eos_token == END_OF_TURN
