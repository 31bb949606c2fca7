"""The paper's Table 1 beside what was built: every source has its line, numbers add up."""

from doctor_sun.data.curated import Description
from doctor_sun.data.sunmed_vl import STAGE_ROWS, TABLE_1, mixture, table_1

DESCRIPTION = Description(
    rows={
        ("roco", "medical", "en", "caption", "train"): 60,
        ("roco", "medical", "zh", "caption", "train"): 20,
        ("bunny_pretrain", "general", "en", "caption", "train"): 40,
        ("clinic", "medical", "zh", "instruction", "train"): 5,
    },
    lengths={},
    images=120,
)


def test_every_source_has_its_line() -> None:
    table = table_1(DESCRIPTION, {"clinic": 10, "roco": 100, "bunny_pretrain": 400})
    lines = {row[0]: row for row in table.rows}
    assert [row[0] for row in table.rows][:3] == ["Bunny-Pretrain", "ROCO", "clinic"]
    assert lines["ROCO"][1:5] == ("caption", "en, zh", 80, "80.0 %")
    assert lines["ROCO"][6] == "61.7 %"
    assert lines["clinic"][5:] == ("–", "–")
    assert lines["PMC-VQA"][3] == "not given"
    assert len(table.rows) == len(TABLE_1) + 1


def test_sets_of_the_paper_are_not_missed_where_none_was_given() -> None:
    assert len(table_1(DESCRIPTION, {"clinic": 10}).rows) == 1


def test_the_published_ratios_are_those_of_the_paper() -> None:
    rows = {row[0]: row for row in mixture(DESCRIPTION).rows}
    assert rows["caption"][1:4] == (80, 40, "1 : 0.500")
    assert "1 : 1.003" in rows["caption"][4]
    general, medical = STAGE_ROWS["instruction", "general"], STAGE_ROWS["instruction", "medical"]
    assert round(general / medical, 3) == 0.525
    assert sum(STAGE_ROWS.values()) == 862_543
