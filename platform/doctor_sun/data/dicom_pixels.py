"""The pixels of a DICOM file as a screen shows them: 8 bit, grey or RGB.

Modality LUT, then VOI LUT or window (the file's first view; without one the range of the pixels),
inverted for MONOCHROME1, colours as RGB (DICOM PS3.3 C.7.6.3 and C.11). A file is read with
`PIXELS` only: patient, study and device never enter the data set. Curation and the endpoint both
use it, so that a model is served the pictures that it was trained on.
"""

import io
import struct
from dataclasses import dataclass
from types import EllipsisType

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import get_frame
from pydicom.pixels import pixel_array
from pydicom.pixels.processing import (
    apply_color_lut,
    apply_modality_lut,
    apply_voi,
    apply_windowing,
)
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import RLELossless

FRAME_MACROS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
FRAME_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
FRAME_VALUES = (
    *("RescaleSlope", "RescaleIntercept"),
    *("VOILUTFunction", "WindowCenter", "WindowWidth"),
)
PIXELS = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "NumberOfFrames"),
    *("PixelData", "FloatPixelData", "PixelPaddingValue"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *("ModalityLUTSequence", "VOILUTSequence", *FRAME_GROUPS, *FRAME_VALUES),
    *(
        f"{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for part in ("Descriptor", "Data")
    ),
)
JPEG2000_SIZE = b"\xff\x4f\xff\x51"  # start of a code stream, then its SIZ segment
JPEG_FRAMES = {0xFFC0 + n for n in range(16)} - {0xFFC4, 0xFFC8, 0xFFCC} | {0xFFF7}  # and JPEG-LS
RLE_HEADER = 1024  # more than it has, padding included
FAR = 100  # window widths from the centre: beyond every window, SIGMOID's tail included


@dataclass(frozen=True)
class Window:
    """The values that are shown from black to white, in units after the modality LUT."""

    center: float
    """The value in the middle."""

    width: float
    """From black to white; over 0."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A frame as a screen shows it, and what of its values that is."""

    pixels: NDArray[np.uint8]
    """[rows, columns] or [rows, columns, 3]."""

    window: Window | None = None
    """What was applied; none for colours and for a lookup table."""

    lowest: float | None = None
    """Of the frame's values after the modality LUT, padding left out; none for colours."""

    highest: float | None = None
    """As `lowest`."""


def read(encoded: bytes, *more: str) -> pydicom.FileDataset:
    """The attributes of a DICOM file that its pixels need, and `more` by name.

    Raises:
        Exception: whatever pydicom runs into where the file is damaged or no DICOM file.
    """
    return pydicom.dcmread(io.BytesIO(encoded), specific_tags=[*PIXELS, *more])


def frames(data: pydicom.Dataset) -> int:
    """How many frames a file says that it has."""
    return int(data.get("NumberOfFrames") or 1)


def show(data: pydicom.Dataset, frame: int = 0, window: Window | None = None) -> Shown:
    """One frame of what `read` gave; no other frame is decoded.

    Args:
        data: attributes; a window that is asked for and the frame's own values are put into it.
        frame: from 0.
        window: shown instead of the file's window or lookup table; colours have none.

    Raises:
        Exception: whatever the decoder runs into, ValueError for values that are not finite.
    """
    _check_stream(data, frame)
    _take_frame_values(data, frame)
    if window:
        _ask_for(data, window)
    pixels = pixel_array(data, index=frame)
    if data.PhotometricInterpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, data)
    if pixels.ndim == 3:
        return Shown(pixels=(pixels >> (8 * (pixels.dtype.itemsize - 1))).astype(np.uint8))
    return _grey(pixels, data)


def _check_stream(data: pydicom.Dataset, frame: int) -> None:
    """Refuse a compressed frame that says itself, or whose length says, that it is of another size
    than the file says: the decoders would fill memory before anyone compared.
    """
    syntax = data.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return
    offsets = (data.get("ExtendedOffsetTable"), data.get("ExtendedOffsetTableLengths"))
    stream = get_frame(
        data.PixelData,
        frame,
        number_of_frames=frames(data),
        extended_offsets=offsets if all(offsets) else None,
    )
    if syntax == RLELossless:
        fits = len(stream) <= RLE_HEADER + 2 * get_expected_length(data) // frames(data)
    else:
        fits = _stream_size(stream) in (None, (data.Columns, data.Rows))
    if not fits:
        raise ValueError("the compressed frame is not of the size that the file says")


def _stream_size(stream: bytes) -> tuple[int, int] | None:
    """Columns and rows in the header of a JPEG, JPEG-LS or JPEG 2000 stream; None if not found."""
    try:
        start = stream.find(JPEG2000_SIZE)
        if start >= 0 and not stream.startswith(b"\xff\xd8"):
            right, bottom, left, top = struct.unpack_from(">4I", stream, start + 8)
            return right - left, bottom - top
        place = 2
        while stream[place] == 0xFF:
            marker, length = struct.unpack_from(">HH", stream, place)
            if marker in JPEG_FRAMES:
                rows, columns = struct.unpack_from(">HH", stream, place + 5)
                return columns, rows
            place += 2 + length
    except (IndexError, struct.error):
        pass
    return None


def _take_frame_values(data: pydicom.Dataset, frame: int) -> None:
    """Put a frame's own rescale and window, as enhanced files have them, where others keep them."""
    for groups, item in zip(FRAME_GROUPS, (0, frame), strict=True):
        for group in (data.get(groups) or [])[item : item + 1]:
            macros = [values for name in FRAME_MACROS for values in (group.get(name) or [])[:1]]
            for values in macros:
                found = [values[name] for name in FRAME_VALUES if name in values]
                data.update({element.tag: element for element in found})


def _ask_for(data: pydicom.Dataset, window: Window) -> None:
    """Replace the file's view."""
    data.pop("VOILUTSequence", None)
    # FD and not the standard's DS: a decimal string is too short for some numbers.
    data.add_new("WindowCenter", "FD", window.center)
    data.add_new("WindowWidth", "FD", window.width)
    if window.width < 1:
        data.VOILUTFunction = "LINEAR_EXACT"  # LINEAR has no such window


def _grey(pixels: NDArray[np.generic], data: pydicom.Dataset) -> Shown:
    stored, place = _distinct(pixels)
    values = apply_modality_lut(stored, data)
    if not np.isfinite(values).all():
        raise ValueError("not every value is finite")
    inside = values[stored != data.get("PixelPaddingValue")].astype(float)
    lowest, highest = (inside.min(), inside.max()) if inside.size else (0.0, 1.0)
    seen, black, white, window = _view(values, data, lowest, highest)
    scaled = np.clip((seen - black) / ((white - black) or 1.0), 0, 1)
    grey = np.rint(255 * scaled).astype(np.uint8)
    shown = (255 - grey if data.PhotometricInterpretation == "MONOCHROME1" else grey)[place]
    return Shown(pixels=shown, window=window, lowest=float(lowest), highest=float(highest))


def _distinct(
    pixels: NDArray[np.generic],
) -> tuple[NDArray[np.generic], NDArray[np.uint16] | EllipsisType]:
    """The different values of 8 and 16 bit pixels, and which of them each pixel has: what is worked
    out in floating point then is 65,536 values and not the picture. Others come back as they are.
    """
    if pixels.dtype.itemsize > 2:
        return pixels, ...
    unsigned = f"u{pixels.dtype.itemsize}"
    codes = pixels.view(unsigned).astype(np.intp)
    present = np.zeros(256**pixels.dtype.itemsize, dtype=bool)
    present[codes] = True
    rank = (np.cumsum(present) - 1).astype(np.uint16)
    return np.flatnonzero(present).astype(unsigned).view(pixels.dtype), rank[codes]


def _view(
    values: NDArray[np.generic], data: pydicom.Dataset, lowest: float, highest: float
) -> tuple[NDArray[np.float64], float, float, Window | None]:
    """The values seen through lookup table or window, what of them is black and white, the window.

    The range of the pixels is a window, too: the one that shows just that.
    """
    if data.get("VOILUTSequence"):
        white = 2.0 ** int(data.VOILUTSequence[0].LUTDescriptor[2]) - 1
        return apply_voi(values, data).astype(float), 0.0, white, None
    if data.get("WindowWidth") is None or data.get("WindowCenter") is None:
        window = Window(float((lowest + highest + 1) / 2), float(highest - lowest + 1))
        return values.astype(float), lowest, highest, window
    center, width = (
        float(np.ravel(data[name].value)[0]) for name in ("WindowCenter", "WindowWidth")
    )
    # Two values beyond the window are carried along: they come out as its ends.
    ends = np.array([center - FAR * width, center + FAR * width])
    with np.errstate(over="ignore"):
        seen = apply_windowing(np.append(values.astype(float).ravel(), ends), data)
    return seen[:-2].reshape(values.shape), seen[-2], seen[-1], Window(center, width)
