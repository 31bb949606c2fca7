"""Draw one phantom of each finding, with its questions' truth, for the README.

python scripts/phantom_sheet.py docs/phantoms.png

The outlines are the procedural ones: nothing of the packaged data is in the picture.
"""

import sys

from doctor_sun.data.tiny.outlines import load_outlines
from doctor_sun.data.tiny.phantom import FINDING_ZONES, FINDINGS, SIDES, Cell, Phantom, render
from doctor_sun.data.tiny.phantom_language import caption
from doctor_sun.reports.plots import new_figure

SIZE = 256


def main(path: str) -> None:
    """Write the sheet."""
    outlines = load_outlines(offline=True)
    figure = new_figure(9, 6.4)
    for number, finding in enumerate(FINDINGS):
        zones = FINDING_ZONES.get(finding)
        side = SIDES[number % len(SIDES)]
        cell = Cell(finding, side, zones[number % len(zones)]) if zones else Cell(finding)
        anatomy = outlines.of_split("train")[number]
        axes = figure.add_subplot(2, 3, number + 1)
        axes.imshow(render(Phantom(cell, anatomy, (number, 7)), outlines, SIZE), cmap="gray")
        axes.set_title(caption(cell, "en"), fontsize=8, wrap=True)
        axes.axis("off")
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main(sys.argv[1])
