"""A Slipway home in which real commands and real processes run."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from infra.ledger import Ledger
from infra.processes import start, stop
from infra.settings import Settings, inherited
from tasks.wiring import House
from tests.fakes.tiny_registry import POLICY

ROOT = Path(__file__).parents[2]
SLIPWAY = "from console.main import run; run()"


@dataclass
class Home:
    root: Path
    tokens: dict[str, str] = field(default_factory=dict)
    prefect: dict[str, str] = field(default_factory=dict)
    """Prefect's settings, where a test starts its server itself."""

    @cached_property
    def house(self) -> House:
        settings = Settings(home=self.root)
        return House(settings=settings, ledger=Ledger.open(settings.ledger))

    def environment(self, **more: str) -> dict[str, str]:
        return inherited(
            **{
                "SLIPWAY_HOME": str(self.root),
                "SLIPWAY_OPEN": "true",
                "COLUMNS": "200",
                **self.prefect,
                **more,
            }
        )

    def python(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def slipway(
        self, *arguments: str, who: str = "", code: int = 0, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the command as somebody, and hold it to its exit code."""
        token = {"SLIPWAY_TOKEN": self.tokens[who]} if who else {}
        done = self.python("-c", SLIPWAY, *arguments, **token, **more)
        assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.slipway(*arguments, "--json").stdout)

    def people(self) -> None:
        """Add ada the admin, rita who asks for releases, and max who approves them."""
        self.tokens["ada"] = self.slipway(
            "identity", "add", "ada", "--role", "admin"
        ).stdout.strip()
        for name, role in (("rita", "requester"), ("max", "release-manager")):
            said = self.slipway("identity", "add", name, "--role", role, who="ada")
            self.tokens[name] = said.stdout.strip()

    def register(self, *models: str) -> None:
        done = self.python("-W", "ignore", "-m", "tests.fakes.tiny_registry", *models)
        assert done.returncode == 0, done.stderr[-2000:]

    def policy(
        self, name: str, *, approvals: int = 0, soak: float = 0.5, lease: float = 15
    ) -> Path:
        path = self.root / f"{name}.toml"
        suite = self.root / "suite"
        path.write_text(POLICY.format(suite=suite, approvals=approvals, soak=soak, lease=lease))
        return path

    def processes(self) -> list[psutil.Process]:
        """Every process that lives in this home, but for us."""
        found = []
        for process in psutil.process_iter():
            try:
                home = process.environ().get("SLIPWAY_HOME")
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
            if home == str(self.root) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    @contextmanager
    def client(self, url: str, *models: str, rate: int = 30, longer: str = "") -> Iterator[Path]:
        """Keep a client asking in the background; gives where its answers are written.

        Args:
            url: of the gateway.
            models: whom it asks.
            rate: requests a second to each.
            longer: what every text ends with.
        """
        texts = self.root / "texts.jsonl"
        words = ("alpha", "beta")
        rows = [{"text": f"live number {n} is about {words[n % 2]}{longer}"} for n in range(60)]
        texts.write_text("".join(json.dumps(row) + "\n" for row in rows))
        answers = self.root / "answers.jsonl"
        streams = [f"{model}={texts}@{rate}" for model in models]
        command = [sys.executable, "-m", "console.traffic", url, str(answers), *streams]
        log = self.root / "client.log"
        process = start("client", command, env=self.environment(), log=log, cwd=ROOT)
        try:
            yield answers
        finally:
            stop([process], grace=20)
            assert not log.read_text()


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for a process; give its exit code and all that it said."""
    said, _ = process.communicate(timeout=200)
    return process.returncode, said


def records(answers: Path) -> list[dict[str, Any]]:
    if not answers.exists():
        return []
    lines = answers.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
