"""A folder of DICOM files with a table of texts: reports, captions, questions with answers.

The table (CSV, TSV, Parquet, JSON) is read as `table` does; its `image` column names DICOM files
in the folder. A file becomes an 8 bit PNG: modality LUT, then VOI LUT or window (the first view;
without one the range of the pixels), inverted for MONOCHROME1, colours as RGB (DICOM PS3.3 C.7.6.3
and C.11). Only the attributes that this needs are read (`ATTRIBUTES`): patient, study and device
never enter the process, and nothing but pixels leaves it. The key is the hash of the file's path,
because paths name patients. Text drawn into the pixels cannot be removed: a row whose attributes
say or suggest it (DICOM PS3.15 E.1, Clean Pixel Data), or in whose pixels `burned_in_text` finds
some, is marked for review. A row is faulty when its file is missing, has several frames, or is
compressed in a way for which no decoder is installed.
"""

import io
import warnings
from dataclasses import dataclass

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.pixels.processing import (
    apply_color_lut,
    apply_modality_lut,
    apply_voi,
    apply_windowing,
)

from doctor_sun.data.sources.burned_in import burned_in_text
from doctor_sun.data.sources.pictures import Pictures
from doctor_sun.data.sources.record import Broken, Record
from doctor_sun.data.sources.source import Card
from doctor_sun.data.sources.table import Table
from doctor_sun.records import sha256

PIXELS = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "NumberOfFrames"),
    *("PixelData", "FloatPixelData", "PixelPaddingValue", "ExtendedOffsetTable"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence"),
    *("VOILUTFunction", "WindowCenter", "WindowWidth"),
    *(
        f"{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for part in ("Descriptor", "Data")
    ),
)
ATTRIBUTES = (*PIXELS, "BurnedInAnnotation", "Modality", "SOPClassUID")
DRAWN_ON = ("US", "ES", "XC", "OT", "DOC")  # modalities whose devices write into the picture
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # and its multi-frame kinds below it: screen shots
FAR = 1e12  # beyond every window


def to_png(encoded: bytes) -> tuple[bytes, str]:
    """A DICOM file as an 8 bit PNG, and why a person should look at it ("" where nothing says so).

    Raises:
        Broken: it is no DICOM image of one frame, or cannot be decoded.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning may quote what stands in the file
        try:
            data = pydicom.dcmread(io.BytesIO(encoded), specific_tags=list(ATTRIBUTES))
            if int(data.get("NumberOfFrames") or 1) > 1:
                raise Broken("a DICOM file of several frames")
            image = Image.fromarray(_eight_bits(data))
        except Broken:
            raise
        except Exception:  # a broken file raises whatever its decoder happens to run into
            raise Broken("the DICOM file's pixels cannot be decoded") from None
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue(), _review(data, image)


def _eight_bits(data: pydicom.Dataset) -> NDArray[np.uint8]:
    """[rows, columns] or [rows, columns, 3] as shown on a screen."""
    pixels, interpretation = data.pixel_array, data.PhotometricInterpretation
    if interpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, data)
    if pixels.ndim == 3:
        return (pixels >> (8 * (pixels.dtype.itemsize - 1))).astype(np.uint8)
    values = apply_modality_lut(pixels, data)
    if data.get("VOILUTSequence"):
        shown = apply_voi(values, data).astype(float)
        lowest, highest = 0.0, 2.0 ** int(data.VOILUTSequence[0].LUTDescriptor[2]) - 1
    elif "WindowWidth" in data and "WindowCenter" in data:
        ends = np.array([-FAR, FAR])  # carried along: they come out as the range's ends
        with np.errstate(over="ignore"):
            windowed = apply_windowing(np.append(values.astype(float).ravel(), ends), data)
        shown, (lowest, highest) = windowed[:-2].reshape(values.shape), windowed[-2:]
    else:
        shown = values.astype(float)
        inside = shown[pixels != data.get("PixelPaddingValue")]
        lowest, highest = (inside.min(), inside.max()) if inside.size else (0.0, 1.0)
    scaled = np.clip((shown - lowest) / ((highest - lowest) or 1.0), 0, 1)
    grey: NDArray[np.uint8] = np.rint(255 * scaled).astype(np.uint8)
    return 255 - grey if interpretation == "MONOCHROME1" else grey


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
