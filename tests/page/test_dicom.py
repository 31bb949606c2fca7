"""The chat page and DICOM files: windows, frames, previews, broken files."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, expect
from pydicom import dcmread

from tests import chat_page
from tests.chat_page import ask, attached, button, question, slider, upload
from tests.page_server import PageServer, Reply, sent_images

pytestmark = chat_page.MARKS


def grey(page: Page) -> float:
    """The mean grey value of the first attached picture."""
    encoded = (attached(page).first.get_attribute("src") or "").partition(",")[2]
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as opened:
        return float(np.asarray(opened.convert("L")).mean())


def test_the_window_that_is_seen_is_the_one_that_is_sent(
    page: Page, server: PageServer, scan: Path
) -> None:
    upload(page, scan)
    assert server.previewed == [{"frame": 0, "window": None}]
    expect(slider(page, "centre")).to_have_value("40")
    expect(slider(page, "width")).to_have_value("400")
    before = grey(page)
    slider(page, "centre").fill("-500")
    expect(button(page, "send")).to_be_disabled()
    expect(page.get_by_text("Window -500 / 400")).to_be_visible()
    assert grey(page) > before + 20
    slider(page, "frame").fill("3")
    expect(page.get_by_text("Frame 3 of 3")).to_be_visible()
    assert server.previewed[-1] == {"frame": 2, "window": {"center": -500, "width": 400}}
    ask(page, "What is seen?")
    chat_page.answer(page)
    part = server.asked[0]["messages"][0]["content"][0]
    assert part["dicom"] == server.previewed[-1]
    encoded = base64.b64encode(scan.read_bytes()).decode()
    assert part["image_url"]["url"] == f"data:application/dicom;base64,{encoded}"


def test_sliders_wait_until_they_rest_and_are_reset(
    page: Page, server: PageServer, scan: Path
) -> None:
    upload(page, scan)
    before = grey(page)
    slider(page, "width").focus()
    for _ in range(30):
        page.keyboard.press("ArrowLeft")
    expect(page.get_by_text("Window 40 / 370")).to_be_visible()
    assert len(server.previewed) < 10
    button(page, "reset").click()
    expect(page.get_by_text("Window 40 / 400")).to_be_visible()
    expect(slider(page, "width")).to_have_value("400")
    assert grey(page) == before
    ask(page, "What is seen?")
    chat_page.answer(page)
    assert server.asked[0]["messages"][0]["content"][0]["dicom"] == {"frame": 0}


def test_a_coloured_picture_has_no_window(page: Page, server: PageServer, scan: Path) -> None:
    data = dcmread(scan)
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.PixelData = np.full((3, 64, 64, 3), 90, np.uint8).tobytes()
    data.save_as(scan)
    upload(page, scan)
    expect(slider(page, "centre")).to_have_count(0)
    expect(button(page, "reset")).to_have_count(0)
    slider(page, "frame").fill("2")
    expect(page.get_by_text("Frame 2 of 3")).to_be_visible()
    ask(page, "What is seen?")
    chat_page.answer(page)
    assert server.asked[0]["messages"][0]["content"][0]["dicom"] == {"frame": 1}


def test_a_preview_that_fails_leaves_the_last_one(
    page: Page, server: PageServer, scan: Path
) -> None:
    upload(page, scan)
    before = grey(page)
    busy = {"message": "Too many previews.", "code": "rate_limited"}
    server.preview_reply = Reply(status=429, error=busy, headers={"Retry-After": "2"})
    slider(page, "centre").fill("-500")
    expect(page.get_by_role("alert")).to_contain_text("The server is busy.")
    expect(slider(page, "centre")).to_have_value("40")
    assert grey(page) == before
    question(page).fill("What is seen?")
    expect(button(page, "send")).to_be_enabled()


def test_a_broken_dicom_file_is_told(page: Page, server: PageServer, tmp_path: Path) -> None:
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"\0" * 128 + b"DICM")
    error = {"message": "The DICOM file cannot be read.", "code": "dicom_unreadable"}
    server.preview_reply = Reply(status=400, error=error)
    with page.expect_file_chooser() as chooser:
        button(page, "add").click()
    chooser.value.set_files(broken)
    expect(page.get_by_role("alert")).to_contain_text("The DICOM file cannot be read.")
    expect(attached(page)).to_have_count(0)


def test_a_file_that_is_still_read_can_be_removed(
    page: Page, server: PageServer, scan: Path
) -> None:
    server.preview_reply = Reply(status=400, delay=2)
    chat_page.drop(page, scan)
    expect(page.get_by_text("Reading scan …")).to_be_visible()
    question(page).fill("What is a nodule?")
    expect(button(page, "send")).to_be_disabled()
    button(page, "remove").click()
    expect(button(page, "send")).to_be_enabled()
    question(page).press("Enter")
    chat_page.answer(page)
    assert sent_images(server.asked[0]) == []
