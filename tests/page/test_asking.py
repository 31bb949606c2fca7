"""The chat page in a real browser: what a physician does, and what the browser keeps of it."""

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect

from tests import chat_page
from tests.chat_page import ask, attached, button, last_answer, question, upload
from tests.page_server import ANSWER, PAGE, PHANTOM, PIECES, PageServer, Reply, sent_images

pytestmark = chat_page.MARKS


def eventually(page: Page, condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    for _ in range(100):
        if condition():
            return
        page.wait_for_timeout(100)
    pytest.fail("it never held")


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
