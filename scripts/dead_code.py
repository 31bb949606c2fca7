#!/usr/bin/env python
"""Functions, classes, methods and constants that nothing uses; being tested is not being used.

python scripts/dead_code.py
"""

import sys
from pathlib import Path

from vulture import Vulture

ROOT = Path(__file__).parent.parent
CODE = ("platform", "jobs", "serve", "tune", "scripts", "benchmarks")
CALLED_FROM_OUTSIDE = {
    "near_pairs": "near duplicates without the rest of the curation",
    "find_class": "pickle",
    **dict.fromkeys(("after_report", "after_exception"), "Ray Train"),
    **dict.fromkeys(("suggest", "on_trial_complete", "restore"), "Ray Tune"),
    **dict.fromkeys(("CpuEngine", "FolderCallback", "on_before_node_init"), "ray.serve.llm"),
    **dict.fromkeys(("_start_engine", "middlewares", "exporter"), "Ray Serve"),
    **dict.fromkeys(("_complete", "_pictures_are_the_users", "_top_needs_logprobs"), "pydantic"),
    **dict.fromkeys(("num_outputs", "posterior"), "botorch"),
}
"""Names, and whose code calls them."""


def unused() -> list[str]:
    """A line for each."""
    vulture = Vulture(ignore_names=list(CALLED_FROM_OUTSIDE))
    vulture.scavenge([str(ROOT / folder) for folder in CODE])
    found = [
        item
        for item in vulture.get_unused_code(min_confidence=60)
        if item.typ in ("function", "class", "method", "property")
        or (item.typ == "variable" and item.name.isupper())
    ]
    return [
        f"{Path(item.filename).relative_to(ROOT)}:{item.first_lineno}: "
        f"{item.typ} {item.name} is unused"
        for item in found
    ]


if __name__ == "__main__":
    found = unused()
    print("\n".join(found) or "no dead code")
    sys.exit(bool(found))
