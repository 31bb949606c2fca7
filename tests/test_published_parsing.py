"""The published scorings give what the publishers' own code gives.

`tests/data/parsing` holds texts of our making with the values that the originals returned for them;
its README says which code ran, and how.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from doctor_sun.evaluation.measure import metrics_of, row_from_json
from doctor_sun.evaluation.scoring import Row, Score, vqa
from doctor_sun.evaluation.tasks import TASKS, bbh, cmb, mbpp

FOLDER = Path(__file__).parent / "data" / "parsing"
CMB_TYPES = {"single": "单项选择题", "multiple": "多项选择题"}


def cases(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").open(encoding="utf-8")]


def row(case: Mapping[str, Any]) -> Row:
    return Row(
        answer=case["answer"],
        prediction=case["prediction"],
        options=dict.fromkeys("ABCD", "x"),
        groups={"question_type": CMB_TYPES[case["question_type"]]}
        if "question_type" in case
        else {},
    )


def test_each_rule_has_cases_in_both_languages() -> None:
    for file in FOLDER.glob("*.jsonl"):
        texts = [str(case.get("prediction", "")) for case in cases(file.stem)]
        assert len(texts) >= 40
        if file.stem.startswith(("xtuner", "opencompass_c", "cmb")):
            chinese = sum(any("一" <= letter <= "鿿" for letter in text) for text in texts)
            assert 10 <= chinese <= len(texts) - 10


@pytest.mark.parametrize(
    ("name", "scorer", "metric"),
    [
        ("xtuner_mmbench", TASKS["mmbench-dev"].published, "rotation_accuracy"),
        ("opencompass_cmb", cmb.published, "opencompass_accuracy"),
        ("cmb_repo", cmb.published, "accuracy"),
        ("opencompass_ceval", TASKS["ceval"].published, "accuracy"),
        ("opencompass_bbh_choice", bbh.published, "accuracy"),
        ("opencompass_bbh_free", bbh.published, "accuracy"),
    ],
)
def test_answers_are_read_as_the_original_reads_them(
    name: str, scorer: Callable[[Row], Score], metric: str
) -> None:
    for case in cases(name):
        assert bool(scorer(row(case)).metrics[metric]) == case["hit"], case


def test_programs_are_found_as_the_original_finds_them() -> None:
    for case in cases("opencompass_mbpp"):
        assert mbpp.published_program(case["completion"]) == case["program"], case


@pytest.mark.parametrize("task", ["medqa", "pubmedqa"])
def test_choices_are_those_of_multimedeval(task: str) -> None:
    for case in cases(f"multimedeval_{task}"):
        score = TASKS[task].published(row_from_json(case))
        assert bool(score.metrics["accuracy"]) == case["hit"], case
        assert score.parsed == bool(case["said"]), case


def test_free_answers_score_as_in_multimedeval() -> None:
    found = cases("multimedeval_vqa")
    for case in found:
        metrics = vqa.published(Row(answer=case["answer"], prediction=case["prediction"])).metrics
        for name in ("bleu1", "f1", "recall"):
            assert metrics[name] == pytest.approx(case[name], abs=1e-6), case
        assert ("closed_accuracy" in metrics) == case["closed"], case
        hit = metrics["closed_accuracy" if case["closed"] else "open_accuracy"]
        assert bool(hit) == case["hit"], case
    whole = json.loads((FOLDER / "multimedeval_vqa_aggregate.json").read_text(encoding="utf-8"))
    rows = [row_from_json(case) for case in found]
    ours = metrics_of(rows, range(len(rows)), TASKS["vqa"], "published")["metrics"]
    names = {
        "bleu": "bleu1",
        "F1": "f1",
        "recall": "recall",
        "closedQuestionsAccuracy": "closed_accuracy",
        "openQuestionsRecall": "open_recall",
        "openQuestionsAccuracy": "open_accuracy",
    }
    for theirs, name in names.items():
        assert ours[name] == pytest.approx(whole[theirs], abs=1e-6)


def test_letters_of_pmc_vqa_are_those_of_its_generating_model() -> None:
    found = [case for case in cases("pmc_vqa_choice") if case["variant"] == "MedVInT_TE"]
    assert len(found) >= 40
    for case in found:
        # From 200 characters on difflib, which it searches with, passes over frequent letters.
        if len(case["prediction"]) < 200:
            score = TASKS["pmc-vqa"].published(row_from_json(case))
            assert bool(score.metrics["accuracy"]) == case["hit"], case
