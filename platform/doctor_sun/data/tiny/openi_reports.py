"""Chest radiograph reports of Open-I (Indiana University): from findings to impression.

Demner-Fushman et al. 2016, as torchxrayvision ships them; real and de-identified ("XXXX"), with
their many real duplicates. CC BY-NC-ND 4.0: for local use; nothing derived is published. Without
the package, reports are put together from phantoms' sentences.
"""

import io
import tarfile
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

from doctor_sun.data.assets import read_member
from doctor_sun.data.tiny.phantom import TRAINED_CELLS
from doctor_sun.data.tiny.phantom_language import caption
from doctor_sun.data.tiny.source import Sample, dialogue, ranked, rng_for
from doctor_sun.records import make_sample

PACKAGE = "torchxrayvision"
MEMBER = "torchxrayvision/data/NLMCXR_reports.tgz"
INSTRUCTION = "Write the impression for these findings: {findings}"
DRAWN = 2000
FINE = (
    "The mediastinum is within normal limits.",
    "No acute bony abnormality.",
    "The trachea is midline.",
    "Soft tissues are unremarkable.",
    "No free air under the diaphragm.",
    "The aorta is not enlarged.",
    "The hila are normal in size.",
    "Degenerative changes of the spine are mild.",
)


@dataclass(frozen=True)
class Report:
    """One report's two sections, white space normalised."""

    key: str
    findings: str
    impression: str


def load_reports(*, offline: bool = False) -> list[Report]:
    """All reports with both sections, by their own number; drawn ones without the package."""
    packed = read_member(PACKAGE, MEMBER, offline=offline)
    if packed is None:
        return [_draw_report(number) for number in range(DRAWN)]
    reports = []
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.name.endswith(".xml") else None
            if stream is None:
                continue
            root = ElementTree.fromstring(stream.read())
            sections = {a.get("Label"): a.text or "" for a in root.iter("AbstractText")}
            findings = " ".join(sections.get("FINDINGS", "").split())
            impression = " ".join(sections.get("IMPRESSION", "").split())
            if findings and impression:
                reports.append(Report(member.name.rsplit("/", 1)[-1], findings, impression))
    return sorted(reports, key=lambda r: r.key)


def _draw_report(number: int) -> Report:
    """A report of a phantom nobody has rendered."""
    rng = np.random.default_rng([1901, number])
    cell = TRAINED_CELLS[rng.integers(len(TRAINED_CELLS))]
    normal = [FINE[i] for i in rng.permutation(len(FINE))[: rng.integers(2, 6)]]
    said = [caption(cell, "en", rng), *normal]
    order = rng.permutation(len(said))
    findings = " ".join(said[i] for i in order)
    return Report(f"drawn-{number}", findings, caption(cell, "en", rng))


@dataclass(frozen=True)
class OpenIReports:
    """Instruction samples in English."""

    reports: list[Report]
    seed: int
    name: str = "openi_reports"

    @property
    def capacity(self) -> int:
        """The number of reports."""
        return len(self.reports)

    def sample(self, index: int) -> Sample:
        """Sample number `index`, in a random but fixed order of the reports."""
        report = self.reports[ranked(self.capacity, self.seed, self.name)[index]]
        question = INSTRUCTION.format(findings=report.findings)
        if rng_for(self.seed, self.name, index).integers(4) == 0:
            question = f"Findings: {report.findings}\nWhat is the impression?"
        return make_sample(
            source=self.name,
            source_key=report.key,
            domain="medical",
            language="en",
            task="instruction",
            turns=dialogue([(question, report.impression)]),
        )
