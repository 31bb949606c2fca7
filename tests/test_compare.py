"""Comparisons of evaluated models: paired, adjusted, format apart from ability, tables written."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from upath import UPath

from doctor_sun.errors import InputError
from doctor_sun.evaluation.compare import CompareConfig, run
from doctor_sun.evaluation.evaluate import EvaluateConfig, task_results, write_json
from doctor_sun.evaluation.predictions import write_predictions
from doctor_sun.evaluation.tables import paper_tables
from doctor_sun.evaluation.tasks import TASKS, Item

ROOT = Path(__file__).parents[1]
OPTIONS = {"A": "Aspirin", "B": "Heparin", "C": "Warfarin", "D": "Iron"}
ITEMS = [
    Item(
        id=f"cmb/{number}",
        question=f"Question {number}",
        answer="ABCD"[number % 4],
        options=OPTIONS,
        groups={"language": "zh", "exam_class": "x", "exam_type": ("医师", "护理")[number % 2]},
    )
    for number in range(120)
]
RIGHT = [item.answer for item in ITEMS]
WRONG = ["A" if answer != "A" else "B" for answer in RIGHT]


def write_evaluation(folder: Path, name: str, said: Sequence[str]) -> str:
    """What `jobs/evaluate.py` leaves of a model."""
    task = TASKS["cmb"]
    (folder / "predictions").mkdir(parents=True)
    write_predictions(UPath(folder) / "predictions" / "cmb.jsonl", ITEMS, said, [None] * len(said))
    result = task_results(task, ITEMS, said, [None] * len(said), EvaluateConfig(output="-"))
    result |= {"limit": None, "unanswered": 0, "contamination": {}}
    metrics = {"model": {"name": name, "source": str(folder)}, "tasks": {"cmb": result}}
    write_json(UPath(folder) / "metrics.json", metrics)
    return str(folder)


def lineage(tmp_path: Path) -> dict[str, str]:
    """A base that knows three quarters; a stage that answers in another form; one that is back."""
    base = [RIGHT[n] if n % 4 else WRONG[n] for n in range(len(ITEMS))]
    chatty = [said if n % 3 else "这要看情况" for n, said in enumerate(base)]
    back = [RIGHT[n] if n % 8 else WRONG[n] for n in range(len(ITEMS))]
    return {
        name: write_evaluation(tmp_path / name, name, said)
        for name, said in (("base", base), ("medical", chatty), ("hybrid", back))
    }


def test_a_lineage_tells_format_from_ability(tmp_path: Path) -> None:
    config = CompareConfig(evaluations=lineage(tmp_path), output=str(tmp_path / "out"))
    manifest = run(config)
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())["tasks"]["cmb"]
    assert found["n"] == len(ITEMS)
    assert [(c["before"], c["after"]) for c in found["changes"]] == [
        ("base", "medical"),
        ("base", "hybrid"),
        ("medical", "hybrid"),
    ]
    lost, gained, back = (change["lines"][0] for change in found["changes"])
    assert lost["change"] == pytest.approx(-0.25)
    assert lost["ability"] == 0  # what it still answers readably it answers as before
    assert lost["format"] == pytest.approx(-1 / 3)
    assert lost["change_interval"][1] < 0
    assert lost["change_p"] <= lost["change_p_adjusted"] < 0.01
    assert gained["change"] == pytest.approx(0.125)
    assert gained["ability"] == pytest.approx(0.125)
    assert gained["format"] == 0
    assert back["change"] == pytest.approx(0.375)
    cuts = [line["cut"] for line in found["changes"][0]["lines"]]
    assert cuts[0] == "all"
    assert {"exam type: 医师", "exam type: 护理"} <= set(cuts)
    assert found["models"]["medical"]["unparsable"] == pytest.approx(1 / 3)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "base to medical: lost" in page
    assert "Table 6" in page
    assert run(config)["key"] == manifest["key"]


def test_tables_hold_published_rows_and_ours_in_every_form(tmp_path: Path) -> None:
    run(CompareConfig(evaluations=lineage(tmp_path), output=str(tmp_path / "out")))
    for kind in ("csv", "md", "tex"):
        text = (tmp_path / "out" / "tables" / f"table6.{kind}").read_text(encoding="utf-8")
        for word in ("HuatuoGPT", "as printed", "hybrid", "published", "corrected", "87.5 ("):
            assert word in text, (kind, word)
    metrics = json.loads((tmp_path / "base" / "metrics.json").read_text())
    names = [table.name for table in paper_tables([metrics])]
    assert names == ["table5", "table6"]


def test_published_figures_of_ones_own_fill_the_tables(tmp_path: Path) -> None:
    metrics = json.loads(
        (Path(write_evaluation(tmp_path / "m", "m", RIGHT)) / "metrics.json").read_text()
    )
    file = tmp_path / "figures.csv"
    file.write_text("table,model,task,metric,value\n6,HuatuoGPT,cmb,accuracy,0.432\n")
    (table,) = [t for t in paper_tables([metrics], str(file)) if t.name == "table6"]
    assert table.frame.loc[("HuatuoGPT", "as printed"), ("CMB", "Accuracy")] == "43.2"
    file.write_text("table,model,task,metric,value\n6,HuatuoGPT,cmb,accuracy,43.2\n")
    with pytest.raises(InputError, match="line 2: the paper has tables 3 to 6, shares of 1"):
        paper_tables([metrics], str(file))
    file.write_text("table,model,task,metric,value\n6,HuatuoGPT,slake,accuracy,0.4\n")
    with pytest.raises(InputError, match="line 2: table 6 has no such task and metric"):
        paper_tables([metrics], str(file))
    file.write_text("table,model\n6,HuatuoGPT\n")
    with pytest.raises(InputError, match="line 2: not table, model"):
        paper_tables([metrics], str(file))


@pytest.mark.slow
def test_what_cannot_be_compared_is_one_clear_line(tmp_path: Path) -> None:
    folders = lineage(tmp_path)
    output = str(tmp_path / "out")
    with pytest.raises(InputError, match="two or more"):
        run(CompareConfig(evaluations={"base": folders["base"]}, output=output))
    other = tmp_path / "hybrid" / "predictions" / "cmb.jsonl"
    lines = other.read_text(encoding="utf-8").splitlines()
    changed = json.loads(lines[0]) | {"answer": "D"}
    other.write_text("\n".join([json.dumps(changed), *lines[1:]]), encoding="utf-8")
    with pytest.raises(InputError, match="question cmb/0: the evaluations know two gold answers"):
        run(CompareConfig(evaluations=folders, output=output))
    (tmp_path / "base" / "metrics.json").unlink()
    command = [sys.executable, "jobs/compare.py", "--output", str(tmp_path / "second")]
    command += [f"--evaluations.{name}={folder}" for name, folder in folders.items()]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode == 2
    assert "holds no evaluation: it has no metrics.json" in said.stderr
