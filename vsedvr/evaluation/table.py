"""Formats tables as text, for Markdown files and for a terminal."""

from collections.abc import Collection, Sequence

__all__ = ["aligned_table", "markdown_row", "markdown_table"]

Row = Sequence[object]
"""Cells of one row of a table; each is formatted with str()."""


def markdown_table(rows: Sequence[Row]) -> str:
    """Formats a table for a Markdown file, without a line break at its end.

    Args:
        rows: rows of the table; the first one has the column headers.

    Raises:
        ValueError: if a row has more or fewer cells than the first one.
    """
    _check_lengths(rows)
    head, *others = rows
    return "\n".join([markdown_row(head), "|" + "---|" * len(head), *map(markdown_row, others)])


def markdown_row(cells: Row) -> str:
    """Formats one row of a Markdown table, for tables that are printed while they are measured."""
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def aligned_table(rows: Sequence[Row], left: Collection[int] = (0,)) -> str:
    """Formats a table for a terminal: aligned columns, two spaces apart, without a line break at its end.

    Args:
        rows: rows of the table; the first one has the column headers.
        left: indices of the columns that are aligned left; negative ones count from the last column. All others are aligned
            right, as numbers are.

    Raises:
        ValueError: if a row has more or fewer cells than the first one.
    """
    _check_lengths(rows)
    columns = []
    for k, column in enumerate(zip(*rows, strict=True)):
        cells = [str(cell) for cell in column]
        width = max(map(len, cells))
        to_left = k in left or k - len(rows[0]) in left
        columns.append([cell.ljust(width) if to_left else cell.rjust(width) for cell in cells])
    return "\n".join("  ".join(cells).rstrip() for cells in zip(*columns, strict=True))


def _check_lengths(rows: Sequence[Row]) -> None:
    for row in rows:
        if len(row) != len(rows[0]):
            raise ValueError(f"a table of {len(rows[0])} columns has a row of {len(row)}: {list(row)}")
