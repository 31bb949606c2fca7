"""Weights that others provide run no code."""

import pickle
import re
from pathlib import Path

import pytest
import torch

from doctor_sun.data.embeddings import Encoder, EncoderConfig
from doctor_sun.data.perplexity_scores import LanguageModelScorer
from doctor_sun.errors import InputError
from doctor_sun.models.build import load_language_model
from doctor_sun.models.chat_template import load_tokenizer
from doctor_sun.models.vision_tower import load_vision_tower
from tests.tiny_models import build_llm

ROOT = Path(__file__).parent.parent


class Trap:
    """Unpickled, it leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What a trap would leave; that it would is tried first."""
    mark = tmp_path / "mark"
    pickle.loads(pickle.dumps(Trap(mark)))
    assert mark.exists()
    mark.unlink()
    return mark


@pytest.fixture
def pickled_model(tmp_path: Path, mark: Path) -> str:
    """A language model whose weights are a pickle with a trap in it."""
    folder = Path(build_llm(tmp_path / "llm"))
    (folder / "model.safetensors").unlink()
    torch.save({"lm_head.weight": Trap(mark)}, folder / "pytorch_model.bin")
    return str(folder)


def test_a_pickled_language_model_is_refused_unread(pickled_model: str, mark: Path) -> None:
    with pytest.raises(InputError, match="safetensors"):
        load_language_model(pickled_model, load_tokenizer(pickled_model))
    limits = {"shortest": 1, "max_tokens": 8, "batch_size": 1}
    with pytest.raises(OSError, match="safetensors"):
        LanguageModelScorer(pickled_model, **limits)
    with pytest.raises(OSError, match="safetensors"):
        Encoder(pickled_model, EncoderConfig())
    assert not mark.exists()


def test_a_pickled_vision_tower_runs_nothing(tmp_path: Path, mark: Path) -> None:
    weights = tmp_path / "weights.pt"
    torch.save({"visual.proj": Trap(mark)}, weights)
    with pytest.raises(InputError, match="more than weights"):
        load_vision_tower("RN50", str(weights), -2)
    assert not mark.exists()


def test_nothing_trusts_remote_code() -> None:
    sources = [*ROOT.glob("platform/**/*.py"), *ROOT.glob("serve/*.py"), *ROOT.glob("configs/**/*")]
    texts = {path: path.read_text(encoding="utf-8") for path in sources if path.is_file()}
    assert len(texts) > 200
    trusting = re.compile(r"trust_remote_code\W+true", re.IGNORECASE)
    assert [path for path, text in texts.items() if trusting.search(text)] == []
