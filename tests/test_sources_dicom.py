"""DICOM files become pixels as a screen shows them, and nothing else of them goes on."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from upath import UPath

from doctor_sun.data.sources import Fault, SourceConfig, open_source
from doctor_sun.data.sources.burned_in import burned_in_text
from doctor_sun.data.sources.dicom import to_png
from doctor_sun.data.sources.record import Broken
from tests.published_sets import table, write

RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8)
PATIENT = "Zhang^Wei"


def dicom(pixels: NDArray[Any] = RAMP, **attributes: Any) -> bytes:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.PatientName, data.PatientID, data.Modality = PATIENT, "0049182", "CT"
    data.Rows, data.Columns = pixels.shape[:2]
    data.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    data.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8 * pixels.dtype.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, 0
    data.PixelData = pixels.tobytes()
    for name, value in attributes.items():
        setattr(data, name, value)
    stream = io.BytesIO()
    data.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def shown(encoded: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(to_png(encoded)[0])))


def test_without_a_window_the_range_of_the_pixels_is_shown() -> None:
    pixels = shown(dicom(RAMP + 1000))
    assert pixels.dtype == np.uint8
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert (np.diff(pixels.ravel().astype(int)) > 0).all()
    padded = (RAMP + 1000).copy()
    padded[0, 0] = 60_000
    assert shown(dicom(padded, PixelPaddingValue=60_000))[7, 7] == 255


def test_the_window_decides_after_the_rescale() -> None:
    # Stored 0..63 is -32..31; DICOM PS3.3 C.11.2.1.2.1: below c - 0.5 - (w - 1) / 2 black.
    pixels = shown(
        dicom(RescaleSlope=1, RescaleIntercept=-32, WindowCenter=[0, 99], WindowWidth=[17, 9])
    ).ravel()
    values = np.arange(-32, 32)
    expected = np.clip((values - (0 - 0.5)) / (17 - 1) + 0.5, 0, 1)
    assert np.abs(pixels - 255 * expected).max() <= 0.5
    same = shown(dicom(RescaleSlope=1, RescaleIntercept=-32, WindowCenter=0, WindowWidth=17))
    assert (same.ravel() == pixels).all()


def test_a_window_wider_than_the_pixels_is_not_stretched() -> None:
    pixels = shown(dicom(WindowCenter=500, WindowWidth=1000))
    assert pixels.max() < 20


def test_monochrome1_is_inverted_and_colours_stay() -> None:
    assert (shown(dicom(PhotometricInterpretation="MONOCHROME1")) == 255 - shown(dicom())).all()
    colours = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert (shown(dicom(colours)) == colours).all()


def test_a_voi_lookup_table_is_applied() -> None:
    item = Dataset()
    item.LUTDescriptor = [64, 0, 16]
    item.LUTData = (65535 * (np.arange(64) / 63) ** 2).astype(np.uint16).tobytes()
    pixels = shown(dicom(VOILUTSequence=[item])).ravel()
    assert np.abs(pixels - 255 * (np.arange(64) / 63) ** 2).max() <= 1


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"no DICOM file",
        dicom()[:-40],
        dicom(np.stack([RAMP[0], RAMP[1]]), NumberOfFrames=2, Rows=1),
        dicom(WindowWidth=0, WindowCenter=5),
    ],
    ids=["empty", "other", "cut short", "two frames", "no window"],
)
def test_what_cannot_be_decoded_is_broken(encoded: bytes) -> None:
    with pytest.raises(Broken, match="DICOM"):
        to_png(encoded)


@pytest.mark.parametrize(
    "name", ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "693_J2KI.dcm"]
)
def test_real_files_of_several_transfer_syntaxes(name: str) -> None:
    path = get_testdata_file(name, download=False)
    pixels = shown(Path(str(path)).read_bytes())
    assert pixels.ndim == 2
    assert pixels.std() > 10
    if name.startswith("MR_small"):
        reference = Path(str(get_testdata_file("MR_small.dcm", download=False)))
        assert (pixels == shown(reference.read_bytes())).all()


def test_nothing_of_the_patient_goes_on(tmp_path: Path) -> None:
    root = UPath(tmp_path)
    write(root / "images" / "Zhang_Wei_0049182.dcm", dicom())
    write(root / "images" / "second.dcm", dicom(RAMP[::-1], BurnedInAnnotation="YES"))
    rows = [
        ("Zhang_Wei_0049182.dcm", "肺野清晰。"),
        ("Zhang_Wei_0049182.dcm", "No effusion."),
        ("second.dcm", "A nodule."),
        ("gone.dcm", "Lost."),
    ]
    table(root / "texts.csv", ("file", "report"), rows)
    options = {"columns": {"image": "file", "answer": "report"}}
    source = open_source(SourceConfig(kind="dicom", path=str(root), options=options))
    found = [row for shard in source.shards() for _, row in source.read(shard)]
    samples = [row for row in found if not isinstance(row, Fault)]
    assert [row.reason for row in found if isinstance(row, Fault)] == ["missing image"]
    assert [sample["language"] for sample in samples] == ["zh", "en", "en"]
    assert {sample["task"] for sample in samples} == {"caption"}
    assert [sample.get("review", "") for sample in samples] == [
        *("", ""),
        "burned-in annotation, says the file",
    ]
    for sample in samples:
        (image,) = sample["images"]
        assert Image.open(io.BytesIO(image)).info == {}
        assert b"Zhang" not in image
        assert "Zhang" not in str({**sample, "images": None})


@pytest.mark.parametrize(
    ("attributes", "marked"),
    [
        ({}, False),
        ({"BurnedInAnnotation": "YES"}, True),
        ({"Modality": "US"}, True),
        ({"Modality": "US", "BurnedInAnnotation": "NO"}, False),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, True),
    ],
)
def test_attributes_that_suggest_burned_in_text(attributes: dict[str, str], marked: bool) -> None:
    assert bool(to_png(dicom(**attributes))[1]) is marked


@pytest.mark.parametrize("name", ["examples_jpeg2k", "examples_palette", "examples_rgb_color"])
def test_text_in_real_ultrasound_is_found(name: str) -> None:
    path = Path(str(get_testdata_file(f"{name}.dcm", download=False)))
    assert burned_in_text(Image.open(io.BytesIO(to_png(path.read_bytes())[0])))


@pytest.mark.parametrize(
    "name", ["CT_small", "MR_small", "693_J2KI", "JPEG2000", "liver_1frame", "examples_overlay"]
)
def test_pictures_without_text_are_not_marked_but_are_with_it(name: str) -> None:
    path = Path(str(get_testdata_file(f"{name}.dcm", download=False)))
    image = Image.open(io.BytesIO(to_png(path.read_bytes())[0]))
    assert not burned_in_text(image)
    marker = image.copy()
    pen = ImageDraw.Draw(marker)
    pen.text((2, 2), "L", fill=255, font=ImageFont.load_default(20))
    assert not burned_in_text(marker)  # a side marker names nobody
    wide = Image.new("L", (max(200, image.width), image.height + 40))
    wide.paste(image, (0, 40))
    pen = ImageDraw.Draw(wide)
    pen.text((4, 4), "ZHANG WEI 1962", fill=255, font=ImageFont.load_default(18))
    assert burned_in_text(wide)
