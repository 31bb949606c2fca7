"""The benchmarks by name. A new one is a file here that makes a `Task`, and its line below."""

from doctor_sun.config import unknown_key
from doctor_sun.errors import InputError
from doctor_sun.evaluation.tasks import phantom
from doctor_sun.evaluation.tasks.task import Item, Task

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        phantom.TASK,
        Task(name="vqa", family="vqa"),
        Task(name="vqa-rad", family="vqa"),
        Task(name="slake", family="vqa"),
        Task(name="path-vqa", family="vqa"),
        Task(name="medqa", family="medqa"),
        Task(name="pubmedqa", family="pubmedqa"),
    )
}


def find_task(name: str) -> Task:
    """The task of a name; case, `_` and a missing dash do not matter (`VQA_RAD`, `pathvqa`).

    Raises:
        InputError: there is none; the message names the nearest.
    """
    plain = {known.replace("-", ""): task for known, task in TASKS.items()}
    found = plain.get(name.lower().replace("_", "").replace("-", ""))
    if found is None:
        raise InputError(unknown_key(name, list(TASKS), "--task").replace("key", "task"))
    return found


__all__ = ["TASKS", "Item", "Task", "find_task"]
