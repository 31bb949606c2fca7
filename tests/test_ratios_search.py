"""The surface, the proposer and the report, on surfaces whose truth is known."""

from pathlib import Path

import numpy as np
import pytest

from doctor_sun.config import load
from doctor_sun.errors import InputError
from doctor_sun.ratios.judge import judge, recommended
from doctor_sun.ratios.propose import ProposeConfig, knowledge_gradient, next_point, utility
from doctor_sun.ratios.report import ReportConfig, run
from doctor_sun.ratios.space import Space
from doctor_sun.ratios.surface import Surface
from tests.test_ratios_results import THREE, grid, table

SPACE = Space()
CONFIG = ProposeConfig(initial=4)


def truth(points: np.ndarray) -> np.ndarray:
    """(specialised, general): their mean is highest at (0.3, 0.4)."""
    away = (points - [0.3, 0.4]) ** 2
    slope = points.sum(axis=1)
    return np.stack(
        [0.5 - away.sum(axis=1) - slope / 4, 0.4 - away.sum(axis=1) + slope / 4], axis=1
    )


@pytest.fixture(scope="module")
def observed() -> tuple[np.ndarray, np.ndarray]:
    """Twelve mixtures, each run twice."""
    points = np.repeat(SPACE.spread(12, 1), 2, axis=0)
    noise = np.random.default_rng(0).normal(0, 0.01, (24, 2))
    return points, truth(points) + noise


@pytest.fixture(scope="module")
def surface(observed: tuple[np.ndarray, np.ndarray]) -> Surface:
    return Surface(*observed, SPACE.most)


def test_the_surface_finds_optimum_noise_and_truth(surface: Surface) -> None:
    best = recommended(surface, SPACE.candidates(), 0.5)
    assert np.abs(np.array(best) - [0.3, 0.4]).max() <= 0.05
    assert (surface.noise() > 0.004).all()
    assert (surface.noise() < 0.025).all()
    low, high = surface.band(SPACE.candidates(), 0.9)
    inside = (low <= truth(SPACE.candidates())) & (truth(SPACE.candidates()) <= high)
    assert inside.mean() > 0.7


def test_preference_moves_what_is_recommended(surface: Surface) -> None:
    special, general = (recommended(surface, SPACE.candidates(), p) for p in (0.9, 0.1))
    assert sum(special) < sum(general)


def test_probabilities_are_of_joint_draws(surface: Surface) -> None:
    points = [(0.3, 0.4), (0.0, 0.0), (0.7, 0.7)]
    judged = judge(surface, ["best", "none", "all"], points, 0.5, 0.9, seed=0)
    assert sum(j.best for j in judged) == pytest.approx(1)
    assert judged[0].best > 0.9
    for j in judged:
        assert (j.band[0] <= j.mean).all()
        assert (j.mean <= j.band[1]).all()
        assert j.front >= j.best - 1e-9


def test_moments_covariance_and_draws_are_of_one_surface(surface: Surface) -> None:
    points = np.array([(0.3, 0.4), (0.3, 0.45), (0.0, 0.0), (0.7, 0.0)])
    mean, deviation = surface.moments(points)
    covariance = surface.covariance(points)
    drawn = surface.draws(points, seed=1)
    assert np.allclose(drawn.mean(axis=0), mean, atol=0.5 * deviation.max())
    for objective in range(2):
        own = np.sqrt(np.diag(covariance[objective]))
        assert np.allclose(own, deviation[:, objective], rtol=0.3)
        assert np.allclose(drawn[..., objective].std(axis=0), deviation[:, objective], rtol=0.3)
        near, far = np.corrcoef(drawn[..., objective].T)[0, [1, 3]]
        assert near > max(far, 0.5)
    assert (np.linalg.eigvalsh(covariance) > -1e-12).all()


def test_a_law_bends_to_less_gain_or_more_cost() -> None:
    """Six runs of a source that helps one score and hurts the other: both are seen as concave."""
    share = np.linspace(0, 0.7, 6)
    points = np.stack([np.zeros(6), share], axis=1)
    scores = np.stack([0.6 - share**2, 0.3 + 0.3 * (1 - np.exp(-share / 0.2))], axis=1)
    fitted = Surface(points, scores, SPACE.most)
    mean, _ = fitted.moments(np.array([(0.0, value) for value in (0.1, 0.35, 0.6)]))
    assert (mean[1] > (mean[0] + mean[2]) / 2).all()


@pytest.mark.slow
def test_a_surface_over_twenty_sources() -> None:
    random = np.random.default_rng(0)
    points, weights = random.dirichlet(np.ones(20), 30), random.normal(0, 0.2, (20, 2))
    fitted = Surface(points, points @ weights, 1.0)
    mean, deviation = fitted.moments(points)
    assert np.abs(mean - points @ weights).mean() < (points @ weights).std()
    assert (deviation > 0).all()


def test_the_knowledge_gradient_falls_as_runs_are_added(
    observed: tuple[np.ndarray, np.ndarray],
) -> None:
    candidates = SPACE.candidates()[::7]
    few, many = (
        knowledge_gradient(Surface(*(part[:n] for part in observed), SPACE.most), candidates, 0.5)
        for n in (8, 24)
    )
    assert few.min() >= -1e-9
    assert 0 < many.mean() < few.mean()


def test_first_trials_cover_then_one_is_repeated() -> None:
    points: list[tuple[float, ...]] = []
    scores: list[tuple[float, float]] = []
    for _ in range(CONFIG.initial + 1):
        points.append(next_point(SPACE, points, scores, CONFIG))
        special, general = truth(np.array(points[-1:]))[0]
        scores.append((special, general))
    assert len(set(points)) == CONFIG.initial
    assert points[-1] == points[int(utility(np.array(scores[:-1]), 0.5).argmax())]


@pytest.mark.slow
def test_the_next_trial_is_in_the_space_and_reproducible(
    observed: tuple[np.ndarray, np.ndarray],
) -> None:
    points = [tuple(point) for point in observed[0].tolist()]
    scores = [(special, general) for special, general in observed[1].tolist()]
    for count in (23, 24):  # both ways to choose
        first, again = (next_point(SPACE, points[:count], scores[:count], CONFIG) for _ in range(2))
        assert first == again
        assert SPACE.inside(first)
    other = next_point(SPACE, points, scores, CONFIG, pending=[first])
    assert SPACE.inside(other)


def test_pending_trials_without_results_are_not_repeated() -> None:
    pending: list[tuple[float, ...]] = []
    for _ in range(6):
        pending.append(next_point(SPACE, [], [], CONFIG, pending))
    assert len(set(pending)) == 6


def test_a_search_over_more_sources() -> None:
    ran = THREE.spread(6, 0)
    scores = [(1 - float(p.sum()) / 2, float(p.sum()) / 2) for p in ran]
    points = [*(tuple(p) for p in ran.tolist()), tuple(ran[0].tolist())]
    found = next_point(THREE, points, [*scores, scores[0]], CONFIG)
    assert THREE.inside(found)


@pytest.mark.slow
def test_report_with_repeats_and_without(tmp_path: Path) -> None:
    for seeds in (1, 2):
        grid(tmp_path, seeds)
        out = tmp_path / f"out{seeds}"
        config = ReportConfig(results=str(tmp_path / "runs.csv"), output=str(out))
        figures = run(config)["figures"]
        html = (out / "report.html").read_text(encoding="utf-8")
        assert ("credible band" in html) == (seeds == 2)
        assert ("no bands, no intervals and no probabilities" in html) == (seeds == 1)
        assert bool(figures["probability_best"]) == (seeds == 2)
        assert (out / "best.png").is_file() == (seeds == 2)
        for name in ("figure3.png", "surface.png", "pareto.png", "mixtures.csv", "table4.csv"):
            assert (out / name).stat().st_size > 100
    assert run(config)["figures"] == figures  # the second call reuses


def test_report_of_many_sources(tmp_path: Path) -> None:
    head = "share.tune.medical,share.tune.web,share.tune.code,specialised,general"
    lines = [f"{1 - 3 * w / 20},{w / 10},{w / 20},{0.5 - w / 50},{0.3 + w / 40}" for w in range(6)]
    config = ReportConfig(
        results=table(tmp_path, *lines, lines[0], head=head), output=f"{tmp_path}/o"
    )
    figures = run(config)["figures"]
    assert len(figures["recommended"]) == 2
    assert not list((tmp_path / "o").glob("*.png"))  # a plane of ratios is what is drawn


def test_report_of_the_paper(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = load(ReportConfig, results="paper", output=str(tmp_path / "out"))
    run(config)
    said = capsys.readouterr().out
    for value in ("+122.9 %", "2.1 %", "V3 11", "E1-V1, E2-V1, E2-V3, E2-V4", "no intervals"):
        assert value in said
    assert "credible" not in said


def test_wrong_input_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        run(ReportConfig(results=str(tmp_path / "none.csv"), output=str(tmp_path / "out")))
    with pytest.raises(InputError, match="between 0 and 1"):
        ReportConfig(results="paper", output="x", preference=1.5)
    broken = table(tmp_path, "a,1,0,1,0.4,2,7")
    with pytest.raises(InputError, match="line 2"):
        run(ReportConfig(results=broken, output=str(tmp_path / "out2")))
