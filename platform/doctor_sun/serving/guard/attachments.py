"""The pictures of a request: taken from their data URLs, or fetched, then decoded.

What the engine gets is pixels; it never sees an address, nor a byte that was sent.
"""

import asyncio
import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any

from doctor_sun.serving.guard.decoders import Decoders
from doctor_sun.serving.guard.pictures import Picture, Window
from doctor_sun.serving.guard.refusal import Refusal
from doctor_sun.serving.guard.remote import Remote
from doctor_sun.serving.guard.requests import ChatRequest, DicomView, ImagePart

DATA_URL = re.compile(r"data:(image/[a-z0-9.+-]{1,40}|application/dicom);base64,", re.IGNORECASE)


class Attachments:
    """Decodes what is attached to a request.

    Args:
        decoders: the processes that decode.
        remote: fetches what is named by an address, where that is allowed.
    """

    def __init__(self, decoders: Decoders, remote: Remote) -> None:
        self.decoders, self.remote = decoders, remote

    async def of(self, request: ChatRequest) -> list[Picture]:
        """The pictures of a request, in their order.

        Raises:
            Refusal: one of them is no picture that is taken.
        """
        return [*await asyncio.gather(*(self._picture(part) for part in request.pictures()))]

    async def _picture(self, part: ImagePart) -> Picture:
        url = part.image_url.url
        most = self.decoders.config.max_bytes
        if url[:8].lower().startswith("https://"):
            return await self._decoded(await self.remote.fetch(url, most), part.dicom)
        found = DATA_URL.match(url)
        if not found:
            raise Refusal(
                400,
                "image_url",
                "a picture must be a data URL: data:image/png;base64,... or "
                "data:application/dicom;base64,...",
                param="image_url",
            )
        return await self._decoded(await self.from_base64(url, found.end()), part.dicom)

    async def from_base64(self, text: str, start: int = 0) -> bytes:
        """The bytes in base64 text from a place on.

        Raises:
            Refusal: no base64, or too long.
        """
        most = self.decoders.config.max_bytes
        if (len(text) - start) * 3 // 4 > most + 3:
            raise Refusal(413, "image_bytes", f"a picture may have {most:,} bytes at most")
        try:
            return await asyncio.to_thread(base64.b64decode, text[start:], validate=True)
        except (binascii.Error, ValueError):
            raise Refusal(
                400, "image_base64", "a picture is no base64", param="image_url"
            ) from None

    async def preview(self, dicom: str, view: DicomView) -> Picture:
        """A DICOM file in base64, as it would be shown to the model.

        Raises:
            Refusal: it is none.
        """
        return await self._decoded(await self.from_base64(dicom), view)

    async def _decoded(self, encoded: bytes, view: DicomView | None) -> Picture:
        view = view or DicomView()
        window = Window(view.window.center, view.window.width) if view.window else None
        return await self.decoders.decode(encoded, frame=view.frame, window=window)


def data_url(picture: Picture) -> str:
    """The decoded picture as a data URL, for a browser."""
    return f"data:image/png;base64,{base64.b64encode(picture.png()).decode()}"


def with_pictures(request: ChatRequest, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
    """The messages of a request, each picture in the place of what was sent."""
    left = iter(pictures)
    messages: list[dict[str, Any]] = []
    for message in request.messages:
        if not isinstance(message.content, list):
            messages.append({"role": message.role, "content": message.content or ""})
            continue
        parts: list[dict[str, Any]] = [
            {"type": "image_pil", "image_pil": next(left).rgb()}
            if isinstance(part, ImagePart)
            else {"type": "text", "text": part.text}
            for part in message.content
        ]
        messages.append({"role": message.role, "content": parts})
    return messages
