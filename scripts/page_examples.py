"""Render the chat page's example cases: phantoms, with the question a reader would ask of each.

python scripts/page_examples.py platform/doctor_sun/serving/page

The outlines are the procedural ones: nothing of the packaged data is in the pictures.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from doctor_sun.data.tiny.outlines import load_outlines
from doctor_sun.data.tiny.phantom import Cell, Phantom, render
from doctor_sun.data.tiny.phantom_language import Kind, ask

SIZE = 208
CASES: tuple[tuple[Cell, Kind], ...] = (
    (Cell("nodule", "right", "upper"), "abnormality"),
    (Cell("pleural effusion", "left", "lower"), "side"),
    (Cell("consolidation", "right", "lower"), "zone"),
    (Cell("cardiomegaly"), "yes_no"),
)


def main(folder: str) -> None:
    """Write `examples/*.png` and `examples.json`, the `examples` of the page's settings."""
    outlines = load_outlines(offline=True)
    examples = []
    for number, (cell, kind) in enumerate(CASES, start=1):
        anatomy = outlines.of_split("test")[number]
        name = f"phantom-{number}.png"
        pixels = render(Phantom(cell, anatomy, (number, 11)), outlines, SIZE)
        Image.fromarray(pixels).save(Path(folder, "examples", name), optimize=True)
        asked = {
            language: ask(kind, cell, language, np.random.default_rng(number), truth=True).question
            for language in ("en", "zh")
        }
        examples.append({"name": name, "image": f"page/examples/{name}", "question": asked})
    text = json.dumps(examples, ensure_ascii=False, indent=2)
    Path(folder, "examples.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
