"""The guard sees what must not be merged, and nothing where texts only differ in wording."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doctor_sun.data.clinical_guard import differences

DIFFERENT = [
    ("number", "Take 100 mg daily.", "Take 300 mg daily."),
    ("number", "A 5 mm nodule.", "A 5 cm nodule."),
    ("number", "每次100毫克", "每次300毫克"),
    ("number", "两个结节", "三个结节"),
    ("number", "Two nodules.", "Three nodules."),
    ("side", "Nodule in the left lung.", "Nodule in the right lung."),
    ("side", "左肺结节", "右肺结节"),
    ("side", "Left effusion, right nodule.", "Right effusion, left nodule."),
    ("side", "双侧胸腔积液", "左侧胸腔积液"),
    ("negation", "There is a pneumothorax.", "There is no pneumothorax."),
    ("negation", "可见气胸。", "未见气胸。"),
    ("negation", "No nodule. Effusion is seen.", "No effusion. Nodule is seen."),
    ("negation", "未见结节，可见积液。", "未见积液，可见结节。"),
    ("sign", "CRP is increased.", "CRP is decreased."),
    ("sign", "结核菌素阳性", "结核菌素阴性"),
    ("sign", "Mild cardiomegaly.", "Severe cardiomegaly."),
    ("time", "Pain before surgery.", "Pain after surgery."),
    ("time", "急性胰腺炎", "慢性胰腺炎"),
    ("drug", "Start metoprolol.", "Start lisinopril."),
    ("drug", "口服阿莫西林", "口服阿奇霉素"),
]
SAME = [
    ("The heart is normal in size.", "Heart size is normal"),
    ("A 10 mm nodule.", "A 1 cm nodule."),
    ("每次 1 克", "每次1000毫克"),
    ("１００毫克", "100 毫克"),
    ("Lungs are clear. No effusion.", "The lungs are clear; without effusion."),
    ("胸片未见异常。", "胸片未见异常"),
]


@pytest.mark.parametrize(("kind", "a", "b"), DIFFERENT)
def test_a_clinical_difference_is_named(kind: str, a: str, b: str) -> None:
    assert kind in {difference.kind for difference in differences(a, b)}
    assert kind in {difference.kind for difference in differences(b, a)}


@pytest.mark.parametrize(("a", "b"), SAME)
def test_other_wording_is_no_difference(a: str, b: str) -> None:
    assert differences(a, b) == []


@given(st.text(max_size=80))
def test_a_text_does_not_differ_from_itself(text: str) -> None:
    assert differences(text, text) == []


@given(
    st.sampled_from([pair[1:] for pair in DIFFERENT]), st.sampled_from(["", " Thank you.", "。"])
)
def test_what_is_added_to_both_hides_nothing(pair: tuple[str, str], ending: str) -> None:
    assert differences(pair[0] + ending, pair[1] + ending)
