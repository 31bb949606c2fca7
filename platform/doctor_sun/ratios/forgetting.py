"""What was forgotten and gained: every benchmark against the models before the mixture."""

from dataclasses import dataclass

from doctor_sun.ratios.findings import t_interval
from doctor_sun.ratios.results import Results


@dataclass(frozen=True, kw_only=True)
class Change:
    """A mixture against a reference on one benchmark, in shares of 1."""

    reference: str
    mixture: str
    column: str
    before: float
    after: float
    interval: tuple[float, float] | None
    """Of the change, over the mixture's seeds; None from a single one."""

    @property
    def verdict(self) -> str:
        """In a word, where an interval allows one."""
        if self.interval is None:
            return "one seed"
        low, high = self.interval
        return "gained" if low > 0 else "lost" if high < 0 else "no clear change"


def changes(results: Results) -> list[Change]:
    """Every mixture against every reference on the benchmarks that both have."""
    found = []
    for reference in results.references:
        for mixture in results.mixtures:
            for column, before in reference.scores.items():
                after = [run.scores[column] for run in mixture.runs if column in run.scores]
                if after:
                    found.append(
                        Change(
                            reference=reference.name,
                            mixture=mixture.name,
                            column=column,
                            before=before,
                            after=sum(after) / len(after),
                            interval=t_interval([value - before for value in after]),
                        )
                    )
    return found
