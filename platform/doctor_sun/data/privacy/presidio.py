"""What presidio-analyzer's own recognisers find: phones, provider and insurance numbers."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from doctor_sun.data.privacy import checks
from doctor_sun.data.privacy.identifier import Identifier, Text

KINDS = {
    "PHONE_NUMBER": "PHONE",
    "US_SSN": "ID_NUMBER",
    "US_NPI": "PROVIDER_NUMBER",
    "MEDICAL_LICENSE": "PROVIDER_NUMBER",
    "US_MBI": "RECORD_NUMBER",
    "UK_NHS": "RECORD_NUMBER",
}
PHONE_REGIONS = ("US", "GB", "CN")
LEAST_SCORE = 0.4
OPTIONAL = ("torch", "transformers")  # for Presidio's neural recognisers, which are not used here


@contextmanager
def _left_out(names: tuple[str, ...]) -> Iterator[None]:
    """Packages that are not loaded yet count as not installed for the time of the block."""
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


@cache
def _recognizers() -> list[tuple[re.Pattern[str], Any]]:
    """Each recogniser behind what a text must hold before it is asked."""
    with _left_out(OPTIONAL):  # they are 12 of the 14 seconds that the import takes with them
        from presidio_analyzer.predefined_recognizers import (
            MedicalLicenseRecognizer,
            NhsRecognizer,
            PhoneRecognizer,
            UsMbiRecognizer,
            UsNpiRecognizer,
            UsSsnRecognizer,
        )

    return [
        (_PHONE_LIKE, PhoneRecognizer(supported_regions=PHONE_REGIONS)),
        (re.compile(r"\d{3}[- .]\d{2}[- .]\d{4}"), UsSsnRecognizer()),
        (re.compile(r"(?i:npi|provider)"), UsNpiRecognizer()),
        (re.compile(r"(?i:dea|licen[sc]e|prescriber)"), MedicalLicenseRecognizer()),
        (re.compile(r"\d[A-Z][A-Z\d]\d-?[A-Z]"), UsMbiRecognizer()),
        (re.compile(r"(?i:nhs)"), NhsRecognizer()),
    ]


# A bare run of digits is a phone by the rules of its language only: values, study numbers and
# dates are runs of digits too.
_PHONE_LIKE = re.compile(r"\+\d|\(\d{2,5}\)|\d{2,5}[ .-]\d{2,4}[ .-]\d{3,4}|\d{5}[ -]\d{5,6}")
_PUNCTUATED = re.compile(r"[()+ -]")
_OTHER = re.compile(r"[^\x00-\x7f]")
_DATE = re.compile(r"\(?(?:19|20)\d\d[-./ ]\d{1,2}[-./ ]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{2,4}")


def presidio(text: Text) -> Iterator[Identifier]:
    """What Presidio finds where every character but ASCII is a bar, so that `\\b` ends a number."""
    if text.digits < 7:
        return
    latin = text.text if text.text.isascii() else _OTHER.sub("|", text.text)
    for held, recognizer in _recognizers():
        if held.search(latin):
            for result in recognizer.analyze(latin, recognizer.supported_entities, None):
                if result.score >= LEAST_SCORE and _sound(text, latin, result):
                    yield Identifier(KINDS[result.entity_type], result.start, result.end)


def _sound(text: Text, latin: str, result: Any) -> bool:
    """Whether a finding is no quantity, date, or bare run of digits."""
    said = latin[result.start : result.end]
    if not checks.no_quantity(text, result.start, result.end):
        return False
    if result.entity_type == "PHONE_NUMBER":
        return bool(_PUNCTUATED.search(said)) and not _DATE.match(said)
    if result.entity_type == "US_SSN":
        return checks.is_social_security_number(checks.compact(said))
    return True
