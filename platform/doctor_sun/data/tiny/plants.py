"""Faults planted in the tiny corpus, so that every curation step has a truth to be scored against.

A plant is one more row of a source, made from one of its clean rows (its twin): an exact or near
duplicate, a row with synthetic identifiers, a row whose words are shuffled, junk, text in a broken
character set, and (as a control that must survive) a report whose sides are exchanged.
"""

import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from doctor_sun.data.tiny.phantom import encode
from doctor_sun.data.tiny.source import Sample, Source, rng_for
from doctor_sun.data.tiny.synthetic_identifiers import sentence_with_identifiers
from doctor_sun.records import make_sample, text_of

TEXT_SOURCES = ("openi_reports", "disease_knowledge", "gnuhealth_terms", "general_text")
PROSE_SOURCES = ("openi_reports", "general_text")
ATTEMPTS = 50  # twins tried until one suits the kind
SHORTEST_EDITED = 24  # characters of an answer from which a near duplicate changes it
SHORTEST_SHUFFLED = 60  # characters of English; a third of that of Chinese


@dataclass(kw_only=True)
class PlantRates:
    """How many rows are planted, as parts of each source's rows."""

    exact_duplicate: float = 0.02
    """Copies, pictures encoded anew; in every source."""

    near_duplicate: float = 0.02
    """Copies with a slightly different wording; in every source."""

    identifier: float = 0.02
    """Rows with synthetic names, numbers and addresses; in the text sources."""

    shuffled: float = 0.015
    """Rows whose words (Chinese: characters) are shuffled; in the prose sources."""

    junk: float = 0.01
    """Rows whose answer is key mashing or an advertisement; in the text sources."""

    charset: float = 0.01
    """Rows with mojibake, replacement and control characters or the wrong language mark; text."""

    clinical_twin: float = 0.01
    """Control that must be kept: a report with left and right exchanged; in the reports."""


@dataclass(frozen=True)
class Planted:
    """One planted row and the truth about it."""

    sample: Sample
    kind: str
    twin: str
    detail: str

    def truth(self) -> dict[str, str]:
        """The row of `truth/planted.parquet`."""
        return {
            "id": self.sample["id"],
            "plant": self.kind,
            "twin": self.twin,
            "detail": self.detail,
            "source": self.sample["source"],
        }


Edit = Callable[[Sample, np.random.Generator], tuple[dict[str, Any], str] | None]


def _with_texts(sample: Sample, edit: Callable[[int, str], str]) -> dict[str, Any]:
    """Changed turns: `edit(number, text)` for each."""
    turns = [
        {"role": turn["role"], "text": edit(number, turn["text"])}
        for number, turn in enumerate(sample["turns"])
    ]
    return {"turns": turns}


def _exact_duplicate(sample: Sample, rng: np.random.Generator) -> tuple[dict[str, Any], str] | None:
    images = []
    for encoded in sample["images"]:
        with Image.open(io.BytesIO(encoded)) as image:
            images.append(encode(np.asarray(image), compress_level=1))
    return {"images": images}, ""


NEAR_EDITS = {
    "en": (
        lambda text: re.sub(r"[.]$", "", text) + " .",
        lambda text: re.sub(r"\b(a|an|the) ", "", text, count=1, flags=re.IGNORECASE),
        lambda text: re.sub(r",", " ,", re.sub(r"\. ", "; ", text, count=1)),
    ),
    "zh": (
        lambda text: re.sub(r"[。]$", "", text) + "！",
        lambda text: text.replace("，", "、").replace("的", "之", 1),
        lambda text: text.replace("。", "；", 1),
    ),
}
PREFIXES = {"en": ("Please: ", "Question: ", "Hello. "), "zh": ("请问：", "问题：", "您好，")}


def _near_duplicate(sample: Sample, rng: np.random.Generator) -> tuple[dict[str, Any], str] | None:
    language = sample["language"]
    edits, prefixes = NEAR_EDITS[language], PREFIXES[language]
    edit, prefix = edits[rng.integers(len(edits))], prefixes[rng.integers(len(prefixes))]

    last = len(sample["turns"]) - 1

    def change(number: int, text: str) -> str:
        if number == 0:
            head, mark, tail = text.partition("<image>\n")
            return f"{head}{mark}{prefix}{tail}" if mark else prefix + text
        # Short answers stay canonical: whichever twin is kept, it answers in the same form.
        return edit(text) if number == last and len(text) >= SHORTEST_EDITED else text

    return _with_texts(sample, change), ""


def _identifier(sample: Sample, rng: np.random.Generator) -> tuple[dict[str, Any], str] | None:
    text = sample["turns"][0]["text"]
    addition, spans = sentence_with_identifiers(sample["language"], rng)
    start = len(text) + 1
    detail = [
        {"turn": 0, "kind": kind, "start": start + begin, "end": start + end}
        for kind, begin, end in spans
    ]
    edited = _with_texts(sample, lambda n, t: f"{t} {addition}" if n == 0 else t)
    return edited, json.dumps(detail)


def _shuffle(text: str, language: str, rng: np.random.Generator) -> str:
    units = list(text) if language == "zh" else text.split()
    mixed = [units[i] for i in rng.permutation(len(units))]
    return ("" if language == "zh" else " ").join(mixed)


def _shuffled(sample: Sample, rng: np.random.Generator) -> tuple[dict[str, Any], str] | None:
    language = sample["language"]
    shortest = SHORTEST_SHUFFLED // (3 if language == "zh" else 1)
    if sum(len(turn["text"]) for turn in sample["turns"]) < 2 * shortest:
        return None
    return _with_texts(sample, lambda _, text: _shuffle(text, language, rng)), ""


ADVERTISEMENTS = {
    "en": "CLICK HERE >>> best price $$$ subscribe now!!! free gift www www buy buy buy ###",
    "zh": "点击领取优惠券！！！加V信免费送＞＞＞限时限时抢购抢购￥￥￥关注转发转发",
}


def _junk(sample: Sample, rng: np.random.Generator) -> tuple[dict[str, Any], str] | None:
    if rng.integers(2):
        keys = rng.choice(list("asdfjkl;qweruiopzxcvnm,./"), int(rng.integers(60, 120)))
        text, detail = "".join(keys), "keys"
    else:
        text, detail = ADVERTISEMENTS[sample["language"]], "advertisement"
        text = f"{text} {int(rng.integers(10**6))}"
    return _with_texts(sample, lambda n, t: text if n == len(sample["turns"]) - 1 else t), detail


def _charset(sample: Sample, rng: np.random.Generator) -> tuple[dict[str, Any], str] | None:
    text = text_of(sample["turns"])
    if len(text) < 30:
        return None
    if sample["language"] == "zh" and rng.integers(2):
        broken = _with_texts(sample, lambda _, t: t.encode().decode("cp1252", errors="ignore"))
        return broken, "mojibake"
    chinese, latin = len(re.findall("[一-鿿]", text)), len(re.findall("[A-Za-z]", text))
    if rng.integers(2) and max(chinese, latin) >= 30 and min(chinese, latin) == 0:
        return {"language": "en" if sample["language"] == "zh" else "zh"}, "wrong script"

    def damage(_: int, t: str) -> str:
        bad = "�" if rng.integers(2) else "\x07"
        return "".join(bad if rng.random() < 0.12 else c for c in t) + bad

    return _with_texts(sample, damage), "replacement or control characters"


OTHER_SIDE = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}


def _clinical_twin(sample: Sample, rng: np.random.Generator) -> tuple[dict[str, Any], str] | None:
    if not re.search(r"\b(left|right)\b", text_of(sample["turns"]), re.IGNORECASE):
        return None
    pattern = re.compile(r"\b([Ll]eft|[Rr]ight)\b")
    edited = _with_texts(sample, lambda _, t: pattern.sub(lambda m: OTHER_SIDE[m[0]], t))
    return edited, "side"


EDITS: Mapping[str, Edit] = {
    "exact_duplicate": _exact_duplicate,
    "near_duplicate": _near_duplicate,
    "identifier": _identifier,
    "shuffled": _shuffled,
    "junk": _junk,
    "charset": _charset,
    "clinical_twin": _clinical_twin,
}
SOURCES_OF = {
    "identifier": TEXT_SOURCES,
    "shuffled": PROSE_SOURCES,
    "junk": TEXT_SOURCES,
    "charset": TEXT_SOURCES,
    "clinical_twin": ("openi_reports",),
}  # the other kinds stand in every source


def plan(rates: PlantRates, source: str, rows: int) -> list[tuple[str, int]]:
    """Kind and number of each plant of a source with so many clean rows."""
    planned = []
    for kind in EDITS:
        if source in SOURCES_OF.get(kind, (source,)):
            planned += [(kind, number) for number in range(round(getattr(rates, kind) * rows))]
    return planned


def make_plant(kind: str, number: int, source: Source, rows: int, seed: int) -> Planted | None:
    """Plant `number` of a kind, from a random clean row below `rows` that suits it.

    Returns:
        The planted row with its truth; None where no row of the source suits the kind.
    """
    for attempt in range(ATTEMPTS):
        rng = rng_for(seed, f"{source.name} {kind} {attempt}", number)
        twin = source.sample(int(rng.integers(rows)))
        edited = EDITS[kind](twin, rng)
        if edited is None:
            continue
        changes, detail = edited
        columns = ("source", "domain", "language", "task", "turns", "images")
        fields = {column: twin[column] for column in columns} | changes
        key = f"{twin['source_key']}#{kind}-{number}"
        return Planted(make_sample(source_key=key, **fields), kind, twin["id"], detail)
    return None
