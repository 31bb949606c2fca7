"""A physician's way through the chat page of a real endpoint, in both languages."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page
from pydicom.data import get_testdata_file

from tests import chat_page
from tests.live_endpoint import KEY, RULE, Live
from tests.small_data import picture

pytestmark = chat_page.MARKS


@pytest.fixture
def context(live: Live) -> Iterator[BrowserContext]:
    """A browser that knows the key, as its user typed it; anything on its console is a fault."""
    with chat_page.browser() as browser:
        context = browser.new_context(
            http_credentials={"username": "ward", "password": KEY}, locale="en-US"
        )
        said: list[str] = []
        context.on("console", lambda message: said.append(message.text))
        context.on("weberror", lambda error: said.append(str(error.error)))
        yield context
        context.close()
        # A refusal is the browser's own line, and the page's to show.
        assert [line for line in said if not line.startswith("Failed to load resource")] == []


@pytest.fixture
def page(context: BrowserContext, live: Live) -> Page:
    """The page, ready for a question."""
    page = context.new_page()
    chat_page.open_page(page, live.root)
    return page


@pytest.mark.parametrize("question", ["Which side is the finding on?", "病变在哪一侧？"])
def test_an_image_is_asked_about(page: Page, tmp_path: Path, question: str) -> None:
    file = tmp_path / "chest.png"
    file.write_bytes(picture(1))
    chat_page.upload(page, file)
    chat_page.ask(page, question)
    assert chat_page.answer(page, timeout=60_000).strip()


def test_a_dicom_file_is_shown_in_a_window_and_asked_about(page: Page) -> None:
    file = Path(str(get_testdata_file("CT_small.dcm", download=False)))
    chat_page.upload(page, file)
    slider = chat_page.slider(page, "centre")
    slider.wait_for(timeout=30_000)
    slider.fill(str(int(slider.input_value()) + 40))
    chat_page.ask(page, "有什么异常？")
    assert chat_page.answer(page, timeout=60_000).strip()


def test_a_rule_and_a_refusal_are_shown(page: Page) -> None:
    chat_page.ask(page, "Which dose of aspirin?")
    assert RULE in chat_page.answer(page, timeout=60_000)
    chat_page.ask(page, "word " * 2000)
    page.get_by_role("alert").wait_for(timeout=60_000)
    assert "context_length_exceeded" in page.get_by_role("alert").last.inner_text()
