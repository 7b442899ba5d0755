import pytest

from vsedvr.evaluation.table import aligned_table, markdown_row, markdown_table


def test_a_markdown_table() -> None:
    table = "| model | dB |\n|---|---|\n| small | 22.3 |\n| large | - |"
    assert markdown_table([["model", "dB"], ["small", 22.3], ("large", "-")]) == table


def test_rows_can_be_printed_one_by_one() -> None:
    rows = [["a", "b"], ["1", "2"], ["3", ""]]
    assert "\n".join([markdown_table(rows[:1]), markdown_row(rows[1]), markdown_row(rows[2])]) == markdown_table(rows)


def test_what_would_break_the_table_does_not() -> None:
    """A file's name may contain a bar or a line break."""
    assert markdown_row(["a|b.mkv", "c\nd"]) == "| a\\|b.mkv | c d |"


def test_columns_of_equal_width() -> None:
    rows: list[list[object]] = [["", "PSNR", "source"], ["bicubic", 9.5, ""], ["EDVR", 27.35, "the paper"]]
    assert aligned_table(rows, left=(0, -1)).split("\n") == [
        "          PSNR  source",
        "bicubic    9.5",
        "EDVR     27.35  the paper",
    ]
    assert aligned_table(rows[:2]).split("\n") == ["         PSNR  source", "bicubic   9.5"]


@pytest.mark.parametrize("table", [markdown_table, aligned_table])
def test_a_row_of_another_length_is_named(table: object) -> None:
    assert callable(table)
    with pytest.raises(ValueError, match=r"a table of 2 columns has a row of 3: \['x', 1, 2\]"):
        table([["a", "b"], ["x", 1, 2]])
