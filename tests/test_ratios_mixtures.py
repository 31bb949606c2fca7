"""A point of the search as mixtures of its stages, which trial is next, what proxies are worth."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.search import Searcher
from safetensors.torch import load_file, save_file
from scipy import stats

from doctor_sun.errors import InputError
from doctor_sun.models.build import ModelConfig
from doctor_sun.ratios.merged import merge_exports
from doctor_sun.ratios.mixtures import Budget, shares_at, space_of
from doctor_sun.ratios.propose import ProposeConfig
from doctor_sun.ratios.proxies import agreements
from doctor_sun.ratios.results import Results, Run
from doctor_sun.ratios.search_tables import costs, mixture_name
from doctor_sun.ratios.searcher import MixtureSearcher, listed_points
from doctor_sun.ratios.space import Space
from doctor_sun.ratios.trial import Outcome, Part, Trial
from doctor_sun.records import sha256
from doctor_sun.training.cost import Linear
from doctor_sun.training.mixture import MixtureItem, select
from doctor_sun.training.stage import StageConfig

PARTS = [MixtureItem(share=0.6, domain="medical"), MixtureItem(share=0.4, domain="general")]
LONGEST = 120


def budget(samples: int = 400, parts: list[MixtureItem] = PARTS) -> Budget:
    """A stage over 900 rows; general ones are longer."""
    generator = np.random.default_rng(0)
    domains = ["medical"] * 600 + ["general"] * 300
    lengths = [int(generator.integers(20, 60 if d == "medical" else LONGEST)) for d in domains]
    index = pa.table(
        {
            "id": [sha256(str(number)) for number in range(len(domains))],
            "domain": domains,
            "language": ["en"] * len(domains),
            "task": ["vqa"] * len(domains),
            "source": domains,
            "tokens": lengths,
        }
    )
    config = StageConfig(
        output="",
        stage="instruct",
        data="",
        model=ModelConfig(llm="llm", vision="clip"),
        learning_rate={"projector": 1.0},
        mixture=parts,
        samples=samples,
    )
    return Budget(config=config, index=index, operations=Linear())


def medical_rows(own: Budget, config: StageConfig) -> list[str]:
    """Ids of the medical rows that a stage reads, repeats included."""
    drawn, _ = select(own.index, config.mixture, config.samples, config.seed)
    medical = set(own.index.filter(pa.compute.field("domain") == "medical")["id"].to_pylist())
    return sorted(row for row in drawn["id"].to_pylist() if row in medical)


@given(st.floats(0, 0.7), st.integers(0, 5))
def test_fixed_domain_keeps_the_medical_rows_and_adds_general_ones(
    general: float, seed: int
) -> None:
    own = budget()
    mixed = own.mixed((1 - general, general), "fixed-domain", seed)
    alone = own.mixed((1.0, 0.0), "fixed-domain", seed)
    assert alone.samples == 240
    assert abs(len(medical_rows(own, mixed)) - 240) <= 1  # the total is a whole number
    assert abs(mixed.samples * (1 - general) - 240) <= 1
    both = set(medical_rows(own, mixed)) & set(medical_rows(own, alone))
    assert len(both) >= 239


@given(st.floats(0, 1), st.integers(0, 5))
def test_equal_compute_keeps_the_tokens(general: float, seed: int) -> None:
    own = budget()
    mixed = own.mixed((1 - general, general), "equal-compute", seed)
    assert abs(own.tokens(mixed) - own.tokens(own.config)) <= LONGEST


def test_the_modes_differ_by_the_tokens_of_the_general_rows() -> None:
    own = budget(
        240, [MixtureItem(share=1, domain="medical"), MixtureItem(share=0, domain="general")]
    )
    kept = own.mixed((0.5, 0.5), "equal-compute", own.config.seed)
    added = own.mixed((0.5, 0.5), "fixed-domain", own.config.seed)
    drawn, _ = select(own.index, added.mixture, added.samples, added.seed)
    lengths = dict(zip(*(own.index[name].to_pylist() for name in ("id", "tokens")), strict=True))
    domains = dict(zip(*(own.index[name].to_pylist() for name in ("id", "domain")), strict=True))
    general = sum(lengths[row] for row in drawn["id"].to_pylist() if domains[row] == "general")
    assert abs(own.tokens(added) - own.tokens(kept) - general) <= LONGEST


def test_a_mixture_without_medical_rows_cannot_keep_them() -> None:
    with pytest.raises(InputError, match="fixed-domain keeps the rows"):
        budget().mixed((0.0, 1.0), "fixed-domain", 0)


def test_parts_are_called_by_their_domains_or_described() -> None:
    stages = {
        "alignment": budget().config,
        "instruction": budget(
            parts=[
                MixtureItem(share=1, domain="medical"),
                MixtureItem(share=1, domain="general", tasks=["vqa"]),
                MixtureItem(share=1, domain="general", tasks=["caption"]),
            ]
        ).config,
    }
    space = space_of(stages, 0.7)
    assert space.names == [
        *("alignment general", "instruction general/vqa", "instruction general/caption"),
    ]
    shares = shares_at(space, (0.5, 0.2, 0.1))
    assert shares["alignment"] == (0.5, 0.5)
    assert shares["instruction"] == pytest.approx((0.7, 0.2, 0.1))
    twice = budget(parts=[PARTS[0], PARTS[0]]).config
    with pytest.raises(InputError, match="has a part twice"):
        space_of({"alignment": twice}, 0.7)
    with pytest.raises(InputError, match="there is no ratio"):
        space_of({"alignment": budget(parts=PARTS[:1]).config}, 0.7)


def test_the_papers_grid_is_eight_mixtures_of_two_alignments() -> None:
    points = listed_points("paper-grid", Space(), 16, 0)
    names = [mixture_name(Trial(point=point)) for point in points]
    assert names == [f"E{e}-V{v}" for e in (1, 2) for v in (1, 2, 3, 4)]
    three = Space(stages={"alignment": ("a", "b", "c"), "instruction": ("a", "b")})
    with pytest.raises(InputError, match="paper-grid"):
        listed_points("paper-grid", three, 16, 0)


def test_a_space_of_few_alignments_proposes_no_other() -> None:
    few = Space(levels=(0.0, 0.5))
    assert {share for share, _ in few.spread(32, 0)} == {0.0, 0.5}
    assert {share for share, _ in few.candidates()} == {0.0, 0.5}
    assert len({share for _, share in few.spread(32, 0)}) == 32
    with pytest.raises(InputError, match="alignments are shares"):
        space_of({"alignment": budget().config}, 0.7, [1.0])


def outcome(trial: Trial, specialised: float, general: float) -> Outcome:
    scores = {"specialised.one": specialised, "general.two": general}
    return Outcome(trial=trial, scores=scores)


def searcher(listed: list[Trial], finished: list[Outcome], begun: list[Trial]) -> MixtureSearcher:
    return MixtureSearcher(Space(), listed, 4, ProposeConfig(initial=2), finished, begun)


def all_suggested(search: MixtureSearcher) -> list[Trial]:
    """What it suggests, each trial finished before the next."""
    found = []
    for number in range(20):
        told = search.suggest(str(number))
        if told == Searcher.FINISHED:
            return found
        assert isinstance(told, dict)
        found.append(Trial(point=tuple(told["point"]), repeat=told["repeat"]))
        scores = {"specialised.one": 0.5 - told["point"][0] / 9, "general.two": 0.1 + number / 99}
        search.on_trial_complete(str(number), scores)
    raise AssertionError("it never ends")


def test_a_listed_search_runs_what_is_left_and_begun_trials_first() -> None:
    listed = [Trial(point=(0.1 * n, 0.0)) for n in range(4)]
    assert all_suggested(searcher(listed, [], [])) == listed
    resumed = searcher(listed, [outcome(listed[0], 0.5, 0.5)], [listed[2]])
    assert resumed.left == 3
    assert all_suggested(resumed) == [listed[2], listed[1], listed[3]]


def test_a_search_by_results_repeats_a_mixture_and_goes_on_where_it_was() -> None:
    whole = all_suggested(searcher([], [], []))
    assert len(whole) == 4
    assert len({trial.point for trial in whole}) < 4  # one is run twice, to learn the noise
    assert len(set(whole)) == 4
    first = [outcome(whole[n], 0.5 - whole[n].point[0] / 9, 0.1 + n / 99) for n in range(2)]
    assert all_suggested(searcher([], first, [whole[2]]))[0] == whole[2]
    assert all_suggested(searcher([], first, []))[0] == whole[2]


def test_a_failed_trial_is_not_suggested_again() -> None:
    search = searcher([], [], [])
    one = search.suggest("a")
    search.on_trial_complete("a", None, error=True)
    assert search.suggest("b") != one


def test_trials_bear_their_part_of_a_shared_stage() -> None:
    shared = Part(stage="alignment", folder="a", read={"x": {"rows": 8, "tokens": 80}}, hours=4)
    own = Part(stage="instruction", folder="b", read={"y": {"rows": 1, "tokens": 10}}, hours=1)
    one = Outcome(trial=Trial(point=(0.0, 0.0)), parts=[shared, own])
    assert one.alignment == "a"
    assert costs(one, {"a": 4, "b": 1}) == (3.0, 30.0, 2.0)


def test_merged_experts_are_the_weighted_mean_of_their_weights(tmp_path: Path) -> None:
    tensors = [{"w": torch.full((2, 3), float(n)), "b": torch.arange(3.0) * n} for n in (1, 5)]
    for name, own in zip("ab", tensors, strict=True):
        (tmp_path / name).mkdir()
        save_file(own, tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text("{}")
    experts = [str(tmp_path / name) for name in "ab"]
    merge_exports(experts, [0.75, 0.25], str(tmp_path / "merged"))
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    assert torch.equal(merged["w"], torch.full((2, 3), 2.0))
    assert torch.equal(merged["b"], torch.arange(3.0) * 2)
    assert (tmp_path / "merged" / "config.json").is_file()


def runs(scores: Any) -> Results:
    """A run of each of ten mixtures."""
    made = [
        Run(name=str(n), point=(0.0, round(0.05 * n, 4)), objectives=(scores[n], 1 - scores[n]))
        for n in range(len(scores))
    ]
    return Results(space=Space(), runs=made)


def test_a_proxy_that_ranks_alike_is_evidence_and_another_is_refused() -> None:
    true = np.linspace(0.2, 0.8, 10)
    alike = agreements("near", runs(true), runs(true**3), 0.7, 0.9, 0)
    assert all(one.evidence and one.correlation == pytest.approx(1) for one in alike)
    shuffled = np.random.default_rng(3).permutation(true)
    other = agreements("far", runs(true), runs(shuffled), 0.7, 0.9, 0)
    assert not any(one.evidence for one in other)
    expected = stats.spearmanr(true, shuffled).statistic
    assert other[0].correlation == pytest.approx(expected)
    constant = agreements("flat", runs(true), runs(np.full(10, 0.5)), 0.7, 0.9, 0)
    assert {one.correlation for one in constant} == {0.0}
    with pytest.raises(InputError, match="2 of the mixtures, 5 are needed"):
        agreements("few", runs(true), runs(true[:2]), 0.7, 0.9, 0)


def test_training_progress_counts_rungs_by_fraction_of_the_schedule() -> None:
    from doctor_sun.ratios.early_stopping import RUNG, TrainingProgress

    told: list[dict[str, Any]] = []
    progress = TrainingProgress.__new__(TrainingProgress)  # outside of a Tune session
    progress.total_steps, progress.rungs = 30, 4
    progress._training_actor_item_queue = SimpleNamespace(put=told.append)
    for step in (8, 16, 24, 30):
        steps = [{"step": step, "loss": 1.0}]
        progress.after_report(None, [{"steps": steps, "validation_loss": 1.0}], None)
    assert [one[RUNG] for one in told] == [1, 2, 3, 4]
