"""Rows whose characters are broken: mojibake, replacement and control characters, foreign scripts,
too many special characters, utterances of key mashing and of repeated symbols.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from functools import cache

import ray.data
from upath import UPath

from doctor_sun.data.ledger import Decision, StepResult
from doctor_sun.data.rows import Row, decide_each
from doctor_sun.data.source_settings import check_by_source, for_source
from doctor_sun.records import text_of

REPLACEMENT = "�"
CJK = re.compile(r"[㐀-䶿一-鿿豈-﫿]")
LATIN = re.compile(r"[A-Za-z]")
# What UTF-8 bytes of Chinese or typographic characters look like when read as Latin-1 or cp1252.
MOJIBAKE = re.compile(r"[À-ï][-¿Œœ–—‘-„†-‰‹›€Ÿ™Šš]{1,2}")


@dataclass(kw_only=True)
class CharsetConfig:
    """What makes a row's characters unusable, in general and by source."""

    mojibake: float = 0.05
    """Part of the characters in mojibake sequences from which a row is dropped."""

    control: float = 0.01
    """Part of control characters from which a row is dropped; fewer are removed from it."""

    own_script: float = 0.08
    """Part of the letters in the script of the declared language below which a row is dropped."""

    foreign: float = 0.2
    """Part of the letters that are neither Chinese, Latin nor Greek from which a row is
    dropped."""

    special: float = 0.35
    """Part of the characters that are neither letters, digits, blanks nor common punctuation from
    which a row is dropped."""

    shortest: int = 20
    """Letters from which scripts are judged, characters from which special ones are."""

    symbols: float = 0.12
    """Part of an utterance's characters in runs of one symbol (such as !!!) from which a row is
    dropped."""

    unbroken: int = 50
    """Letters and stops without a blank (web addresses apart) from which a row is dropped."""

    by_source: dict[str, dict[str, float]] = field(default_factory=dict)
    """Other limits by source, or by source and language (`source/zh`)."""

    def __post_init__(self) -> None:
        check_by_source(self.by_source, vars(self).keys() - {"by_source"})


# Control characters other than white space, private use, surrogates, non-characters.
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ue000-\uf8ff\ud800-\udfff\ufffe\uffff]")
SYMBOL_RUN = re.compile(r"([^\w\s.:|+=~`-])\1{2,}")  # tables, code and blanks to fill are language
UNBROKEN = re.compile(r"[A-Za-z0-9;,./]+")
# Neither letters, digits, blanks, nor the punctuation of prose, tables, code and formulas.
SPECIAL = re.compile(
    r"""[^\w\s.,;:!?'"()\[\]{}<>/\\|+\-*=_~`%&#@$^°±×÷≤≥≈→"""
    r"""，。；：！？、“”‘’「」（）【】《》〈〉—…·～％＋－＝／￥§•─━│┃┌┐└┘├┤]"""
)
OTHER_LETTER = re.compile(r"[^\W\d_A-Za-zÀ-ɏͰ-Ͽ㐀-䶿一-鿿豈-﫿]")


def fault(text: str, language: str, config: CharsetConfig) -> str:
    """Why a text is unusable in its declared language; "" when it is usable."""
    if REPLACEMENT in text:
        return "replacement characters"
    length = max(len(text), 1)
    if len(CONTROL.findall(text)) / length >= config.control:
        return "control characters"
    if text.isascii() and language == "en":
        return ""
    if sum(map(len, MOJIBAKE.findall(text))) / length >= config.mojibake:
        return "mojibake"
    if length >= config.shortest and len(SPECIAL.findall(text)) / length >= config.special:
        return "special characters"
    return _script_fault(text, language, config)


def _script_fault(text: str, language: str, config: CharsetConfig) -> str:
    """What is wrong with the scripts of a text."""
    foreign = sum(_is_foreign(letter) for letter in OTHER_LETTER.findall(text))
    chinese, latin = len(CJK.findall(text)), len(LATIN.findall(text))
    letters = chinese + latin + foreign
    if letters < config.shortest:
        return ""
    if foreign / letters >= config.foreign:
        return "foreign script"
    own = chinese if language == "zh" else latin
    return "wrong script" if own / letters < config.own_script else ""


@cache
def _is_foreign(letter: str) -> bool:
    """Whether it stays of another script in its plain form (full-width letters do not)."""
    plain = unicodedata.normalize("NFKC", letter)
    return any(map(OTHER_LETTER.match, plain))


def junk(text: str, config: CharsetConfig) -> str:
    """Why an utterance is no language at all; "" when it is."""
    runs = sum(len(match[0]) for match in SYMBOL_RUN.finditer(text))
    if runs / max(len(text), 1) >= config.symbols:
        return "repeated symbols"
    words = (w for w in UNBROKEN.findall(text) if not w.startswith(("//", "www.")))
    return "unbroken characters" if any(len(w) >= config.unbroken for w in words) else ""


def decide(rows: ray.data.Dataset, config: CharsetConfig, work: UPath) -> StepResult:
    """Drop rows with broken characters; remove stray control characters from the others."""
    known: dict[tuple[str, str], CharsetConfig] = {}

    def judge(row: Row) -> Decision | None:
        key = row["source"], row["language"]
        limits = known.get(key) or known.setdefault(key, for_source(config, *key))
        return _judged(row, limits)

    return decide_each(rows, judge)


def _judged(row: Row, limits: CharsetConfig) -> Decision | None:
    """Dropped, edited or, as None, left as it is."""
    turns = row["turns"]
    text = text_of(turns)
    faults = [fault(text, row["language"], limits)]
    faults += [junk(turn["text"], limits) for turn in turns]
    reason = next(filter(None, faults), "")
    if reason:
        return Decision(id=row["id"], source=row["source"], verdict="dropped", reason=reason)
    if not CONTROL.search(text):
        return None
    return Decision(
        id=row["id"],
        source=row["source"],
        verdict="edited",
        reason="control characters removed",
        turns=[{"role": t["role"], "text": CONTROL.sub("", t["text"])} for t in turns],
    )
