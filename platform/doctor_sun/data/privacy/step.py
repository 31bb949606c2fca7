"""The curation step: rows with identifiers are dropped, rewritten with surrogates, or masked."""

import os
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import pyarrow as pa
import ray.data
from upath import UPath

from doctor_sun.data.ledger import Decision, StepResult
from doctor_sun.data.privacy.finder import find_identifiers
from doctor_sun.data.privacy.identifier import KINDS, Identifier, mask
from doctor_sun.data.privacy.surrogates import Surrogates
from doctor_sun.data.rows import Row, lines_of
from doctor_sun.errors import InputError

Verdict = Literal["drop", "replace", "mask"]
REASONS: Mapping[str, str] = {
    "drop": "identifiers found",
    "replace": "identifiers replaced",
    "mask": "identifiers masked",
}


@dataclass(kw_only=True)
class PrivacyConfig:
    """What happens to rows that hold personal identifiers."""

    kinds: list[str] = field(default_factory=lambda: list(KINDS))
    """Kinds that count; the others stay in the text."""

    verdict: Verdict = "mask"
    """`drop` the row (as the paper), `replace` each identifier with a surrogate, or `mask` it as
    [KIND]; for sources that `verdicts` does not name."""

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    """Verdict by source."""

    key_variable: str = "DOCTOR_SUN_PRIVACY_KEY"
    """Environment variable with the secret key of surrogates, 16 characters at least. Where it is
    not set, each run makes a key that is written nowhere: no later run, and no run that goes on
    after an interruption, gives the same surrogates."""

    actors: int = 1
    """Processes that search, one core each."""


def decide(rows: ray.data.Dataset, config: PrivacyConfig, work: UPath) -> StepResult:
    """Find the identifiers of every row; the ledger keeps their kinds and counts only.

    Args:
        rows: the rows of the curation.
        config: kinds and verdicts.
        work: unused, nothing is kept.

    Raises:
        InputError: the configuration names an unknown kind or verdict, or the key is too short.
    """
    _check(config)
    key = _key(config)
    lines = rows.map_batches(
        _Search,
        fn_constructor_args=(config, key),
        compute=ray.data.ActorPoolStrategy(size=config.actors),
        num_cpus=1,
        batch_size=None,
        batch_format="pyarrow",
    )
    keyed = config.key_variable in os.environ  # else a run that goes on has another key
    replaces = "replace" in (config.verdict, *config.verdicts.values())
    return StepResult(lines=lines, by_part=True, alone=keyed or not replaces)


def _check(config: PrivacyConfig) -> None:
    for kind in config.kinds:
        if kind not in KINDS:
            raise InputError(f"privacy.kinds: {kind} is none of {', '.join(KINDS)}")
    for verdict in (config.verdict, *config.verdicts.values()):
        if verdict not in get_args(Verdict):
            raise InputError(f"privacy: {verdict} is none of {', '.join(get_args(Verdict))}")


def _key(config: PrivacyConfig) -> bytes:
    """The secret key of this run's surrogates."""
    given = os.environ.get(config.key_variable)
    if given is None:
        return secrets.token_bytes(32)
    if len(given) < 16:
        raise InputError(f"the key in {config.key_variable} has fewer than 16 characters")
    return given.encode()


class _Search:
    """A process that judges rows; it loads the recognisers once."""

    def __init__(self, config: PrivacyConfig, key: bytes) -> None:
        self.config = config
        self.key = key
        self.kinds = frozenset(config.kinds)

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = table.select(["id", "source", "language", "turns"]).to_pylist()
        return lines_of(table, map(self.judge, rows))

    def judge(self, row: Row) -> Decision | None:
        """A row's decision, or None where it holds no identifier."""
        turns = row["turns"]
        found = find_in_turns([turn["text"] for turn in turns], row["language"], self.kinds)
        kinds = Counter(identifier.kind for turn in found for identifier in turn)
        if not kinds:
            return None
        verdict = self.config.verdicts.get(row["source"], self.config.verdict)
        surrogates = Surrogates(self.key, row["source"])
        edited = []
        for turn, identifiers in zip(turns, found, strict=True):
            if verdict == "replace":
                text = surrogates.replace(turn["text"], identifiers, row["id"])
            else:
                text = mask(turn["text"], identifiers)
            edited.append({"role": turn["role"], "text": text})
        return Decision(
            id=row["id"],
            source=row["source"],
            verdict="dropped" if verdict == "drop" else "edited",
            reason=REASONS[verdict],
            evidence={"kinds": dict(sorted(kinds.items()))},
            turns=None if verdict == "drop" else edited,
        )


def find_in_turns(
    texts: list[str], language: str, kinds: frozenset[str] = frozenset(KINDS)
) -> list[list[Identifier]]:
    """The identifiers of a conversation, turn by turn.

    The turns are searched as one text: a name that one turn gives away is found in the others.
    """
    joined = "\n".join(texts)
    found = [item for item in find_identifiers(joined, language) if item.kind in kinds]
    return [list(_within(found, start, len(text))) for start, text in _starts(texts)]


def _starts(texts: list[str]) -> Iterator[tuple[int, str]]:
    """Where each text begins in the joined one."""
    start = 0
    for text in texts:
        yield start, text
        start += len(text) + 1


def _within(found: list[Identifier], start: int, length: int) -> Iterator[Identifier]:
    """The identifiers, or their parts, of one turn, by its own offsets."""
    for item in found:
        begin, end = max(item.start - start, 0), min(item.end - start, length)
        if begin < end:
            yield Identifier(item.kind, begin, end)
