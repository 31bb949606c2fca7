"""Decontamination: rows that hold a benchmark's held-out items, and the manifest that says so."""

from doctor_sun.data.decontamination.manifest import (
    Exclusions,
    read_exclusions,
    verify,
    write_exclusions,
)
from doctor_sun.data.decontamination.step import DecontaminationConfig, check, decide
from doctor_sun.data.decontamination.text import TextConfig
from doctor_sun.data.decontamination.translated import TranslatedConfig

__all__ = [
    "DecontaminationConfig",
    "Exclusions",
    "TextConfig",
    "TranslatedConfig",
    "check",
    "decide",
    "read_exclusions",
    "verify",
    "write_exclusions",
]
