"""Files that no service should be sent, as small as they come: `HOSTILE` names all of them.

Every one holds `MARKER`, which must not come back in an answer, an error or a log.
"""

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG4HP41,
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from tests.test_sources_dicom import dicom

MARKER = b"Zhang^Wei-0049182"
PNG = b"\x89PNG\r\n\x1a\n"
GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)
ZEROS = 1 << 20


def saved(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    """A small picture as a file."""
    stream = io.BytesIO()
    (image or Image.fromarray(GREY)).save(stream, kind, **options)
    return stream.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def header(width: int, height: int, bits: int = 1) -> bytes:
    """A grey PNG file's first chunk."""
    return chunk(b"IHDR", struct.pack(">2I5B", width, height, bits, 0, 0, 0, 0))


def inflating(mebibytes: int) -> bytes:
    """Raw deflate data of so many zeros, a thousandth of their size."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(bytes(ZEROS)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * mebibytes + packer.flush()


def png_bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """3.6 gigapixels in half a megabyte."""
    rows = height * (width // 8 + 1)
    data = b"\x78\x9c" + inflating(rows // ZEROS + 1)
    return PNG + header(width, height) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def png_without_pixels() -> bytes:
    """No column and no row."""
    return PNG + header(0, 0) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def png_with_text_bomb(name: bytes = b"zTXt") -> bytes:
    """A picture of 8 pixels a side whose text or colour profile inflates to a gigabyte."""
    before = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}[name]
    bomb = chunk(name, before + b"\x78\x9c" + inflating(1024))
    plain = saved("PNG")
    return plain[:33] + bomb + plain[33:]


def apng(pictures: int = 3) -> bytes:
    """An animated PNG."""
    further = [Image.fromarray(GREY + n) for n in range(1, pictures)]
    return saved("PNG", save_all=True, append_images=further)


def gif_bomb(side: int = 65_535) -> bytes:
    """A screen of 4.3 gigapixels."""
    plain = saved("GIF")
    return plain[:6] + struct.pack("<2H", side, side) + plain[10:]


def animated_gif(pictures: int = 2_000) -> bytes:
    """Many pictures of a few bytes."""
    plain = saved("GIF")
    start = plain.index(b"\x2c\0\0\0\0")
    return plain[:start] + plain[start:-1] * pictures + plain[-1:]


def webp_bomb(side: int = 16_383) -> bytes:
    """A canvas of 268 megapixels; its decoder claims memory for it when it is made."""
    inner = saved("WEBP", lossless=True)[12:]
    canvas = (side - 1).to_bytes(3, "little") * 2
    extended = b"VP8X" + struct.pack("<I4x", 10) + canvas + inner
    return b"RIFF" + struct.pack("<I", len(extended) + 4) + b"WEBP" + extended


def animated_webp() -> bytes:
    """An animated WebP."""
    return saved("WEBP", save_all=True, append_images=[Image.fromarray(255 - GREY)])


def jpeg_bomb(side: int = 65_500) -> bytes:
    """4.3 gigapixels in the header."""
    plain = saved("JPEG")
    size = plain.index(b"\xff\xc0") + 5
    return plain[:size] + struct.pack(">2H", side, side) + plain[size + 4 :]


def jpeg_of_scans(side: int = 4_000, scans: int = 2_000) -> bytes:
    """A progressive JPEG that goes over all its pixels again and again, at a few bytes a time."""
    plain = saved("JPEG", Image.new("L", (side, side)), progressive=True)
    last = plain.rindex(b"\xff\xda")
    return plain[:last] + plain[last:-2] * scans + plain[-2:]


def jpeg2000_bomb(side: int = 60_000) -> bytes:
    """A code stream of 3.6 gigapixels in the header."""
    plain = saved("JPEG2000", no_jp2=True)
    size = plain.index(b"\xff\x51") + 6
    return plain[:size] + struct.pack(">2I", side, side) + plain[size + 8 :]


def tiff_bomb(side: int = 65_500) -> bytes:
    """4.3 gigapixels in the header."""
    plain = bytearray(saved("TIFF"))
    entries = struct.unpack_from("<I", plain, 4)[0] + 2
    for entry in (entries, entries + 12):  # width and length come first
        struct.pack_into("<HII", plain, entry + 2, 4, 1, side)
    return bytes(plain)


def svg() -> bytes:
    """Entities that expand to a billion, and an address inside."""
    levels = "".join(
        f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' if n else '<!ENTITY l0 "ha">' for n in range(10)
    )
    return (
        f'<!DOCTYPE svg [{levels}]><svg><image href="http://169.254.169.254/"/>&l9;</svg>'.encode()
    )


def png_and_dicom() -> bytes:
    """The signatures of both."""
    plain = saved("PNG")
    hidden = dicom(GREY)[128:]
    return plain[:33] + chunk(b"teST", bytes(87) + hidden) + plain[33:]


def dicom_bomb(side: int = 60_000) -> bytes:
    """3.6 gigapixels in the header."""
    return dicom(GREY, Rows=side, Columns=side)


def dicom_of_frames(frames: int = 100_000) -> bytes:
    """Many frames, each of one pixel."""
    return dicom(GREY[:1, :1], NumberOfFrames=frames, PixelData=bytes(frames))


def compressed_dicom(*streams: bytes, syntax: UID = JPEG2000Lossless, **attributes: Any) -> bytes:
    """A DICOM file of grey frames, 8 pixels a side, around what should be their compression."""
    data = pydicom.dcmread(io.BytesIO(dicom(GREY, NumberOfFrames=len(streams), **attributes)))
    data.file_meta.TransferSyntaxUID = syntax
    data.PixelData = encapsulate(list(streams))
    data["PixelData"].VR = "OB"
    written = io.BytesIO()
    data.save_as(written, enforce_file_format=True)
    return written.getvalue()


def deflated_dicom_bomb(gibibytes: int = 16) -> bytes:
    """A data set that is inflated before any of its attributes can be read."""
    data = pydicom.dcmread(io.BytesIO(dicom(GREY)))
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    written = io.BytesIO()
    data.save_as(written, enforce_file_format=True)
    (length,) = struct.unpack_from("<I", written.getvalue(), 140)
    return written.getvalue()[: 144 + length] + inflating(1024 * gibibytes)


def rle_dicom_bomb(megabytes: int = 4) -> bytes:
    """Runs of 128 bytes in two, far more of them than the frame has pixels."""
    head = struct.pack("<16I", 1, 64, *[0] * 14)
    return compressed_dicom(head + b"\x81\0" * (megabytes << 19), syntax=RLELossless)


def nested_dicom(depth: int = 20_000) -> bytes:
    """Sequences in sequences without an end."""
    start = b"\x28\0\x10\x30SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
    return dicom(GREY) + start * depth


def _random() -> bytes:
    return np.random.default_rng(0).bytes(10_000)


HOSTILE: Mapping[str, tuple[Callable[[], bytes], str]] = {
    name: (lambda make=make: make() + MARKER, code)  # type: ignore[misc]
    for name, make, code in (
        ("nothing", bytes, "image_format"),
        ("random bytes", _random, "image_format"),
        ("random bytes as PNG", lambda: PNG + _random(), "unreadable_image"),
        ("random bytes as JPEG", lambda: b"\xff\xd8\xff\xe0" + _random(), "unreadable_image"),
        ("random bytes as GIF", lambda: b"GIF89a" + bytes(7) + _random(), "unreadable_image"),
        ("random bytes as WebP", lambda: b"RIFF    WEBPVP8 " + _random(), "unreadable_image"),
        ("random bytes as DICOM", lambda: bytes(128) + b"DICM" + _random(), "unreadable_image"),
        ("SVG", svg, "image_format"),
        ("HTML", lambda: b"<html><script>alert(1)</script>", "image_format"),
        ("PDF", lambda: b"%PDF-1.7\n", "image_format"),
        ("TIFF", lambda: saved("TIFF"), "image_format"),
        ("BMP", lambda: saved("BMP"), "image_format"),
        ("JPEG 2000", lambda: saved("JPEG2000"), "image_format"),
        ("PNG and DICOM at once", png_and_dicom, "image_format"),
        ("PNG bomb", png_bomb, "image_pixels"),
        ("PNG, long", lambda: png_bomb(8, 100_000), "image_pixels"),
        ("PNG without pixels", png_without_pixels, "unreadable_image"),
        ("PNG text bomb", png_with_text_bomb, "unreadable_image"),
        ("PNG iTXt bomb", lambda: png_with_text_bomb(b"iTXt"), "unreadable_image"),
        ("PNG profile bomb", lambda: png_with_text_bomb(b"iCCP"), "unreadable_image"),
        ("PNG, animated", apng, "image_animated"),
        ("PNG, cut", lambda: saved("PNG")[:-30], "unreadable_image"),
        ("GIF bomb", gif_bomb, "image_pixels"),
        ("GIF, animated", animated_gif, "image_animated"),
        ("GIF, cut", lambda: saved("GIF")[:-20], "unreadable_image"),
        ("WebP bomb", webp_bomb, "image_pixels"),
        ("WebP, animated", animated_webp, "image_animated"),
        ("WebP, cut", lambda: saved("WEBP")[:-20], "unreadable_image"),
        ("JPEG bomb", jpeg_bomb, "image_pixels"),
        ("JPEG, cut", lambda: saved("JPEG")[:-40], "unreadable_image"),
        ("TIFF bomb", tiff_bomb, "image_format"),
        ("JPEG 2000 bomb", jpeg2000_bomb, "image_format"),
        ("DICOM bomb", dicom_bomb, "image_pixels"),
        ("DICOM, many frames", dicom_of_frames, "image_frames"),
        ("DICOM, too few frames", lambda: dicom(GREY, NumberOfFrames=9), "unreadable_image"),
        ("DICOM, no rows", lambda: dicom(GREY, Rows=0), "unreadable_image"),
        ("DICOM, deflate bomb", deflated_dicom_bomb, "image_pixels"),
        ("DICOM, RLE bomb", rle_dicom_bomb, "unreadable_image"),
        ("DICOM, nested", nested_dicom, "unreadable_image"),
        ("DICOM, cut", lambda: dicom(GREY)[:-40], "unreadable_image"),
        (
            "DICOM with a JPEG 2000 bomb",
            lambda: compressed_dicom(jpeg2000_bomb()),
            "unreadable_image",
        ),
        (
            "DICOM with a JPEG bomb",
            lambda: compressed_dicom(jpeg_bomb(), syntax=JPEGBaseline8Bit),
            "unreadable_image",
        ),
        (
            "DICOM video",
            lambda: compressed_dicom(bytes(8), syntax=MPEG4HP41),
            "image_transfer_syntax",
        ),
    )
}
"""What makes the file, and the code that it is refused with."""
