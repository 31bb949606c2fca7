"""Published scores to the digit (MultiMedEval's own values), corrected ones sound."""

import random
from collections.abc import Mapping

import pytest

from doctor_sun.evaluation.cleaning import clean_published, corrected_tokens, normalise_answer
from doctor_sun.evaluation.measure import metrics_of, row_from_json
from doctor_sun.evaluation.scoring import Row
from doctor_sun.evaluation.scoring.choice import chosen_option, named_options
from doctor_sun.evaluation.scoring.vqa import bleu1, negated, verdict
from doctor_sun.evaluation.scoring.vqa import corrected as vqa_corrected
from doctor_sun.evaluation.scoring.vqa import published as vqa_published
from doctor_sun.evaluation.tasks import TASKS
from doctor_sun.evaluation.tasks.mbpp import corrected_program

MEDQA, PUBMEDQA = TASKS["medqa"], TASKS["pubmedqa"]

# gold, prediction, F1, BLEU-1, recall, hit (closed or open)
WORKED = [
    ("Yes", "Yes, there is a pneumothorax.", 0.4, 0.25, 1, 1),
    ("no", "The heart is not enlarged.", 0, 0, 0, 1),
    ("no", "Normal", 0, 0, 0, 0),
    ("MRI-DWI", "MRI, DWI.", 1, 1, 1, 1),
    ("the right lower lobe", "right lower lobe of the lung", 0.75, 0.6, 1, 1),
    ("2", "two", 1, 1, 1, 1),
    ("1.5 cm", "about 1,500 mm (1.5 cm)", 0.5714, 0.4, 1, 1),
    ("left", "", 0, 0, 0, 0),
    ("left or right", "left left left", 0.5, 0.3333, 0.3333, 0),
    ("肺", "肺部。", 0, 0, 0, 0),
]
CLEANED = {
    "MRI-DWI": "mri dwi",
    "MRI, DWI.": "mri dwi",
    "1,500 mm (1.5 cm)": "1500 mm 1.5 cm",
    "A": "",
    "The answer is A.": "answer is",
    "none": "0",
    "fig.2": "fig.2",
    "a.b.c": "abc",
    "是的。": "是的。",
    "dont": "don't",
    "wouldntve wouldn'tve": "wouldntve wouldn't've",
    "x:y a: b": "x:y a: b",
    "x" + "." * 40: "x" + "." * 8,
}
OPTIONS = {"A": "Aspirin", "B": "Heparin", "C": "Warfarin", "D": "Is not needed"}


@pytest.mark.parametrize("case", WORKED, ids=lambda case: case[1])
def test_published_vqa_gives_the_originals_values(
    case: tuple[str, str, float, float, float, int],
) -> None:
    gold, prediction, f1, bleu, recall, hit = case
    metrics = vqa_published(Row(answer=gold, prediction=prediction)).metrics
    assert metrics["f1"] == pytest.approx(f1, abs=5e-5)
    assert metrics["bleu1"] == pytest.approx(bleu, abs=5e-5)
    assert metrics["recall"] == pytest.approx(recall, abs=5e-5)
    closed = gold.lower() in ("yes", "no")
    assert metrics["closed_accuracy" if closed else "open_accuracy"] == hit
    assert ("open_recall" in metrics) != closed


def test_published_aggregates() -> None:
    rows = [Row(answer=gold, prediction=said) for gold, said, *_ in WORKED]
    result = metrics_of(rows, range(len(rows)), TASKS["vqa-rad"], "published")
    expected = {
        "bleu1": 0.35833,
        "f1": 0.42214,
        "recall": 0.53333,
        "closed_accuracy": 0.66667,
        "open_recall": 0.61905,
        "open_accuracy": 0.57143,
    }
    assert result["metrics"] == pytest.approx(expected, abs=5e-6)
    assert result["counts"]["closed_accuracy"] == 3
    assert result["unparsable"] == 1  # the empty prediction


@pytest.mark.parametrize(("text", "cleaned"), CLEANED.items())
def test_published_cleaner_keeps_every_quirk(text: str, cleaned: str) -> None:
    assert clean_published(text) == cleaned


@pytest.mark.parametrize(
    ("prediction", "published", "corrected"),
    [
        ("A", "", "A"),  # the letter is an article to the published cleaner
        ("The answer is A.", "D", "A"),  # lands on the option that shares the word "is"
        ("OPTION A IS CORRECT.", "D", "A"),
        ("B: Heparin", "B", "B"),
        ("答案是B。", "", "B"),
        ("选C", "", "C"),
        ("Warfarin", "C", "C"),
        ("Aspirin or Heparin", "A", ""),
        ("", "", ""),
    ],
)
def test_medqa_choices(prediction: str, published: str, corrected: str) -> None:
    for scorer, expected in ((MEDQA.published, published), (MEDQA.corrected, corrected)):
        for gold in OPTIONS:
            score = scorer(Row(answer=gold, prediction=prediction, options=OPTIONS))
            assert score.metrics["accuracy"] == float(gold == expected)
            assert score.parsed == bool(expected)


def test_options_may_be_a_list_a_mapping_or_records() -> None:
    records = [{"key": key, "value": text} for key, text in OPTIONS.items()]
    for options in (OPTIONS, list(OPTIONS.values()), records):
        row = row_from_json({"answer": "Heparin", "prediction": "Heparin", "options": options})
        assert row.options == OPTIONS
        assert MEDQA.published(row).metrics["accuracy"] == 1


@pytest.mark.parametrize(
    ("prediction", "published", "corrected"),
    [
        ("yes or no", "yes", ""),
        ("maybe/yes", "yes", ""),
        ("It does not.", "", ""),
        ("No, it does not. yes yes", "yes", "no"),
        ("Maybe.", "maybe", "maybe"),
    ],
)
def test_pubmedqa_decisions(prediction: str, published: str, corrected: str) -> None:
    for scorer, expected in ((PUBMEDQA.published, published), (PUBMEDQA.corrected, corrected)):
        for gold in ("yes", "no", "maybe"):
            score = scorer(Row(answer=gold, prediction=prediction))
            assert score.metrics["accuracy"] == float(gold == expected)


@pytest.mark.parametrize(
    ("text", "said"),
    {
        "Yes.": "yes",
        "no": "no",
        "是的。": "yes",
        "有": "yes",
        "没有结节": "no",
        "否": "no",
        "不是": "no",
        "是否有结节": "",
        "The heart is not enlarged": "",
        "There is, yes": "yes",
        "yes and no": "yes",
        "either yes or no": "",
        "": "",
        "对不起，我无法判断。": "",
        "对于这张图像，未见肺炎。": "",
        "对比剂增强CT": "",
        "是胸部X线片": "",
        "没错，是的。": "yes",
        "非常抱歉，无法回答": "",
        "非常明显": "",
        "无疑是的": "yes",
        "不知道": "",
        "不能确定": "",
        "不好说": "",
        "没有办法判断": "",
        "Not sure": "",
        "答案是：是": "yes",
        "答案：是": "yes",
        "答：是的": "yes",
        "根据图像，是的。": "yes",
        "肯定": "yes",
        "无": "no",
        "未见骨折": "no",
        "有结节": "yes",
        "存在": "yes",
        "不存在": "no",
        "**Yes**": "yes",
        "The answer is yes.": "yes",
        "Based on the image, no fracture is seen": "no",
        "答案是否": "",
        "不对": "no",
        "对": "yes",
        "是": "yes",
        "没有": "no",
        "Answer: No": "no",
        "无疑": "",
    }.items(),
)
def test_verdicts_in_both_languages(text: str, said: str) -> None:
    assert verdict(text) == said


@pytest.mark.parametrize(
    ("gold", "prediction", "hit"),
    [
        ("右上肺野", "右上肺野。", 1),
        ("右上肺野", "右下肺野", 0),
        ("Left", "The left.", 1),
        ("left", "right", 0),
        ("ＡＢ", "ab", 1),
        ("没有", "无", 1),
        ("是", "没有", 0),
        ("pleural effusion", "effusion", 0),
    ],
)
def test_corrected_accuracy_is_exact_match(gold: str, prediction: str, hit: int) -> None:
    assert vqa_corrected(Row(answer=gold, prediction=prediction)).metrics["accuracy"] == hit


def test_corrected_tokens_split_chinese_and_keep_a_lone_letter() -> None:
    assert corrected_tokens("胸腔积液 2cm，右侧") == ["胸腔", "积液", "2", "cm", "右侧"]
    assert normalise_answer("右侧 CT") == "右 侧 ct"
    assert normalise_answer("A") == "a"
    assert normalise_answer("...") == ""


def test_every_gold_answer_is_a_hit_of_itself() -> None:
    for text in ("left", "没有", "yes", "右侧胸腔积液", "1.5 cm", "MRI-DWI"):
        for scorer in (vqa_published, vqa_corrected):
            metrics: Mapping[str, float] = scorer(Row(answer=text, prediction=text)).metrics
            assert all(value == pytest.approx(1, abs=1e-6) for value in metrics.values())


def test_bleu1_is_clipped_and_penalised() -> None:
    generator = random.Random(0)
    for _ in range(200):
        gold = generator.choices("abc", k=generator.randint(1, 6))
        said = generator.choices("abc", k=generator.randint(1, 6))
        assert 0 <= bleu1(said, gold) <= 1
        assert bleu1(gold, gold) == 1
    assert bleu1(["a"], ["a", "b"]) == pytest.approx(0.36788, abs=1e-5)


def test_an_option_named_twice_is_no_choice() -> None:
    assert chosen_option("The answer is A. The answer is B.", OPTIONS) == ""


CHOICES = {
    "A": "Pneumonia",
    "B": "Heparin",
    "C": "Warfarin",
    "D": "Iron",
    "E": "ACE inhibitor",
}


@pytest.mark.parametrize(
    ("text", "named"),
    {
        "The correct answer is: B": "B",
        "The answer is: B.": "B",
        "**Answer:** B": "B",
        "The answer is \\boxed{B}": "B",
        "The correct choice would be B.": "B",
        "It is B": "B",
        "答案是：B": "B",
        "正确答案是：B": "B",
        "故选：B": "B",
        "选择B": "B",
        "答案选择B": "B",
        "正确选项是B": "B",
        "正确的选项为B": "B",
        "【答案】B": "B",
        "b": "B",
        "(b)": "B",
        "The correct answer is B. Option A is incorrect because": "B",
        "答案是B。选项A错误": "B",
        "选项D错误，所以答案是C": "C",
        "D-dimer": "",
        "E. coli infection": "",
        "C. difficile": "",
        "A CT scan is best.": "",
        "A 45-year-old man": "",
        "ACE inhibitor": "E",
        "ACE inhibitors help": "",
        "It is not pneumonia": "",
        "A B D": "ABD",
        "A；C": "AC",
        "A/C": "AC",
        "答案：A C D": "ACD",
        "A. 高血压\nC. 冠心病": "AC",
        "A.高血压、C.冠心病": "AC",
        "OPTION A IS CORRECT.": "A",
        "A is correct": "A",
        "The answer is A. The answer is B.": "AB",
        "B: Heparin": "B",
        "B. heparin": "B",
        "(B) Heparin": "B",
        "答案：A、C": "AC",
        "答案是ACD。": "ACD",
        "故选B": "B",
        "选项C正确": "C",
        "The answers are A and C": "AC",
        "A nodule is seen": "",
        "Heparin and warfarin": "BC",
        "I do not know": "",
        "": "",
        "A": "A",
        "A.": "A",
        "The answer is not A": "",
        "B选项正确": "B",
        "C": "C",
        "Warfarin": "C",
        "Answer: B\nExplanation: A is wrong": "B",
        "The answer is option B": "B",
        "我认为应该选B": "B",
        "B、C": "BC",
        "选B": "B",
        "As an AI, I cannot answer": "",
    }.items(),
)
def test_named_options_in_both_languages(text: str, named: str) -> None:
    assert "".join(sorted(named_options(text, CHOICES))) == named


def test_a_denial_is_scored_apart_from_a_no() -> None:
    row = Row(answer="no", prediction="The heart is not enlarged.")
    metrics = vqa_corrected(row).metrics
    assert (metrics["closed_accuracy"], metrics["negated_closed_accuracy"]) == (0, 1)
    assert vqa_published(row).metrics["closed_accuracy"] == 1
    wrong = Row(answer="yes", prediction="No effusion is seen.")
    assert vqa_corrected(wrong).metrics["negated_closed_accuracy"] == 0


@pytest.mark.parametrize(
    ("text", "denies"),
    {
        "The heart is not enlarged.": True,
        "The heart isn't enlarged.": True,
        "There isn't a fracture": True,
        "None seen": True,
        "cannot be determined": False,
        "I don't know": False,
        "Normal": False,
        "Not sure": False,
        "未见明显异常": True,
        "正常": False,
    }.items(),
)
def test_denials_in_both_languages(text: str, denies: bool) -> None:
    assert negated(text) == denies


@pytest.mark.parametrize(
    ("gold", "said", "right"),
    [
        ("] )", "I do not know.", False),
        ("] )", "So the answer is ] ).", True),
        ("-50", "So the answer is 50.", False),
        ("-50", "The answer is **-50**.", True),
        ("True", "so the answer is true", True),
        ("(A)", "(A)", True),
        ("(A)", "The answer is (B).", False),
        ("24", "The answer is 25. No, the answer is 24.", True),
    ],
)
def test_corrected_reasoning_answers(gold: str, said: str, right: bool) -> None:
    score = TASKS["bbh"].corrected(Row(answer=gold, prediction=said))
    assert bool(score.metrics["accuracy"]) == right


@pytest.mark.parametrize(
    ("text", "decision"),
    [
        ("There is no clear answer, so maybe.", "maybe"),
        ("No clear conclusion can be drawn; maybe.", "maybe"),
        ("Based on the abstract, yes, no doubt", "yes"),
        ("The answer is no. Yes would be wrong.", "no"),
    ],
)
def test_corrected_decisions(text: str, decision: str) -> None:
    for gold in ("yes", "no", "maybe"):
        score = PUBMEDQA.corrected(Row(answer=gold, prediction=text))
        assert score.metrics["accuracy"] == float(gold == decision)


def test_the_program_is_the_block_that_defines() -> None:
    usage, code = "print(add(1, 2))", "def add(a, b):\n    return a + b"
    text = f"Usage:\n```python\n{usage}\n```\nCode:\n```python\n{code}\n```"
    assert corrected_program(text).startswith("def add")
