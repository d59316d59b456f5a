"""`slipway watch`: a release live in the terminal, from the ledger alone."""

import re
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import typer
from rich.console import Console
from rich.live import Live

from console.following import follow
from console.frame import Frame
from infra.files import write_atomic
from release.errors import Unavailable
from release.releases import Phase, Release
from tasks.sight import find, see
from tasks.wiring import House, house

LOOK_SECONDS = 0.25

PICTURE_WIDTH = 110
_FONTS = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)


def watch(name: str, picture: Path | None = None) -> None:
    """Watch a release until it is closed; exit code 0 if it was promoted, else 1."""
    here = house()
    found = find(here, name, newest=True)
    if picture is not None:
        write_atomic(picture, draw(Frame(sight=see(here, found.id), now=here.clock())).encode())
        return
    console = Console(highlight=False)
    if console.is_terminal:
        ended = look_on(here, found.id, console)
    else:
        ended = follow(here, found.id, past_approval=True)
    if ended.phase is not Phase.PROMOTED:
        raise typer.Exit(1)


def look_on(here: House, release_id: str, console: Console) -> Release:
    """Show frame after frame on the terminal's other screen; the last one stays on this."""
    frame = Frame(sight=see(here, release_id), now=here.clock())
    try:
        with Live(frame, console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(replace(frame, height=console.height), refresh=True)
                if frame.sight.release.phase.closed:
                    break
                time.sleep(LOOK_SECONDS)
                frame = newer(here, frame)
    finally:
        console.print(frame)
    return frame.sight.release


def newer(here: House, frame: Frame) -> Frame:
    """Look again; where the ledger does not answer, the old sight stays, and grows older."""
    try:
        return Frame(sight=see(here, frame.sight.release.id), now=here.clock())
    except Unavailable as error:
        return Frame(sight=frame.sight, now=here.clock(), trouble=str(error))


def draw(frame: Frame) -> str:
    """Draw a frame as SVG that loads nothing from elsewhere."""
    console = Console(
        file=StringIO(), record=True, width=PICTURE_WIDTH, force_terminal=True, highlight=False
    )
    console.print(frame)
    drawn = console.export_svg(title=f"slipway watch {frame.sight.release.id}")
    return _FONTS.sub("", drawn).replace("Fira Code", "monospace")
