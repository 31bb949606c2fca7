"""A picture that was sent becomes the pixels that training would read, and nothing else."""

import hashlib
import io
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from doctor_sun.data import dicom_pixels
from doctor_sun.data.sources.dicom import to_png
from doctor_sun.data.sources.record import Broken
from doctor_sun.errors import InputError
from doctor_sun.models.image_transform import decode_image
from doctor_sun.serving.guard.pictures import Picture, PictureConfig, Window, decode
from doctor_sun.serving.guard.refusal import Refusal
from tests.hostile_files import (
    GREY,
    MARKER,
    compressed_dicom,
    jpeg2000_bomb,
    jpeg_bomb,
    rle_dicom_bomb,
    saved,
)
from tests.test_sources_dicom import RAMP, dicom

CONFIG = PictureConfig()
ORIENTATION = 0x0112
MODES = [
    *(("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    *(("JPEG", mode) for mode in ("L", "RGB", "CMYK")),
    *(("WEBP", mode) for mode in ("RGB", "RGBA")),
    *(("GIF", mode) for mode in ("1", "L", "P")),
]
PACKAGED = sorted(Path(str(get_testdata_file("CT_small.dcm", download=False))).parent.glob("*.dcm"))


def pixels(encoded: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(encoded)))


def packaged(name: str) -> bytes:
    return Path(str(get_testdata_file(f"{name}.dcm", download=False))).read_bytes()


def refused(encoded: bytes, config: PictureConfig = CONFIG, **choice: Any) -> str:
    with pytest.raises(Refusal) as caught:
        decode(encoded, config, **choice)
    return caught.value.code


def chunks(encoded: bytes) -> list[bytes]:
    """The names of a PNG file's chunks."""
    found, place = [], 8
    while place < len(encoded):
        (length,) = struct.unpack_from(">I", encoded, place)
        found.append(encoded[place + 4 : place + 8])
        place += length + 12
    return found


def picture_of(mode: str, width: int, height: int, seed: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 2**16, (height, width, 4), dtype=np.uint16)
    if mode == "I;16":
        return Image.fromarray(values[..., 0])
    colours = Image.fromarray((values >> 8).astype(np.uint8), "RGBA")
    return colours if mode == "RGBA" else colours.convert("RGB").convert(mode)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(MODES),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(0, 2**32),
    st.integers(1, 8),
    st.booleans(),
)
def test_the_pixels_are_those_that_training_reads(
    kind: tuple[str, str], size: tuple[int, int], seed: int, orientation: int, transparent: bool
) -> None:
    image = picture_of(kind[1], *size, seed)
    options: dict[str, Any] = {"lossless": bool(seed % 2)} if kind[0] == "WEBP" else {}
    if kind[0] != "GIF":
        options["exif"] = Image.Exif()
        options["exif"][ORIENTATION] = orientation
    if transparent and kind[0] in ("PNG", "GIF") and kind[1] in ("L", "P"):
        options["transparency"] = 3
    encoded = saved(kind[0], image, **options)
    picture = decode(encoded, CONFIG)
    assert (picture.width, picture.height) == size
    assert picture.format == kind[0]
    trained, served = decode_image(encoded), decode_image(picture.png())
    assert np.array_equal(np.asarray(served), np.asarray(trained))


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_a_dicom_file_is_served_as_it_is_curated(path: Path) -> None:
    encoded = path.read_bytes()
    try:
        curated, _ = to_png(encoded)
    except Broken as broken:
        if "several frames" not in str(broken):
            assert refused(encoded) in ("unreadable_image", "image_format", "image_transfer_syntax")
        return
    assert (pixels(decode(encoded, CONFIG).png()) == pixels(curated)).all()


def test_all_these_transfer_syntaxes_are_decoded() -> None:
    found = set()
    for path in PACKAGED:
        try:
            decode(path.read_bytes(), CONFIG)
        except Refusal:
            continue
        found.add(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)
    assert found >= {
        *(ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian),
        *(DeflatedExplicitVRLittleEndian, RLELossless, JPEGBaseline8Bit),
        *(JPEG2000Lossless, JPEG2000),
    }


def test_nothing_but_pixels_goes_on() -> None:
    said = MARKER.decode()
    exif = Image.Exif()
    exif[0x010E] = said  # ImageDescription
    text = PngInfo()
    text.add_text("Comment", said)
    text.add_itxt("Description", said)
    profile = bytes(40) + MARKER
    colours = Image.new("RGB", (3, 2), "red")
    sent = [
        saved("PNG", colours, pnginfo=text, exif=exif, icc_profile=profile, dpi=(7, 7)) + MARKER,
        saved("JPEG", colours, exif=exif, comment=said, icc_profile=profile),
        saved("WEBP", colours, exif=exif, xmp=MARKER, icc_profile=profile),
        saved("GIF", colours, comment=said),
        dicom(GREY, PatientName=said, StudyDescription=said, ImageComments=said),
    ]
    for encoded in sent:
        assert MARKER in encoded
        picture = decode(encoded, CONFIG)
        assert set(chunks(picture.png())) == {b"IHDR", b"IDAT", b"IEND"}
        assert MARKER not in picture.png()
        assert said not in repr(picture)
        assert "IHDR" not in repr(picture)  # a log would hold the picture


def test_what_was_sent_is_named_by_its_hash_and_size() -> None:
    encoded = saved("JPEG")
    picture = decode(encoded, CONFIG)
    assert picture.sha256 == hashlib.sha256(encoded).hexdigest()
    assert picture.given_bytes == len(encoded)
    assert (picture.frames, picture.frame, picture.window) == (1, 0, None)


def test_limits_are_met_exactly() -> None:
    encoded = saved("PNG", Image.new("L", (30, 20)))
    size = len(encoded)
    assert decode(encoded, PictureConfig(max_bytes=size, max_pixels=600, max_side=30)).width == 30
    assert refused(encoded, PictureConfig(max_bytes=size - 1)) == "image_bytes"
    assert refused(encoded, PictureConfig(max_pixels=599)) == "image_pixels"
    assert refused(encoded, PictureConfig(max_side=29)) == "image_pixels"
    assert refused(encoded, PictureConfig(formats=("JPEG",))) == "image_format"
    frames = packaged("examples_ybr_color")
    assert decode(frames, PictureConfig(max_frames=30)).frames == 30
    assert refused(frames, PictureConfig(max_frames=29)) == "image_frames"


def test_limits_that_decode_nothing_are_refused() -> None:
    for wrong in ({"formats": ("BMP",)}, {"formats": ()}, {"seconds": 0}, {"decoders": 0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            PictureConfig(**wrong)  # type: ignore[arg-type]


def test_pillow_is_left_as_it_was() -> None:
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        decode(saved("PNG"), CONFIG)
        refused(saved("PNG", Image.new("L", (30, 20))), PictureConfig(max_pixels=100))
        refused(dicom(GREY, Rows=9))
    assert said == []
    assert before == Image.MAX_IMAGE_PIXELS


def test_the_window_that_is_asked_for_replaces_the_files() -> None:
    lut = Dataset()
    lut.LUTDescriptor = [64, 0, 16]
    lut.LUTData = np.arange(64, dtype=np.uint16).tobytes()
    rescale = {"RescaleSlope": 1, "RescaleIntercept": -32}
    expected = np.clip((np.arange(-32, 32) + 0.5) / 16 + 0.5, 0, 1)  # PS3.3 C.11.2.1.2.1
    for view in ({}, {"WindowCenter": 9, "WindowWidth": 90}, {"VOILUTSequence": [lut]}):
        picture = decode(dicom(**rescale, **view), CONFIG, window=Window(0, 17))
        assert np.abs(pixels(picture.png()).ravel() - 255 * expected).max() <= 0.5
        assert picture.window == Window(0, 17)
        assert (picture.lowest, picture.highest) == (-32, 31)
    dark = decode(
        dicom(PhotometricInterpretation="MONOCHROME1", **rescale), CONFIG, window=Window(0, 17)
    )
    assert (pixels(dark.png()) == 255 - pixels(picture.png())).all()


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"WindowCenter": [20, 5], "WindowWidth": [30, 9]},
        {"WindowCenter": 20, "WindowWidth": 30, "VOILUTFunction": "SIGMOID"},
        {"RescaleSlope": "0.001", "RescaleIntercept": "-0.25"},
    ],
    ids=str,
)
def test_the_window_that_is_reported_is_the_one_that_is_shown(attributes: dict[str, Any]) -> None:
    encoded = dicom(**attributes)
    shown = decode(encoded, CONFIG)
    again = decode(encoded, CONFIG, window=shown.window)
    assert shown.window
    assert again.window == shown.window
    assert (pixels(again.png()) == pixels(shown.png())).all()


def test_padding_is_no_value() -> None:
    picture = decode(dicom(RAMP + 1000, PixelPaddingValue=1063), CONFIG)
    assert (picture.lowest, picture.highest) == (1000, 1062)


def test_a_window_narrower_than_one_separates_small_values() -> None:
    encoded = dicom(RescaleSlope="0.01", RescaleIntercept="0")  # 0 to 0.63
    shown = pixels(decode(encoded, CONFIG, window=Window(0.315, 0.63)).png())
    assert np.abs(shown.ravel() - 255 * np.arange(64) / 63).max() <= 1


@pytest.mark.parametrize(
    ("encoded", "window"),
    [
        (dicom(), Window(5, 0)),
        (dicom(), Window(5, -1)),
        (dicom(), Window(float("nan"), 5)),
        (dicom(), Window(5, float("inf"))),
        (saved("PNG"), Window(5, 5)),
        (packaged("examples_rgb_color"), Window(5, 5)),
    ],
    ids=["zero", "negative", "no number", "infinite", "PNG", "colours"],
)
def test_windows_that_cannot_be_shown_are_refused(encoded: bytes, window: Window) -> None:
    assert refused(encoded, window=window) == "image_window"


def test_a_frame_is_chosen() -> None:
    encoded = packaged("examples_ybr_color")
    picture = decode(encoded, CONFIG, frame=7)
    expected = pixel_array(pydicom.dcmread(io.BytesIO(encoded)), index=7)
    assert (pixels(picture.png()) == expected).all()
    assert (picture.frames, picture.frame) == (30, 7)
    assert picture.png() != decode(encoded, CONFIG).png()
    for frame in (-1, 30):
        assert refused(encoded, frame=frame) == "image_frame"
    assert refused(saved("PNG"), frame=1) == "image_frame"


def test_no_other_frame_is_decoded() -> None:
    whole = saved("JPEG2000", Image.fromarray(GREY), no_jp2=True)
    encoded = compressed_dicom(MARKER + b".", whole)
    assert (pixels(decode(encoded, CONFIG, frame=1).png()) == decoded_ramp()).all()
    assert refused(encoded, frame=0) == "unreadable_image"


def decoded_ramp() -> NDArray[np.uint8]:
    return pixels(decode(dicom(GREY), CONFIG).png())


def test_a_frames_own_rescale_and_window_count() -> None:
    def group(intercept: int) -> Dataset:
        rescale, view, found = Dataset(), Dataset(), Dataset()
        rescale.RescaleSlope, rescale.RescaleIntercept = 1, intercept
        view.WindowCenter, view.WindowWidth = intercept + 30, 21
        found.PixelValueTransformationSequence, found.FrameVOILUTSequence = [rescale], [view]
        return found

    encoded = dicom(
        np.vstack([RAMP, RAMP]),
        Rows=8,
        NumberOfFrames=2,
        PerFrameFunctionalGroupsSequence=[group(0), group(-1000)],
    )
    first, second = (decode(encoded, CONFIG, frame=frame) for frame in (0, 1))
    assert (first.lowest, second.lowest) == (0, -1000)
    assert (first.window, second.window) == (Window(30, 21), Window(-970, 21))
    assert first.png() == second.png()


@pytest.mark.parametrize(
    "encoded",
    [
        compressed_dicom(jpeg2000_bomb()),
        compressed_dicom(jpeg_bomb(), syntax=JPEGBaseline8Bit),
        compressed_dicom(saved("JPEG2000", Image.new("L", (9, 9))), syntax=JPEG2000),
        rle_dicom_bomb(),
    ],
    ids=["JPEG 2000", "JPEG", "JP2", "RLE"],
)
def test_a_stream_of_another_size_is_not_decoded(
    encoded: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    monkeypatch.setattr(dicom_pixels, "pixel_array", lambda *_, **__: decoded.append(1))
    assert refused(encoded) == "unreadable_image"
    assert decoded == []


def floats(values: NDArray[np.float32]) -> bytes:
    data = pydicom.dcmread(io.BytesIO(dicom(RAMP, BitsAllocated=32)))
    del data.PixelData
    data.FloatPixelData = values.tobytes()
    stream = io.BytesIO()
    data.save_as(stream)
    return stream.getvalue()


def test_values_that_are_no_numbers_are_refused() -> None:
    values = np.linspace(-1, 1, 64, dtype=np.float32)
    picture = decode(floats(values), CONFIG)
    assert (picture.lowest, picture.highest) == (-1, 1)
    assert (np.diff(pixels(picture.png()).ravel().astype(int)) > 0).all()
    values[3] = np.nan
    assert refused(floats(values)) == "unreadable_image"


def test_a_refusal_says_nothing_of_the_picture() -> None:
    encoded = dicom(GREY, PatientName=MARKER.decode(), Rows=9)
    with pytest.raises(Refusal) as caught:
        decode(encoded, CONFIG)
    assert MARKER.decode() not in str(caught.value.body())
    assert caught.value.__suppress_context__
    assert isinstance(decode(dicom(GREY), CONFIG), Picture)
