"""List the benchmarks: source, split, number of items, prompt, whose scoring is published.

python -m doctor_sun.evaluation.tasks [NAME ...]
"""

import argparse
import shutil
import textwrap

from doctor_sun.errors import one_line_errors
from doctor_sun.evaluation.tasks import TASKS, Task, find_task


def described(task: Task, width: int) -> str:
    """One task's paragraph."""
    lines = [f"{task.name}  ({task.title})"]
    facts = {
        "source": task.source,
        "split": task.split,
        "items": task.items,
        "published": f"{task.published_by}: {', '.join(task.metrics['published'])}",
        "corrected": ", ".join(task.metrics["corrected"]),
        "prompt": task.prompt.replace("\n", "\\n"),
    }
    for name, fact in facts.items():
        lines += textwrap.wrap(
            f"{name:<11}{fact}", width, initial_indent="  ", subsequent_indent=" " * 13
        )
    return "\n".join(lines)


def main() -> None:
    """Print every task, or those that are named."""
    parser = argparse.ArgumentParser(
        prog="python -m doctor_sun.evaluation.tasks", description="List the benchmarks."
    )
    parser.add_argument("names", nargs="*", help="only these")
    arguments = parser.parse_args()
    with one_line_errors():
        tasks = [find_task(name) for name in arguments.names] or list(TASKS.values())
    width = min(100, shutil.get_terminal_size().columns)
    print("\n\n".join(described(task, width) for task in tasks))


if __name__ == "__main__":
    main()
