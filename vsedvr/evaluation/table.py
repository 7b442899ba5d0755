"""Tables as text: for Markdown files, and for a terminal."""

from collections.abc import Collection, Sequence

__all__ = ["aligned_table", "markdown_row", "markdown_table"]

Row = Sequence[object]
"""The cells of one line of a table; each is written as str() gives it."""


def markdown_table(rows: Sequence[Row]) -> str:
    """A table for a Markdown file, without a line break at its end.

    Args:
        rows: the heads of the columns first.

    Raises:
        ValueError: if a row has more or fewer cells than the first one.
    """
    _check_lengths(rows)
    head, *others = rows
    return "\n".join([markdown_row(head), "|" + "---|" * len(head), *map(markdown_row, others)])


def markdown_row(cells: Row) -> str:
    """One line of a Markdown table, for tables that are printed while they are measured."""
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def aligned_table(rows: Sequence[Row], left: Collection[int] = (0,)) -> str:
    """A table for a terminal: columns of equal width, two spaces apart, without a line break at its end.

    Args:
        rows: the heads of the columns first.
        left: numbers of the columns that are aligned to the left, negative ones counted from the last column. All others
            are aligned to the right, as figures are.

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
