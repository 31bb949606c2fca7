"""The translation's page: what became of the rows, why, the judge's scores, the cost."""

from collections.abc import Mapping
from typing import Any

from scipy.stats import binomtest

from doctor_sun.reports.html import Section, Table, page
from doctor_sun.reports.plots import COLOURS, embedded, new_figure


def translation_page(model: str, counts: Mapping[str, int], figures: Mapping[str, Any]) -> str:
    """The report as HTML.

    Args:
        model: name of the translating model.
        counts: rows in, translated, dropped, held for review.
        figures: as in the manifest: reasons, sources, spot_check, fluency,
            adequacy, cost.
    """
    introduction = [
        f"{counts['rows_in']} English rows were given to {model}; {counts['translated']} "
        "translations were accepted. Every other row has an entry in the ledger: dropped, or held "
        "for review (python -m doctor_sun.data.review FOLDER shows those to a person)."
    ]
    reasons = [(reason, rows) for reason, rows in figures["reasons"].items()]
    spent = figures["cost"]
    sections = [
        Section(
            title="Rows",
            tables=[
                Table(head=("", "rows"), rows=list(counts.items())),
                Table(head=("reason", "rows"), rows=reasons),
                Table(head=("accepted, by source", "rows"), rows=list(figures["sources"].items())),
            ],
        ),
        Section(title="Spot check", paragraphs=[_spot_check(figures["spot_check"])]),
        Section(
            title="Judge",
            paragraphs=["Scores of the translations that passed the deterministic checks."],
            figures={"Translations by score": _scores(figures)} if figures["fluency"] else {},
        ),
        Section(
            title="Cost",
            paragraphs=["Of all answers in the folder of answers, earlier runs included."],
            tables=[Table(head=("", ""), rows=list(spent.items()))],
        ),
    ]
    return page("Translation", introduction, sections)


def _spot_check(counts: Mapping[str, int]) -> str:
    """What people found among a random share of the accepted translations."""
    said = (
        f"Of the accepted translations {counts['shown']}, chosen at random, are shown to a person "
        f"as well; {counts['decided']} were decided on, {counts['wrong']} of these were edited or "
        "rejected"
    )
    if not counts["decided"]:
        return said + "."
    share = binomtest(counts["wrong"], counts["decided"])
    low, high = share.proportion_ci(0.95, method="exact")
    return f"{said}: {share.statistic:.1%} (95 % interval {low:.1%} to {high:.1%})."


def _scores(figures: Mapping[str, Any]) -> str:
    """Bars: how many translations had which score."""
    figure = new_figure(6, 2.6)
    axes = figure.add_subplot()
    for number, name in enumerate(("fluency", "adequacy")):
        heights = [figures[name].get(str(score), 0) for score in range(1, 6)]
        places = [score + 0.4 * (number - 0.5) for score in range(1, 6)]
        axes.bar(places, heights, width=0.38, label=name, color=COLOURS[number])
    axes.set_xlabel("score")
    axes.set_ylabel("translations")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False)
    return embedded(figure)
