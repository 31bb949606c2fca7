"""MBPP: programs in Python that have to pass three assertions, run in a sandbox.

Prompt and published extraction are OpenCompass's (mbpp_gen_830460, datasets/mbpp.py): three worked
problems before each, the program between [BEGIN] and [DONE] or in a fenced block.
"""

import re
from collections.abc import Iterator

from upath import UPath

from doctor_sun.data.benchmarks.mbpp import BENCHMARK, TEST_TASKS, problems
from doctor_sun.evaluation.sandbox import check_program
from doctor_sun.evaluation.scoring import Row, Score
from doctor_sun.evaluation.tasks.task import Item, Prompts, Task, item_of

PROMPT = (
    "You are an expert Python programmer, and here is your task: {question} "
    "Your code should pass these tests:\n\n {checks}  \n"
)
EXAMPLES = ("2", "3", "4")
NAMES = ("accuracy", "timeout", "failed", "wrong_answer")
"""The share that passes, and of what became of the others."""
MARKED = [
    rf"{begin}\s*{program}\s*{end}"
    for program in ("'(.*)'", "'(.*)", "(.*)")
    for end in (r"\[DONE\]", "DONE")
    for begin in (r"\[BEGIN\]", "BEGIN")
]
OPEN = [
    *(r"```python\s*(.*)\s*```", r"```\s*(.*)\s*```", r"```python\s*(.*)\s*$", r"```\s*(.*)\s*$"),
    *(r"(.*)\s*```.*", r"\[BEGIN\]\s*'(.*)", r"\[BEGIN\](.*)", r"'(.*)'\s*\[DONE\]"),
]
PUBLISHED = [re.compile(pattern, re.DOTALL) for pattern in (*MARKED, *OPEN)]
PUBLISHED_END = re.compile(r"'?\s*\[?DONE\]?")
FENCED = re.compile(r"```(?:python|py)?\s*\n(.*?)```", re.DOTALL | re.IGNORECASE)
DEFINES = re.compile(r"^\s*(?:def|class) ", re.MULTILINE)
SETUP = "setup"


def load(folder: UPath, prompts: Prompts) -> Iterator[Item]:
    """The test problems, each after three others with their programs.

    Raises:
        InputError: also where this system cannot contain a program: before anything is asked.
    """
    check_program("def one():\n    return 1", ["assert one() == 1"])
    found = {item.id: item for item in problems(folder)}
    asked = {
        key: PROMPT.format(question=item.question, checks="\n".join(item.checks))
        for key, item in found.items()
    }
    shots = tuple(
        (asked[key], f"[BEGIN]\n '{found[key].answer}' \n[DONE] \n\n ")
        for key in EXAMPLES
        if key in found
    )
    for key, item in found.items():
        if int(key) in TEST_TASKS:
            told = item_of(BENCHMARK, item, asked[key], "\n".join(item.checks))
            groups = {**told.groups, SETUP: item.context}
            yield Item(**{**vars(told), "shots": shots, "groups": groups})


def _verdict(program: str, row: Row) -> Score:
    tests = [line for line in row.answer.split("\n") if line.strip()]
    said = check_program(program, tests, setup=row.groups.get(SETUP, "")) if program else "failed"
    outcome = {name: float(said == name) for name in NAMES[1:]}
    return Score(metrics={"accuracy": float(said == "pass"), **outcome}, parsed=bool(program))


def published_program(text: str) -> str:
    """What the first of the published patterns finds, cut at a fence and at DONE."""
    found = next((match for pattern in PUBLISHED if (match := pattern.search(text))), None)
    program = (found[1] if found else text).split("```")[0]
    return PUBLISHED_END.split(program)[0].replace("\\_", "_").strip()


def corrected_program(text: str) -> str:
    """The first fenced block that defines something, else what [BEGIN] and [DONE] hold, or all."""
    blocks = [str(block) for block in FENCED.findall(text)]
    if blocks:
        return next((block for block in blocks if DEFINES.search(block)), blocks[0])
    _, found, after = text.partition("[BEGIN]")
    return (after if found else text).partition("[DONE]")[0].strip().strip("'")


def published(row: Row) -> Score:
    """Whether the program that the published rules find passes."""
    return _verdict(published_program(row.prediction), row)


def corrected(row: Row) -> Score:
    """Whether the program passes, found by its fences or marks alone."""
    return _verdict(corrected_program(row.prediction), row)


TASKS = (
    Task(
        name="mbpp",
        title="MBPP",
        source=BENCHMARK.source,
        split=BENCHMARK.version,
        items="500",
        prompt=PROMPT,
        published_by="OpenCompass mbpp_gen_830460",
        load=load,
        published=published,
        corrected=corrected,
        metrics={"published": NAMES, "corrected": NAMES},
        majority=False,
        max_tokens=512,
    ),
)
