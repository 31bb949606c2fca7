"""What a point of the search means for a stage: its mixture, and how many rows it reads.

`fixed-domain` is the paper's way: the medical rows stay, general ones come on top, so that more
general data is more compute too. `equal-compute` keeps the tokens: more general data is less
medical data. Between them the effect of the ratio is told from that of the compute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from doctor_sun.errors import InputError
from doctor_sun.ratios.space import Space
from doctor_sun.training.cost import Linear
from doctor_sun.training.mixture import MixtureItem, select
from doctor_sun.training.stage import StageConfig

Mode = Literal["fixed-domain", "equal-compute"]
STAGES = {"alignment": "align", "instruction": "instruct"}
"""What the search calls the stages, and their names."""
CORRECTIONS = 4  # of a number of rows, until they hold the wanted tokens


def source_names(mixture: Sequence[MixtureItem]) -> tuple[str, ...]:
    """The parts of a stage's mixture by name: their domains, where these differ."""
    domains = [item.domain or "" for item in mixture]
    if all(domains) and len(set(domains)) == len(domains):
        return tuple(domains)
    return tuple(item.describe() for item in mixture)


def space_of(stages: Mapping[str, StageConfig], most: float, levels: Sequence[float] = ()) -> Space:
    """The space of the shares of some stages' mixtures.

    Args:
        stages: by the search's names.
        most: largest share of all but a mixture's first part.
        levels: the only shares of the first stage's second part.

    Raises:
        InputError: a mixture has one part only, or two that are called the same.
    """
    named = {name: source_names(config.mixture) for name, config in stages.items()}
    for name, sources in named.items():
        if len(sources) < 2:
            raise InputError(f"the mixture of stage '{name}' has one part: there is no ratio")
        if len(set(sources)) < len(sources):
            raise InputError(f"the mixture of stage '{name}' has a part twice")
    if levels and (len(next(iter(named.values()))) > 2 or not 0 <= min(levels) <= max(levels) < 1):
        raise InputError("alignments are shares, from 0 to below 1, of a mixture of two parts")
    return Space(stages=named, most=most, levels=tuple(levels))


def shares_at(space: Space, point: Sequence[float]) -> dict[str, tuple[float, ...]]:
    """The shares of every source by stage, at a point of the space."""
    values = iter(point)
    found = {}
    for stage, sources in space.stages.items():
        others = tuple(next(values) for _ in sources[1:])
        found[stage] = (1 - sum(others), *others)
    return found


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How many rows a stage reads on any mixture."""

    config: StageConfig
    """The stage as its file has it."""

    index: pa.Table
    """Its rows that fit, of `EncodedRows`."""

    operations: Linear
    """What training on a token, a label and an image takes."""

    def mixed(self, shares: Sequence[float], mode: Mode, seed: int) -> StageConfig:
        """The stage on a mixture.

        Args:
            shares: of each part of the file's mixture.
            mode: what stays the same on all mixtures.
            seed: of the stage.

        Raises:
            InputError: the medical rows are to stay, and the mixture or the file has none.
        """
        config = replace(self.config, mixture=_reshared(self.config.mixture, shares), seed=seed)
        if mode == "fixed-domain":
            return replace(config, samples=self._with_all_domain_rows(shares))
        return replace(config, samples=self._with_equal_tokens(config))

    def _with_all_domain_rows(self, shares: Sequence[float]) -> int:
        own = self.config.mixture
        domain = round(self.config.samples * own[0].share / sum(item.share for item in own))
        if not domain or not shares[0]:
            raise InputError(
                f"stage '{self.config.stage}': fixed-domain keeps the rows of the mixture's first "
                "part, and there are none"
            )
        return round(domain / shares[0])

    def _with_equal_tokens(self, config: StageConfig) -> int:
        wanted = self.tokens(self.config)
        samples = self.config.samples
        for _ in range(CORRECTIONS):
            held = self.tokens(replace(config, samples=samples))
            samples = max(1, round(samples * wanted / held))
        return samples

    def tokens(self, config: StageConfig) -> int:
        """Tokens of the rows that a stage reads, before it fills up its last global batch."""
        drawn, _ = select(self.index, config.mixture, config.samples, config.seed)
        places = pc.index_in(drawn["id"], value_set=self.index["id"])
        return int(np.sum(self.index["tokens"].take(places).to_numpy()))


def _reshared(mixture: Sequence[MixtureItem], shares: Sequence[float]) -> list[MixtureItem]:
    return [replace(item, share=share) for item, share in zip(mixture, shares, strict=True)]
