"""A stage's page: loss, also of each source, learning rate, gradient norm and speed by step."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from doctor_sun.reports.html import Section, Table, page
from doctor_sun.reports.plots import COLOURS, embedded, new_figure
from doctor_sun.training.validation import VALIDATION_LOSS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMOOTHED = 20  # steps of the running mean, or a tenth of a shorter stage
ENDS = 0.1  # share of the steps that counts as the beginning, or the end, of a stage
Metrics = Sequence[Mapping[str, Any]]


def training_page(
    stage: str,
    metrics: Metrics,
    by_kind: Mapping[str, Mapping[str, int]],
    global_batch: int,
    samples: Mapping[str, Sequence[Mapping[str, Any]]],
) -> str:
    """The report as HTML.

    Args:
        stage: its name.
        metrics: every step's figures, as `read_metrics` gives them.
        by_kind: rows and tokens that were read, by source and language.
        global_batch: rows of a step.
        samples: of each held-out row, what the model said to it over time (`read_samples`).
    """
    tokens, padded = (sum(row[name] for row in metrics) for name in ("tokens", "padded_tokens"))
    seconds = sum(row["seconds"] for row in metrics)
    labels = sum(row["label_tokens"] for row in metrics)
    memory = max(row["memory_gib"] for row in metrics)
    introduction = [
        f"{len(metrics):,} steps of {global_batch} rows, {tokens:,} tokens, {labels:,} of which "
        f"carry loss; {seconds:,.0f} s of training, {tokens / seconds:,.0f} tokens and "
        f"{global_batch * len(metrics) / seconds:,.1f} rows a second; {1 - tokens / padded:.1%} "
        f"of what was computed was padding; at most {memory:.1f} GiB a process."
    ]
    kinds = Table(
        head=("source / language", "rows", "tokens", "loss at first", "loss at last"),
        rows=[
            (kind, f"{counts['rows']:,}", f"{counts['tokens']:,}", *_ends(metrics, kind))
            for kind, counts in by_kind.items()
        ],
    )
    rest = {
        "Learning rate of each module": _plot(metrics, _draw_rates),
        "Gradient norm before clipping": _plot(metrics, _draw_norm),
        "Tokens a second, padding not counted": _plot(metrics, _draw_speed),
    }
    sections = [
        Section(
            title="Loss",
            paragraphs=[
                "Mean over the labelled tokens of a step; the line is a running mean, "
                "points are measured on rows that are not trained on."
                if any(VALIDATION_LOSS in row for row in metrics)
                else "Mean over the labelled tokens of a step; the line is a running mean."
            ],
            figures={"Loss by step": _plot(metrics, _draw_loss)},
        ),
        Section(
            title="By source",
            paragraphs=[
                f"First and last: the first and last {ENDS:.0%} of the steps in which it was read."
            ],
            tables=[kinds],
            figures={"Loss by source and language, running mean": _plot(metrics, _draw_kinds)},
        ),
        Section(title="Steps", figures=rest),
    ]
    if samples:
        sections.insert(2, _samples(samples))
    return page(f"Training: {stage}", introduction, sections)


def _samples(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Section:
    """What the model said to held-out rows, at first and at last."""
    first, last = (
        f"answer after step {step}"
        for step in (
            min(lines[0]["step"] for lines in samples.values()),
            max(lines[-1]["step"] for lines in samples.values()),
        )
    )
    rows = [
        (
            lines[-1]["kind"],
            *(lines[-1][name] for name in ("question", "reference")),
            *(line["answer"] for line in (lines[0], lines[-1])),
        )
        for _, lines in sorted(samples.items())
    ]
    return Section(
        title="What it says",
        paragraphs=["Greedy answers to rows that are not trained on."],
        tables=[Table(head=("source / language", "question", "reference", first, last), rows=rows)],
    )


def _ends(metrics: Metrics, kind: str) -> tuple[str, str]:
    """Mean loss of a kind over the first and the last steps that read it."""
    seen = [row["loss_by_kind"][kind] for row in metrics if kind in row["loss_by_kind"]]
    count = max(1, round(ENDS * len(seen)))
    first, last = (
        sum(loss * tokens for loss, tokens in part) / sum(tokens for _, tokens in part)
        for part in (seen[:count], seen[-count:])
    )
    return f"{first:.3f}", f"{last:.3f}"


def _plot(metrics: Metrics, draw: Callable[["Axes", Metrics], None]) -> str:
    figure = new_figure(9.5, 3.2)
    axes = figure.subplots()
    draw(axes, metrics)
    axes.set_xlabel("step")
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        figure.legend(loc="outside right center", frameon=False, fontsize=8)
    return embedded(figure)


def running_mean(values: Sequence[float]) -> NDArray[np.float64]:
    """[n] the mean of each value and some before it."""
    sums = np.cumsum([0.0, *values])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - max(1, min(SMOOTHED, len(values) // 10)))
    mean: NDArray[np.float64] = (sums[ends] - sums[starts]) / (ends - starts)
    return mean


def _draw_loss(axes: "Axes", metrics: Metrics) -> None:
    steps, losses = [row["step"] for row in metrics], [row["loss"] for row in metrics]
    axes.plot(steps, losses, color=COLOURS[0], alpha=0.3, linewidth=0.8)
    axes.plot(steps, running_mean(losses), color=COLOURS[0])
    measured = [row for row in metrics if VALIDATION_LOSS in row]
    if measured:
        axes.plot(
            [row["step"] for row in measured],
            [row[VALIDATION_LOSS] for row in measured],
            "o--",
            color=COLOURS[1],
            markersize=4,
            label="held out",
        )
    axes.set_ylim(bottom=0)


def _draw_kinds(axes: "Axes", metrics: Metrics) -> None:
    names = sorted({kind for row in metrics for kind in row["loss_by_kind"]})
    for place, kind in enumerate(names):
        seen = [row for row in metrics if kind in row["loss_by_kind"]]
        losses = running_mean([row["loss_by_kind"][kind][0] for row in seen])
        style = "-" if place < len(COLOURS) else "--"
        colour = COLOURS[place % len(COLOURS)]
        axes.plot([row["step"] for row in seen], losses, style, color=colour, label=kind)
    axes.set_ylim(bottom=0)


def _draw_rates(axes: "Axes", metrics: Metrics) -> None:
    for place, name in enumerate(metrics[0]["learning_rate"]):
        rates = [row["learning_rate"][name] for row in metrics]
        axes.plot([row["step"] for row in metrics], rates, color=COLOURS[place], label=name)
    axes.set_ylim(bottom=0)


def _draw_norm(axes: "Axes", metrics: Metrics) -> None:
    seen = [row for row in metrics if row["gradient_norm"] is not None]
    axes.plot([r["step"] for r in seen], [r["gradient_norm"] for r in seen], color=COLOURS[3])
    axes.set_ylim(bottom=0)


def _draw_speed(axes: "Axes", metrics: Metrics) -> None:
    speeds = [row["tokens"] / row["seconds"] for row in metrics]
    axes.plot([row["step"] for row in metrics], speeds, color=COLOURS[2])
    axes.set_ylim(bottom=0)
