"""A language model's surprise: shuffled words stand out, clean groups lose nothing."""

import math

import numpy as np
import pytest

from doctor_sun.data.perplexity import PerplexityConfig, Scorer, row_score, threshold

SENTENCES = [
    f"the {organ} is {state} and the {other} is {more} on this image"
    for organ in ("heart", "lung", "chest", "bone")
    for state in ("normal", "clear", "large")
    for other in ("aorta", "spine", "airway")
    for more in ("normal", "clear", "straight")
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A word-level language model of those sentences, trained here in seconds."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = str(tmp_path_factory.mktemp("language-model"))
    words = sorted({word for sentence in SENTENCES for word in sentence.split()})
    vocabulary = {word: i for i, word in enumerate(["<s>", "<unk>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>", eos_token="<s>"
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    language_model = LlamaForCausalLM(config)
    ids = torch.tensor([[0, *fast(sentence)["input_ids"]] for sentence in SENTENCES])
    optimizer = torch.optim.AdamW(language_model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = language_model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    language_model.save_pretrained(folder)
    return folder


def test_shuffled_words_score_worse(model: str) -> None:
    config = PerplexityConfig(model=model, shortest=5, batch_size=4)
    scorer = Scorer(model, config)
    rng = np.random.default_rng(0)
    shuffled = [" ".join(rng.permutation(sentence.split())) for sentence in SENTENCES]
    clean = [loss for _, loss in scorer.score(SENTENCES)]
    broken = [loss for _, loss in scorer.score(shuffled)]
    assert min(broken) > max(clean)
    limit = threshold(clean + broken[:4], config)
    assert max(clean) <= limit < min(broken)


def test_scores_are_those_of_the_model_alone(model: str) -> None:
    """Batching and padding change nothing: each equals the plain mean negative log-likelihood."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = PerplexityConfig(model=model, shortest=1, batch_size=3)
    texts = [" ".join(sentence.split()[: 2 + i]) for i, sentence in enumerate(SENTENCES[:9])]
    scores = Scorer(model, config).score(texts)
    plain, tokenizer = (
        AutoModelForCausalLM.from_pretrained(model),
        AutoTokenizer.from_pretrained(model),
    )
    for text, (count, loss) in zip(texts, scores, strict=True):
        ids = torch.tensor([[0, *tokenizer(text)["input_ids"]]])
        assert count == ids.shape[1] - 1
        with torch.no_grad():
            assert loss == pytest.approx(plain(input_ids=ids, labels=ids).loss.item(), abs=1e-4)


def test_short_texts_are_not_judged(model: str) -> None:
    config = PerplexityConfig(model=model, shortest=6)
    assert Scorer(model, config).score(["the heart"]) == [(0, 0.0)]
    assert row_score(["the heart"], {}) is None


def test_a_rows_score_is_the_mean_over_its_tokens() -> None:
    scores = {"a": (10, 2.0), "b": (30, 4.0)}
    assert row_score(["a", "b", "short"], scores) == pytest.approx(3.5)


def test_a_clean_group_loses_nothing() -> None:
    config = PerplexityConfig()
    values = list(np.random.default_rng(0).normal(5, 0.3, 2000).clip(4.2, 5.8))
    assert not [v for v in values if v > threshold(values, config)]
    assert not [v for v in [3.0] * 50 if v > threshold([3.0] * 50, config)]
    dirty = values + [8.0] * 20
    assert [v for v in dirty if v > threshold(dirty, config)] == [8.0] * 20
    assert not math.isinf(threshold([1.0], config))
