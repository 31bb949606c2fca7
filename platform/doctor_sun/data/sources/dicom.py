"""A folder of DICOM files with a table of texts: reports, captions, questions with answers.

The table (CSV, TSV, Parquet, JSON) is read as `table` does; its `image` column names DICOM files
in the folder. A file becomes an 8 bit PNG as `dicom_pixels` shows it. Only the attributes that this
needs are read, and `REVIEWED`: patient, study and device never enter the process, and nothing but
pixels leaves it. The key is the hash of the file's path, because paths name patients. Text drawn
into the pixels cannot be removed: a row whose attributes say or suggest it (DICOM PS3.15 E.1, Clean
Pixel Data), or in whose pixels `burned_in_text` finds some, is marked for review. A row is faulty
when its file is missing, has several frames, or is compressed in a way for which no decoder is
installed.
"""

import io
import warnings
from dataclasses import dataclass

import pydicom
from PIL import Image

from doctor_sun.data import dicom_pixels
from doctor_sun.data.sources.burned_in import burned_in_text
from doctor_sun.data.sources.pictures import Pictures
from doctor_sun.data.sources.record import Broken, Record
from doctor_sun.data.sources.source import Card
from doctor_sun.data.sources.table import Table
from doctor_sun.records import sha256

REVIEWED = ("BurnedInAnnotation", "Modality", "SOPClassUID")
DRAWN_ON = ("US", "ES", "XC", "OT", "DOC")  # modalities whose devices write into the picture
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # and its multi-frame kinds below it: screen shots


def to_png(encoded: bytes) -> tuple[bytes, str]:
    """A DICOM file as an 8 bit PNG, and why a person should look at it ("" where nothing says so).

    Raises:
        Broken: it is no DICOM image of one frame, or cannot be decoded.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning may quote what stands in the file
        try:
            data = dicom_pixels.read(encoded, *REVIEWED)
            if dicom_pixels.frames(data) > 1:
                raise Broken("a DICOM file of several frames")
            image = Image.fromarray(dicom_pixels.show(data).pixels)
        except Broken:
            raise
        except Exception:  # a broken file raises whatever its decoder happens to run into
            raise Broken("the DICOM file's pixels cannot be decoded") from None
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue(), _review(data, image)


def _review(data: pydicom.Dataset, image: Image.Image) -> str:
    said = str(data.get("BurnedInAnnotation") or "").upper()
    if said == "YES":
        return "burned-in annotation, says the file"
    modality, stored_as = (str(data.get(name) or "") for name in ("Modality", "SOPClassUID"))
    drawn_on = modality.upper() in DRAWN_ON or stored_as.startswith(SECONDARY_CAPTURE)
    if said != "NO" and drawn_on:
        return "burned-in text is likely for this kind of picture"
    return "burned-in text found" if burned_in_text(image) else ""


@dataclass(frozen=True, kw_only=True)
class Dicom(Table):
    """A row of the table with its DICOM file."""

    card = Card(
        kind="dicom",
        title="DICOM files with a table of texts",
        domain="medical",
        languages=("en", "zh"),
        task="caption",
        layout="DICOM files, and a table whose `image` column names them, `answer` their text",
        where="a hospital's archive, after its own de-identification",
        licence="of the archive",
    )

    def key_of(self, record: Record) -> str:
        """See `Table.key_of`."""
        return sha256(record.text(self.column("image")), record.place)

    def shown(self, record: Record, key: str, pictures: Pictures) -> tuple[list[bytes], str]:
        """See `Table.shown`."""
        try:
            image, review = to_png(pictures.read(record.text(self.column("image")), key))
        except Broken as broken:
            raise Broken(str(broken), key) from None
        return [image], review


SOURCES = (Dicom,)
