"""What goes wrong on the chat page is told, and nothing said or shown is lost by it."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests import chat_page
from tests.chat_page import ask, attached, button, last_answer, upload
from tests.page_server import ANSWER, PHANTOM, PIECES, PageServer, Reply

pytestmark = chat_page.MARKS


def test_a_refusal_tells_its_code_its_request_and_when_to_retry(
    page: Page, server: PageServer
) -> None:
    busy = {"message": "Too many requests for this key.", "code": "rate_limited", "param": None}
    server.replies = [Reply(status=429, error=busy, headers={"Retry-After": "2"})]
    upload(page, PHANTOM)
    ask(page, "What is seen?")
    alert = last_answer(page).get_by_role("alert")
    expect(alert).to_contain_text("The server is busy.")
    expect(alert).to_contain_text("Too many requests for this key.")
    expect(alert).to_contain_text("It asks to wait 2 s.")
    expect(alert).to_contain_text("HTTP 429 · rate_limited · x-request-id request-1")
    expect(page.get_by_role("button", name="Retry in")).to_be_disabled()
    button(page, "retry").click()  # waits until it can be
    assert chat_page.answer(page) == ANSWER
    assert server.asked[1] == server.asked[0]


def test_what_was_refused_is_not_sent_again(page: Page, server: PageServer) -> None:
    refused = {"message": "The image has too many pixels.", "code": "image_too_large"}
    server.replies = [Reply(status=400, error=refused)]
    upload(page, PHANTOM)
    ask(page, "What is seen?")
    expect(last_answer(page)).to_contain_text("The request was refused.")
    expect(last_answer(page)).to_contain_text("left out when you ask the next one")
    ask(page, "What is a nodule?")
    chat_page.answer(page)
    text = {"type": "text", "text": "What is a nodule?"}
    assert server.asked[1]["messages"] == [{"role": "user", "content": [text]}]


def test_an_error_within_the_stream_keeps_what_was_said(page: Page, server: PageServer) -> None:
    fault = {"message": "The engine stopped.", "type": "server_error", "code": "engine_stopped"}
    server.replies = [Reply(pieces=PIECES[:1], ending="error", error=fault)]
    ask(page, "What is seen?")
    assert chat_page.answer(page).strip() == "There is a nodule"
    alert = last_answer(page).get_by_role("alert")
    expect(alert).to_contain_text("The answer was interrupted.")
    expect(alert).to_contain_text("engine_stopped · x-request-id request-1")


def test_a_stream_that_breaks_off_is_an_interruption(page: Page, server: PageServer) -> None:
    server.replies = [Reply(pieces=PIECES[:1], hold=1, ending="cut")]
    ask(page, "What is seen?")
    expect(last_answer(page)).to_contain_text("There is a nodule")
    server.release.set()
    expect(last_answer(page).get_by_role("alert")).to_contain_text("The answer was interrupted.")
    assert chat_page.answer(page).strip() == "There is a nodule"


def test_a_server_that_is_gone_is_told(page: Page, server: PageServer) -> None:
    server.__exit__()
    ask(page, "What is seen?")
    alert = last_answer(page).get_by_role("alert")
    expect(alert).to_contain_text("The server cannot be reached.")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("large.png", PHANTOM.read_bytes() + b"\0" * 2**20, "large.png is larger than 1 MB."),
        ("notes.png", b"text", "notes.png is not a PNG, JPEG, WebP, GIF or DICOM file."),
        ("cut.png", PHANTOM.read_bytes()[:40], "cut.png cannot be read as an image."),
    ],
)
def test_files_are_checked_before_they_are_sent(
    page: Page, server: PageServer, tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    chat_page.drop(page, tmp_path / name)
    expect(page.get_by_role("alert")).to_have_text(told)
    expect(attached(page)).to_have_count(0)
    assert server.previewed == []


def test_a_conversation_holds_so_many_images(page: Page) -> None:
    for images in (2, 2):
        upload(page, *[PHANTOM] * images)
        ask(page, "What is seen?")
        chat_page.answer(page)
    chat_page.drop(page, PHANTOM)
    expect(page.get_by_role("alert")).to_have_text("A conversation holds at most 4 images.")
    button(page, "new").click()
    upload(page, PHANTOM)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_html_in_answers_and_errors_is_text(page: Page, server: PageServer) -> None:
    html = "<img src=x onerror=alert(1)><script>alert(2)</script><b>bold</b>"
    server.replies = [
        Reply(pieces=[html[:9], html[9:]]),
        Reply(status=400, error={"message": html}),
    ]
    ask(page, html)
    assert chat_page.answer(page) == html
    ask(page, "And?")
    expect(last_answer(page).get_by_role("alert")).to_contain_text(html)
    assert page.locator("main img:not(#examples img), main script, main b").count() == 0
