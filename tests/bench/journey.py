"""The demo, once, in a home of its own: where its time went, and what its report weighs.

Times are never given alone. A stage stands as its share of the demo's wall time, a release's parts
as shares of the release (`accounts` says exactly what counts as what), a report's building beside
the same facts written as Markdown and beside the measuring that it tells of.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from evaluation import markdown
from evaluation.page import html
from infra.ledger import Ledger
from infra.settings import Settings, inherited
from release.releases import Release
from tasks.telling import read_dossier
from tasks.wiring import House
from tests.bench import accounts
from tests.bench.figures import Figure, ratio, seconds

ROOT = Path(__file__).parents[2]
SUBJECT = "docs-router@2"
"""The release that a client keeps asking through, from build to bake."""

ORCHESTRATION = 0.35
"""Largest share of a release under traffic that may be neither work nor waiting for evidence."""

PAGE_MB = 1.0
PAGE_SHARE = 0.05
"""Largest part of the measuring that the page which tells of it may take."""


DEMO = [sys.executable, "-c", "from console.main import run; run()", "demo"]


def figures(command: Sequence[str] = DEMO, seconds: float = 900) -> Iterator[Figure]:
    """Play the demo and derive every figure of this group from what it left.

    Args:
        command: plays it, in the home that `SLIPWAY_HOME` names.
        seconds: how long it may take.

    Raises:
        RuntimeError: it failed or took too long; names its home, which is kept.
    """
    folder = Path(tempfile.mkdtemp(prefix="slipway-bench-"))
    _play(folder / "demo", command, seconds)
    try:
        yield from read(folder / "demo")
    finally:
        shutil.rmtree(folder)


def _play(home: Path, command: Sequence[str], seconds: float) -> None:
    env = inherited(SLIPWAY_HOME=str(home), COLUMNS="200")
    kept = f"(its home is kept: {home})"
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"the demo took longer than {seconds:g} s {kept}") from error
    if done.returncode:
        last = [line for line in (done.stdout + done.stderr).splitlines() if line][-1:]
        said = f"the demo ended with code {done.returncode}: {''.join(last)}"
        raise RuntimeError(f"{said} {kept}")


def read(home: Path) -> Iterator[Figure]:
    """Derive the figures from the home of a demo that has ended."""
    yield from _stages(json.loads((home / "demo.json").read_text(encoding="utf-8")))
    settings = Settings(home=home)
    house = House(settings=settings, ledger=Ledger.open(settings.ledger))
    try:
        closed = {one.candidate.ref: one for one in house.ledger.releases()}
        accounted = accounts.of(house, closed.values())
        for ref, one in accounted.items():
            yield from _release(ref, one)
        yield from _report(house, closed[SUBJECT], accounted[SUBJECT].measuring)
    finally:
        house.ledger.close()


def _stages(demo: dict[str, dict[str, tuple[float, float]]]) -> Iterator[Figure]:
    """Stages run beside each other, so that their shares add up to more than one."""
    wall = max(ended for _, ended in demo["stages"].values())
    for title, (begun, ended) in sorted(demo["stages"].items(), key=lambda one: one[1]):
        name = re.sub(r"[^a-z0-9]+", "-", title.lower())
        what = f"{title}: share of the demo's wall time"
        yield Figure(
            id=f"journey.stage.{name}", what=what, value=(ended - begun) / wall, better="lower"
        )


def _release(ref: str, one: accounts.Account) -> Iterator[Figure]:
    name = re.sub(r"[^a-z0-9]+", "-", ref)
    shares = {
        "start": (one.start, "from asking until the first build began"),
        "building": (one.building, "building variants"),
        "measuring": (one.measuring, "measuring them"),
        "soak": (one.soak, "soaking and waiting for evidence"),
        "bake": (one.bake, "baking"),
        "orchestration": (one.orchestration, "neither work nor waiting for evidence"),
    }
    for part, (spent, what) in shares.items():
        yield Figure(
            id=f"journey.{name}.{part}",
            what=f"share of the release of {ref}: {what}",
            value=spent / one.wall,
            better="lower",
            goal=ORCHESTRATION if (ref, part) == (SUBJECT, "orchestration") else None,
        )


def _report(house: House, release: Release, measuring: float) -> Iterator[Figure]:
    """Weigh and time the page of a release; all it shows is read once, outside the clock."""
    dossier = read_dossier(house, release.id)
    page = html(dossier)
    yield Figure(
        id="journey.report.size",
        what=f"report of {release.candidate.ref}: size in MB, all in one file",
        value=len(page.encode()) / 1e6,
        better="lower",
        goal=PAGE_MB,
    )
    beside = ratio(lambda: html(dossier), lambda: markdown.render(dossier))
    yield Figure(
        id="journey.report.build",
        what=f"report's page: times as long as the same as Markdown ({beside})",
        value=beside.value,
        better="lower",
    )
    yield Figure(
        id="journey.report.share",
        what="report's page: its building, as a share of the measuring that it tells of",
        value=seconds(lambda: html(dossier)) / measuring,
        better="lower",
        goal=PAGE_SHARE,
    )
