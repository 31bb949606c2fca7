"""Rendered chest radiographs with one known finding each, on real lung outlines.

A phantom is body, lungs, ribs, spine, heart and at most one finding, with random size, contrast,
exposure and noise. Its truth (finding, side, zone) is known exactly, so questions about it can be
scored. It is a test object for training and evaluation code, not a model of disease.

Sides are the patient's, as radiographs are read: the patient's left is at the image's right.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from doctor_sun.data.tiny.outlines import Outlines

NORMAL = "normal"
FINDINGS = (
    *(NORMAL, "nodule", "consolidation", "pleural effusion", "pneumothorax", "cardiomegaly"),
)
SIDES = ("left", "right")
ZONES = ("upper", "middle", "lower")
FINDING_ZONES = {  # where a finding with a side can stand
    "nodule": ZONES,
    "consolidation": ZONES,
    "pleural effusion": ("lower",),
    "pneumothorax": ("upper",),
}
FRAME = (
    0.10,
    0.90,
    0.08,
    0.88,
)  # where the lungs' bounding box comes to lie: left right top bottom

Pixels = NDArray[np.floating]


@dataclass(frozen=True, order=True)
class Cell:
    """What a phantom shows: a finding, with side and zone where it has them ("" otherwise)."""

    finding: str
    side: str = ""
    zone: str = ""


def all_cells() -> Iterator[Cell]:
    """Every combination that exists: 18, in a fixed order."""
    for finding in FINDINGS:
        if finding not in FINDING_ZONES:
            yield Cell(finding)
            continue
        for side in SIDES:
            for zone in FINDING_ZONES[finding]:
                yield Cell(finding, side, zone)


# Never rendered for training or validation: the hard track asks whether parts recombine.
HELD_OUT_CELLS = (Cell("nodule", "left", "upper"), Cell("consolidation", "right", "middle"))
TRAINED_CELLS = tuple(cell for cell in all_cells() if cell not in HELD_OUT_CELLS)


@dataclass(frozen=True)
class Phantom:
    """The truth of one picture, and all that is needed to draw it again."""

    cell: Cell
    anatomy: int
    """Position of its outline in `Outlines`."""
    seed: tuple[int, ...]
    """Seed of everything random in the picture."""


def draw_phantom(
    seed: Sequence[int], outlines: Outlines, split: str, cells: Sequence[Cell] = TRAINED_CELLS
) -> Phantom:
    """A random phantom of a split's anatomies: findings equally often, then their cells.

    Args:
        seed: decides everything; equal seeds give equal phantoms.
        outlines: the anatomies to draw from.
        split: whose anatomies (`train`, `validation`, `test`).
        cells: the combinations that may appear.
    """
    rng = np.random.default_rng([*seed, 1])
    findings = sorted({cell.finding for cell in cells})
    finding = findings[rng.integers(len(findings))]
    choices = [cell for cell in cells if cell.finding == finding]
    anatomies = outlines.of_split(split)
    return Phantom(
        cell=choices[rng.integers(len(choices))],
        anatomy=anatomies[rng.integers(len(anatomies))],
        seed=(*seed, 2),
    )


def render(phantom: Phantom, outlines: Outlines, size: int) -> NDArray[np.uint8]:
    """The picture: [size, size] grey values."""
    rng = np.random.default_rng(phantom.seed)
    right, left = _place(outlines.lungs[phantom.anatomy], size, rng)
    y, x = (np.mgrid[0:size, 0:size].astype(np.float32) + 0.5) / size
    canvas = _Canvas(x, y, right, left, rng)
    canvas.draw_chest(enlarged=phantom.cell.finding == "cardiomegaly")
    if phantom.cell.side:
        canvas.draw_finding(phantom.cell)
    return canvas.expose(size)


def encode(pixels: NDArray[np.uint8], compress_level: int = 3) -> bytes:
    """The picture as an RGB PNG file; grey pictures [h, w] get three equal channels."""
    stream = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(stream, "PNG", compress_level=compress_level)
    return stream.getvalue()


def _place(lungs: NDArray[np.uint8], size: int, rng: np.random.Generator) -> list[Pixels]:
    """Both lungs scaled so that together they fill `FRAME`, give or take; values 0..1."""
    rows = np.flatnonzero(lungs.any(axis=(0, 2)))
    columns = np.flatnonzero(lungs.any(axis=(0, 1)))
    left, right, top, bottom = np.array(FRAME) + rng.uniform(-0.04, 0.04, 4)
    scale_x = (columns[-1] - columns[0]) / ((right - left) * size)
    scale_y = (rows[-1] - rows[0]) / ((bottom - top) * size)
    affine = (
        *(scale_x, 0.0, columns[0] - scale_x * left * size),
        *(0.0, scale_y, rows[0] - scale_y * top * size),
    )
    placed: list[Pixels] = []
    for lung in lungs:
        image = Image.fromarray(lung).transform(
            (size, size), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
        )
        placed.append(np.asarray(image, dtype=np.float32) / 255)
    return placed


def _soft(signed: Pixels, softness: float) -> Pixels:
    """A step from 0 to 1 where `signed` crosses zero, `softness` wide."""
    return 1 / (1 + np.exp(-np.clip(signed / softness, -30, 30)))


class _Canvas:
    """A radiograph while it is drawn. Lengths are parts of the picture's side, light is 0..1."""

    def __init__(
        self, x: Pixels, y: Pixels, right: Pixels, left: Pixels, rng: np.random.Generator
    ) -> None:
        self.x, self.y, self.rng = x, y, rng
        self.lungs = {"right": right, "left": left}
        self.both = np.clip(right + left, 0, 1)
        self.heart = np.zeros_like(x)
        self.light = np.zeros_like(x)

    def draw_chest(self, enlarged: bool) -> None:
        """Soft tissue, aerated lungs, ribs, spine, heart (over half the chest if enlarged)."""
        rng, x, y = self.rng, self.x, self.y
        body = 0.60 + rng.uniform(-0.05, 0.05) + 0.10 * (y - 0.5)
        shoulder = 0.05 + 0.8 * np.abs(x - 0.5) ** 2.5
        light = body * _soft(y - shoulder, 0.015)
        air = 0.24 + rng.uniform(-0.03, 0.03) + 0.05 * self._cloud(0.06)
        air += 0.10 * np.exp(-((np.abs(x - 0.5) - 0.12) ** 2) / 0.01 - (y - 0.5) ** 2 / 0.03)
        light = light * (1 - self.both) + air * self.both
        light += rng.uniform(0.04, 0.07) * self._ribs() * (0.3 + 0.7 * self.both)
        light += rng.uniform(0.05, 0.10) * np.exp(-((x - 0.5) ** 2) / 0.002)
        self.heart = self._heart(enlarged)
        self.light = light * (1 - self.heart) + (0.68 + 0.03 * self._cloud(0.1)) * self.heart

    def _heart(self, enlarged: bool) -> Pixels:
        """Coverage of the heart's shadow, two thirds of it to the patient's left."""
        rng = self.rng
        columns = np.flatnonzero((self.both > 0.5).any(axis=0)) / self.x.shape[1]
        rows = np.flatnonzero((self.both > 0.5).any(axis=1)) / self.x.shape[0]
        ratio = rng.uniform(0.66, 0.76) if enlarged else rng.uniform(0.34, 0.42)
        half = ratio * (columns[-1] - columns[0]) / 2
        centre_x = (columns[0] + columns[-1]) / 2 + 0.25 * half
        height = (rows[-1] - rows[0]) * (0.35 if enlarged else 0.26)
        centre_y = rows[-1] - 0.75 * height
        across, down = (self.x - centre_x) / half, (self.y - centre_y) / height
        return _soft(1 - np.sqrt(across**2 + down**2), 0.05)

    def _ribs(self) -> Pixels:
        """Light of about eight pairs of ribs, bent downwards to the sides."""
        step, start = self.rng.uniform(0.095, 0.115), self.rng.uniform(0.0, 0.08)
        bent = self.y - 0.5 * (self.x - 0.5) ** 2 - start
        return 0.5 + 0.5 * np.cos(2 * np.pi * bent / step)

    def _cloud(self, scale: float) -> Pixels:
        """Smooth noise of unit amplitude, `scale` wide."""
        noise = self.rng.standard_normal(self.x.shape).astype(np.float32)
        smooth = ndimage.gaussian_filter(noise, scale * self.x.shape[0], truncate=2)
        return smooth / max(float(np.abs(smooth).max()), 1e-6)

    def draw_finding(self, cell: Cell) -> None:
        """Paint the finding into its lung."""
        lung = self.lungs[cell.side]
        inside = lung > 0.5
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        size = self.x.shape[0]
        top, height = rows[0] / size, (rows[-1] - rows[0] + 1) / size
        if cell.finding == "nodule":
            self._nodule(lung, top + height * (ZONES.index(cell.zone) + 0.5) / 3, height)
        elif cell.finding == "consolidation":
            self._consolidation(lung, top + height * (ZONES.index(cell.zone) + 0.5) / 3, height)
        elif cell.finding == "pleural effusion":
            self._effusion(lung, cell.side, top, height)
        else:
            width = (columns[-1] - columns[0] + 1) / size
            self._pneumothorax(lung, cell.side, top, height, width)

    def _spot(self, lung: Pixels, level: float, height: float) -> tuple[float, float]:
        """A random free place of the lung within the middle of a zone: its x and y."""
        near = np.exp(-(((self.y - level) / (0.07 * height)) ** 2))
        deep = ndimage.gaussian_filter(lung, 0.03 * lung.shape[0]) ** 4
        weight = (near * deep * (1 - self.heart) ** 4).ravel() + 1e-12
        place = self.rng.choice(weight.size, p=weight / weight.sum())
        return float(self.x.ravel()[place]), float(self.y.ravel()[place])

    def _nodule(self, lung: Pixels, level: float, height: float) -> None:
        x, y = self._spot(lung, level, height)
        radius = self.rng.uniform(0.045, 0.068)
        disc = _soft(radius - np.hypot(self.x - x, self.y - y), 0.008)
        self.light += self.rng.uniform(0.42, 0.55) * disc * (1 - 0.5 * self.heart)

    def _consolidation(self, lung: Pixels, level: float, height: float) -> None:
        x, y = self._spot(lung, level, height)
        tall, wide = height * self.rng.uniform(0.17, 0.21), self.rng.uniform(0.15, 0.20)
        distance = np.hypot((self.x - x) / wide, (self.y - y) / tall) + 0.25 * self._cloud(0.05)
        patch = _soft(1 - distance, 0.12) * lung * (1 - 0.7 * self.heart)
        self.light += self.rng.uniform(0.30, 0.40) * patch * (1 + 0.35 * self._cloud(0.02))

    def _effusion(self, lung: Pixels, side: str, top: float, height: float) -> None:
        level = top + height * self.rng.uniform(0.62, 0.76)
        outwards = (self.x - 0.5) * (1 if side == "left" else -1)
        meniscus = level - 0.35 * np.clip(outwards - 0.1, 0, 1) ** 1.5
        fluid = _soft(self.y - meniscus, 0.012) * lung
        self.light = self.light * (1 - fluid) + (0.74 + 0.02 * self._cloud(0.1)) * fluid

    def _pneumothorax(
        self, lung: Pixels, side: str, top: float, height: float, width: float
    ) -> None:
        """Black air without markings around the collapsed upper lung, whose edge is a thin line."""
        sign = 1 if side == "left" else -1
        columns = (self.x * (lung > 0.5)).sum() / (lung > 0.5).sum()
        inner, level = columns - sign * width * 0.45, top + 0.62 * height
        reach = self.rng.uniform(0.48, 0.60)
        across, up = sign * (self.x - inner) / width, np.clip(level - self.y, 0, 1) / height
        edge = np.hypot(across / (reach * 1.15), up / (reach * 0.95)) - 1
        upper = _soft(level - self.y, 0.02) * lung
        air = _soft(edge, 0.03) * upper
        self.light = self.light * (1 - air) + 0.05 * air
        self.light += 0.38 * np.exp(-((edge / 0.06) ** 2)) * upper

    def expose(self, size: int) -> NDArray[np.uint8]:
        """Blur, exposure, contrast, gamma and noise; 8-bit grey values."""
        rng = self.rng
        light = ndimage.gaussian_filter(self.light, rng.uniform(0.004, 0.008) * size)
        light = (light - 0.4) * rng.uniform(0.85, 1.15) + 0.4 + rng.uniform(-0.05, 0.05)
        light = np.clip(light, 0, 1) ** rng.uniform(0.85, 1.2)
        light = light + rng.normal(0, rng.uniform(0.008, 0.025), light.shape)
        return np.round(np.clip(light, 0, 1) * 255).astype(np.uint8)
