"""Drive the chat page as a physician does: by what its controls are called, in either language.

Every function takes Playwright's page, and `open_page` the base URL of any server that serves it:

    with chat_page.browser() as browser:
        page = browser.new_page()
        open_page(page, "http://127.0.0.1:8000/")
        upload(page, Path("chest.png"))
        ask(page, "What is the main finding?")
        print(answer(page))
"""

import base64
import mimetypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
MARKS = [  # of every test that needs the browser
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}"),
]
NAMES = {
    "question": "Your question|您的问题",
    "add": "Add images|添加图像",
    "send": "Send|发送",
    "stop": "Stop|停止",
    "answer": "Answer|回答",
    "asked": "Question|问题",
    "new": "New conversation|新对话",
    "clear": "Clear conversation|清除对话",
    "retry": "Retry|重试",
    "edit": "Edit question|修改问题",
    "copy": "Copy|复制",
    "settings": "Settings|设置",
    "remove": "Remove .+|移除 .+",
    "enlarge": "Enlarge .+|放大 .+",
    "close": "Close|关闭",
    "theme": "Switch between dark and light|切换深色与浅色",
    "language": "中文|English",
    "attached": "Images of the next question|下一个问题的图像",
    "centre": "Window centre|窗位",
    "width": "Window width|窗宽",
    "frame": "Frame|帧",
    "reset": "Reset window|重置窗口",
}


def named(key: str) -> re.Pattern[str]:
    """The accessible name of a control, in both languages."""
    return re.compile(f"^({NAMES[key]})$")


@contextmanager
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu"]
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield launched
        launched.close()


def open_page(page: Page, url: str) -> None:
    """Go to the page and wait until a question can be typed."""
    page.on("filechooser", lambda _: None)  # choosers are caught from now on, never shown
    page.goto(url)
    expect(question(page)).to_be_enabled()


def question(page: Page) -> Locator:
    """The text box of the question."""
    return page.get_by_role("textbox", name=named("question"))


def button(page: Page | Locator, key: str) -> Locator:
    """A button by its key in `NAMES`."""
    return page.get_by_role("button", name=named(key))


def slider(page: Page, key: str) -> Locator:
    """A slider by its key in `NAMES`."""
    return page.get_by_role("slider", name=named(key))


def attached(page: Page) -> Locator:
    """The pictures of the next question."""
    return page.get_by_role("list", name=named("attached")).get_by_role("img")


def upload(page: Page, *files: Path) -> None:
    """Choose files with the button, and wait until all are shown."""
    before = attached(page).count()
    with page.expect_file_chooser() as chooser:
        button(page, "add").click()
    chooser.value.set_files(list(files))
    expect(attached(page)).to_have_count(before + len(files))


def drop(page: Page, *files: Path) -> None:
    """Drag files from outside onto the page."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})
    session.detach()


def paste(page: Page, file: Path) -> None:
    """Paste an image file as a screenshot tool leaves it in the clipboard."""
    encoded = base64.b64encode(file.read_bytes()).decode()
    given = [encoded, file.name, mimetypes.guess_type(file)[0]]
    question(page).evaluate(
        """(box, [encoded, name, type]) => {
            const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([bytes], name, { type }));
            const told = { clipboardData, bubbles: true, cancelable: true };
            box.dispatchEvent(new ClipboardEvent("paste", told));
        }""",
        given,
    )


def ask(page: Page, text: str) -> None:
    """Type a question and send it with Enter; the answer may still be coming."""
    question(page).fill(text)
    expect(button(page, "send")).to_be_enabled()
    question(page).press("Enter")


def last_answer(page: Page) -> Locator:
    """All that is shown of the last answer: its text, failures, buttons."""
    return page.get_by_role("article", name=named("answer")).last


def answered(page: Page, timeout: float = 60_000) -> None:
    """Wait until no answer is coming."""
    expect(button(page, "send")).to_be_visible(timeout=timeout)


def answer(page: Page, timeout: float = 60_000) -> str:
    """The text of the last answer once it has ended."""
    answered(page, timeout)
    return last_answer(page).locator(".text").inner_text()
