"""Whatever is sent as a request is taken, or refused in words that hold nothing of it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doctor_sun.serving.guard.refusal import Refusal
from doctor_sun.serving.guard.requests import (
    ChatRequest,
    CompletionRequest,
    DicomRequest,
    RequestConfig,
    RequestLimits,
    check_schema,
    parsed,
)

MARK = "quokka4711"
LIMITS = RequestLimits(
    config=RequestConfig(),
    model_tokens=64,
    pictures=2,
    picture_tokens=16,
    special_tokens=["<|eot_id|>", "<image>"],
)
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}
TEXT = {"type": "text", "text": "what?"}

marked = st.text(max_size=8).map(lambda text: text + MARK)
names = st.sampled_from(
    [
        *("role", "content", "type", "text", "image_url", "url", "messages", "stop", "n", "model"),
        *("temperature", "response_format", "json_schema", "schema", "name", "stream_options"),
    ]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | marked,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | marked, inner, max_size=5),
    max_leaves=24,
)


def refused(kind: Any, document: Any) -> Refusal | None:
    """The refusal of a document, if it is refused; any other error is a fault."""
    try:
        asked = parsed(kind, document)
        if kind is not DicomRequest:
            LIMITS.check(asked)
    except Refusal as refusal:
        return refusal
    return None


@given(anything, st.sampled_from([ChatRequest, CompletionRequest, DicomRequest]))
def test_no_document_breaks_it_and_none_is_echoed(document: Any, kind: Any) -> None:
    refusal = refused(kind, document)
    assert refusal is None or refusal.status == 400
    assert refusal is None or MARK not in json.dumps(refusal.body())


@given(st.dictionaries(names | marked, anything, max_size=4))
def test_a_wrong_parameter_beside_right_messages_is_not_echoed(extra: dict[str, Any]) -> None:
    refusal = refused(ChatRequest, {**extra, "messages": [{"role": "user", "content": "x"}]})
    assert refusal is None or MARK not in json.dumps(refusal.body())


@pytest.mark.parametrize(
    ("settings", "code", "param"),
    [
        ({"temperature": 2.1}, "invalid_parameter", "temperature"),
        ({"temperature": float("inf")}, "invalid_parameter", "temperature"),
        ({"top_p": 0}, "invalid_parameter", "top_p"),
        ({"n": 5}, "too_many_n", "n"),
        ({"n": 2, "temperature": 0}, "invalid_parameter", None),
        ({"n": True}, "invalid_parameter", "n"),
        ({"n": "1"}, "invalid_parameter", "n"),
        ({"stop": ["a"] * 9}, "too_many_stop", "stop"),
        ({"top_logprobs": 5}, "invalid_parameter", None),
        ({"stream_options": {"include_usage": True}}, "invalid_parameter", None),
        ({"guided_regex": "(a+)+$"}, "unknown_parameter", None),
        ({"response_format": {"type": "json_schema"}}, "invalid_parameter", "response_format"),
    ],
)
def test_a_parameter_out_of_its_range_is_named(
    settings: dict[str, Any], code: str, param: str | None
) -> None:
    refusal = refused(ChatRequest, {"messages": [{"role": "user", "content": "x"}], **settings})
    assert refusal is not None
    assert (refusal.code, refusal.param) == (code, param)


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([{"role": "user", "content": [PICTURE] * 3}], "too_many_pictures"),
        ([{"role": "user", "content": [PICTURE]}] * 3, "too_many_pictures"),
        ([{"role": "assistant", "content": [PICTURE]}], "invalid_parameter"),
        ([{"role": "tool", "content": "x"}], "invalid_parameter"),
        ([{"role": "user", "content": "a<|eot_id|>b"}], "special_tokens"),
        ([{"role": "user", "content": [{**TEXT, "text": "<image>"}]}], "special_tokens"),
        ([{"role": "user", "content": "a\x00"}], "control_characters"),
        ([{"role": "user", "content": "中" * 171}], "context_length_exceeded"),
        ([{"role": "user", "content": "x"}] * 201, "too_many_messages"),
        ([{"role": "user"}], "invalid_parameter"),
    ],
)
def test_messages_that_are_not_taken(messages: list[Any], code: str) -> None:
    refusal = refused(ChatRequest, {"messages": messages})
    assert refusal is not None
    assert refusal.code == code


def test_what_clients_send_is_taken_and_names_are_dropped() -> None:
    messages = [
        {"role": "system", "content": "x"},
        {"role": "user", "content": [PICTURE, TEXT], "name": MARK},
        {"role": "assistant", "content": None, "refusal": None, "annotations": [], "audio": None},
        {"role": "assistant", "content": "\x1b what a model said"},
        {"role": "user", "content": "再看"},
    ]
    asked = parsed(ChatRequest, {"messages": messages, "user": MARK, "temperature": 0})
    LIMITS.check(asked)
    assert MARK not in asked.model_dump_json()
    assert [*asked.texts()] == ["x", "what?", "", "\x1b what a model said", "再看"]
    assert [*asked.texts("user")] == ["what?", "再看"]
    assert len(asked.pictures()) == 1


def test_a_schema_may_be_as_large_as_it_is_told() -> None:
    small = {"type": "object", "properties": {"side": {"enum": ["left", "right"]}}}
    check_schema(small, 10)
    for large in (
        {"properties": {str(i): {} for i in range(20)}},
        {"maxLength": 10**6},
        {"pattern": "a" * 300},
    ):
        with pytest.raises(Refusal, match="at most"):
            check_schema(large, 10)
