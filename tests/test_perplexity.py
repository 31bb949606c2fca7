"""A language model's surprise: shuffled words stand out, clean groups lose nothing."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray.data
from upath import UPath

from doctor_sun.data.ledger import LINES
from doctor_sun.data.perplexity import PerplexityConfig, decide, limits_of, threshold
from doctor_sun.data.perplexity_scores import LanguageModelScorer, row_score
from doctor_sun.data.rows import collect
from doctor_sun.errors import InputError

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


def scorer(model: str, shortest: int, batch_size: int = 4) -> LanguageModelScorer:
    return LanguageModelScorer(model, shortest=shortest, max_tokens=128, batch_size=batch_size)


def test_shuffled_words_score_worse(model: str) -> None:
    judge = scorer(model, shortest=5)
    rng = np.random.default_rng(0)
    shuffled = [" ".join(rng.permutation(sentence.split())) for sentence in SENTENCES]
    clean = [loss for _, loss in judge.score(SENTENCES)]
    broken = [loss for _, loss in judge.score(shuffled)]
    assert min(broken) > max(clean)
    limit = threshold(clean + broken[:4], PerplexityConfig())
    assert max(clean) <= limit < min(broken)


def test_scores_are_those_of_the_model_alone(model: str) -> None:
    """Batching and padding change nothing: each equals the plain mean negative log-likelihood."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    texts = [" ".join(sentence.split()[: 2 + i]) for i, sentence in enumerate(SENTENCES[:9])]
    scores = scorer(model, shortest=1, batch_size=3).score(texts)
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
    assert scorer(model, shortest=6).score(["the heart"]) == [(0, 0.0)]
    tokens, nll = row_score([(2, 3.0), (0, 0.0)], shortest=6)
    assert tokens == 0
    assert math.isnan(nll)


def test_a_rows_score_is_the_mean_over_its_tokens() -> None:
    assert row_score([(10, 2.0), (30, 4.0), (3, 99.0)], shortest=5) == (40, pytest.approx(3.5))


def test_a_clean_group_loses_nothing() -> None:
    config = PerplexityConfig()
    values = list(np.random.default_rng(0).normal(5, 0.3, 2000).clip(4.2, 5.8))
    assert not [v for v in values if v > threshold(values, config)]
    assert not [v for v in [3.0] * 50 if v > threshold([3.0] * 50, config)]
    dirty = values + [8.0] * 20
    assert [v for v in dirty if v > threshold(dirty, config)] == [8.0] * 20
    assert not math.isinf(threshold([1.0], config))


def test_thresholds_move_with_source_and_language() -> None:
    """The same scores shifted shift the limit alike; a small group takes its language's limit."""
    rng = np.random.default_rng(1)
    base = rng.normal(4, 0.3, 500).astype(np.float32)
    scores = {"a/en": base, "a/zh": base + 2, "b/zh": base + 3, "c/zh": base[:5] + 9}
    config = PerplexityConfig(by_source={"b": {"deviations": 5.0}, "c/zh": {"quantile": 1.0}})
    limits = limits_of(scores, config)
    assert limits["a/zh"] == pytest.approx(limits["a/en"] + 2, abs=1e-3)
    assert limits["b/zh"] > limits["a/zh"] + 1.2
    everything = np.concatenate([scores[name] for name in ("a/zh", "b/zh", "c/zh")])
    assert limits["c/zh"] == threshold(everything, config, "c/zh")
    assert limits["c/zh"] >= scores["c/zh"].max()


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match="quantile"):
        PerplexityConfig(by_source={"a": {"quantil": 0.9}})


SUBJECTS = {
    "en": [
        f"the {organ} of the patient" for organ in ("heart", "lung", "liver", "spleen", "aorta")
    ],
    "zh": [f"患者的{organ}在图像上" for organ in ("心脏", "肺部", "肝脏", "脾脏")],
}
STATES = {
    "en": ["is normal in size", "is clear and not enlarged", "shows no focal lesion at all"],
    "zh": ["大小正常没有异常", "清晰可见没有增大", "没有看见局灶性病变"],
}
ENDS = {
    "en": ["and the next visit is in a year", "as it was on the last image", "on this image today"],
    "zh": ["一年以后再来复查一次", "和上次检查时候一样", "今天的检查已经结束了"],
}


def corpus() -> list[dict[str, Any]]:
    """Sentences of two sources and languages, some shuffled, some short; ten parts."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(600):
        language = ("en", "zh")[number % 2]
        units = [rng.choice(parts[language]) for parts in (SUBJECTS, STATES, ENDS)]
        text = (" " if language == "en" else "，").join(units)
        broken = number % 50 in (10, 11)
        if broken:
            mixed = rng.permutation(text.split() if language == "en" else list(text))
            text = (" " if language == "en" else "").join(mixed)
        if number % 25 == 0:
            text = "ok" if language == "en" else "好"
        rows.append(
            {
                "id": f"{'broken' if broken else 'row'}{number:04d}",
                "source": "ab"[number // 300],
                "language": language,
                "turns": [{"role": "assistant", "text": text}],
                "part": number % 10,
            }
        )
    return rows


def blocks(rows: list[dict[str, Any]]) -> ray.data.Dataset:
    """One block a part."""
    parts = [[row for row in rows if row["part"] == part] for part in range(10)]
    return ray.data.from_arrow([pa.Table.from_pylist(part) for part in parts])


def lines_of(result: Any) -> list[dict[str, Any]]:
    return sorted(collect(result.lines, LINES).to_pylist(), key=lambda line: line["id"])


NGRAM = PerplexityConfig(scorer="ngram", actors=1, quantile=0.9, training_rows=200)


@pytest.fixture(scope="module")
def judged(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """Folder, lines and figures of the n-gram step."""
    work = tmp_path_factory.mktemp("perplexity")
    result = decide(blocks(corpus()), NGRAM, UPath(work))
    return work, lines_of(result), result.figures


@pytest.mark.slow
def test_broken_rows_are_dropped_and_no_others(judged: tuple[Path, Any, Any]) -> None:
    _, lines, figures = judged
    assert [line["id"] for line in lines] == sorted(row["id"] for row in corpus())
    dropped = {line["id"] for line in lines if line["verdict"] == "dropped"}
    assert dropped == {line["id"] for line in lines if line["id"].startswith("broken")}
    for line in lines:
        if line["verdict"]:
            evidence = json.loads(line["evidence"])
            assert evidence["perplexity"] > evidence["limit"]
    assert set(figures["perplexity_limits"]) == {"a/en", "a/zh", "b/en", "b/zh"}
    for group in figures["histograms"].values():
        assert sum(group["counts"]) == group["judged"] < group["rows"]


@pytest.mark.slow
def test_blocks_hold_one_part_in_order(judged: tuple[Path, Any, Any]) -> None:
    work, lines, _ = judged
    files = sorted((work / "scores").glob("*.parquet"))
    assert len(files) == 10
    for file in files:
        scores = pq.read_table(file)
        assert len(set(scores["part"].to_pylist())) == 1
        ids = [row["id"] for row in corpus() if row["part"] == scores["part"][0].as_py()]
        assert scores["id"].to_pylist() == ids
    short = [line for line in lines if int(line["id"][-4:]) % 25 == 0]
    assert not any(line["verdict"] for line in short)


@pytest.mark.slow
def test_the_order_of_rows_and_parts_changes_nothing(
    judged: tuple[Path, Any, Any], tmp_path: Path
) -> None:
    _, lines, _ = judged
    rows = [row | {"part": (row["part"] * 7 + 3) % 10} for row in reversed(corpus())]
    again = lines_of(decide(blocks(rows), NGRAM, UPath(tmp_path)))
    assert [line | {"part": 0} for line in again] == [line | {"part": 0} for line in lines]


@pytest.mark.slow
def test_an_interrupted_run_scores_nothing_twice(
    judged: tuple[Path, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    work, lines, _ = judged
    files = sorted((work / "scores").glob("*.parquet"))
    written = {file: file.stat().st_mtime_ns for file in files}
    files[3].unlink()
    result = decide(blocks(corpus()), NGRAM, UPath(work))
    assert result.figures["files_scored_earlier"] == 9
    assert lines_of(result) == lines
    now = {file: file.stat().st_mtime_ns for file in files}
    assert {file for file in files if now[file] != written[file]} == {files[3]}
    other = decide(
        blocks(corpus()), PerplexityConfig(**(vars(NGRAM) | {"shortest": 11})), UPath(work)
    )
    assert other.figures["files_scored_earlier"] == 0


@pytest.mark.slow
def test_a_language_model_judges_by_the_same_rule(
    model: str, ray_cluster: None, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    said = [(f"row{number:03d}", sentence) for number, sentence in enumerate(SENTENCES)]
    said += [
        (f"broken{number:03d}", " ".join(rng.permutation(sentence.split())))
        for number, sentence in enumerate(SENTENCES[5::20])
    ]
    rows = [
        {
            "id": id,
            "source": "s",
            "language": "en",
            "turns": [{"role": "user", "text": "<image>\n"}, {"role": "assistant", "text": text}],
            "part": number % 3,
        }
        for number, (id, text) in enumerate(said)
    ]
    parts = [pa.Table.from_pylist([row for row in rows if row["part"] == p]) for p in range(3)]
    config = PerplexityConfig(model=model, shortest=5, actors=1)
    result = decide(ray.data.from_arrow(parts), config, UPath(tmp_path))
    dropped = {line["id"] for line in lines_of(result) if line["verdict"]}
    assert dropped == {row["id"] for row in rows if row["id"].startswith("broken")}


@pytest.mark.slow
def test_without_a_model_or_text_there_is_one_clear_error(
    ray_cluster: None, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"perplexity\.model"):
        decide(blocks(corpus()), PerplexityConfig(), UPath(tmp_path))
    silent = [row | {"turns": [{"role": "assistant", "text": " "}]} for row in corpus()]
    with pytest.raises(InputError, match="too little text"):
        decide(blocks(silent), NGRAM, UPath(tmp_path))
