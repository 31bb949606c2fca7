"""What is said about a phantom: captions, questions and answers, born in English and Chinese.

Nothing here is translated: each sentence has templates in both languages, so what is true of a
picture is said exactly in either. Answers are short and canonical, one per truth and language.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from doctor_sun.data.tiny.phantom import FINDINGS, NORMAL, SIDES, ZONES, Cell
from doctor_sun.records import Language

Kind = Literal["abnormality", "side", "zone", "yes_no"]
KINDS: tuple[Kind, ...] = ("abnormality", "side", "zone", "yes_no")

WORDS: dict[Language, dict[str, str]] = {
    "en": {
        **{name: name for name in (*FINDINGS, *SIDES)},
        **{zone: f"{zone} zone" for zone in ZONES},
        **{"yes": "yes", "no": "no"},
    },
    "zh": {
        **{"normal": "正常", "nodule": "结节", "consolidation": "实变"},
        **{"pleural effusion": "胸腔积液", "pneumothorax": "气胸", "cardiomegaly": "心脏增大"},
        **{"left": "左侧", "right": "右侧"},
        **{"upper": "上野", "middle": "中野", "lower": "下野"},
        **{"yes": "是", "no": "否"},
    },
}
CAPTIONS: dict[Language, dict[str, tuple[str, ...]]] = {
    "en": {
        "normal": (
            "Normal chest radiograph.",
            "Chest radiograph without abnormality.",
            "The lungs are clear and the heart size is normal.",
        ),
        "cardiomegaly": (
            "Chest radiograph showing cardiomegaly.",
            "The heart is enlarged: cardiomegaly.",
            "Cardiomegaly with clear lungs.",
        ),
        "zoned": (
            "Chest radiograph showing a {finding} in the {side} {zone}.",
            "There is a {finding} in the {zone} of the {side} lung.",
            "{Side} {zone} {finding} on the chest radiograph.",
        ),
        "sided": (
            "Chest radiograph showing a {side} {finding}.",
            "There is a {finding} on the {side} side.",
            "{Side} {finding} on the chest radiograph.",
        ),
    },
    "zh": {
        "normal": ("正常胸片。", "胸片未见异常。", "双肺清晰，心影大小正常。"),
        "cardiomegaly": ("胸片显示心脏增大。", "心影增大：心脏增大。", "心脏增大，双肺清晰。"),
        "zoned": (
            "胸片显示{side}肺{zone}{finding}。",
            "{side}肺{zone}可见{finding}。",
            "胸片：{side}{zone}有{finding}。",
        ),
        "sided": (
            "胸片显示{side}{finding}。",
            "{side}可见{finding}。",
            "胸片：{side}有{finding}。",
        ),
    },
}
INSTRUCTIONS: dict[Language, tuple[str, ...]] = {
    "en": ("Describe this image.", "What does this image show?", "Give a short caption."),
    "zh": ("描述这张图像。", "这张图像显示了什么？", "给出简短的说明。"),
}
QUESTIONS: dict[Language, dict[str, tuple[str, ...]]] = {
    "en": {
        "abnormality": (
            "What abnormality is seen in this chest radiograph?",
            "What is the main finding in this image?",
            "Which abnormality does the image show?",
        ),
        "side": (
            "On which side is the abnormality?",
            "Is the finding on the left or the right side?",
            "Which side of the chest is affected?",
        ),
        "zone": (
            "In which zone of the lung is the abnormality?",
            "Which lung zone is affected?",
            "Is the finding in the upper, middle or lower zone?",
        ),
        "is_normal": (
            "Is this chest radiograph normal?",
            "Does this chest radiograph look normal?",
        ),
        "is_present": ("Is there {finding} in this image?", "Does this image show {finding}?"),
    },
    "zh": {
        "abnormality": (
            "这张胸片可见什么异常？",
            "这张图像的主要发现是什么？",
            "图像显示哪种异常？",
        ),
        "side": ("异常位于哪一侧？", "病变在左侧还是右侧？", "胸部哪一侧受累？"),
        "zone": ("异常位于哪个肺野？", "哪个肺野受累？", "病变在上野、中野还是下野？"),
        "is_normal": ("这张胸片正常吗？", "这张胸片看起来正常吗？"),
        "is_present": ("图像中有{finding}吗？", "这张图像显示{finding}吗？"),
    },
}
ARTICLES = {"nodule": "a nodule", "pleural effusion": "a pleural effusion"}  # others take none


@dataclass(frozen=True)
class Item:
    """One question about a phantom."""

    kind: Kind
    question: str
    answer: str
    options: tuple[str, ...]
    """Every canonical answer to a question of this kind, in the question's language."""


def _pick(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]


def options_of(kind: Kind, language: Language) -> tuple[str, ...]:
    """The canonical answers to a kind of question."""
    keys = {"abnormality": FINDINGS, "side": SIDES, "zone": ZONES, "yes_no": ("yes", "no")}[kind]
    return tuple(WORDS[language][key] for key in keys)


def caption(cell: Cell, language: Language, rng: np.random.Generator | None = None) -> str:
    """One sentence that says all that is true of the cell; without `rng` always the same one."""
    words = WORDS[language]
    form = "zoned" if cell.finding in ("nodule", "consolidation") else "sided"
    templates = CAPTIONS[language].get(cell.finding) or CAPTIONS[language][form]
    values = {key: words[value] for key, value in _parts(cell).items()}
    if language == "zh" and form == "zoned":
        values["side"] = values["side"].removesuffix("侧")
    side = values.get("side", "")
    finding = values["finding"]
    template = templates[0] if rng is None else _pick(templates, rng)
    text = template.format(**values, Side=side.capitalize())
    return text.replace(f"a {finding}", ARTICLES.get(finding, finding))


def _parts(cell: Cell) -> dict[str, str]:
    named = {"finding": cell.finding, "side": cell.side, "zone": cell.zone}
    return {key: value for key, value in named.items() if value}


def kinds_for(cell: Cell) -> tuple[Kind, ...]:
    """The kinds of question that make sense for a cell."""
    if not cell.side:
        return ("abnormality", "yes_no")
    return KINDS if cell.zone else ("abnormality", "side", "yes_no")


def ask(
    kind: Kind,
    cell: Cell,
    language: Language,
    rng: np.random.Generator,
    truth: bool | None = None,
) -> Item:
    """A question of a kind with its answer; `truth` decides a closed one's, else chance does.

    Over cells drawn by `draw_phantom`, closed questions are answered yes and no equally often,
    and so is each of their wordings: the wording alone tells nothing.
    """
    if kind == "yes_no":
        truth = bool(rng.integers(2)) if truth is None else truth
        return _closed(cell, language, rng, truth)
    key = {"abnormality": cell.finding, "side": cell.side, "zone": cell.zone}[kind]
    question = _pick(QUESTIONS[language][kind], rng)
    return Item(kind, question, WORDS[language][key], options_of(kind, language))


def _closed(cell: Cell, language: Language, rng: np.random.Generator, truth: bool) -> Item:
    """A yes/no question whose answer is `truth`."""
    findings = [name for name in FINDINGS if name != NORMAL]
    if truth:
        asked = cell.finding
    elif cell.finding == NORMAL:
        asked = _pick(findings, rng)
    else:
        asked = _pick([name for name in (NORMAL, *findings) if name != cell.finding], rng)
    if asked == NORMAL:
        question = _pick(QUESTIONS[language]["is_normal"], rng)
    else:
        word = WORDS[language][asked]
        shown = ARTICLES.get(word, word) if language == "en" else word
        question = _pick(QUESTIONS[language]["is_present"], rng).format(finding=shown)
    answer = WORDS[language]["yes" if truth else "no"]
    return Item("yes_no", question, answer, options_of("yes_no", language))
