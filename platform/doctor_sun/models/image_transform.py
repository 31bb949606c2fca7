"""Image bytes -> pixels, with the very processor that the exported folder carries.

Training, transformers and vLLM all run `LlavaImageProcessor`: what the model saw while it trained
is what it sees when it is served, padding included.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from transformers import LlavaImageProcessor


def build_image_processor(image_size: int, square_padding: bool) -> LlavaImageProcessor:
    """The transform to `image_size` pixels with CLIP's mean and standard deviation.

    Args:
        image_size: side of the square the tower reads.
        square_padding: pad to a square with the mean colour first; without it the shorter side is
            resized and the centre cropped.
    """
    return LlavaImageProcessor(
        do_pad=square_padding,
        size={"shortest_edge": image_size},
        crop_size={"height": image_size, "width": image_size},
    )


def decode_image(encoded: bytes) -> Image.Image:
    """An RGB picture from encoded bytes.

    Raises:
        ValueError: the bytes are not a readable image.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return image.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError("not a readable image") from error


def to_uint8(processor: LlavaImageProcessor, images: list[Image.Image]) -> NDArray[np.uint8]:
    """Resized, padded and cropped pixels [images, 3, size, size], not yet normalised."""
    found = processor(images, do_rescale=False, do_normalize=False, return_tensors="np")
    return np.asarray(found["pixel_values"]).astype(np.uint8)


def normalise(processor: LlavaImageProcessor, pixels: Tensor) -> Tensor:
    """uint8 pixels [images, 3, size, size] -> what the tower reads, as the processor does it."""
    return processor.rescale_and_normalize(
        pixels, True, processor.rescale_factor, True, processor.image_mean, processor.image_std
    )
