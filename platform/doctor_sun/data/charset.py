"""Rows whose characters are broken: mojibake, replacement and control characters, wrong script,
utterances of key mashing and of repeated symbols.
"""

import re
from dataclasses import dataclass

import ray.data

from doctor_sun.data.ledger import Decision, StepResult
from doctor_sun.data.rows import Row, decide_each
from doctor_sun.records import text_of

REPLACEMENT = "�"
CJK = re.compile(r"[㐀-䶿一-鿿豈-﫿]")
LATIN = re.compile(r"[A-Za-z]")
# What UTF-8 bytes of Chinese or typographic characters look like when read as Latin-1 or cp1252.
MOJIBAKE = re.compile(r"[À-ï][-¿Œœ–—‘-„†-‰‹›€Ÿ™Šš]{1,2}")


@dataclass(kw_only=True)
class CharsetConfig:
    """What makes a row's characters unusable."""

    mojibake: float = 0.05
    """Part of the characters in mojibake sequences from which a row is dropped."""

    control: float = 0.01
    """Part of control characters from which a row is dropped; fewer are removed from it."""

    own_script: float = 0.08
    """Part of the letters in the script of the declared language below which a row is dropped."""

    shortest: int = 20
    """Letters from which the script is judged."""

    symbols: float = 0.12
    """Part of an utterance's characters in runs of one symbol (such as !!!) from which a row is
    dropped."""

    unbroken: int = 50
    """Letters and stops without a blank (web addresses apart) from which a row is dropped."""


# Control characters other than white space, private use, surrogates, non-characters.
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ue000-\uf8ff\ud800-\udfff\ufffe\uffff]")
SYMBOL_RUN = re.compile(r"([^\w\s.:|+=~`-])\1{2,}")  # tables, code and blanks to fill are language
UNBROKEN = re.compile(r"[A-Za-z0-9;,./]+")


def fault(text: str, language: str, config: CharsetConfig) -> str:
    """Why a text is unusable in its declared language; "" when it is usable."""
    if REPLACEMENT in text:
        return "replacement characters"
    length = max(len(text), 1)
    if len(CONTROL.findall(text)) / length >= config.control:
        return "control characters"
    if sum(map(len, MOJIBAKE.findall(text))) / length >= config.mojibake:
        return "mojibake"
    chinese, latin = len(CJK.findall(text)), len(LATIN.findall(text))
    own = chinese if language == "zh" else latin
    if chinese + latin >= config.shortest and own / (chinese + latin) < config.own_script:
        return "wrong script"
    return ""


def junk(text: str, config: CharsetConfig) -> str:
    """Why an utterance is no language at all; "" when it is."""
    runs = sum(len(match[0]) for match in SYMBOL_RUN.finditer(text))
    if runs / max(len(text), 1) >= config.symbols:
        return "repeated symbols"
    words = (w for w in UNBROKEN.findall(text) if not w.startswith(("//", "www.")))
    return "unbroken characters" if any(len(w) >= config.unbroken for w in words) else ""


def decide(rows: ray.data.Dataset, config: CharsetConfig) -> StepResult:
    """Drop rows with broken characters; remove stray control characters from the others."""

    def judge(row: Row) -> Decision | None:
        text = text_of(row["turns"])
        faults = [fault(text, row["language"], config)]
        faults += [junk(turn["text"], config) for turn in row["turns"]]
        reason = next(filter(None, faults), "")
        if reason:
            return Decision(id=row["id"], source=row["source"], verdict="dropped", reason=reason)
        if not CONTROL.search(text):
            return None
        turns = [
            {"role": turn["role"], "text": CONTROL.sub("", turn["text"])} for turn in row["turns"]
        ]
        return Decision(
            id=row["id"],
            source=row["source"],
            verdict="edited",
            reason="control characters removed",
            turns=turns,
        )

    return decide_each(rows, judge)
