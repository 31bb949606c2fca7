"""Published data sets, one file each, read exactly as their publishers ship them."""

from doctor_sun.data.sources.registry import (
    SOURCES,
    OpenSource,
    SourceConfig,
    open_source,
    options_of,
)
from doctor_sun.data.sources.source import Card, Fault, Sample, Source

__all__ = [
    "SOURCES",
    "Card",
    "Fault",
    "OpenSource",
    "Sample",
    "Source",
    "SourceConfig",
    "open_source",
    "options_of",
]
