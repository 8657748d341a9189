"""Text tables for people: columns under their heads, at most 100 characters wide."""

from collections.abc import Sequence

WIDTH = 100
GAP = 2
LEAST = 6
"""No column is cut to less."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], shrink: Sequence[int] = ()) -> str:
    """``shrink``: columns that are cut, in this order, where the table would be too wide; an ellipsis says so."""
    cells = [head, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    excess = sum(widths) + GAP * (len(widths) - 1) - WIDTH
    for column in shrink:
        cut = min(max(0, excess), max(0, widths[column] - LEAST))
        widths[column] -= cut
        excess -= cut
    lines = [(" " * GAP).join(_cell(cell, width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    lines = [line.rstrip() for line in lines]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _cell(text: str, width: int) -> str:
    return f"{text:<{width}}" if len(text) <= width else text[: width - 1] + "…"
