"""PMC-OA: 1.6 million figure parts of PubMed Central's open-access articles with their captions.

Lin et al. 2023 (PMC-CLIP; layout from pmc_oa.py, the loading script of
hf.co/datasets/axiong/pmc_oa): pmc_oa.jsonl, a line {"image": "PMC..._F1_1.jpg", "caption",
"alignment_type", "alignment_score"}; in pmc_oa_beta.jsonl the caption is the whole figure's.
Pictures in images.zip, below caption_T060_filtered_top4_sep_v0_subfigures/. The zip may be read in
place; each process then holds the list of its 1.8 million members (over 1 GiB), so unpack it where
memory is short. A row is faulty when its picture is missing or its caption empty.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from upath import UPath

from doctor_sun.data.sources.pictures import Pictures
from doctor_sun.data.sources.record import Record
from doctor_sun.data.sources.source import Card, RecordSource, Sample
from doctor_sun.data.sources.turns import caption

FOLDER = "caption_T060_filtered_top4_sep_v0_subfigures"


@dataclass(frozen=True, kw_only=True)
class PmcOa(RecordSource):
    """Parts of figures and their captions."""

    card = Card(
        kind="pmc_oa",
        title="PMC-OA",
        domain="medical",
        languages=("en",),
        task="caption",
        rows={"train": 1_646_592},
        layout=f"pmc_oa.jsonl (or pmc_oa_beta.jsonl) with {FOLDER}/, images/ or images.zip",
        where="hf.co/datasets/axiong/pmc_oa",
        licence="OpenRAIL as a whole; each article has its own",
    )
    files: ClassVar = {"train": ("pmc_oa.jsonl", "pmc_oa_beta.jsonl")}

    def pictures(self, root: UPath, file: str) -> Pictures:
        """See `RecordSource.pictures`."""
        return Pictures(
            root, (f"images/{FOLDER}", FOLDER, "images", f"images.zip/{FOLDER}", "images.zip")
        )

    def samples(self, record: Record, pictures: Pictures) -> Iterable[Sample]:
        """See `RecordSource.samples`."""
        key = record.text("image")
        turns = caption(record.text("caption"), key, "en")
        yield self.sample(key, turns, [pictures.read(key, key)])


SOURCES = (PmcOa,)
