"""Rows with known leaks for `decontamination.py`: real text that packages carry, rendered pictures.

Held-out sets: chest reports of Open-I (findings asked, impression answered), general instructions
in English and Chinese, medical items of MMLU's dev split, multiple-choice and case questions made
from a disease table in both languages, and questions about phantom radiographs of test anatomies.
"""

import io
import json
import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np
from PIL import Image

from doctor_sun.data.assets import ASSETS, read_member
from doctor_sun.data.image_fingerprint import fingerprint
from doctor_sun.data.rows import THIN_SCHEMA
from doctor_sun.data.tiny.disease_knowledge import load_diseases
from doctor_sun.data.tiny.general_text import load_instructions
from doctor_sun.data.tiny.openi_reports import load_reports
from doctor_sun.data.tiny.outlines import load_outlines
from doctor_sun.data.tiny.phantom import draw_phantom, encode, render
from doctor_sun.data.tiny.phantom_language import ask, kinds_for

IMAGE_SIZE = 128
ORDERS = {"en": "Write the impression for these findings: ", "zh": ""}
STEMS = {
    "en": "Which of the following is not usually given for {}?",
    "zh": "下列哪项一般不用于治疗{}",
}
CASES = {
    "en": "A {age}-year-old patient has had {signs} for {days} days. Which disease is most likely?",
    "zh": "患者{age}岁，出现{signs}已{days}天，最可能患的是哪种疾病？",
}
COMMON = (
    *("Is there a fracture?", "What does this image show?", "Which of the following is correct?"),
    *(
        "What is the most likely diagnosis?",
        "下列哪项是正确的？",
        "图中有什么异常？",
        "最可能的诊断是",
    ),
)
MMLU_PACKAGE = "lm-eval"
MMLU_MEMBER = "lm_eval/tasks/mmlu/flan_cot_fewshot/_cot_prompts.json"
MMLU_SUBJECTS = (
    *("anatomy", "clinical_knowledge", "college_biology", "college_medicine", "human_aging"),
    *("human_sexuality", "medical_genetics", "nutrition", "professional_medicine", "virology"),
)
MMLU_ITEM = re.compile(r"Q: (.*?)\n(\(A\).*?)\nA: .*?answer is \(([ABCD])\)", re.DOTALL)
MMLU_OPTION = re.compile(r"\([ABCD]\) (.*?)(?= \([ABCD]\) |$)", re.DOTALL)
CHANGED = str.maketrans(
    {",": " ;", ".": " ", "?": " ??", "-": " - ", "，": "；", "。": "\n", "？": ""}
)


reports = cache(load_reports)
diseases = cache(load_diseases)


@dataclass(frozen=True)
class Question:
    """A held-out item as this benchmark makes it."""

    set: str
    id: str
    language: str
    question: str
    answer: str
    options: tuple[str, ...] = ()
    image: bytes | None = None


@dataclass
class Rows:
    """Rows in the making, and what each was planted as."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)

    def add(
        self, kind: str, language: str, user: str, answer: str, image: bytes | None = None
    ) -> None:
        """One row; `kind` names what was planted, "" for nothing."""
        found = fingerprint(image) if image else None
        names = ("file", "perceptual", "mirrored")
        turns = [("user", ("<image>\n" if image else "") + user), ("assistant", answer)]
        self.rows.append(
            {
                **dict.fromkeys(THIN_SCHEMA.names, ""),
                **{"id": f"row-{len(self.rows)}", "source": kind or "base", "language": language},
                **{"domain": "medical", "task": "instruction", "split": "train", "parents": []},
                "image_keys": [found.pixels] if found else [],
                "fingerprints": [{n: getattr(found, n) for n in names}] if found else [],
                "turns": [{"role": role, "text": text} for role, text in turns],
            }
        )
        self.kinds.append(kind)


def held_out(count: int) -> list[Question]:
    """About `count` items of each set."""
    makers = (_reports, _instructions, _mmlu, _choices, _cases, _phantoms)
    return [item for make in makers for item in make(count)]


def _reports(count: int) -> Iterator[Question]:
    said = Counter(report.findings.lower() for report in reports())
    unique = [r for r in reports() if said[r.findings.lower()] == 1]
    for report in [r for r in unique if len(r.findings.split()) >= 25][::7][:count]:
        question = ORDERS["en"] + report.findings
        yield Question("reports", report.key, "en", question, report.impression)


def _instructions(count: int) -> Iterator[Question]:
    every = load_instructions()
    for number, instruction in enumerate(every[:: max(1, len(every) // count)][:count]):
        question, answer = instruction.question, instruction.answer
        yield Question("instructions", str(number), instruction.language, question, answer)


def _mmlu(count: int) -> Iterator[Question]:
    """Medical items of MMLU's dev split, where the package that carries them can be had."""
    packed = read_member(MMLU_PACKAGE, MMLU_MEMBER) if MMLU_PACKAGE in ASSETS else None
    for subject, text in json.loads(packed or b"{}").items():
        if subject not in MMLU_SUBJECTS:
            continue
        for number, (asked, listed, letter) in enumerate(MMLU_ITEM.findall(text)):
            options = tuple(option.strip() for option in MMLU_OPTION.findall(listed))
            if len(options) == len("ABCD"):
                answer = options["ABCD".index(letter)]
                name = f"{subject}-{number}"
                yield Question("mmlu", name, "en", asked.strip(), answer, options)


def _choices(count: int) -> Iterator[Question]:
    rng = np.random.default_rng(5)
    for language, table in diseases().items():
        for name, disease in table[: count // 2]:
            wrong = table[int(rng.integers(len(table)))][1]["medications"][0]
            options = (*disease["medications"][:3], wrong)
            question = STEMS[language].format(name)
            yield Question("choices", f"{language}-{name}", language, question, wrong, options)


def _cases(count: int) -> Iterator[Question]:
    tables = diseases()
    for number in range(min(count, len(tables["en"]))):
        yield _case(number, "en")


def _case(number: int, language: str) -> Question:
    """The same case in either language."""
    name, disease = diseases()[language][number]  # type: ignore[index]
    signs = (", " if language == "en" else "、").join(disease["symptoms"])
    values = {"age": 20 + number % 60, "signs": signs, "days": 2 + number % 9}
    question = CASES[language].format(**values)
    return Question("cases", f"case-{number}", language, question, name)


def _phantoms(count: int) -> Iterator[Question]:
    outlines = load_outlines()
    for number in range(count):
        phantom = draw_phantom((41, number), outlines, "test")
        image = encode(render(phantom, outlines, IMAGE_SIZE))
        language = "en" if number % 2 else "zh"
        kind = kinds_for(phantom.cell)[0]
        item = ask(kind, phantom.cell, language, np.random.default_rng(number), truth=True)
        options = tuple(item.options)
        name = f"phantom-{number}"
        yield Question("phantoms", name, language, item.question, item.answer, options, image)


def planted(items: Sequence[Question], each: int, rows: Rows) -> None:
    """Leaks of every kind, `each` of them."""
    texts = [item for item in items if item.image is None and item.set != "cases"]
    choices = [item for item in items if item.set == "choices"]
    pictures = [item for item in items if item.image is not None]
    documents = _documents({item.id for item in items})
    for number in range(each):
        rng = np.random.default_rng([9, number])
        one, other = (texts[(number * step) % len(texts)] for step in (7, 11))
        rows.add("verbatim", one.language, _asked(one), one.answer)
        rows.add("re-punctuated", other.language, _dressed(_asked(other)), _dressed(other.answer))
        inside = texts[(number * 13) % len(texts)]
        rows.add("embedded", "en", _embedded(inside, next(documents), rng), "Noted.")
        choice = choices[number % len(choices)]
        rows.add("options reordered", choice.language, _asked(choice, rng), choice.answer)
        item = pictures[number % len(pictures)]
        for kind, change in CHANGES.items():
            rows.add(kind, item.language, COMMON[1], "A chest radiograph.", change(item.image))
        rows.add("pair", item.language, item.question, item.answer, item.image)
    for number in range(min(each, sum(item.set == "cases" for item in items))):
        case = _case(number, "zh")
        rows.add("translated", "zh", case.question, case.answer)


def _asked(item: Question, rng: np.random.Generator | None = None) -> str:
    """Question and options, these in another order on request."""
    options = list(item.options)
    if rng is not None:
        options = [options[i] for i in rng.permutation(len(options))]
    return "\n".join(
        [item.question, *(f"{n}. {o}" for n, o in zip("ABCDEF", options, strict=False))]
    )


def _dressed(text: str) -> str:
    """Other punctuation, white space, case and width of digits; the same words."""
    wide = str.maketrans("0123456789", "０１２３４５６７８９")
    return text.translate(CHANGED).translate(wide).upper().replace(" ", "  ")


def _documents(used: Container[str]) -> Iterator[list[str]]:
    """Paragraphs of reports that are not held out."""
    unused = [r.findings for r in reports() if r.key not in used]
    while True:
        for start in range(0, len(unused) - 20, 14):
            yield unused[start : start + 20]


def _embedded(item: Question, paragraphs: Sequence[str], rng: np.random.Generator) -> str:
    """The item inside a long document, a paragraph broken within its question."""
    middle = int(rng.integers(1, len(item.question)))
    space = item.question.find(" ", middle)
    if item.language == "zh" and not item.question[middle - 1 : middle + 1].isascii():
        space = middle
    cut = max(space, 0)
    broken = f"{item.question[:cut]}\n\n{_asked(item)[cut:]} {item.answer}"
    at = int(rng.integers(len(paragraphs)))
    return "\n\n".join([*paragraphs[:at], broken, *paragraphs[at:]])


def _as_png(encoded: bytes) -> bytes:
    """The same pixels in another file."""
    with Image.open(io.BytesIO(encoded)) as image:
        return encode(np.asarray(image), compress_level=1)


def _as_jpeg(encoded: bytes, factor: float = 1.0) -> bytes:
    stream = io.BytesIO()
    with Image.open(io.BytesIO(encoded)) as image:
        size = round(image.width * factor), round(image.height * factor)
        image.resize(size).convert("RGB").save(stream, "JPEG", quality=90)
    return stream.getvalue()


CHANGES: dict[str, Callable[[Any], bytes]] = {
    "other question": lambda encoded: encoded,
    "other file": _as_png,
    "JPEG": _as_jpeg,
    "larger": partial(_as_jpeg, factor=1.5),
    "smaller": partial(_as_jpeg, factor=0.75),
}


def hard_negatives(items: Sequence[Question], each: int, rows: Rows) -> None:
    """Rows that a careless check would drop, `each` of five kinds."""
    outlines = load_outlines()
    phantoms = [item for item in items if item.image is not None]
    choices = [item for item in items if item.set == "choices"]
    sentences = [s for r in reports()[5::9] for s in r.findings.split(". ") if len(s) < 60]
    for number in range(each):
        rng = np.random.default_rng([13, number])
        item = phantoms[number % len(phantoms)]
        image = encode(render(draw_phantom((43, number), outlines, "train"), outlines, IMAGE_SIZE))
        rows.add("same question, other picture", item.language, item.question, item.answer, image)
        rows.add("same question, no picture", item.language, item.question, item.answer)
        choice = choices[number % len(choices)]
        wrong = [choices[int(i)].options[0] for i in rng.integers(len(choices), size=4)]
        text = "\n".join([choice.question, *(o for o in wrong if o not in choice.options)])
        rows.add("same stem, other options", choice.language, text, "None of them.")
        common = COMMON[number % len(COMMON)]
        rows.add("common question", "en", common, sentences[int(rng.integers(len(sentences)))])
        normal = [sentences[int(i)] for i in rng.integers(len(sentences), size=8)]
        rows.add("report boilerplate", "en", ORDERS["en"] + ". ".join(normal), "Normal chest.")


def base_rows(items: Sequence[Question], count: int, rows: Rows) -> None:
    """Other rows: reports, instructions, disease facts, phantoms of training anatomies."""
    used = {item.id for item in items} | {item.question for item in items}
    tables, outlines, general = diseases(), load_outlines(), load_instructions()
    texts = [
        *(("en", ORDERS["en"] + r.findings, r.impression) for r in reports() if r.key not in used),
        *((i.language, i.question, i.answer) for i in general if i.question not in used),
    ]
    for language, table in tables.items():
        for name, disease in table:
            for fact in ("symptoms", "medications"):
                texts += [(language, f"{name}: {fact}?", ", ".join(disease[fact]))]  # type: ignore[literal-required]
    pictures = count // 10
    for number in range(pictures):
        phantom = draw_phantom((47, number), outlines, "train")
        rng = np.random.default_rng(number)
        language = "en" if number % 2 else "zh"
        item = ask(kinds_for(phantom.cell)[0], phantom.cell, language, rng)
        image = encode(render(phantom, outlines, IMAGE_SIZE))
        rows.add("", language, item.question, item.answer, image)
    for number in range(count - pictures):
        language, question, answer = texts[number % len(texts)]
        again = number // len(texts)
        rows.add("", language, question if not again else f"[{again}] {question}", answer)
