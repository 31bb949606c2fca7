"""A browser, a server of the page and a scan for every test of the chat page."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from tests import chat_page
from tests.chat_page import open_page
from tests.page_server import PageServer


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    with chat_page.browser() as browser:
        yield browser


@pytest.fixture
def server() -> Iterator[PageServer]:
    with PageServer() as server:
        yield server


@pytest.fixture
def context(chromium: Browser, server: PageServer) -> Iterator[BrowserContext]:
    """A browser profile of its own; no page in it may break the policy or talk to others."""
    context = chromium.new_context(locale="en-GB", viewport={"width": 1100, "height": 800})
    context.set_default_timeout(10_000)
    wrong: list[str] = []

    def watch(page: Page) -> None:
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("request", lambda request: wrong.append(request.url))

    context.on("page", watch)
    yield context
    context.close()
    expected = (server.url, "data:", "Failed to load resource")  # the last is a scripted refusal
    assert [text for text in wrong if not text.startswith(expected)] == []


@pytest.fixture
def page(context: BrowserContext, server: PageServer) -> Page:
    page = context.new_page()
    open_page(page, server.url)
    return page


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A CT file of three frames, each brighter, with a window of 40 / 400."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows = data.Columns = 64
    data.NumberOfFrames, data.WindowCenter, data.WindowWidth = 3, 40, 400
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 1
    y, x = np.mgrid[0:64, 0:64]
    disc = np.hypot(x - 32, y - 32) < 20
    frames = [np.where(disc, 40 + 60 * i, -1000) + 8 * (x - 32) for i in range(3)]
    data.PixelData = np.stack(frames).astype(np.int16).tobytes()
    path = tmp_path / "scan"
    with path.open("wb") as stream:
        data.save_as(stream, enforce_file_format=True)
    return path
