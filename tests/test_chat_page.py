"""The chat page in a real browser: what a physician does, what goes wrong, who else can use it."""

import base64
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

pytest.importorskip("playwright", reason="the chat page's tests need playwright")

from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests import chat_page
from tests.chat_page import ask, attached, button, last_answer, open_page, question, slider, upload
from tests.page_server import PAGE, PIECES, PageServer, Reply

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not chat_page.CHROMIUM.exists(), reason=f"no browser at {chat_page.CHROMIUM}"
    ),
]
PHANTOM = PAGE / "examples" / "phantom-1.png"
ANSWER = "".join(PIECES)


@pytest.fixture(scope="module")
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


def sent_images(request: dict) -> list[str]:
    """The images of a request, as URLs."""
    parts = [part for m in request["messages"] if m["role"] == "user" for part in m["content"]]
    return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


def eventually(page: Page, condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    for _ in range(100):
        if condition():
            return
        page.wait_for_timeout(100)
    pytest.fail("it never held")


def grey(page: Page) -> float:
    """The mean grey value of the first attached picture."""
    encoded = (attached(page).first.get_attribute("src") or "").partition(",")[2]
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as opened:
        return float(np.asarray(opened.convert("L")).mean())


# What a physician does


def test_an_image_is_asked_about_and_kept_in_the_conversation(
    page: Page, server: PageServer
) -> None:
    upload(page, PHANTOM)
    ask(page, "What is the main finding?")
    assert chat_page.answer(page) == ANSWER
    ask(page, "哪一侧？")
    chat_page.answer(page)
    first, second = server.asked
    url = "data:image/png;base64," + base64.b64encode(PHANTOM.read_bytes()).decode()
    text = {"type": "text", "text": "What is the main finding?"}
    asked = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}, text]}
    assert first == {
        "model": "doctor-sun",
        "messages": [asked],
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert second["messages"] == [
        asked,
        {"role": "assistant", "content": ANSWER},
        {"role": "user", "content": [{"type": "text", "text": "哪一侧？"}]},
    ]
    expect(page.locator("[lang=zh-CN]", has_text="哪一侧？")).to_be_visible()


def test_images_are_dropped_and_pasted(page: Page, server: PageServer) -> None:
    others = [PAGE / "examples" / f"phantom-{number}.png" for number in (2, 3)]
    chat_page.drop(page, *others)
    expect(attached(page)).to_have_count(2)
    chat_page.paste(page, PHANTOM)
    expect(attached(page)).to_have_count(3)
    button(page, "remove").first.click()
    ask(page, "Which side?")
    chat_page.answer(page)
    sent = [base64.b64decode(url.partition(",")[2]) for url in sent_images(server.asked[0])]
    assert sent == [others[1].read_bytes(), PHANTOM.read_bytes()]


def test_a_picture_is_shown_the_way_round_that_the_model_sees_it(
    page: Page, tmp_path: Path
) -> None:
    mirrored = Image.new("L", (64, 64))
    mirrored.paste(255, (0, 0, 32, 64))  # bright on the left
    mirrored.getexif()[0x0112] = 2  # orientation: left and right swapped
    mirrored.save(tmp_path / "mirrored.jpg", exif=mirrored.getexif())
    upload(page, tmp_path / "mirrored.jpg")
    with Image.open(io.BytesIO(attached(page).screenshot())) as seen:
        assert np.asarray(seen.convert("L"))[30:60, 15:40].mean() > 200


def test_a_picture_copied_in_the_browser_is_pasted(
    page: Page, context: BrowserContext, server: PageServer
) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.url)
    page.evaluate(
        """async () => {
            const png = await (await fetch("page/examples/phantom-1.png")).blob();
            await navigator.clipboard.write([new ClipboardItem({ "image/png": png })]);
        }"""
    )
    question(page).press("Control+v")
    expect(attached(page)).to_have_count(1)


def test_a_table_is_pasted_as_text_although_a_picture_comes_with_it(
    page: Page, context: BrowserContext, server: PageServer
) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.url)
    page.evaluate(
        """async () => {
            const png = await (await fetch("page/examples/phantom-1.png")).blob();
            const text = new Blob(["Hb 9.1"], { type: "text/plain" });
            const html = new Blob(["<td>Hb<td>9.1"], { type: "text/html" });
            const table = { "text/plain": text, "text/html": html, "image/png": png };
            await navigator.clipboard.write([new ClipboardItem(table)]);
        }"""
    )
    question(page).press("Control+v")
    expect(question(page)).to_have_value("Hb 9.1")
    expect(attached(page)).to_have_count(0)


def test_pieces_appear_before_the_answer_ends(page: Page, server: PageServer) -> None:
    server.replies = [Reply(hold=2)]
    ask(page, "What is seen?")
    text = last_answer(page).locator(".text")
    expect(text).to_have_text("There is a nodule in the upper zone")
    expect(button(page, "stop")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("Answering …")
    server.release.set()
    assert chat_page.answer(page) == ANSWER
    expect(page.get_by_role("status")).to_have_text(ANSWER)
    expect(last_answer(page)).to_contain_text("3 tokens")


def test_the_view_follows_an_answer_unless_it_was_scrolled_away(
    page: Page, server: PageServer
) -> None:
    main = page.get_by_role("main")

    def from_end() -> int:
        return int(main.evaluate("main => main.scrollHeight - main.scrollTop - main.clientHeight"))

    lines = [f"Line {number}\n\n" for number in range(80)]
    server.replies = [Reply(pieces=lines, hold=60), Reply(pieces=lines)]
    ask(page, "What is seen?")
    expect(last_answer(page)).to_contain_text("Line 59")
    eventually(page, lambda: from_end() <= 1)
    main.hover()
    page.mouse.wheel(0, -600)
    eventually(page, lambda: from_end() > 500)
    server.release.set()
    chat_page.answer(page)
    assert from_end() > 1000
    ask(page, "And?")
    chat_page.answer(page)
    eventually(page, lambda: from_end() <= 1)
    upload(page, PHANTOM)  # the composer takes room from the conversation
    eventually(page, lambda: from_end() <= 1)


@pytest.mark.parametrize("how", ["button", "escape"])
def test_stopping_keeps_what_was_said(page: Page, server: PageServer, how: str) -> None:
    server.replies = [Reply(hold=1)]
    ask(page, "What is seen?")
    expect(last_answer(page)).to_contain_text("There is a nodule")
    if how == "button":
        button(page, "stop").click()
    else:
        page.keyboard.press("Escape")
    assert chat_page.answer(page).strip() == "There is a nodule"
    expect(last_answer(page)).to_contain_text("Stopped")
    expect(question(page)).to_be_focused()
    assert server.gone.wait(10)
    ask(page, "And?")
    chat_page.answer(page)
    assert server.asked[1]["messages"][1] == {"role": "assistant", "content": PIECES[0]}


def test_the_last_question_is_retried_and_edited(page: Page, server: PageServer) -> None:
    server.replies = [Reply(), Reply(pieces=["No."]), Reply(pieces=["Yes."])]
    upload(page, PHANTOM)
    ask(page, "Is there a nodule?")
    chat_page.answer(page)
    button(page, "retry").click()
    expect(last_answer(page).locator(".text")).to_have_text("No.")
    assert server.asked[1] == server.asked[0]
    button(page, "edit").click()
    expect(question(page)).to_have_value("Is there a nodule?")
    expect(attached(page)).to_have_count(1)
    ask(page, "Is there an effusion?")
    assert chat_page.answer(page) == "Yes."
    assert len(server.asked[2]["messages"]) == 1
    assert sent_images(server.asked[2]) == sent_images(server.asked[0])
    assert last_answer(page).count() == 1


def test_only_the_last_question_can_be_retried(page: Page) -> None:
    for text in ("What is seen?", "Which side?"):
        ask(page, text)
        chat_page.answer(page)
    expect(page.get_by_role("article", name=chat_page.named("answer"))).to_have_count(2)
    expect(button(page, "copy")).to_have_count(2)
    expect(button(page, "retry")).to_have_count(1)


def test_an_example_is_one_click(page: Page, server: PageServer) -> None:
    page.get_by_role("button", name="Which side of the chest is affected?").click()
    expect(attached(page)).to_have_count(1)
    expect(question(page)).to_have_value("Which side of the chest is affected?")
    expect(question(page)).to_be_focused()
    page.keyboard.press("Enter")
    chat_page.answer(page)
    assert len(sent_images(server.asked[0])) == 1
    expect(page.get_by_role("heading", name="Ask about a medical image")).to_be_hidden()


def test_settings_and_model_go_with_the_question(page: Page, server: PageServer) -> None:
    expect(page.get_by_role("combobox", name="Model")).to_be_hidden()
    server.settings["models"] = ["doctor-sun", "docs-gl"]
    page.reload()
    page.get_by_role("combobox", name="Model").select_option("docs-gl")
    button(page, "settings").click()
    page.get_by_role("slider", name="Temperature").fill("0.7")
    page.get_by_role("spinbutton", name="Longest answer (tokens)").fill("64")
    button(page, "close").click()
    server.replies = [Reply(finish="length")]
    ask(page, "What is seen?")
    chat_page.answer(page)
    expect(last_answer(page)).to_contain_text("docs-gl · generated by AI")
    expect(last_answer(page)).to_contain_text("Ended at the limit of tokens")
    (asked,) = server.asked
    assert (asked["model"], asked["temperature"], asked["max_tokens"]) == ("docs-gl", 0.7, 64)


def test_a_fixed_answer_is_not_called_the_models(page: Page, server: PageServer) -> None:
    server.replies = [Reply(pieces=["Call an ambulance."], finish="content_filter")]
    ask(page, "What is seen?")
    assert chat_page.answer(page) == "Call an ambulance."
    expect(last_answer(page)).to_contain_text("A fixed answer, not the model's")
    expect(last_answer(page)).not_to_contain_text("generated by AI")


def test_the_answer_is_copied(page: Page, context: BrowserContext, server: PageServer) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.url)
    ask(page, "What is seen?")
    chat_page.answer(page)
    button(page, "copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == ANSWER
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    ask(page, "And?")  # as without https
    chat_page.answer(page)
    button(page, "copy").last.click()
    expect(page.get_by_role("status")).to_have_text("Copied")
    question(page).press("Control+v")
    expect(question(page)).to_have_value(ANSWER)


def test_a_picture_is_enlarged(page: Page) -> None:
    upload(page, PHANTOM)
    button(page, "enlarge").click()
    large = page.get_by_role("dialog").get_by_role("img", name="phantom-1.png")
    expect(large).to_be_visible()
    assert large.evaluate("picture => picture.clientWidth") > 500
    page.keyboard.press("Escape")
    expect(large).to_be_hidden()


# DICOM


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


# What goes wrong


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


# What the browser keeps


def test_text_outlives_a_reload_and_images_do_not(page: Page, server: PageServer) -> None:
    upload(page, PHANTOM)
    ask(page, "What is seen?")
    chat_page.answer(page)
    kept = page.evaluate("JSON.stringify([sessionStorage, localStorage])")
    assert "What is seen?" in kept
    assert "base64" not in kept
    page.reload()
    expect(last_answer(page)).to_contain_text(ANSWER)
    expect(page.get_by_text("phantom-1.png: no longer in the browser")).to_be_visible()
    expect(question(page)).to_be_disabled()  # it would be answered without its image
    expect(button(page, "retry")).to_have_count(0)
    button(page, "new").last.click()
    assert page.evaluate("sessionStorage.length") == 0
    ask(page, "What is a nodule?")
    chat_page.answer(page)
    page.reload()
    ask(page, "And a mass?")  # without images it goes on
    chat_page.answer(page)
    assert len(server.asked[-1]["messages"]) == 3


def test_clearing_leaves_nothing(page: Page, server: PageServer) -> None:
    server.replies = [Reply(hold=1)]
    upload(page, PHANTOM)
    ask(page, "What is seen?")
    expect(last_answer(page)).to_contain_text("There is a nodule")
    question(page).fill("a draft")
    button(page, "clear").click()
    assert server.gone.wait(10)
    expect(question(page)).to_have_value("")
    expect(page.get_by_role("article")).to_have_count(0)
    assert page.evaluate("sessionStorage.length") == 0
    page.reload()
    expect(page.get_by_role("article")).to_have_count(0)
    ask(page, "What is a nodule?")
    assert chat_page.answer(page) == ANSWER


def test_an_answer_cut_by_a_reload_keeps_what_was_said(page: Page, server: PageServer) -> None:
    server.replies = [Reply(hold=1)]
    ask(page, "What is seen?")
    expect(last_answer(page)).to_contain_text("There is a nodule")
    page.reload()
    expect(last_answer(page)).to_contain_text("There is a nodule")
    expect(last_answer(page)).to_contain_text(re.compile("Stopped|interrupted"))
    button(page, "retry").click()
    assert chat_page.answer(page) == ANSWER


# Who else can use it


def test_every_word_is_used_and_in_both_languages() -> None:
    files = {path.name: path.read_text(encoding="utf-8") for path in PAGE.glob("*.[hj][ts]*")}
    table = files.pop("words.js").partition("const WORDS = {")[2].partition("\n};")[0]
    words = dict(re.findall(r"^  (\w+): \[(.*?)\],$", table, re.MULTILINE | re.DOTALL))
    assert len(words) > 60
    for key, both in words.items():
        assert any(re.search(rf"\b{key}\b", text) for text in files.values()), key
        assert re.search("[A-Za-z]", both), key
        assert re.search("[一-鿿]", both), key
    named = set(re.findall(r'data-(?:word|label|hint)="(\w+)"', files["index.html"]))
    assert named <= set(words)


def test_the_page_speaks_the_browsers_language_or_the_chosen_one(
    chromium: Browser, server: PageServer
) -> None:
    context = chromium.new_context(locale="zh-CN")
    page = context.new_page()
    open_page(page, server.url)
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.get_by_text(server.settings["disclaimer"]["zh"])).to_be_visible()
    expect(page.get_by_role("button", name="胸部哪一侧受累？")).to_be_visible()
    upload(page, PHANTOM)
    ask(page, "有结节吗？")
    chat_page.answer(page)
    expect(last_answer(page)).to_contain_text("由人工智能生成")
    page.get_by_role("button", name="English").click()
    expect(last_answer(page)).to_contain_text("generated by AI")
    expect(page.get_by_text(server.settings["disclaimer"]["en"])).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="中文")).to_be_visible()
    context.close()


def test_enter_that_picks_a_chinese_character_does_not_send(
    page: Page, context: BrowserContext, server: PageServer
) -> None:
    session = context.new_cdp_session(page)
    composition = {"text": "jiejie", "selectionStart": 6, "selectionEnd": 6}
    session.send("Input.imeSetComposition", composition)
    enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 229}
    session.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", **enter})
    session.send("Input.insertText", {"text": "有结节吗？"})
    expect(question(page)).to_have_value("有结节吗？")
    assert server.asked == []
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("在哪？")
    page.keyboard.press("Enter")
    chat_page.answer(page)
    assert server.asked[0]["messages"][0]["content"][0]["text"] == "有结节吗？\n在哪？"


def test_the_keyboard_is_enough(page: Page, server: PageServer, scan: Path) -> None:
    expect(question(page)).to_be_focused()
    page.keyboard.press("Tab")
    expect(button(page, "add")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(scan)
    expect(attached(page)).to_have_count(1)
    for _ in range(6):
        page.keyboard.press("Shift+Tab")
        focused = page.locator(":focus")
        if focused.get_attribute("aria-label") == "Window centre":
            break
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("Window 41 / 400")).to_be_visible()
    outline = page.locator(":focus").evaluate("element => getComputedStyle(element).outlineStyle")
    assert outline == "solid"
    for _ in range(6):
        page.keyboard.press("Tab")
        if question(page).evaluate("element => element === document.activeElement"):
            break
    page.keyboard.type("What is seen?")
    page.keyboard.press("Enter")
    assert chat_page.answer(page) == ANSWER
    expect(question(page)).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(button(page, "edit")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(question(page)).to_be_focused()
    chat_page.answer(page)
    assert len(server.asked) == 2


def test_everything_has_a_name(page: Page, server: PageServer, scan: Path) -> None:
    server.settings["models"] = ["doctor-sun", "docs-gl"]
    page.reload()
    upload(page, PHANTOM, scan)
    for landmark in ("banner", "main", "contentinfo"):
        expect(page.get_by_role(landmark)).to_have_count(1)
    expect(page.get_by_role("form", name="Ask a question")).to_be_visible()
    expect(page.get_by_role("list", name="Conversation")).to_have_count(1)
    tree = page.locator("body").aria_snapshot()
    roles = "button|img|textbox|slider|combobox|spinbutton|list"
    nameless = re.findall(rf"- (?:{roles})(?: \[[^\]]*\])*(?::|$)", tree, re.MULTILINE)
    assert nameless == [], tree
    ask(page, "What is seen?")
    chat_page.answer(page)
    expect(page.get_by_role("article", name="Question").get_by_role("img")).to_have_count(2)


CONTRAST = """() => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const over = (colours) => {
        for (const colour of colours) {
            canvas.fillStyle = colour;
            canvas.fillRect(0, 0, 1, 1);
        }
        const parts = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((byte) => {
            const value = byte / 255;
            return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (texts.nextNode()) {
        const element = texts.currentNode.parentElement;
        const disabled = element.closest(":disabled");
        if (disabled || !texts.currentNode.data.trim() || !element.checkVisibility()) continue;
        const grounds = [];
        for (let at = element; at; at = at.parentElement) {
            grounds.unshift(getComputedStyle(at).backgroundColor);
        }
        const ground = over(grounds);
        const ink = over([...grounds, getComputedStyle(element).color]);
        const ratio = (Math.max(ground, ink) + 0.05) / (Math.min(ground, ink) + 0.05);
        found.push([Math.round(100 * ratio) / 100, texts.currentNode.data.trim().slice(0, 30)]);
    }
    return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(page: Page, server: PageServer, scan: Path, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    expect(page.locator("html")).to_have_attribute("data-theme", scheme)
    ratios = page.evaluate(CONTRAST)
    server.replies = [Reply(), Reply(status=500, error={"message": "no", "code": "x"})]
    for _ in range(2):
        ask(page, "What is seen?")
        chat_page.answer(page)
    upload(page, scan)
    ratios += page.evaluate(CONTRAST)
    assert len(ratios) > 40
    assert [found for found in ratios if found[0] < 4.5] == []


def test_the_theme_can_be_chosen(page: Page) -> None:
    ground = page.locator("body")
    light = ground.evaluate("body => getComputedStyle(body).backgroundColor")
    button(page, "theme").click()
    assert ground.evaluate("body => getComputedStyle(body).backgroundColor") != light
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_a_narrow_screen_needs_no_sideways_scrolling(
    page: Page, server: PageServer, scan: Path
) -> None:
    def fits() -> bool:
        return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))

    page.set_viewport_size({"width": 375, "height": 667})
    assert fits()
    upload(page, PHANTOM, scan)
    ask(page, f"What is seen? {'x' * 200}")
    chat_page.answer(page)
    upload(page, scan)
    assert fits()
    for name in ("question", "send", "add"):
        control = question(page) if name == "question" else button(page, name)
        expect(control).to_be_in_viewport(ratio=1)
    page.set_viewport_size({"width": 320, "height": 256})  # a laptop at 400 %
    assert fits()
    assert page.evaluate("document.documentElement.scrollHeight > innerHeight")


def test_nothing_moves_where_motion_is_unwelcome(page: Page, server: PageServer) -> None:
    page.emulate_media(reduced_motion="reduce")
    server.replies = [Reply(hold=0)]
    ask(page, "What is seen?")
    expect(last_answer(page).get_by_text("Answering …")).to_be_visible()
    assert page.evaluate("document.getAnimations().length") == 0
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate("document.getAnimations().length") == 1
