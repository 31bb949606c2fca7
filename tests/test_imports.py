"""Packages that are hidden while something is imported, and what processes are spared so."""

import os
import subprocess
import sys

import pytest

from doctor_sun.imports import absent


def test_a_package_is_absent_in_the_block_alone() -> None:
    sys.modules.pop("wave", None)
    with absent("wave"), pytest.raises(ImportError):
        import wave
    import wave

    with absent("wave"):
        import wave as again  # what somebody has imported stays

    assert again is wave


@pytest.mark.slow
def test_a_training_process_imports_no_tracker_and_no_metrics(unused_port: int) -> None:
    loaded = (
        "import sys, doctor_sun.training.worker, doctor_sun.models.vision_tower\n"
        "from doctor_sun.training.engine import start_collectives\n"
        "start_collectives('gloo')\n"
        "from transformers import LlamaForCausalLM\n"
        "print([name for name in ('mlflow', 'sklearn', 'wandb') if name in sys.modules])"
    )
    alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    said = subprocess.run(
        [sys.executable, "-c", loaded],
        env={**os.environ, **alone, "MASTER_PORT": str(unused_port)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.splitlines()[-1] == "[]"
