"""A home whose flows the tests run themselves, so that they can be killed at a named point."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from console.serve import Addresses
from flows.control import Prefect, environment, server_command
from infra.ledger import schema
from infra.processes import free_port, start, stop
from infra.settings import Settings
from release.releases import Release
from tasks.desk import open_release
from tasks.inspection import Request
from tasks.reconcile import STALE_SECONDS
from tasks.telling import is_told
from tests.serving.tier import until
from tests.system.home import ROOT, SLIPWAY, Home

OWN = {"slipway.release", "slipway.run", "slipway.told", "slipway.report"}
"""Tags whose values no two releases share."""

TIMES = {"id", "opened_at", "closed_at", "since", "not_before", "requester"}
MEASURED = re.compile(r"\d+(\.\d+)?")


@contextmanager
def unattended(root: Path, *models: str) -> Iterator[Home]:
    """A home with an agent and a Prefect server, but no worker: nothing runs by itself."""
    home = Home(root)
    settings = Settings(home=root)
    port = free_port(settings.host)
    url = f"http://{settings.host}:{port}/api"
    home.prefect = environment(settings, url)
    commands = {
        "agent": [sys.executable, "-m", "serving.agent.main"],
        "prefect": server_command(settings, port),
    }
    env = home.environment()
    parts = [
        start(name, command, env=env, log=root / f"{name}.log", cwd=ROOT)
        for name, command in commands.items()
    ]
    try:
        home.register(*models)
        home.people()
        until(Prefect(url).healthy, 120)
        Addresses(gateway=gateway(home), prefect=url).keep(settings)
        yield home
    finally:
        stop(parts, grace=20)
        home.house.ledger.close()


def gateway(home: Home) -> str:
    return f"http://127.0.0.1:{(home.root / 'run' / 'port').read_text()}"


def ask_for(home: Home, model: str, version: int, policy: Path | None = None) -> Release:
    """Open a release as rita, and start nothing."""
    requester = home.house.identities.prove(home.tokens["rita"])
    wanted = Request(model=model, version=version, policy=policy or home.policy("policy", lease=90))
    return open_release(home.house, wanted, requester)


@dataclass(frozen=True, slots=True)
class Run:
    """A process of a test, which may have been told to kill itself."""

    process: subprocess.Popen[str]
    failpoint: str

    def ended(self) -> str:
        """Wait for the end that was meant; gives what it said."""
        said, _ = self.process.communicate(timeout=240)
        assert (self.process.returncode == 0) is not bool(self.failpoint), said
        assert not self.failpoint or f"failpoint {self.failpoint}" in said
        return said


def flows(home: Home, *runs: tuple[str, dict[str, Any]], failpoint: str = "", who: str = "") -> Run:
    """Start a process that runs flows, one after another, with somebody's token where named."""
    token = {"SLIPWAY_TOKEN": home.tokens[who]} if who else {}
    driver = ("-m", "tests.system.drive", json.dumps(runs))
    return _start(home, *driver, failpoint=failpoint, **token)


def drive(home: Home, *releases: Release, failpoint: str = "") -> Run:
    """Start a process that runs the release flow for each."""
    named = ({"model": one.candidate.model, "release_id": one.id} for one in releases)
    return flows(home, *(("release", each) for each in named), failpoint=failpoint)


def command(home: Home, *words: str, who: str, failpoint: str) -> Run:
    """Start the command as somebody, to be killed."""
    token = home.tokens[who]
    return _start(home, "-c", SLIPWAY, *words, failpoint=failpoint, SLIPWAY_TOKEN=token)


def _start(home: Home, *arguments: str, failpoint: str, **more: str) -> Run:
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=home.environment(SLIPWAY_FAILPOINT=failpoint, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Run(process, failpoint)


def overdue(home: Home, release: Release) -> None:
    """Let so much time have passed that the reconciler takes an open release up."""
    late = home.house.clock() - STALE_SECONDS - 1
    table = schema.releases
    with home.house.ledger.database.write() as connection:
        connection.execute(sa.update(table).where(table.c.id == release.id).values(not_before=late))


def standing(home: Home, release: Release) -> dict[str, Any]:
    """All that is left of a release, without names, moments and measured figures."""
    house, model = home.house, release.candidate.model
    closed, desired = house.ledger.release(release.id), house.ledger.desired(model)
    refs = {
        one.digest: one.ref
        for one in (desired.champion, desired.previous, closed.stable, _chosen(closed))
        if one is not None
    }
    refs[closed.policy.digest] = "its policy"
    fields = {name: value for name, value in asdict(closed).items() if name not in TIMES}
    for name, variant in (("chosen", _chosen(closed)), ("stable", closed.stable)):
        fields[name] = refs[variant.digest] if variant else None
    kept = {
        "release": fields,
        "desired": [
            refs.get(one.digest) if one else None
            for one in (desired.champion, desired.canary, desired.previous)
        ],
        "share": desired.canary_percent,
        "alias": [
            house.registry.alias(model, name) for name in ("champion", "challenger", "previous")
        ],
        "tags": sorted(
            (name, refs.get(value, "" if name in OWN else value))
            for name, value in house.registry.tags(model).get(release.candidate.version, {}).items()
        ),
        "told": is_told(house, closed),
        "events": [event.kind for _, event in house.ledger.events(release.id)],
        "reports": len(house.ledger.reports(release.id)),
        "approvals": len(house.ledger.approvals(release.id)),
    }
    return {
        name: MEASURED.sub("#", str(value).replace(model, "MODEL")) for name, value in kept.items()
    }


def _chosen(release: Release) -> Any:
    return release.chosen.variant if release.chosen else None
