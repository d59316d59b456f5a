"""A home with an agent and a real ledger, which the test writes itself."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil

from infra.ledger import Change, Ledger
from infra.processes import start, stop
from infra.settings import Settings, inherited
from infra.sockets import hear
from release.releases import Desired
from serving.agent.hearing import status_socket
from serving.agent.places import Places
from tests.fakes.nouns import POLICY
from tests.serving.conftest import ROOT, Tiny
from tests.serving.tier import body
from tests.system.home import Home


class Host:
    """A home with an agent, whose ledger the test writes itself."""

    def __init__(self, home: Home, tiny: Tiny, **environment: str) -> None:
        self.home = home
        self.environment = environment
        self.settings = Settings(home=home.root)
        shutil.copytree(tiny.root / "store", self.settings.store)
        self.ledger = Ledger.open(self.settings.ledger)
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "serving.agent.main"]
        env = inherited(
            **{"SLIPWAY_HOME": str(self.home.root), "SLIPWAY_OPEN": "true", **self.environment}
        )
        self.agent = start("agent", command, env=env, log=self.home.root / "agent.log", cwd=ROOT)

    def serve(self, desired: Desired) -> None:
        claim = self.ledger.claim(desired.model, "test", 60, 0.0)
        before = self.ledger.desired(desired.model).generation
        self.ledger.commit(claim, Change(desired=desired, expected=before), 0.0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{(self.settings.run / 'port').read_text()}"

    @property
    def sockets(self) -> Path:
        """Where gateways' own sockets lie."""
        return Places.under(self.settings.run).sockets

    def ask(self, word: str = "beta", key: str = "") -> httpx.Response:
        url = f"{self.url}/v2/models/tiny/infer"
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.post(url, json=body(f"the word {word}"), timeout=20, headers=headers)

    def answers(self) -> int:
        """Status of one request, by a client that tries again where its connection broke."""
        try:
            return self.ask().status_code
        except (httpx.RemoteProtocolError, httpx.ReadError):
            return self.ask().status_code

    def status(self, name: str = "g1") -> dict[str, Any]:
        """Hear of a gateway's own socket how it is; nothing where it is silent."""
        return hear(status_socket(self.sockets, name), 1.0) or {}

    def ready(self, digest: str, name: str = "g1") -> int:
        """How many replicas of a variant a gateway can ask."""
        return sum(one["ready"] for one in self.status(name).get("replicas", {}).get(digest, []))

    def serves(self) -> bool:
        try:
            return self.ask().status_code == httpx.codes.OK
        except (httpx.TransportError, OSError):
            return False

    def processes(self, kind: str) -> list[int]:
        module = f"serving.{kind}"
        return [one.pid for one in self.home.processes() if module in _command(one)]

    def of(self, digest: str) -> list[int]:
        """Pids of a variant's replicas."""
        return [one.pid for one in self.home.processes() if digest in _command(one)]

    def close(self) -> None:
        self.ledger.close()
        stop([self.agent], grace=20)
        assert self.home.processes() == []


def _command(process: psutil.Process) -> list[str]:
    try:
        found: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return found


def serving(**asked: object) -> str:
    """A policy with a `[serving]` table."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in asked.items()]
    return "\n".join([POLICY, "[serving]", *lines, ""])
