"""Identifiers in both languages are found at their exact place; clinical numbers are left alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doctor_sun.data.privacy import KINDS, find_identifiers, mask
from doctor_sun.data.tiny.synthetic_identifiers import resident_id, sentence_with_identifiers

FOUND = [
    ("zh", "联系电话13812345678已登记", [("PHONE", "13812345678")]),
    ("zh", "联系电话１３８１２３４５６７８", [("PHONE", "１３８１２３４５６７８")]),
    ("zh", "手机138-1234-5678。", [("PHONE", "138-1234-5678")]),
    ("zh", "家庭电话：0571-82345678", [("PHONE", "0571-82345678")]),
    ("zh", "住院号：0048291，床号12", [("RECORD_NUMBER", "0048291"), ("RECORD_NUMBER", "12")]),
    ("zh", "检查号1234567。", [("RECORD_NUMBER", "1234567")]),
    ("zh", "患者姓名：王小明。", [("NAME", "王小明")]),
    ("zh", "王建国医生查房", [("NAME", "王建国")]),
    ("zh", "邮箱mary.smith@example.org。", [("EMAIL", "mary.smith@example.org")]),
    ("zh", "出生日期：1961年3月12日", [("BIRTH_DATE", "1961年3月12日")]),
    ("en", "Call (312) 555-0134.", [("PHONE", "(312) 555-0134")]),
    ("en", "SSN 323-45-6789.", [("ID_NUMBER", "323-45-6789")]),
    ("en", "MRN: 4829131", [("RECORD_NUMBER", "4829131")]),
    ("en", "Reported by Dr. Susan Price.", [("NAME", "Susan Price")]),
    ("en", "Patient name: Mary Jones.", [("NAME", "Mary Jones")]),
    ("en", "DOB: 03/12/1961", [("BIRTH_DATE", "03/12/1961")]),
]
CLINICAL = [
    ("zh", "白细胞计数13800000000/L"),
    ("zh", "白细胞13800000000个"),
    ("zh", "血小板150×10^9/L，血压120/80mmHg"),
    ("zh", "白血病、高血压，使用黄体酮，方案为化疗"),
    ("zh", "患者：高血压病"),
    ("zh", "临床试验NCT01234567入组"),
    ("zh", "编号123456789012345678"),
    ("zh", "691加922等于1613。"),
    ("en", "The nodule measures 5 x 3 mm; T12, L1-2; 2019-10-12 to 2020-01-01."),
    ("en", "WBC 13800000000/L and 1.022 MeV"),
    ("en", "No pneumothorax. Heart size is normal. XXXX."),
    ("en", "E11.9 I10 J44.9 K74.60"),
]


@pytest.mark.parametrize(("language", "text", "expected"), FOUND)
def test_identifiers_are_found(language: str, text: str, expected: list[tuple[str, str]]) -> None:
    found = find_identifiers(text, language)
    assert [(i.kind, text[i.start : i.end]) for i in found] == expected


@pytest.mark.parametrize(("language", "text"), CLINICAL)
def test_clinical_numbers_are_left_alone(language: str, text: str) -> None:
    assert find_identifiers(text, language) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_a_resident_number_needs_its_check_digit(seed: int) -> None:
    number = resident_id(np.random.default_rng(seed))
    text = f"身份证号{number}已登记"
    assert [(i.kind, i.start, i.end) for i in find_identifiers(text, "zh")] == [
        ("ID_NUMBER", 4, 22)
    ]
    wrong = number[:-1] + ("1" if number[-1] != "1" else "2")
    assert not find_identifiers(f"编号{wrong}已登记", "zh")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["en", "zh"]))
def test_synthetic_sentences_are_masked_whole(seed: int, language: str) -> None:
    text, spans = sentence_with_identifiers(language, np.random.default_rng(seed))
    found = find_identifiers(text, language)
    assert [(i.kind, i.start, i.end) for i in found] == sorted(spans, key=lambda s: s[1])
    masked = mask(text, found)
    assert not any(text[start:end] in masked for _, start, end in spans)
    assert all(f"[{kind}]" in masked for kind, _, _ in spans)
    assert find_identifiers(masked, language) == []


@settings(deadline=None)
@given(st.text(max_size=120), st.sampled_from(["en", "zh"]))
def test_any_text_gives_ordered_spans(text: str, language: str) -> None:
    end = 0
    for found in find_identifiers(text, language):
        assert end <= found.start < found.end <= len(text)
        assert found.kind in KINDS
        end = found.end
