"""Pictures that a stranger sent are refused, or become plain pixels.

Limits are met before any pixel is decoded: bytes, the format by its first bytes (no other decoder
sees them), then pixels and frames as the header states them. What comes out is the pixels that
training reads from the same file (`Image.convert("RGB")`, or `dicom_pixels.show`) and nothing
else of it: no EXIF, profile, text, comment or DICOM attribute. EXIF's orientation is dropped and
not followed, because training does not follow it. Headers lie and decoders fail: `decoders` calls
`decode` in processes that may end.
"""

import hashlib
import io
import math
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.pixels import get_decoder
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from doctor_sun.data import dicom_pixels
from doctor_sun.data.dicom_pixels import Shown, Window
from doctor_sun.errors import InputError
from doctor_sun.serving.guard.refusal import Refusal

SIGNATURES = (
    ("PNG", 0, b"\x89PNG\r\n\x1a\n"),
    ("JPEG", 0, b"\xff\xd8\xff"),
    ("WEBP", 8, b"WEBP"),
    ("GIF", 0, b"GIF87a"),
    ("GIF", 0, b"GIF89a"),
    ("DICOM", 128, b"DICM"),
)
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "DICOM")
INFLATED = 3  # bytes a pixel: 8 bit colours, more than 16 bit grey
CHUNK = 1 << 18

REFUSALS = {
    "image_bytes": (413, "a picture may have {config.max_bytes:,} bytes at most"),
    "image_format": (400, "a picture must be a file of one of these formats: {formats}"),
    "image_pixels": (
        413,
        "a picture may have {config.max_pixels:,} pixels and {config.max_side:,} a side at most",
    ),
    "image_frames": (413, "a DICOM file may have {config.max_frames:,} frames at most"),
    "image_animated": (400, "an animated picture is not taken: send one frame of it"),
    "image_frame": (400, "the picture has no such frame: they count from 0"),
    "image_window": (
        400,
        "a window belongs to a grey DICOM picture: a finite center, and a finite width over 0",
    ),
    "image_transfer_syntax": (
        400,
        "the DICOM file is compressed in a way that cannot be read here: send it as Explicit VR "
        "Little Endian, RLE Lossless, JPEG Baseline or JPEG 2000",
    ),
    "unreadable_image": (400, "the picture is damaged, incomplete or of a kind not read here"),
    "image_memory": (413, "decoding a picture may take {config.memory_gib:g} GiB at most"),
    "image_seconds": (413, "decoding a picture may take {config.seconds:g} seconds at most"),
    "image_decoder": (400, "the picture's decoder failed"),
    "decoder_start": (503, "a decoder is being replaced: send the picture again"),
    "decoder_queue": (503, "{config.waiting} pictures wait to be decoded already: send it again"),
}
"""Status and message by code."""


@dataclass(frozen=True, kw_only=True)
class PictureConfig:
    """What is taken as a picture, and what decoding one may cost."""

    formats: tuple[str, ...] = FORMATS
    """Taken file formats, of PNG, JPEG, WEBP, GIF (none of them animated) and DICOM."""

    max_bytes: int = 20 * 1024**2
    """Of one encoded picture."""

    max_pixels: int = 50_000_000
    """Rows times columns of one frame."""

    max_side: int = 20_000
    """Rows or columns of one frame."""

    max_frames: int = 2_000
    """Of one DICOM file; only the frame that is asked for is decoded."""

    seconds: float = 10.0
    """Time limit of decoding one picture."""

    decoders: int = 1
    """Processes that decode."""

    waiting: int = 32
    """Pictures that may wait for a free decoder; further ones are refused."""

    memory_gib: float = 2.0
    """Memory that a decoder may take on top of its code."""

    def __post_init__(self) -> None:
        if not self.formats or not set(self.formats) <= set(FORMATS):
            raise InputError(f"formats must be some of {', '.join(FORMATS)}")
        if min(self.seconds, self.decoders, self.memory_gib) <= 0:
            raise InputError("seconds, decoders and memory_gib must be over 0")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Pixels of a picture, and what may be said about the file that was sent."""

    pixels: bytes = field(repr=False)
    """A byte a pixel of a grey picture, three of one in RGB, row by row."""

    grey: bool
    """Whether a pixel is one byte."""

    width: int
    """Columns."""

    height: int
    """Rows."""

    format: str
    """Of the file that was sent, one of `FORMATS`."""

    frames: int
    """Of the file that was sent."""

    frame: int
    """Which of them this is, from 0."""

    window: Window | None
    """What is shown of a grey DICOM frame; None for its lookup table and for all other pictures."""

    lowest: float | None
    """Of a grey DICOM frame's values after the modality LUT, padding left out."""

    highest: float | None
    """As `lowest`."""

    sha256: str
    """Hex digest of the file that was sent."""

    given_bytes: int
    """Size of the file that was sent."""

    def rgb(self) -> Image.Image:
        """As the model's processor takes it."""
        return self._image().convert("RGB")

    def png(self) -> bytes:
        """A PNG file of nothing but the pixels."""
        stream = io.BytesIO()
        # Run lengths are found as fast as level 1's copies, and radiographs become smaller.
        self._image().save(stream, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
        return stream.getvalue()

    def _image(self) -> Image.Image:
        return Image.frombytes("L" if self.grey else "RGB", (self.width, self.height), self.pixels)


def refusal(code: str, config: PictureConfig) -> Refusal:
    """The refusal of that code; its message names limits and nothing of the picture."""
    status, message = REFUSALS[code]
    return Refusal(
        status,
        code,
        message.format(config=config, formats=", ".join(config.formats)),
        param="image_url",
        retry_after=1.0 if status == 503 else None,
    )


def check_bytes(encoded: bytes, config: PictureConfig) -> None:
    """Refuse a file that is too large before it is copied anywhere."""
    if len(encoded) > config.max_bytes:
        raise refusal("image_bytes", config)


def decode(
    encoded: bytes, config: PictureConfig, *, frame: int = 0, window: Window | None = None
) -> Picture:
    """Plain pixels of a picture. One thread at a time: Pillow's limits are those of its module.

    Args:
        encoded: the file that was sent.
        config: the limits; those of time and memory are the process's and not met here.
        frame: of a DICOM file of several, from 0.
        window: of a grey DICOM frame, instead of what the file names.

    Raises:
        Refusal: it is too large, of another format, damaged, or has no such frame or window.
    """
    check_bytes(encoded, config)
    kind = _format(encoded, config)
    if window and not (0 < window.width < math.inf and math.isfinite(window.center)):
        raise refusal("image_window", config)
    try:
        with _pillow_limits(config):
            if kind == "DICOM":
                shown, frames = _from_dicom(encoded, config, frame, window)
            else:
                _check_frame(frame, 1, config)
                shown, frames = Shown(pixels=_from_file(encoded, kind, config)), 1
            if window and shown.lowest is None:
                raise refusal("image_window", config)
            pixels = shown.pixels.tobytes()
    except Refusal:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise refusal("image_pixels", config) from None
    except MemoryError:
        raise refusal("image_memory", config) from None
    except Exception:  # a broken file raises whatever its decoder happens to run into
        raise refusal("unreadable_image", config) from None
    height, width = shown.pixels.shape[:2]
    return Picture(
        pixels=pixels,
        grey=shown.pixels.ndim == 2,
        width=width,
        height=height,
        format=kind,
        frames=frames,
        frame=frame,
        window=shown.window,
        lowest=shown.lowest,
        highest=shown.highest,
        sha256=hashlib.sha256(encoded).hexdigest(),
        given_bytes=len(encoded),
    )


def _format(encoded: bytes, config: PictureConfig) -> str:
    """The one taken format whose signature the file has: what is two formats at once is neither."""
    found = [name for name, at, mark in SIGNATURES if encoded[at : at + len(mark)] == mark]
    if len(found) != 1 or found[0] not in config.formats:
        raise refusal("image_format", config)
    return found[0]


@contextmanager
def _pillow_limits(config: PictureConfig) -> Iterator[None]:
    """Too many pixels are an error wherever Pillow meets them, and nothing else is said aloud."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, config.max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a warning may quote what stands in the file
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _check_size(width: int, height: int, config: PictureConfig) -> None:
    if min(width, height) < 1:
        raise refusal("unreadable_image", config)
    if width * height > config.max_pixels or max(width, height) > config.max_side:
        raise refusal("image_pixels", config)


def _from_file(encoded: bytes, kind: str, config: PictureConfig) -> NDArray[np.uint8]:
    """As training reads it: `decode_image` in models/image_transform.py."""
    with Image.open(io.BytesIO(encoded), formats=(kind,)) as image:
        _check_size(*image.size, config)
        # A JPEG of several pictures (MPO) is a photo with previews; all readers show its first.
        if kind != "JPEG" and getattr(image, "is_animated", False):
            raise refusal("image_animated", config)
        colours = image.convert("RGB")
        grey = Image.getmodebase(image.mode) == "L"
    return np.asarray(colours.getchannel("R") if grey else colours)


def _from_dicom(
    encoded: bytes, config: PictureConfig, frame: int, window: Window | None
) -> tuple[Shown, int]:
    _check_inflated(encoded, config)
    data = dicom_pixels.read(encoded)
    frames = dicom_pixels.frames(data)
    _check_size(int(data.Columns), int(data.Rows), config)
    if frames > config.max_frames:
        raise refusal("image_frames", config)
    _check_frame(frame, frames, config)
    if not _has_decoder(data.file_meta.TransferSyntaxUID):
        raise refusal("image_transfer_syntax", config)
    return dicom_pixels.show(data, frame, window), frames


def _check_frame(frame: int, frames: int, config: PictureConfig) -> None:
    if not 0 <= frame < frames:
        raise refusal("image_frame", config)


def _has_decoder(syntax: UID) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:  # pydicom knows no decoder at all: video
        return False


def _check_inflated(encoded: bytes, config: PictureConfig) -> None:
    """A deflated data set becomes large before any of its attributes can be read."""
    stream = io.BytesIO(encoded)
    read_preamble(stream, force=False)
    # pydicom's own function: one that read a damaged header otherwise could be led past this check.
    syntax = _read_file_meta_info(stream).get("TransferSyntaxUID")
    if syntax != DeflatedExplicitVRLittleEndian:
        return
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while not inflater.eof and (part := inflater.unconsumed_tail or stream.read(CHUNK)):
        size += len(inflater.decompress(part, CHUNK))
        if size > INFLATED * config.max_pixels:
            raise refusal("image_pixels", config)
