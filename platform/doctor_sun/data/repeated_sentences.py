"""Sentences that a text says again, and sentences that stand in very many texts of a source.

Inside a text a sentence that stands there already is taken out. Not so what is likely to be meant:
short sentences, list items, table lines; and, unless it follows its twin at once, a sentence with a
number in it or with a heading before it ("Left breast. No mass ... Right breast. No mass ...").

Across texts the sentences of answers of at least two sentences are counted by their MD5: each block
counts its own, Ray Data's hash shuffle adds the counts up, and only those above the limit reach the
driver. Ledger and figures name a sentence by its MD5, never by its words.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import ray.data
from upath import UPath

from doctor_sun.data.ledger import Decision, StepResult, Verdict
from doctor_sun.data.rows import collect, lines_of
from doctor_sun.data.text_form import CONTENT, conversations, normalised, sentences
from doctor_sun.errors import InputError
from doctor_sun.records import IMAGE_PLACEHOLDER

COUNTS = pa.schema(
    [
        ("source", pa.string()),
        ("md5", pa.binary(16)),  # of the sentence in normal form; ROWS for all rows of the source
        ("rows", pa.int64()),
        ("bucket", pa.uint16()),  # the key's first bytes: what the shuffle partitions by
    ]
)
SUMS = pa.schema([COUNTS.field(name) for name in ("source", "md5", "rows")])
ROWS = bytes(16)
LIST_ITEM = re.compile(
    r"\s*(?:[-*•·●▪|]|\(?（?(?:\d+|[A-Za-z]|[一二三四五六七八九十]+)[.)、．）:：])"
)
NUMBER = re.compile(
    r"\d|[一二两三四五六七八九十半](?:次|片|粒|支|包|滴|天|日|周|个?月|年|小时|毫[克升]|级|期|度|倍)"
    r"|\b(?:one|two|three|four|five|six|half|once|twice)\b",
    re.IGNORECASE,
)
REASONS = {"inside": "sentence repeated", "across": "sentence of very many rows"}
MODE_OF: Mapping[Verdict, str] = {"edited": "edit", "review": "review"}
MOST_NAMED = 20  # sentences of a source that the figures name


Turns = Sequence[tuple[str, str]]


@dataclass(kw_only=True)
class RepeatedSentencesConfig:
    """Which repeated sentences count, and what happens to them."""

    least_units: int = 6
    """Words (English) or characters (Chinese) that a sentence has at least; shorter ones are left
    alone."""

    inside: Literal["edit", "review"] = "edit"
    """What becomes of a row whose text says a sentence again: without the repetition, or kept as
    it is and marked for review."""

    across: Literal["count", "review", "edit"] = "count"
    """What becomes of sentences that stand in very many rows: counted only, rows marked for
    review, or taken out of answers of at least `long_answer` sentences."""

    least_rows: int = 100
    """Rows of a source that such a sentence stands in at least."""

    least_share: float = 0.01
    """Share of a source's rows that such a sentence stands in at least."""

    long_answer: int = 3
    """Sentences of an answer from which one may be taken out."""

    partitions: int = 16
    """Hash partitions of the counts: about one per 2,000,000 sentences. They never change the
    result."""


def decide(rows: ray.data.Dataset, config: RepeatedSentencesConfig, work: UPath) -> StepResult:
    """Take repetitions out of texts; count sentences that very many rows share.

    Raises:
        InputError: a number in the configuration is out of its range.
    """
    if not 0 <= config.least_share <= 1 or min(config.least_rows, config.least_units) < 1:
        raise InputError(
            "repeated_sentences needs 0 <= least_share <= 1, least_rows >= 1 and least_units >= 1"
        )
    common = common_sentences(rows, config)
    shared = {source: frozenset(counts) for source, counts in common.items()}

    def judge(table: pa.Table) -> pa.Table:
        return _lines(table, shared, config)

    lines = rows.map_batches(judge, batch_format="pyarrow", batch_size=None)
    return StepResult(lines=lines, figures={"in_many_rows": _figures(common)}, by_part=True)


def units(text: str) -> int:
    """Words (English) and characters (Chinese) of a text."""
    return len(CONTENT.findall(normalised(text)))


def repeated(pieces: Sequence[str], least_units: int) -> list[bool]:
    """[pieces] which sentences of a text only repeat an earlier one and can be taken out."""
    said: set[str] = set()
    found = []
    before = ""  # the sentence that stays before this one
    for piece in pieces:
        form = normalised(piece)
        again = form in said and units(form) >= least_units and not LIST_ITEM.match(piece)
        alone = form == before or not (NUMBER.search(form) or units(before) < least_units)
        found.append(again and alone and IMAGE_PLACEHOLDER not in piece)
        said.add(form)
        before = before if found[-1] else form
    return found


def without(pieces: Sequence[str], gone: Sequence[bool]) -> str:
    """A text without some of its sentences; the first stays, as do the ends of paragraphs."""
    kept: list[str] = []
    for number, (piece, out) in enumerate(zip(pieces, gone, strict=True)):
        if not out or not kept:
            kept.append(piece)
            continue
        blanks, before = piece[len(piece.rstrip()) :], kept[-1].rstrip()
        last = number == len(pieces) - 1
        if last or blanks.count("\n") > kept[-1][len(before) :].count("\n"):
            kept[-1] = before + blanks
    return "".join(kept)


@dataclass
class _Edit:
    """What a row would say, and why."""

    turns: list[dict[str, str]]
    counts: Counter[str]
    """Sentences found: `inside` the text before, `across` many rows."""


def _edit(said: Turns, shared: Collection[bytes], config: RepeatedSentencesConfig) -> _Edit:
    """A conversation without the sentences that the configuration takes out."""
    edit = _Edit([], Counter())
    for role, text in said:
        pieces = sentences(text)
        again = repeated(pieces, config.least_units)
        many = [False] * len(pieces)
        if shared and role == "assistant" and len(pieces) >= config.long_answer:
            many = [_md5(piece) in shared and IMAGE_PLACEHOLDER not in piece for piece in pieces]
            many[0] = False
        edit.counts.update({"inside": sum(again), "across": sum(many)})
        gone = [
            (a and config.inside == "edit") or (m and config.across == "edit")
            for a, m in zip(again, many, strict=True)
        ]
        edit.turns.append({"role": role, "text": without(pieces, gone) if any(gone) else text})
    return edit


def _lines(
    table: pa.Table, shared: Mapping[str, Collection[bytes]], config: RepeatedSentencesConfig
) -> pa.Table:
    """The lines of a block."""
    own: list[Decision | None] = []
    reviews: dict[int, Decision] = {}
    columns = (table["id"].to_pylist(), table["source"].to_pylist(), conversations(table["turns"]))
    for number, (id, source, said) in enumerate(zip(*columns, strict=True)):
        edit = _edit(said, shared.get(source, ()), config)
        edited, marked = (_decision(id, source, edit, verdict, config) for verdict in MODE_OF)
        own.append(edited or marked)
        if edited and marked:
            reviews[number] = marked
    more = lines_of(table.take(pa.array(list(reviews), pa.int64())), reviews.values())
    more = more.filter(pc.equal(more["verdict"], "review"))
    return pa.concat_tables([lines_of(table, own), more])


def _decision(
    id: str,
    source: str,
    edit: _Edit,
    verdict: Verdict,
    config: RepeatedSentencesConfig,
) -> Decision | None:
    """What was found of the kind that leads to this verdict, if anything."""
    modes = {"inside": config.inside, "across": config.across}
    found = {
        name: count
        for name, count in edit.counts.items()
        if count and modes[name] == MODE_OF[verdict]
    }
    if not found:
        return None
    return Decision(
        id=id,
        source=source,
        verdict=verdict,
        reason=" and ".join(REASONS[name] for name in found),
        evidence=found,
        turns=edit.turns if verdict == "edited" else None,
    )


def common_sentences(
    rows: ray.data.Dataset, config: RepeatedSentencesConfig
) -> dict[str, dict[bytes, int]]:
    """The sentences that very many rows share: by source, rows by MD5 (`ROWS`: all its rows)."""

    def count(table: pa.Table) -> pa.Table:
        return _counts(table, config.least_units)

    def add_up(table: pa.Table) -> pa.Table:
        sums = table.group_by(["source", "md5"]).aggregate([("rows", "sum")])
        enough = pc.greater_equal(sums["rows_sum"], config.least_rows)
        wanted = pc.or_(enough, pc.equal(sums["md5"], pa.scalar(ROWS, COUNTS.field("md5").type)))
        return sums.filter(wanted).rename_columns({"rows_sum": "rows"}).select(SUMS.names)

    counted = rows.map_batches(count, batch_format="pyarrow", batch_size=None)
    together = counted.repartition(config.partitions, keys=["bucket"])
    sums = collect(together.map_batches(add_up, batch_format="pyarrow", batch_size=None), SUMS)
    found: dict[str, dict[bytes, int]] = {}
    for line in sums.sort_by([("source", "ascending"), ("md5", "ascending")]).to_pylist():
        own = found.setdefault(line["source"], {})  # ROWS is the smallest key: it comes first
        if line["md5"] == ROWS or line["rows"] >= config.least_share * own[ROWS]:
            own[line["md5"]] = line["rows"]
    return found


def _counts(table: pa.Table, least_units: int) -> pa.Table:
    """In how many rows of a block each sentence of a longer answer stands, by `COUNTS`."""
    counter: Counter[tuple[str, bytes]] = Counter()
    columns = (table["source"].to_pylist(), conversations(table["turns"]))
    for source, said in zip(*columns, strict=True):
        counter[source, ROWS] += 1
        answers = [sentences(text) for role, text in said if role == "assistant"]
        pieces = {piece for answer in answers if len(answer) > 1 for piece in answer}
        own = {_md5(piece) for piece in pieces if units(piece) >= least_units}
        counter.update((source, key) for key in own)
    keys = [key for _, key in counter]
    return pa.table(
        {
            "source": [source for source, _ in counter],
            "md5": keys,
            "rows": list(counter.values()),
            "bucket": [int.from_bytes(key[:2]) for key in keys],
        },
        schema=COUNTS,
    )


def _md5(sentence: str) -> bytes:
    return hashlib.md5(normalised(sentence).encode()).digest()


def _figures(common: Mapping[str, Mapping[bytes, int]]) -> dict[str, Any]:
    """By source: its rows, sentences that very many of them share, rows of the commonest."""
    figures = {}
    for source, counts in common.items():
        most = sorted(((rows, key) for key, rows in counts.items() if key != ROWS), reverse=True)
        figures[source] = {
            "rows": counts[ROWS],
            "sentences": len(most),
            "rows_by_md5": {key.hex(): rows for rows, key in most[:MOST_NAMED]},
        }
    return figures
