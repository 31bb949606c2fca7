"""Which trial comes next, as Ray Tune asks for it: a list, or what the finished ones suggest."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

from ray.tune.search import Searcher

from doctor_sun.errors import InputError
from doctor_sun.ratios.paper import ALIGNMENT, INSTRUCTION
from doctor_sun.ratios.propose import ProposeConfig, next_point
from doctor_sun.ratios.results import OBJECTIVES
from doctor_sun.ratios.space import Space, general_fraction
from doctor_sun.ratios.trial import Outcome, Point, Trial

OBJECTIVE_COLUMNS = tuple(f"{name}." for name in OBJECTIVES)
Preset = Literal["paper-grid", "random", "bayes", "asha"]


def listed_points(preset: Preset, space: Space, mixtures: int, seed: int) -> list[Point]:
    """The mixtures of a preset that does not look at results; empty for `bayes`.

    Raises:
        InputError: the paper's grid is asked of another space than the paper's.
    """
    if preset == "bayes":
        return []
    if preset != "paper-grid":
        drawn = space.spread(mixtures, seed)
        return [tuple(round(float(share), 4) for share in point) for point in drawn]
    if not space.drawable:
        raise InputError("paper-grid mixes two parts in each stage; these stages have others")
    axes = (ALIGNMENT.values(), INSTRUCTION.values())
    fractions = [[round(general_fraction(ratio), 4) for ratio in axis] for axis in axes]
    return list(product(*fractions))


class MixtureSearcher(Searcher):
    """Gives Tune the trials that are left, in an order that shares alignments early.

    A trial that failed is not proposed again: the next call of the job tries it first.
    """

    def __init__(
        self,
        space: Space,
        listed: Sequence[Trial],
        trials: int,
        config: ProposeConfig,
        finished: Sequence[Outcome],
        begun: Sequence[Trial],
    ) -> None:
        """Take up a search where it stands.

        Args:
            space: what may be tried.
            listed: trials in turn; empty lets the finished ones suggest the next.
            trials: how many there shall be in all.
            config: how the next one is suggested.
            finished: trials of calls before, with their scores.
            begun: trials that those left unfinished.
        """
        super().__init__(metric="utility", mode="max")
        self.space, self.config, self.trials = space, config, trials
        self.seen = [one for one in finished if one.scores]
        done = {one.trial for one in finished}
        self.first = [trial for trial in begun if not listed or trial in listed]
        self.first += [trial for trial in listed if trial not in done and trial not in self.first]
        self.listed = bool(listed)
        self.started = len(done)
        self.pending: dict[str, Trial] = {}

    @property
    def left(self) -> int:
        """How many trials there are still to run."""
        return len(self.first) if self.listed else max(len(self.first), self.trials - self.started)

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next trial's parameters; Tune's mark when there is none."""
        trial = self._next()
        if trial is None:
            return Searcher.FINISHED
        self.started += 1
        self.pending[trial_id] = trial
        shares = dict(zip(self.space.names, trial.point, strict=True))
        return {"point": list(trial.point), "repeat": trial.repeat, **shares}

    def _next(self) -> Trial | None:
        if self.first:
            return self.first.pop(0)
        if self.listed or self.started >= self.trials:
            return None
        under_way = [trial.point for trial in self.pending.values()]
        point = next_point(
            self.space,
            [one.trial.point for one in self.seen],
            [one.objectives() for one in self.seen],
            self.config,
            under_way,
        )
        run = [*(one.trial.point for one in self.seen), *under_way]
        return Trial(point=point, repeat=run.count(point))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Learn from a trial; one that failed stays under way, so that nothing suggests it."""
        scores = {k: v for k, v in (result or {}).items() if k.startswith(OBJECTIVE_COLUMNS)}
        if scores and not error:
            self.seen.append(Outcome(trial=self.pending.pop(trial_id), scores=scores))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the trials' folders hold what a later call goes on from."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """See `save`."""
