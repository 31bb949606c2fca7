"""A stage on Ray Train: it learns, survives kills, freezes what it should, says why it stops."""

import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from doctor_sun.config import load
from doctor_sun.errors import InputError
from doctor_sun.models.build import ModelConfig
from doctor_sun.models.low_rank import LowRankConfig
from doctor_sun.training.engine import EngineConfig
from doctor_sun.training.loop import REMEMBERED, _jumped
from doctor_sun.training.mixture import MixtureItem, counts_of
from doctor_sun.training.progress import STOP, read_metrics
from doctor_sun.training.stage import StageConfig, Stopped, chosen, run
from doctor_sun.training.validation import VALIDATION_LOSS, ValidationConfig, read_samples
from tests.processes import descendants
from tests.small_data import write_small_data
from tests.small_disk import small_disk
from tests.tiny_models import build_clip, build_llm

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stage")
    build_llm(path / "llm")
    build_clip(path / "clip")
    write_small_data(path / "data")
    return path


def instruct(folder: Path, name: str, **changes: Any) -> StageConfig:
    settings: dict[str, Any] = {
        "stage": "instruct",
        "output": str(folder / name),
        "data": str(folder / "data"),
        "model": ModelConfig(
            llm=str(folder / "llm"), vision=str(folder / "clip"), low_rank=LowRankConfig(rank=4)
        ),
        "learning_rate": {"llm": 2e-3, "projector": 2e-3, "vision": 2e-3},
        "mixture": [
            MixtureItem(share=0.75, tasks=["vqa"]),
            MixtureItem(share=0.25, domain="general"),
        ],
        "samples": 320,
        "global_batch": 16,
        "micro_batch": 4,
        "max_length": 128,
        "checkpoint_every": 5,
        "report_every": 1,
        "validation": ValidationConfig(rows=16, samples=3, sample_tokens=8),
    }
    return StageConfig(**{**settings, **changes})


def kill_a_worker_after(metrics: Path, step: int) -> None:
    """Kill one training process once the stage has reported that step."""
    while not metrics.exists() or len(metrics.read_text().splitlines()) < step:
        time.sleep(0.05)
    descendants("RayTrainWorker")[0].kill()


@pytest.mark.slow
def test_a_stage_learns_and_says_what_it_did(ray_cluster: None, folder: Path) -> None:
    undisturbed = run(instruct(folder, "undisturbed"))
    expected = [row["loss"] for row in read_metrics(folder / "undisturbed")]
    assert len(expected) == 20
    assert undisturbed["figures"]["last_loss"] < 0.5 * undisturbed["figures"]["first_loss"]

    for row in read_metrics(folder / "undisturbed"):
        kinds = row["loss_by_kind"].values()
        assert sum(tokens for _, tokens in kinds) == row["label_tokens"]
        assert sum(loss * tokens for loss, tokens in kinds) / row["label_tokens"] == pytest.approx(
            row["loss"]
        )
    counted = undisturbed["counts"]["by_kind"]
    assert sum(kind["rows"] for kind in counted.values()) == 320
    assert sum(kind["tokens"] for kind in counted.values()) == undisturbed["figures"]["tokens"]
    events = EventAccumulator(str(folder / "undisturbed" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss/all")] == list(range(1, 21))
    shown = [event.value for event in events.Scalars("loss/all")]
    assert shown == pytest.approx(expected, rel=1e-6)
    assert {f"loss/{kind}" for kind in counted} <= set(events.Tags()["scalars"])
    page = (folder / "undisturbed" / "report.html").read_text()
    assert all(kind in page for kind in counted)

    trained = pq.read_table(folder / "undisturbed" / "order" / "instruct.parquet")
    samples = read_samples(folder / "undisturbed")
    assert undisturbed["counts"]["held_out"] == 16
    assert len(samples) == 4  # two of each rank
    assert not set(samples) & set(trained["id"].to_pylist())
    for lines in samples.values():
        assert [line["step"] for line in lines] == [5, 10, 15, 20]
    pictured = [lines[-1] for lines in samples.values() if lines[0]["kind"].startswith("pictures")]
    assert pictured
    assert all(line["reference"] in ("left", "right", "左侧", "右侧") for line in pictured)
    assert all(line["answer"] for line in pictured)
    measured = [row["validation_loss"] for row in read_metrics(folder / "undisturbed")[4::5]]
    assert measured == sorted(measured, reverse=True)


@pytest.mark.slow
def test_a_killed_driver_and_a_killed_worker_change_nothing(
    ray_cluster: None, folder: Path
) -> None:
    """kill -9 of the job and its cluster, then of a worker: the same losses and weights."""
    code = (
        "import pathlib, sys; from tests.test_training_stage import instruct, run; "
        "run(instruct(pathlib.Path(sys.argv[1]), 'killed'))"
    )
    job = subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=ROOT)
    metrics = folder / "killed" / "metrics.jsonl"
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 8:
        assert job.poll() is None
        time.sleep(0.05)
    job.kill()
    job.wait()
    before = len(metrics.read_text().splitlines())
    assert not (folder / "killed" / "manifest.json").exists()

    killer = threading.Thread(target=kill_a_worker_after, args=(metrics, before + 8), daemon=True)
    killer.start()
    run(instruct(folder, "killed"))
    killer.join(timeout=1)
    assert not killer.is_alive()
    run(instruct(folder, "undisturbed"))
    resumed, expected = (read_metrics(folder / name) for name in ("killed", "undisturbed"))
    assert [row["loss"] for row in resumed] == [row["loss"] for row in expected]
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert set(steps) == set(range(1, 21))
    assert steps.count(1) == 1  # each resumed from a checkpoint, not from nothing
    for name in ("projector.safetensors", "low_rank.safetensors", "llm/model.safetensors"):
        first = load_file(folder / "undisturbed" / "model" / name)
        second = load_file(folder / "killed" / "model" / name)
        assert all((first[key] == second[key]).all() for key in first)


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_last_checkpoint_is_gone_on_from(
    ray_cluster: None, folder: Path
) -> None:
    """On a disk that holds two checkpoints and not a third; then on a larger one."""
    run(instruct(folder, "undisturbed"))
    kept = folder / "undisturbed" / "train"
    newest = max(path for path in kept.glob("checkpoint_*") if path.is_dir())
    size = sum(file.stat().st_size for file in newest.rglob("*") if file.is_file())
    disk = folder / "full"
    with small_disk(disk, int(2.5 * size)) as resize:
        with pytest.raises(InputError, match=r"stopped after step 1\d: no space is left"):
            run(instruct(folder, "full"))
        before = [row["step"] for row in read_metrics(disk)]
        assert before == list(range(1, 15))
        resize(100 * size)
        run(instruct(folder, "full"))
        resumed, expected = (read_metrics(path) for path in (disk, folder / "undisturbed"))
        assert [row["loss"] for row in resumed] == [row["loss"] for row in expected]
        lines = (disk / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines].count(10) == 1  # went on from step 10


@pytest.mark.slow
def test_a_loss_gone_astray_stops_the_stage_and_names_the_rows(
    ray_cluster: None, folder: Path
) -> None:
    """One line, no second try, the checkpoint before it whole."""
    config = instruct(
        folder,
        "astray",
        learning_rate={"llm": 1e38, "projector": 1e-3, "vision": 1e-3},
        checkpoint_every=1,
    )
    with pytest.raises(InputError, match="stopped at step 2: its loss went astray") as error:
        run(config)
    ids = set(pq.read_table(folder / "astray" / "order" / "instruct.parquet")["id"].to_pylist())
    named = re.findall(r"[0-9a-f]{64}", str(error.value))
    assert named
    assert set(named) <= ids
    assert [row["step"] for row in read_metrics(folder / "astray")] == [1]
    assert len(list((folder / "astray" / "train").glob("checkpoint*/step1/*model_states.pt"))) > 0


def test_the_best_checkpoint_is_that_of_the_lowest_validation_loss() -> None:
    losses = {"a": 2.0, "b": 1.0, "c": 1.5}
    pairs = [(SimpleNamespace(path=p), {VALIDATION_LOSS: x}) for p, x in losses.items()]
    result = SimpleNamespace(checkpoint=pairs[-1][0], best_checkpoints=pairs)
    assert chosen(result, "best").path == "b"
    assert chosen(result, "last").path == "c"


def test_a_jump_is_measured_against_many_steps() -> None:
    assert _jumped(4.1, [1.0] * REMEMBERED, largest_jump=3.0)
    assert not _jumped(3.9, [1.0] * REMEMBERED, largest_jump=3.0)
    assert not _jumped(9.0, [1.0] * (REMEMBERED - 1), largest_jump=3.0)


@pytest.mark.slow
def test_align_trains_the_projector_only_and_accounts_for_every_row(
    ray_cluster: None, folder: Path
) -> None:
    config = instruct(
        folder,
        "align",
        stage="align",
        model=ModelConfig(llm=str(folder / "llm"), vision=str(folder / "clip")),
        learning_rate={"projector": 1e-2},
        mixture=[MixtureItem(share=1, domain="medical")],
        samples=64,
        max_length=48,  # some of the longer conversations do not fit
        keep="best",
    )
    manifest = run(config)
    model = folder / "align" / "model"
    assert not (model / "llm").exists()
    assert not (model / "low_rank.safetensors").exists()
    order = pq.read_table(folder / "align" / "order" / "align.parquet")
    assert order.num_rows == manifest["counts"]["rows"] == 64
    assert run(config) == manifest  # the second call is reused


@pytest.mark.parametrize("preset", ["tiny", "paper"])
@pytest.mark.parametrize("stage", ["medical", "hybrid", "align", "instruct"])
def test_the_presets_are_whole(preset: str, stage: str) -> None:
    file = ROOT / "configs" / preset / f"{stage}.yaml"
    config = load(StageConfig, str(file), output="runs/x")
    assert config.stage == stage
    trained = {"align": {"projector"}, "instruct": {"llm", "projector", "vision"}}
    assert set(config.learning_rate) == trained.get(stage, {"llm"})


def ablation(stage: str, name: str) -> StageConfig:
    """One of the paper's stages with an ablation's file over it."""
    paper = ROOT / "configs" / "paper"
    files = (paper / f"{stage}.yaml", paper / "ablations" / f"{name}.yaml")
    return load(StageConfig, *map(str, files), output="runs/x")


def test_each_ablation_changes_what_its_name_says() -> None:
    """The eight ratios of Table 4 fix the medical rows; the others change one part of the model."""
    for name, ratio in {"v1": 0, "v2": 0.2, "v3": 0.5, "v4": 1}.items():
        config = ablation("instruct", name)
        medical, *general = counts_of([item.share for item in config.mixture], config.samples)
        assert medical == 60_000
        assert sum(general) == 60_000 * ratio
    for name, samples in {"e1": 250_000, "e2": 500_000}.items():
        config = ablation("align", name)
        assert config.samples == samples
        assert counts_of([i.share for i in config.mixture], samples)[0] == 250_000
    frozen = ablation("instruct", "docs-fv")
    assert frozen.model.low_rank is None
    assert set(frozen.learning_rate) == {"llm", "projector"}
    assert ablation("instruct", "projector-mlp").model.projector == "mlp2x_gelu"
    general = ablation("align", "docs-gl")
    assert general.model.llm == "/shared/models/llama3.1-8b-instruct-dpo-zh"
    assert general.model.vision == "ViT-L-14-336-quickgelu"  # the rest of the section stays


def test_a_stage_that_cannot_be_trained_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="multiple of workers"):
        instruct(folder, "x", global_batch=9, micro_batch=1)
    with pytest.raises(InputError, match="must hold a row of max_length"):
        instruct(folder, "x", pack_tokens=100)
    with pytest.raises(InputError, match="give node_labels or workers_min"):
        instruct(folder, "x", workers_min=1, node_labels={"pool": "training"})
    with pytest.raises(InputError, match="several modules train"):
        instruct(folder, "x", workers_min=1, engine=EngineConfig(zero_stage=3))
    with pytest.raises(InputError, match=r"remove model\.vision"):
        instruct(folder, "x", stage="medical")
    with pytest.raises(InputError, match=r"needs model\.vision"):
        instruct(folder, "x", model=ModelConfig(llm="llm"))


@pytest.mark.slow
def test_a_stage_that_is_asked_to_stop_ends_by_itself(ray_cluster: None, folder: Path) -> None:
    metrics = folder / "stopped" / "metrics.jsonl"

    def ask() -> None:
        while not metrics.exists():
            time.sleep(0.05)
        (folder / "stopped" / STOP).touch()

    threading.Thread(target=ask, daemon=True).start()
    held_out = ValidationConfig(rows=16, samples=0, mixture=[MixtureItem(share=1, tasks=["vqa"])])
    with pytest.raises(Stopped):
        run(instruct(folder, "stopped", validation=held_out, samples=16 * 200))
    assert read_metrics(folder / "stopped")[-1]["step"] < 200
    assert not (folder / "stopped" / "manifest.json").exists()
