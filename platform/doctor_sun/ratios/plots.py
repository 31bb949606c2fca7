"""Figures of the ratio report."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from doctor_sun.ratios.findings import front
from doctor_sun.ratios.judge import Judged
from doctor_sun.ratios.propose import Point, utility, utility_deviation
from doctor_sun.ratios.results import OBJECTIVES, Mixture, Results
from doctor_sun.ratios.space import ratio_name
from doctor_sun.ratios.surface import Surface
from doctor_sun.reports.plots import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TICKS = (0, 1 / 6, 1 / 3, 1 / 2, 2 / 3)
MOST_LINES = 4


def ratio_ticks(axes: "Axes", most: float, which: str = "x") -> None:
    """Label a fraction axis with medical-to-general ratios."""
    places = [tick for tick in TICKS if tick <= most]
    labels = [ratio_name(tick) for tick in places]
    (axes.set_xticks if which == "x" else axes.set_yticks)(places, labels)


def figure3(
    results: Results | None, paper: Results | None, surface: Surface | None, level: float | None
) -> "Figure":
    """The paper's Figure 3: both scores by the ratio of tuning, a line an alignment.

    Args:
        results: ours; a dot a run, by the nearest alignment that has a line.
        paper: the paper's grid, dashed; None while it is not known.
        surface: through ours.
        level: of the surface's bands; None draws none.
    """
    figure = new_figure(11, 4.6)
    for place, axes in enumerate(figure.subplots(1, 2)):
        if paper:
            _paper_lines(axes, paper, place)
        if results:
            _our_lines(axes, results, surface, place, level)
        axes.set_xlabel("medical : general in instruction tuning")
        axes.set_ylabel(f"{OBJECTIVES[place]} score, %")
        ratio_ticks(axes, results.space.most if results else 0.7)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    return figure


def _paper_lines(axes: "Axes", paper: Results, objective: int) -> None:
    for place, alignment in enumerate(sorted({m.point[0] for m in paper.mixtures})):
        own = [m for m in paper.mixtures if m.point[0] == alignment]
        axes.plot(
            [m.point[1] for m in own],
            [100 * m.objectives[objective] for m in own],
            "s--",
            color=COLOURS[place],
            markerfacecolor="white",
            label=f"paper, alignment {ratio_name(alignment)}",
        )


def _our_lines(
    axes: "Axes", results: Results, surface: Surface | None, objective: int, level: float | None
) -> None:
    levels = alignment_levels(results)
    steps = np.linspace(0, results.space.most, 60)
    for place, alignment in enumerate(levels):
        colour = COLOURS[place]
        label = f"ours, alignment {ratio_name(alignment)}"
        if surface:
            line = np.stack([np.full_like(steps, alignment), steps], axis=1)
            if level:
                low, high = surface.band(line, level)
                edges = 100 * low[:, objective], 100 * high[:, objective]
                axes.fill_between(steps, *edges, color=colour, alpha=0.18, linewidth=0)
            mean = 100 * surface.moments(line)[0][:, objective]
            axes.plot(steps, mean, color=colour, label=label)
        for mixture in results.mixtures:
            if min(levels, key=lambda known: abs(known - mixture.point[0])) == alignment:
                _dots(axes, mixture, objective, colour, None if surface else label)
                label = f"_{label}"  # matplotlib leaves it out of the legend


def _dots(axes: "Axes", mixture: Mixture, objective: int, colour: str, label: str | None) -> None:
    """Every run of a mixture."""
    values = [100 * run.objectives[objective] for run in mixture.runs]
    places = [mixture.point[1]] * len(values)
    axes.plot(places, values, "o", color=colour, markersize=5, alpha=0.8, label=label)


def alignment_levels(results: Results) -> list[float]:
    """Alignments that get a line: those that were run, or three where each run has its own."""
    found = sorted({m.point[0] for m in results.mixtures})
    return found if len(found) <= MOST_LINES else [0, results.space.most / 2, results.space.most]


def surface_maps(
    results: Results, surface: Surface, preference: float, best: Point, level: float | None
) -> "Figure":
    """Both objectives and the utility over the plane; below, half the width of their bands."""
    candidates = results.space.candidates()
    side = round(len(candidates) ** 0.5)
    means, deviations = surface.moments(candidates)
    columns = [*means.T, utility(means, preference)]
    rows = [columns]
    if level:
        from scipy import stats

        spread = utility_deviation(deviations, preference)
        width = float(stats.norm.ppf((1 + level) / 2))
        rows.append([width * column for column in (*deviations.T, spread)])
    titles = [*OBJECTIVES, f"utility: {preference:g} specialised + {1 - preference:g} general"]
    figure = new_figure(13, 4.2 * len(rows))
    grid = np.atleast_2d(figure.subplots(len(rows), 3))
    for line, (axes_row, values_row) in enumerate(zip(grid, rows, strict=True)):
        for axes, values, title in zip(axes_row, values_row, titles, strict=True):
            shaped = 100 * values.reshape(side, side)
            steps = candidates[:side, 1]
            drawn = axes.contourf(steps, steps, shaped, 14, cmap="Greys" if line else "viridis")
            figure.colorbar(drawn, ax=axes, shrink=0.85)
            points = results.points
            axes.scatter(
                *(points[:, 1], points[:, 0]),
                **{"s": 28, "color": "white", "edgecolor": "black", "clip_on": False, "zorder": 3},
            )
            axes.plot(
                *(best[1], best[0], "*"),
                **{"markersize": 16, "color": "#e0a458", "mec": "black", "clip_on": False},
            )
            kind = f"half width of the {level:.0%} band, points" if line else "mean, %"
            axes.set_title(f"{title}\n{kind}", fontsize=10)
            for which in ("x", "y"):
                ratio_ticks(axes, results.space.most, which)
            axes.set_xlabel("medical : general, instruction tuning")
            axes.set_ylabel("medical : general, alignment")
    return figure


def pareto(results: Results | None, judged: Sequence[Judged], paper: Results | None) -> "Figure":
    """General against specialised score: mixtures, their front, bands where noise is known."""
    figure = new_figure(8.5, 6)
    axes = figure.subplots()
    if paper:
        _front(axes, paper.mixtures, COLOURS[3], "paper")
    if results:
        ran = {m.name for m in results.mixtures}
        for known in judged:
            low, high = 100 * known.band
            x, y = 100 * known.mean
            label = "by the surface, with bands" if known is judged[0] else None
            axes.plot([low[0], high[0]], [y, y], color=COLOURS[5], linewidth=1, label=label)
            axes.plot([x, x], [low[1], high[1]], color=COLOURS[5], linewidth=1)
            if known.name not in ran:
                axes.plot(x, y, "*", markersize=14, color=COLOURS[1], mec="black", label=known.name)
        _front(axes, results.mixtures, COLOURS[0], "ours")
    axes.set_xlabel("specialised score, %")
    axes.set_ylabel("general score, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def _front(axes: "Axes", mixtures: Sequence[Mixture], colour: str, label: str) -> None:
    """Mixtures as dots, those on the front filled and joined."""
    scores = 100 * np.array([m.objectives for m in mixtures])
    kept = front(scores)
    order = np.argsort(scores[kept, 0])
    axes.plot(*scores[kept][order].T, "o-", color=colour, label=f"{label}, on the front")
    off = scores[~kept]
    axes.plot(off[:, 0], off[:, 1], "o", color=colour, mfc="white", label=f"{label}, dominated")
    for mixture, score in zip(mixtures, scores, strict=True):
        axes.annotate(mixture.name, score, xytext=(5, 5), textcoords="offset points", fontsize=8)


def best_bars(judged: Sequence[Judged]) -> "Figure":
    """Probability that each candidate is best."""
    figure = new_figure(8.5, 0.32 * len(judged) + 1.2)
    axes = figure.subplots()
    places = range(len(judged))
    axes.barh(places, [100 * j.best for j in judged], color=COLOURS[0])
    axes.set_yticks(places, [j.name for j in judged])
    axes.invert_yaxis()
    axes.set_xlabel("probability of the highest utility, %")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
