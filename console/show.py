"""One run of the demo: its stages, its people, its releases."""

import json
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from rich.progress import (
    Progress,
    TaskID,
)

from console.scripts import EXAMPLE, Scripts, furnish
from console.serve import Addresses, down, start_detached
from flows.control import Prefect
from infra.files import write_atomic
from infra.identity import Identity
from infra.ledger import Ledger
from infra.processes import Process, start, stop
from infra.settings import Settings, inherited
from release.errors import SlipwayError, Unavailable
from release.releases import Phase, Release
from release.variants import Candidate
from tasks.desk import answer, ask_training, open_release
from tasks.inspection import Request, fetch
from tasks.telling import is_told
from tasks.trainings import FAILED, candidate_of, outcome
from tasks.wiring import House
from tasks.workshop import progress

RELEASE_SECONDS = 240.0
"""How long one release of the demo may take before it is called stuck."""

TELLING_SECONDS = 60.0
"""How long page and registry may lag behind the ledger."""

_PARTS = {
    Phase.PREPARING: 0.1,
    Phase.AWAITING_APPROVAL: 0.5,
    Phase.WARMING: 0.55,
    Phase.CANARY: 0.6,
    Phase.BAKING: 0.95,
}


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
    trainer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    up: Future[Addresses] = field(default_factory=Future)
    """Known once every part answers and the people of the story exist."""

    closing: Event = field(default_factory=Event)
    scripts: Scripts = field(init=False)
    _house: House | None = None

    def __post_init__(self) -> None:
        self.scripts = Scripts(settings=self.settings)

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
            self.up.set_result(addresses)
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
        with self.stage("tell of it"):
            self.await_telling("docs-router")
        with self.stage("stop everything"):
            self.close()

    def await_telling(self, model: str) -> None:
        """Wait until page and registry show a model's last release as it ended."""
        here = self.house()
        release = here.ledger.releases(model)[-1]
        deadline = time.monotonic() + TELLING_SECONDS
        while not is_told(here, release):
            if time.monotonic() > deadline:
                raise Unavailable(f"{release.id} was not told of.", f"see {self.settings.logs}")
            time.sleep(0.3)

    def close(self) -> None:
        """Stop the client and the training, then everything else."""
        self.closing.set()
        self.up.cancel()
        self.trainer.shutdown(wait=False, cancel_futures=True)
        self.scripts.stop()
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

    def keep(self) -> None:
        """Write the stages down for whoever wants to compute with them."""
        text = json.dumps({"stages": self.stages}, indent=2)
        write_atomic(self.settings.root / "demo.json", text.encode())

    def introduce(self) -> None:
        """Add the people of the story, and what their releases and trainings need."""
        here = self.house().identities
        ada = here.prove(here.add("ada", "admin", by=None))
        for name, role in (("rita", "requester"), ("max", "release-manager")):
            self.people[name] = here.prove(here.add(name, role, by=ada))
        furnish(self.settings)

    def gather(self) -> None:
        """Build the suites."""
        with self.stage("gather texts and labels"):
            self.scripts.run("suite.py", str(self.settings.root / "suites"))

    def train(self, plan: Mapping[str, Any]) -> None:
        """Train one version and register it, as the plan says: by a script or by a flow."""
        with self.stage(f"train {plan['name']}") as bar:
            version = self.retrain(bar, plan) if "flow" in plan else self.run_script(bar, plan)
            self.progress.update(bar, said=f"version {version} registered")

    def run_script(self, bar: TaskID, plan: Mapping[str, Any]) -> int:
        """Train as a data scientist does before Slipway knows the model."""
        model, root, options = plan["model"], self.settings.root, {**plan["options"]}
        if parent := options.pop("parent", 0):
            found = fetch(self.house(), Candidate(model=model, version=parent))
            options["parent"] = str(found)
        flags = [text for key, value in options.items() for text in (f"--{key}", str(value))]
        out = str(root / "models" / plan["name"])
        fixed = ["--data", str(root / "suites" / model), "--out", out, "--register", model]

        def told(done: float, said: str) -> None:
            self.progress.update(bar, completed=done, said=said)

        return int(self.scripts.run("train.py", *fixed, *flags, told=told)["version"])

    def retrain(self, bar: TaskID, plan: Mapping[str, Any]) -> int:
        """Train by the flow `retrain`, which rita asks for."""
        model, prefect, here = plan["model"], Prefect(self.up.result().prefect), self.house()
        asked = ask_training(here, model, self.people["rita"], None, release=False)
        parameters = {"model": model, "training_id": asked.id}
        prefect.start(plan["flow"], parameters, key=asked.id)
        while not self.closing.wait(0.2):
            done, said = progress(here, asked) or (0.0, "a flow run begins")
            self.progress.update(bar, completed=done, said=said)
            if ended := outcome(here, asked):
                if ended.kind == FAILED:
                    raise SlipwayError(ended.sentence)
                return candidate_of(ended).version
        raise Unavailable(f"{asked.id} was given up.", "the demo is being stopped")

    def listen(self, addresses: Addresses, traffic: Mapping[str, float]) -> None:
        """Start the background client."""
        suites = self.settings.root / "suites"
        streams = [
            f"{name}={suites / name / 'live.jsonl'}@{rate}" for name, rate in traffic.items()
        ]
        key = ["--key", str(self.settings.house_key)]
        told = [addresses.gateway, str(self.answers)]
        command = [sys.executable, "-m", "console.traffic", *key, *told]
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
