"""What the tasks with free answers about pictures share: prompt, metrics, cuts.

MultiMedEval 1.0.0 (multimedeval/vqa.py) puts a hint before questions whose gold answer is exactly
"yes" or "no": the prompt tells the model which questions are closed, but not where the gold is
written "Yes" (SLAKE). `plain` prompts are the question alone.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from upath import UPath

from doctor_sun.data.benchmarks import Benchmark
from doctor_sun.evaluation.scoring import vqa
from doctor_sun.evaluation.tasks.task import Item, Prompts, Task, item_of
from doctor_sun.records import Language

HINT = "Answer the following question with yes or no. "
MULTIMEDEVAL = "MultiMedEval 1.0.0"
SCORING: dict[str, Any] = {
    "published": vqa.published,
    "corrected": vqa.corrected,
    "metrics": {"published": vqa.PUBLISHED, "corrected": vqa.CORRECTED},
}


def free_answers(
    benchmark: Benchmark,
    *,
    title: str,
    items: str,
    language: Language = "en",
    name: str | None = None,
    cuts: tuple[tuple[str, ...], ...] = (),
    only: Mapping[str, str] | None = None,
    published_by: str = MULTIMEDEVAL,
) -> Task:
    """The task of one language of a benchmark of questions about pictures.

    Args:
        benchmark: reads the publisher's files.
        title: the name in tables.
        items: how many questions the release has.
        language: of the questions that are asked.
        name: of the task, where it is not the benchmark's.
        cuts: groups whose values get a line of their own, beside closed and open.
        only: groups and the value that they must have.
        published_by: whose scoring `published` is.
    """
    wanted = (only or {}).items()

    def load(folder: UPath, prompts: Prompts) -> Iterator[Item]:
        for item in benchmark.load(folder):
            if item.language != language or not wanted <= item.groups.items():
                continue
            hint = HINT if prompts == "published" and item.answer in ("yes", "no") else ""
            asked = item_of(benchmark, item, f"{hint}{item.question}", item.answer)
            kind = "closed" if vqa.is_closed(item.answer) else "open"
            yield Item(**{**vars(asked), "groups": {**asked.groups, "kind": kind}})

    return Task(
        name=name or benchmark.name,
        title=title,
        benchmark=benchmark.name,
        source=benchmark.source,
        split=benchmark.version,
        items=items,
        prompt=f"[{HINT}]{{question}}",
        published_by=published_by,
        load=load,
        control_within=("language", "kind"),
        cuts=(("kind",), *cuts),
        **SCORING,
    )
