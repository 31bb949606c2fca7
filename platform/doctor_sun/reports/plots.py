"""matplotlib figures as pictures inside a page."""

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#2a6f97", "#e0a458", "#7a9e7e", "#bc4b51", "#8d86c9", "#bcb8b1", "#61a5c2", "#6b4f3a")


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, inches; drawn without a display and without pyplot's global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def png(figure: "Figure", resolution: int = 110) -> bytes:
    """A figure as a PNG file at `resolution` dots an inch."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=resolution)
    return stream.getvalue()


def data_address(picture: bytes) -> str:
    """A PNG file as a `data:` address for an <img>."""
    return "data:image/png;base64," + base64.b64encode(picture).decode()


def embedded(figure: "Figure") -> str:
    """A figure as a `data:` address for an <img>."""
    return data_address(png(figure))
