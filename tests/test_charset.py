"""Broken characters are named; ordinary text of either language, code and tables pass."""

import pytest

from doctor_sun.data.charset import CONTROL, CharsetConfig, fault, junk

CONFIG = CharsetConfig()
CHINESE = "双肺纹理清晰，未见明显实变影，心影大小正常。"
ENGLISH = "The lungs are clear and the heart size is normal."


@pytest.mark.parametrize(
    ("language", "text", "reason"),
    [
        ("zh", CHINESE, ""),
        ("en", ENGLISH, ""),
        ("en", f"Translate into English: {CHINESE[:6]} {ENGLISH}", ""),
        ("zh", CHINESE.encode().decode("cp1252", errors="ignore"), "mojibake"),
        ("zh", CHINESE.encode().decode("latin-1"), "control characters"),
        ("en", ENGLISH.replace("l", "\ufffd"), "replacement characters"),
        ("en", ENGLISH.replace("e", "\x07"), "control characters"),
        ("zh", ENGLISH, "wrong script"),
        ("en", CHINESE * 2, "wrong script"),
        ("en", "Ménière's disease, naïve, café, 25 µg, ±2 °C, “quoted” – dashed", ""),
    ],
)
def test_fault(language: str, text: str, reason: str) -> None:
    assert fault(text, language, CONFIG) == reason


@pytest.mark.parametrize(
    ("text", "is_junk"),
    [
        (ENGLISH, False),
        (CHINESE, False),
        ("asdf;lkjqwer" * 8, True),
        ("BUY NOW!!! $$$ >>> free ###", True),
        ("限时抢购！！！￥￥￥＞＞＞点击", True),
        ("| a | b |\n|-----|-----|\n| 1 | 2 |", False),
        ("for i in range(10):\n    print(i ** 2)  # ====", False),
        ("Fill in: the ____ is red.", False),
        (
            "See https://example.org/a/very/long/path/that/goes/on/and/on/and/on/until/it/ends",
            False,
        ),
    ],
)
def test_junk(text: str, is_junk: bool) -> None:
    assert bool(junk(text, CONFIG)) == is_junk


def test_white_space_is_no_control_character() -> None:
    assert not CONTROL.search("a\tb\nc\r\n中文 ")
    assert CONTROL.search("a\x00b")
