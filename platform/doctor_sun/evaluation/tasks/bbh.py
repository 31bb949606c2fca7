"""BIG-Bench Hard: 27 reasoning tasks, three worked chains of thought before each question.

Prompt and published scoring are OpenCompass's (bbh_gen_5b92b0, datasets/bbh.py as it was from
2023-10 to 2024-07): what follows the first "answer is ". The mean over tasks.
"""

import re
from collections.abc import Iterator

from upath import UPath

from doctor_sun.data.benchmarks.bbh import BENCHMARK
from doctor_sun.data.benchmarks.files import find
from doctor_sun.evaluation.scoring import Row, Score, hit
from doctor_sun.evaluation.tasks.task import Item, Prompts, Task, item_of

PROMPT = (
    "Follow the given examples and answer the question.\n{examples}\n\n"
    "Q: {question}\nA: Let's think step by step."
)
AFTER = "answer is "
LETTER = re.compile(r"\(([A-Z])\)")
OPENED = re.compile(r"\(([A-Z])")
CAPITAL = re.compile(r"[A-Z]")
BARE = re.compile(r"^\W*([A-Z])(?![A-Za-z])")
FINAL = re.compile(r"answer\s+is|answer:", re.IGNORECASE)


def load(folder: UPath, prompts: Prompts) -> Iterator[Item]:
    """The questions, each after its task's examples."""
    files = find(folder, "cot-prompts/*.txt", "lib_prompt/*.txt")
    examples = {file.stem: worked_examples(file) for file in files}
    for item in BENCHMARK.load(folder):
        shown = examples.get(item.groups["task"], "")
        yield item_of(
            BENCHMARK, item, PROMPT.format(examples=shown, question=item.context), item.keys
        )


def worked_examples(file: UPath) -> str:
    """A task's examples without the canary above them."""
    text = file.read_text(encoding="utf-8")
    return text.rpartition("-----\n")[2].strip()


def _choice(text: str) -> str:
    """The first letter behind a bracket, else the first capital."""
    if opened := OPENED.search(text):
        return opened[1]
    capital = CAPITAL.search(text)
    return capital[0] if capital else text


def published(row: Row) -> Score:
    """What stands behind the first "answer is ", up to the next; of free answers its line."""
    parts = row.prediction.split(AFTER)
    said = parts[1].strip() if len(parts) > 1 else row.prediction
    if LETTER.fullmatch(row.answer):
        return hit(_choice(said) == _choice(row.answer), bool(said))
    said = said.split("\n")[0].removesuffix(".")
    return hit(said == row.answer, bool(said))


def corrected(row: Row) -> Score:
    """What follows the last "answer is", else the last line; case, blanks and a period are free."""
    *before, last = FINAL.split(row.prediction.strip())
    lines = last.strip().splitlines() or [""]
    said = lines[0] if before else lines[-1]
    if LETTER.fullmatch(row.answer):
        letters = set(LETTER.findall(said)) or set(BARE.findall(said))
        return hit(letters == set(LETTER.findall(row.answer)), len(letters) == 1)
    plain = _plain(said)
    return hit(plain == _plain(row.answer), bool(plain))


def _plain(text: str) -> str:
    return "".join(text.replace("**", "").casefold().split()).removesuffix(".")


TASKS = (
    Task(
        name="bbh",
        title="BBH",
        source=BENCHMARK.source,
        split=BENCHMARK.version,
        items="6,511 in 27 tasks",
        prompt=PROMPT,
        published_by="OpenCompass bbh_gen_5b92b0 (2023-10 to 2024-07)",
        load=load,
        published=published,
        corrected=corrected,
        macro={"accuracy": "task"},
        max_tokens=512,
    ),
)
