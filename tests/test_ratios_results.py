"""Tables of runs: what is read, what is refused and how, what follows from a grid."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doctor_sun.errors import InputError
from doctor_sun.ratios.findings import FORMULAS, column_wins, findings, front, paper_findings
from doctor_sun.ratios.forgetting import changes
from doctor_sun.ratios.ledger import read_ledger
from doctor_sun.ratios.paper import RECORDED, TABLE, PaperGrid, costs_of, paper_grid, point_of
from doctor_sun.ratios.results import Results, read_results
from doctor_sun.ratios.space import Space, general_fraction, general_ratio

HEAD = "run,seed,alignment_ratio,instruction_ratio,specialised.vqa,general.mmbench,tokens"
THREE = Space(stages={"one": ("a", "b", "c"), "two": ("a", "b", "c", "d")}, most=0.6)


def table(tmp_path: Path, *lines: str, head: str = HEAD) -> str:
    """A CSV file."""
    path = tmp_path / "runs.csv"
    path.write_text("\n".join([head, *lines]), encoding="utf-8")
    return str(path)


def grid(tmp_path: Path, seeds: int) -> Results:
    """The paper's grid: mixing in alignment doubles the general score and costs a tenth."""
    lines = [
        f"E{e + 1}-V{v + 1},{seed},{e},{k},{0.5 * (1 + 0.1 * (1 - e)) - v / 100},"
        f"{0.2 * (1 + e) + v / 50 + seed / 1000},7"
        for (v, k), e, seed in product(enumerate((0, 0.2, 0.5, 1)), (0, 1), range(seeds))
    ]
    return read_results(table(tmp_path, *lines))


@given(st.floats(0, 100))
def test_fraction_and_ratio_are_inverse(ratio: float) -> None:
    assert general_ratio(general_fraction(ratio)) == pytest.approx(ratio, rel=1e-6)


def test_runs_of_one_mixture_are_repeats_and_empty_mixtures_references(tmp_path: Path) -> None:
    lines = ["a,1,0,0.5,0.4,0.2,7", "a,2,0,0.5,0.5,0.2,7", "b,1,1,0.5,0.4,0.3,", "base,,,,0.3,0.5,"]
    results = read_results(table(tmp_path, *lines))
    assert [(m.name, len(m.runs)) for m in results.mixtures] == [("a", 2), ("b", 1)]
    assert results.mixtures[0].point == (0, round(1 / 3, 4))
    assert results.mixtures[0].cost("tokens") == 14
    assert results.mixtures[1].cost("tokens") is None
    assert [run.name for run in results.references] == ["base"]
    noise = results.repeat_noise()
    assert noise is not None
    assert noise.tolist() == pytest.approx([np.std([0.4, 0.5], ddof=1), 0])
    lost = {(c.mixture, c.column): c for c in changes(results)}
    assert lost["b", "general.mmbench"].interval is None
    assert lost["a", "general.mmbench"].verdict == "lost"


def test_shares_of_any_number_of_sources(tmp_path: Path) -> None:
    head = "share.tune.medical,share.tune.web,share.tune.code,specialised,general"
    results = read_results(table(tmp_path, "0.5,0.3,0.2,0.4,0.5", head=head))
    assert results.runs[0].point == (0.3, 0.2)
    assert results.space.names == ["tune web", "tune code"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a,1,0,x,0.4,0.2,7", "line 2: 'instruction_ratio' is not a number"),
        ("a,1,0,-1,0.4,0.2,7", "line 2: 'instruction_ratio' is -1"),
        ("a,1,0,nan,0.4,0.2,7", "line 2: 'instruction_ratio' is nan"),
        ("a,1,,1,0.4,0.2,7", "line 2: the mixture of stage 'alignment' is missing"),
        ("a,1,0,1,40,0.2,7", "line 2: 'specialised.vqa' is 40, not from 0 to 1"),
        ("a,1,0,1,0.4,,7", "line 2: 'general.mmbench' is empty"),
        ("base,,,,0.4,0.1,7", "holds no run with a mixture"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(InputError, match=r"runs\.csv") as caught:
        read_results(table(tmp_path, line))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("head", "line", "said"),
    [
        ("run,specialised,general", "a,1,1", "no mixture"),
        ("a_ratio,specialised,general,x", "1,1,1,1", "unknown column 'x'"),
        ("a_ratio,specialised", "1,1", "no column 'general'"),
        ("share.a.b,share.a.c,specialised,general", "0.5,0.6,1,1", "sum to 1.1"),
        ("a_ratio,a_general,specialised,general", "1,0.5,1,1", "given twice"),
        ("share.a.b,specialised,general", "1,1,1", "one source only"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, head: str, line: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_results(table(tmp_path, line, head=head))


def test_findings_of_a_grid_have_intervals_only_over_seeds(tmp_path: Path) -> None:
    once = {f.name: f for f in findings(grid(tmp_path, 1))}
    twice = {f.name: f for f in findings(grid(tmp_path, 2))}
    assert set(once) == set(FORMULAS)
    assert all(f.interval is None for f in once.values())
    gain = 100 * ((0.4 + 0.03) / (0.2 + 0.03) - 1)
    assert once["general gain of mixing in alignment"].value == f"+{gain:.1f} %"
    assert len(once["Pareto front"].value.split(", ")) == 8
    interval = twice["general gain of mixing in alignment"].interval
    assert interval is not None
    assert interval[0] < gain / 100 < interval[1] + 0.01
    assert column_wins(grid(tmp_path, 1)) == {0: 2, 0.1667: 0, 0.3333: 0, 0.5: 2}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=20))
def test_front_is_what_nothing_dominates(scores: list[tuple[int, int]]) -> None:
    kept = front(np.array(scores, dtype=float))
    for score, on in zip(scores, kept, strict=True):
        others = [s for s in scores if s != score and s[0] >= score[0] and s[1] >= score[1]]
        assert on == (not others)


def test_what_the_papers_table_says() -> None:
    said = {f.name: f for f in paper_findings(paper_grid())}
    assert said["general gain of mixing in alignment"].value == "+122.9 %"
    assert said["specialised cost of mixing in alignment"].value == "2.1 %"
    assert "V3 11" in said["column-wins"].value
    assert said["Pareto front"].value == "E1-V1, E2-V1, E2-V3, E2-V4"
    assert all(f.interval is None and f.formula for f in said.values())
    if paper_grid().missing:
        assert all(name not in said or said[name].source == "recorded" for name in RECORDED)


def test_cells_that_contradict_the_printed_table_are_refused() -> None:
    same = PaperGrid({(model, cell): 0.5 for model in TABLE.models for cell in TABLE.columns})
    with pytest.raises(InputError, match="as printed"):
        paper_findings(same)
    results = same.results()
    assert results is not None
    assert [m.point for m in results.mixtures] == [point_of(model) for model in TABLE.models]


def test_the_papers_grid_costs_what_its_samples_cost() -> None:
    costs = [costs_of(model) for model in TABLE.models]
    assert sum(cost["samples"] for cost in costs) == 1_434_000
    assert sum(cost["accelerator_hours"] for cost in costs) == pytest.approx(120, abs=0.5)


def test_the_ledger_gives_realised_shares(tmp_path: Path) -> None:
    head = "run,stage,source,samples,tokens"
    ledger = read_ledger(table(tmp_path, "a,tune,m,3,30", "a,tune,g,1,70", head=head))
    assert [row[-2:] for row in ledger.rows] == [["75.00", "30.00"], ["25.00", "70.00"]]
    with pytest.raises(InputError, match="line 2"):
        read_ledger(table(tmp_path, "a,tune,m,3,x", head=head))


def test_spaces_of_more_sources_stay_on_their_simplices() -> None:
    points = THREE.candidates(seed=3)
    assert points.shape[1] == len(THREE.names) == 5
    assert all(THREE.inside(point) for point in points)
    assert np.allclose(THREE.spread(8, 0), THREE.spread(16, 0)[:8])
    assert not THREE.inside([0.4, 0.3, 0, 0, 0])
