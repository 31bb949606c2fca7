"""Broken characters are named; ordinary text of either language, code and tables pass."""

import pyarrow as pa
import pytest
import ray.data
from upath import UPath

from doctor_sun.data.charset import CONTROL, CharsetConfig, decide, fault, junk
from doctor_sun.data.rows import tables
from doctor_sun.data.source_settings import for_source
from doctor_sun.errors import InputError

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
        ("en", "α-fetoprotein, β-blocker, γ-GT and Δ of 3 µmol/L → repeat in 2 weeks", ""),
        ("zh", "ＣＴ检查：Ⅱ期，①双肺清晰；②心影不大；③膈面光滑；④肋膈角锐利。", ""),
        ("en", "Лёгкие чистые, сердце не увеличено. " + ENGLISH[:20], "foreign script"),
        ("zh", "肺はきれいです。心臓の大きさは正常です。特に問題はありません。", "foreign script"),
        ("zh", "★☆◆◇■□▲△●○" + CHINESE[:10], "special characters"),
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


def test_a_source_has_its_own_limits() -> None:
    config = CharsetConfig(
        by_source={"mixed": {"own_script": 0.0}, "mixed/zh": {"foreign": 1.1, "shortest": 30}}
    )
    assert fault(ENGLISH, "zh", for_source(config, "mixed", "zh")) == ""
    assert fault(ENGLISH, "zh", for_source(config, "other", "zh")) == "wrong script"
    assert for_source(config, "mixed", "zh").shortest == 30
    assert for_source(config, "mixed", "en").shortest == config.shortest


def test_an_unknown_setting_of_a_source_is_refused() -> None:
    with pytest.raises(InputError, match="own_script"):
        CharsetConfig(by_source={"a": {"own_scrip": 0.1}})


@pytest.mark.slow
def test_rows_are_judged_by_the_limits_of_their_source(ray_cluster: None) -> None:
    texts = [ENGLISH, ENGLISH + "\x07" * 2, CHINESE, "!!! $$$ ### >>>"]
    rows = [
        {
            "part": part,
            "id": f"{source}{number}",
            "source": source,
            "language": "zh",
            "turns": [{"role": "assistant", "text": text}],
        }
        for part, source in enumerate(("a", "b"))
        for number, text in enumerate(texts)
    ]
    config = CharsetConfig(by_source={"b": {"own_script": 0.0, "control": 0.1, "symbols": 1.1}})
    blocks = [pa.Table.from_pylist(rows[:4]), pa.Table.from_pylist(rows[4:])]
    result = decide(ray.data.from_arrow(blocks), config, UPath("unused"))
    lines = [line for table in tables(result.lines) for line in table.to_pylist()]
    verdicts = {line["id"]: (line["verdict"], line["reason"]) for line in lines}
    assert verdicts == {
        "a0": ("dropped", "wrong script"),
        "a1": ("dropped", "control characters"),
        "a2": ("", ""),
        "a3": ("dropped", "repeated symbols"),
        "b0": ("", ""),
        "b1": ("edited", "control characters removed"),
        "b2": ("", ""),
        "b3": ("", ""),
    }
    edited = next(line for line in lines if line["id"] == "b1")
    assert edited["turns"] == [{"role": "assistant", "text": ENGLISH}]
