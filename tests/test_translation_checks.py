"""What a translation must keep; how an answer, a score and a term are read. No server needed."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from doctor_sun.asking.chat_client import Answer
from doctor_sun.data.translation.fluency import Scores, said_scores
from doctor_sun.data.translation.glossary import Glossary, missing_terms, read_glossary
from doctor_sun.data.translation.preservation import (
    PreservationConfig,
    all_findings,
    findings,
)
from doctor_sun.data.translation.prompts import said_translations
from doctor_sun.data.translation.segments import layout
from doctor_sun.errors import InputError


def turns_of(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[at % 2], "text": text} for at, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("turns", "segments"),
    [
        (turns_of("<image>\nWhere is it?", "left"), ["Where is it?", "left"]),
        (turns_of("Size? <image>", "5"), ["Size?"]),
        (turns_of("Which?\nA. left\nB. right", "B"), ["Which?", "left", "right"]),
        (turns_of("Which? (A) left (B) right", "(B) right"), ["Which?", "left", "right"]),
        (turns_of("Which?\nA: left lung; B: right lung;", "Right lung."),
         ["Which?", "left lung", "right lung"]),
        (turns_of("Which?\nA. left\nB. right", "It's B"), ["Which?", "left", "right", "It's B"]),
        (turns_of("Vitamin A. is it good?", "yes", "And B?", "yes"),
         ["Vitamin A. is it good?", "yes", "And B?"]),
    ],
)  # fmt: skip
def test_a_conversation_is_taken_apart_and_put_together(
    turns: Sequence[dict[str, str]], segments: list[str]
) -> None:
    laid = layout(turns)
    assert laid.segments == segments
    same = laid.rebuild(laid.segments)
    for one, other in zip(same, turns, strict=True):
        assert one["text"].rstrip(".").casefold() == other["text"].rstrip(".").casefold()
    marked = laid.rebuild([f"<{number}>" for number in range(len(segments))])
    assert [t["text"].count("<image>") for t in marked] == [
        t["text"].count("<image>") for t in turns
    ]


FAITHFUL = [
    ("The left lung shows a 5 mm nodule.", "左肺见一枚5毫米结节。"),
    ("No pleural effusion is seen.", "未见胸腔积液。"),
    ("Two nodules measuring 3 x 4 cm in the right lobe.", "右叶可见两个结节，大小3×4厘米。"),
    ("Is there a fracture?", "是否有骨折？"),
    ("No", "否"),
    ("Bilateral pleural effusions, no fever.", "双侧胸腔积液，无发热。"),
    ("The heart is irregular in shape.", "心脏形状不规则。"),
    ("Atelectasis in the lower left lobe.", "左下叶肺不张。"),
    ("Aspirin 100 mg daily for two weeks.", "阿司匹林每日100毫克，持续两周。"),
    ("A 65-year-old man with a 3-month history of cough.", "65岁男性，咳嗽病史3个月。"),
    ("The T2-weighted MRI shows high signal at L4-L5.", "T2加权MRI显示L4-L5高信号。"),
    ("Both lungs are clear.", "双肺清晰。"),
    ("WBC count is 12,000 per microliter.", "白细胞计数为每微升1.2万。"),
    ("Approximately 5 cm in size", "大小约5厘米左右"),
    ("No evidence of pneumothorax. The heart is normal.", "无气胸证据。心脏正常。"),
    ("Grade 2 tumor, 2-3 cm", "2级肿瘤，2至3厘米"),
    ("The tricuspid valve is unremarkable.", "三尖瓣未见异常。"),
    ("Take one tablet twice daily.", "每日两次，每次一片。"),
    ("Denies chest pain and has not smoked for 10 years", "否认胸痛，已10年未吸烟"),
]
UNFAITHFUL = [
    ("The left lung shows a 5 mm nodule.", "右肺见一枚5毫米结节。", "sides"),
    ("Left effusion and right nodule", "右侧积液和左侧结节", "sides"),
    ("Bilateral effusions.", "胸腔积液。", "sides"),
    ("Effusions are seen in the lung.", "双侧胸腔积液。", "sides"),
    ("The left lung shows a 5 mm nodule.", "左肺见一枚5厘米结节。", "numbers"),
    ("The left lung shows a 5 mm nodule.", "左肺见一枚结节。", "numbers"),
    ("The lung shows a nodule.", "肺内见一枚5毫米结节。", "numbers"),
    ("Aspirin 100 mg", "阿司匹林10毫克", "numbers"),
    ("Two nodules.", "三个结节。", "numbers"),
    ("Take one tablet twice daily.", "每日三次，每次一片。", "numbers"),
    ("No pleural effusion is seen.", "可见胸腔积液。", "negations"),
    ("Pleural effusion is seen.", "未见胸腔积液。", "negations"),
    ("No", "是", "negations"),
    ("The heart is normal in size", "The heart is normal in size", "untranslated"),
    ("The heart is normal in size and shape", "心脏的 size and shape 正常", "untranslated"),
    ("Acute appendicitis", "好的，翻译如下：急性阑尾炎", "not a translation"),
    ("Acute appendicitis", "抱歉，我无法翻译", "not a translation"),
    ("B. left", "A. 左", "options"),
    ("The liver shows a large mass in this segment with enhancement", "肝", "length"),
]


@pytest.mark.parametrize(("source", "translation"), FAITHFUL)
def test_faithful_translations_pass(source: str, translation: str) -> None:
    assert findings(source, translation, PreservationConfig()) == []


@pytest.mark.parametrize(("source", "translation", "finding"), UNFAITHFUL)
def test_what_was_not_kept_is_found(source: str, translation: str, finding: str) -> None:
    assert finding in findings(source, translation, PreservationConfig())


def test_options_that_became_one_are_found() -> None:
    texts = (["which?", "kidney", "renal"], ["哪个？", "肾", "肾。"])
    assert all_findings(*texts, [[1, 2]], PreservationConfig()) == ["options"]


def said(text: str, finish: str = "stop") -> Answer:
    return Answer(text=text, finish=finish, prompt_tokens=1, completion_tokens=1)


def test_only_a_whole_answer_is_a_translation() -> None:
    assert said_translations(said('{"segments": ["左", " 右 "]}'), 2) == ["左", "右"]
    assert said_translations(said('```json\n{"segments": ["左"]}\n```'), 1) == ["左"]
    assert said_translations(said('{"segments": ["左"]}'), 2) == "other number of texts"
    assert said_translations(said('{"segments": ["左", ""]}'), 2) == "not JSON"
    assert said_translations(said("左"), 1) == "not JSON"
    assert said_translations(said('{"segments": ["左"]}', "length"), 1) == "cut at max_tokens"


@pytest.mark.parametrize(
    "text", ["5", "{}", '{"fluency": 5}', '{"fluency": "5", "adequacy": 5}',
             '{"fluency": 6, "adequacy": 5}', '{"fluency": true, "adequacy": 5}']
)  # fmt: skip
def test_scores_that_cannot_be_read_are_no_scores(text: str) -> None:
    assert isinstance(said_scores(said(text)), str)
    assert said_scores(said('{"fluency": 4, "adequacy": 5}')) == Scores(4, 5)


def test_terms_are_found_by_words_and_checked(tmp_path: Path) -> None:
    (tmp_path / "terms.tsv").write_text("pleural effusion\t胸腔积液\nEffusion\t积液\n")
    glossary = read_glossary(str(tmp_path / "terms.tsv"))
    assert glossary.occurring("A large Pleural  effusion.") == {"pleural effusion": "胸腔积液"}
    assert glossary.occurring("effusions") == {}
    assert missing_terms({"pleural effusion": "胸腔积液"}, ["大量胸水"]) == ["pleural effusion"]
    assert Glossary({}).occurring("anything") == {}
    (tmp_path / "broken.tsv").write_text("one column\n")
    with pytest.raises(InputError, match=r"broken\.tsv, line 1"):
        read_glossary(str(tmp_path / "broken.tsv"))
