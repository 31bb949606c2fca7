"""Translation by a model folder on the cluster: vLLM answers, every row is accounted for."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from doctor_sun.data.ledger import ledger_table
from doctor_sun.data.translation.fluency import JudgeConfig
from doctor_sun.data.translation.job import TranslateConfig, run
from doctor_sun.data.translation.local_model import LocalModelConfig
from doctor_sun.data.translation.prompts import ModelConfig
from doctor_sun.errors import InputError
from doctor_sun.records import make_sample, to_table
from doctor_sun.vllm_engine import EngineConfig
from tests.tiny_models import build_llm

CONTEXT = 2048


def model_folder(folder: Path) -> str:
    """A random Llama with room for a prompt; what it says is noise."""
    build_llm(folder)
    file = folder / "config.json"
    described = json.loads(file.read_text())
    file.write_text(json.dumps(described | {"max_position_embeddings": CONTEXT}))
    return str(folder)


def write_data(folder: Path) -> list[str]:
    """Five short English samples and one that no prompt of the model can hold; their ids."""
    answers = [*(f"The left kidney of case {number} is normal." for number in range(5))]
    answers.append("The lungs are clear. " * CONTEXT)
    samples = [
        make_sample(
            source="reports",
            source_key=str(number),
            domain="medical",
            language="en",
            task="instruction",
            turns=[
                {"role": "user", "text": f"What is seen of case {number}?"},
                {"role": "assistant", "text": answer},
            ],
            images=[],
        )
        for number, answer in enumerate(answers)
    ]
    folder.mkdir()
    pq.write_table(to_table(samples), folder / "part-000000.parquet")
    return [sample["id"] for sample in samples]


def config_for(tmp_path: Path, folder: str) -> TranslateConfig:
    return TranslateConfig(
        data=str(tmp_path / "in"),
        output=str(tmp_path / "out"),
        model=ModelConfig(model="tiny", max_tokens=12),
        judge=JudgeConfig(ask=False),
        local=LocalModelConfig(
            folder=folder, engine=EngineConfig(dtype="float32", max_model_len=8192), batch=4
        ),
    )


def stored_keys(tmp_path: Path) -> int:
    """How many answers are stored, each under its own key."""
    files = (tmp_path / "out" / "answers").glob("*.jsonl")
    keys = [json.loads(line)["key"] for file in files for line in file.open()]
    assert len(set(keys)) == len(keys)
    return len(keys)


@pytest.mark.slow
def test_a_model_folder_answers_every_row_once(ray_cluster: None, tmp_path: Path) -> None:
    """Noise is not accepted, a prompt that does not fit stops nothing, nothing is asked again."""
    ids = write_data(tmp_path / "in")
    config = config_for(tmp_path, model_folder(tmp_path / "model"))
    manifest = run(config)
    reasons = {row["id"]: row["reason"] for row in ledger_table(config.output).to_pylist()}
    assert set(reasons) == set(ids)
    assert reasons.pop(ids[-1]) == "no answer: engine"
    assert not [reason for reason in reasons.values() if "engine" in reason]
    assert manifest["counts"]["rows_in"] == len(ids)
    assert manifest["figures"]["cost"]["completion_tokens"] > 0

    assert stored_keys(tmp_path) == len(ids) - 1
    again = config_for(tmp_path, str(config.local.folder))
    again.limit = len(ids) - 1
    assert run(again)["counts"]["rows_in"] == len(ids) - 1
    assert stored_keys(tmp_path) == len(ids) - 1
    assert "engine" not in Path(again.output, "report.html").read_text()


@pytest.mark.slow
def test_a_folder_without_a_model_is_refused(ray_cluster: None, tmp_path: Path) -> None:
    write_data(tmp_path / "in")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").touch()
    with pytest.raises(InputError, match=r"holds no model \(no config.json\)"):
        run(config_for(tmp_path, str(tmp_path / "model")))
