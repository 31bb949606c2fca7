"""Personal identifiers in English and Chinese text: found, then dropped, replaced or masked.

A new kind of identifier is one more entry of a tuple of rules (`shared`, `chinese`, `english`,
`dates`) and, for a new kind, its name in `KINDS` and its maker in `surrogates.MAKERS`.
"""

from doctor_sun.data.privacy.checks import is_resident_id
from doctor_sun.data.privacy.finder import find_identifiers
from doctor_sun.data.privacy.identifier import KINDS, Identifier, mask
from doctor_sun.data.privacy.step import PrivacyConfig, decide, find_in_turns
from doctor_sun.data.privacy.surrogates import Surrogates

__all__ = [
    "KINDS",
    "Identifier",
    "PrivacyConfig",
    "Surrogates",
    "decide",
    "find_identifiers",
    "find_in_turns",
    "is_resident_id",
    "mask",
]
