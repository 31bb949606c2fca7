"""A picture's file -> what the model is shown, or why it cannot be."""

import functools
import io
import warnings

from PIL import Image

from doctor_sun.data import dicom_pixels
from doctor_sun.data.sources.record import Broken

DICOM_MARK = b"DICM"
DICOM_HEAD = 128  # bytes before the mark
READ_BY_ALL = ("PNG", "JPEG")  # what every engine takes
TOO_LARGE = "an image of more than most_pixels"


@functools.lru_cache(maxsize=8)  # neighbours often ask about the same picture
def shown(encoded: bytes, most_pixels: int, plain: bool) -> bytes:
    """A picture as PNG or JPEG; DICOM as a screen shows it.

    Args:
        encoded: the picture's file.
        most_pixels: how many it may have.
        plain: nothing but its pixels: what else is in a file may name a patient.

    Raises:
        Broken: it cannot be decoded, has several frames, or more pixels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning may quote what stands in the file
        try:
            if is_dicom(encoded[: DICOM_HEAD + len(DICOM_MARK)]):
                return _png(_from_dicom(encoded, most_pixels))
            with Image.open(io.BytesIO(encoded)) as image:
                _check_size(*image.size, most_pixels)
                pixels, kind = image.convert("RGB"), image.format
        except Broken:
            raise
        except Image.DecompressionBombError:
            raise Broken(TOO_LARGE) from None
        except Exception:  # a broken file raises whatever its decoder happens to run into
            raise Broken("unreadable image") from None
    return _png(pixels) if plain or kind not in READ_BY_ALL else encoded


def is_dicom(head: bytes) -> bool:
    """Whether a file is DICOM, by its first 132 bytes."""
    return head[DICOM_HEAD:] == DICOM_MARK


def _from_dicom(encoded: bytes, most_pixels: int) -> Image.Image:
    data = dicom_pixels.read(encoded)
    if dicom_pixels.frames(data) > 1:
        raise Broken("a DICOM file of several frames")
    _check_size(int(data.Columns), int(data.Rows), most_pixels)
    return Image.fromarray(dicom_pixels.show(data).pixels)


def _check_size(width: int, height: int, most_pixels: int) -> None:
    if width * height > most_pixels:
        raise Broken(TOO_LARGE)


def _png(pixels: Image.Image) -> bytes:
    stream = io.BytesIO()
    pixels.save(stream, "PNG", compress_level=1)  # a third of the usual time
    return stream.getvalue()
