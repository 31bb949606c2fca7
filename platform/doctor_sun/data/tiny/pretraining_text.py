"""Plain text for the tiny preset's base language model and tokenizer: no questions, no answers."""

from collections.abc import Iterator, Mapping
from typing import cast

import pyarrow as pa

from doctor_sun.data.tiny.disease_knowledge import DiseaseKnowledge, statements
from doctor_sun.data.tiny.general_images import plain_caption
from doctor_sun.data.tiny.general_text import GeneralText
from doctor_sun.data.tiny.gnuhealth_terms import GnuHealthTerms
from doctor_sun.data.tiny.openi_reports import OpenIReports
from doctor_sun.data.tiny.phantom import TRAINED_CELLS
from doctor_sun.data.tiny.phantom_language import caption
from doctor_sun.data.tiny.source import Source, rng_for
from doctor_sun.records import Language

SCHEMA = pa.schema([("text", pa.string()), ("language", pa.string()), ("source", pa.string())])
TERMS_PER_TEXT = 8
RADIOGRAPH_CAPTIONS = 3000
SHAPE_CAPTIONS = 1000

Text = tuple[str, Language]


def pretraining_table(sources: Mapping[str, Source], seed: int) -> pa.Table:
    """Texts of all kinds in a random but fixed order: columns text, language, source."""
    reports = cast(OpenIReports, sources["openi_reports"]).reports
    general = cast(GeneralText, sources["general_text"]).instructions
    diseases = cast(DiseaseKnowledge, sources["disease_knowledge"]).tables
    kinds: dict[str, list[Text]] = {
        "openi_reports": [(f"{r.findings} {r.impression}", "en") for r in reports],
        "general_text": [(i.answer, i.language) for i in general],
        "disease_knowledge": list(statements(diseases)),
        "gnuhealth_terms": list(_terms(cast(GnuHealthTerms, sources["gnuhealth_terms"]))),
        "phantom_captions": [_radiograph_caption(i, seed) for i in range(RADIOGRAPH_CAPTIONS)],
        "general_captions": [plain_caption(i, seed) for i in range(SHAPE_CAPTIONS)],
    }
    rows = [
        {"text": text, "language": language, "source": name}
        for name, texts in kinds.items()
        for text, language in texts
    ]
    order = rng_for(seed, "pretraining", 0).permutation(len(rows))
    return pa.Table.from_pylist([rows[i] for i in order], schema=SCHEMA)


def _terms(source: GnuHealthTerms) -> Iterator[Text]:
    """Lists of neighbouring terms, in one language each."""
    for start in range(0, len(source.terms), TERMS_PER_TEXT):
        some = source.terms[start : start + TERMS_PER_TEXT]
        yield "; ".join(english for english, _ in some) + ".", "en"
        yield "；".join(chinese for _, chinese in some) + "。", "zh"


def _radiograph_caption(number: int, seed: int) -> Text:
    """A caption of a trained cell, without a picture."""
    rng = rng_for(seed, "plain radiograph captions", number)
    language: Language = "en" if number % 2 == 0 else "zh"
    return caption(TRAINED_CELLS[rng.integers(len(TRAINED_CELLS))], language, rng), language
