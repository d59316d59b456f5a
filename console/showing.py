"""How pages reach people: in colour on a terminal, as plain lines anywhere else."""

import sys
from io import StringIO

from rich.console import Console, RenderableType

PLAIN_WIDTH = 160
"""Columns where there is no terminal to ask."""


def show(page: RenderableType) -> None:
    """Print a page on the standard output."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(page)
    else:
        sys.stdout.write(plain(page, PLAIN_WIDTH))


def plain(page: RenderableType, width: int, height: int = 25) -> str:
    """Write a page as text, without colour and without blanks at the ends of its lines."""
    file = StringIO()
    Console(
        file=file,
        width=width,
        height=height,
        highlight=False,
        color_system=None,
        legacy_windows=False,
    ).print(page)
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())
