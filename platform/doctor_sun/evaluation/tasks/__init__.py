"""The benchmarks by name. A new one is a file here that makes `TASKS`, and its line below."""

from doctor_sun.config import unknown_key
from doctor_sun.errors import InputError
from doctor_sun.evaluation.tasks import (
    bbh,
    ceval,
    cmb,
    mbpp,
    medqa,
    mmbench,
    own,
    path_vqa,
    phantom,
    pmc_vqa,
    pubmedqa,
    shapes,
    slake,
    vqa_med,
    vqa_rad,
)
from doctor_sun.evaluation.tasks.task import Item, Prompts, Task

MODULES = (
    *(phantom, shapes, vqa_rad, slake, path_vqa, vqa_med, pmc_vqa, mmbench),
    *(medqa, pubmedqa, cmb, ceval, bbh, mbpp, own),
)
TASKS: dict[str, Task] = {task.name: task for module in MODULES for task in module.TASKS}


def find_task(name: str) -> Task:
    """The task of a name; case, `_` and a missing dash do not matter (`VQA_RAD`, `pathvqa`).

    Raises:
        InputError: there is none; the message names the nearest.
    """
    plain = {known.replace("-", ""): task for known, task in TASKS.items()}
    found = plain.get(name.lower().replace("_", "").replace("-", ""))
    if found is None:
        message = unknown_key(name, list(TASKS), "the benchmarks")
        message = message.replace("unknown key", "unknown task")
        raise InputError(message.replace("known key is", "known task is"))
    return found


__all__ = ["TASKS", "Item", "Prompts", "Task", "find_task"]
