"""The n-gram model is a probability, does not depend on order, and prefers language to noise."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from doctor_sun.data import ngram
from doctor_sun.data.tiny.general_text import load_instructions
from doctor_sun.data.tiny.openi_reports import load_reports

ENGLISH = [report.findings for report in load_reports()[:1500] if len(report.findings) > 60]
CHINESE = [i.answer for i in load_instructions() if i.language == "zh" and len(i.answer) >= 30]
WORDS = st.text(st.sampled_from("ab cd 肺心清。 "), min_size=1, max_size=30)


@settings(deadline=None, max_examples=50)
@given(st.lists(WORDS.filter(str.strip), min_size=1, max_size=8), st.data())
def test_probabilities_sum_to_one(texts: list[str], data: st.DataObject) -> None:
    model = ngram.train(texts)
    size = len(model.tokens)
    context = data.draw(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)))
    ids = np.array([[*context, token] for token in range(size)])
    logs = model.log_probabilities(ids.reshape(-1))[::3]
    assert np.exp(logs).sum() == pytest.approx(1, abs=1e-5)


@settings(deadline=None, max_examples=30)
@given(st.permutations(["the lungs are clear", "双肺清晰", "the heart is large", "心影增大 large"]))
def test_the_order_of_texts_makes_no_difference(texts: list[str]) -> None:
    assert ngram.fingerprint(ngram.train(texts)) == ngram.fingerprint(ngram.train(sorted(texts)))


def test_a_text_scores_the_same_in_any_company() -> None:
    scorer = ngram.NgramScorer(ngram.train(ENGLISH[:100]))
    together = scorer.score([*ENGLISH[:20], "", "双肺清晰"])
    alone = [scorer.score([text])[0] for text in [*ENGLISH[:20], "", "双肺清晰"]]
    assert [tokens for tokens, _ in together] == [tokens for tokens, _ in alone]
    assert np.allclose([nll for _, nll in together], [nll for _, nll in alone])


@pytest.mark.parametrize("language", ["en", "zh"])
def test_shuffled_text_ranks_above_the_original(language: str) -> None:
    texts = ENGLISH if language == "en" else CHINESE
    half = len(texts) // 2
    scorer = ngram.NgramScorer(ngram.train([*ENGLISH[: len(ENGLISH) // 2], *texts[:half]]))
    rng = np.random.default_rng(0)
    held_out = texts[half : half + 400]
    units = [text.split() if language == "en" else list(text) for text in held_out]
    joint = " " if language == "en" else ""
    shuffled = [joint.join(rng.permutation(u)) for u in units]
    clean = np.array([nll for _, nll in scorer.score(held_out)])
    broken = np.array([nll for _, nll in scorer.score(shuffled)])
    above = float((broken > clean).mean())
    print(f"{language}: {above:.1%} of {len(held_out)} shuffled texts rank above the original")
    assert above >= 0.9


def test_a_model_is_the_same_after_it_was_stored(tmp_path: Path) -> None:
    model = ngram.train(ENGLISH[:50] + CHINESE[:50])
    ngram.save(model, UPath(tmp_path) / "deep" / "model.npz")
    stored = ngram.load(UPath(tmp_path) / "deep" / "model.npz")
    assert stored.tokens == model.tokens
    assert ngram.fingerprint(stored) == ngram.fingerprint(model)
    expected = ngram.NgramScorer(model).score(ENGLISH[:9])
    assert ngram.NgramScorer(stored).score(ENGLISH[:9]) == expected


def test_no_text_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs text"):
        ngram.train(["", "  "])
