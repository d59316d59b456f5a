"""The process that starts the parts of the embedded default, restarts them and stops them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from console.serve import START_SECONDS, STOP_SECONDS, Addresses, gateway_answers
from flows.control import (
    PROJECT,
    Prefect,
    deploy_command,
    environment,
    server_command,
    worker_command,
)
from infra.callers.house import keep_house_key
from infra.files import file_lock, tail
from infra.processes import (
    Process,
    Records,
    alive,
    hold_back,
    kept_port,
    kill_alone,
    start,
    stop,
    this,
)
from infra.settings import Settings, inherited
from release.errors import SlipwayError, Unavailable

LONGEST_BACKOFF = 30.0

SILENT_SECONDS = 60.0
"""A Prefect server that answered, but has not for so long, is started anew.

One that has yet to answer is given `START_SECONDS`: on a busy machine starting takes minutes, and
ending it would only begin that again, for ever.
"""

FLOWS_NICE = 10
"""Building and measuring step back behind serving: clients must not notice a release."""


@dataclass(slots=True, kw_only=True)
class Part:
    """One process that must be running."""

    name: str
    command: list[str]
    process: Process
    nice: int = 0
    deaths: int = 0
    restart_at: float = 0.0


@dataclass(slots=True)
class Supervisor:
    """Prefect's server and worker, and the agent of this host."""

    settings: Settings
    stopping: bool = False
    parts: list[Part] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    prefect: Prefect | None = None
    look_at: float = 0.0
    answered: float = field(default_factory=time.monotonic)
    """When Prefect's server last answered or was ended, on the monotonic clock."""

    heard: Process | None = None
    """The server that answered last; another one is still starting."""

    def start(self) -> Addresses | None:
        """Start every part and wait until each answers; None where it was told to stop meanwhile.

        Raises:
            Unavailable: a part did not come up.
        """
        settings = self.settings
        Records(settings.run / "supervisor").save(this("supervisor"))
        self._clear_away()
        port = kept_port(settings.run / "prefect-port", settings.host)
        url = f"http://{settings.host}:{port}/api"
        guarded = {"SLIPWAY_OPEN": str(settings.open).lower()}
        self.environment = inherited(**environment(settings, url), **guarded)
        try:
            keep_house_key(settings)
        except SlipwayError as error:
            # What serves needs no ledger; only the home's own clients lack a key then.
            sys.stderr.write(f"The home has no key of its own: {error}\n")
        self.add("agent", [sys.executable, "-m", "serving.agent.main"])
        self.add("indexer", [sys.executable, "-m", "infra.calls.indexing"], nice=FLOWS_NICE)
        self.add("prefect-server", server_command(settings, port))
        prefect = self.prefect = Prefect(url)
        if not self._until("prefect-server", prefect.healthy):
            return None
        self._hear(self.parts[-1].process)
        prefect.make_pool()
        self.add("prefect-worker", worker_command(), nice=FLOWS_NICE)
        deploy(self.environment)
        gateway = self._gateway()
        if not self._until("agent", lambda: gateway_answers(gateway())):
            return None
        addresses = Addresses(gateway=gateway(), prefect=url)
        addresses.keep(settings)
        return addresses

    def watch(self) -> None:
        """Restart whatever dies, with growing pauses, until told to stop."""
        while not self.stopping:
            self.check_prefect()
            for part in self.parts:
                if not alive(part.process):
                    self.revive(part)
            time.sleep(0.2)

    def check_prefect(self) -> None:
        """Kill a Prefect server that runs but has not answered for long; it is then started anew.

        On SQLite it can lock itself out of its own database.
        """
        now = time.monotonic()
        if now < self.look_at:
            return
        self.look_at = now + 5
        server = next((one for one in self.parts if one.name == "prefect-server"), None)
        if server is None or self.prefect is None:
            return
        if self.prefect.healthy():
            self.answered = now
            self._hear(server.process)
        elif alive(server.process) and now - self.answered > self._patience(server.process):
            stop([server.process], grace=0)
            self.answered = now

    def _hear(self, server: Process) -> None:
        """Let a server that answers step back; while it starts, people wait for it."""
        if server != self.heard:
            hold_back(server, FLOWS_NICE)
            self.heard = server

    def _patience(self, server: Process) -> float:
        return SILENT_SECONDS if server == self.heard else START_SECONDS

    def stop(self) -> None:
        """Stop every part: flows first, so that nothing drives the agent while it drains."""
        (self.settings.run / "addresses.json").unlink(missing_ok=True)
        Records(self.settings.run / "supervisor").remove("supervisor")
        records = Records(self.settings.run / "parts")
        for part in reversed(self.parts):
            stop([part.process], grace=STOP_SECONDS / 2)
            records.remove(part.name)

    def _clear_away(self) -> None:
        """End the parts that a supervisor left behind when it was killed.

        Its agent is killed outright: asked to end, it would take gateway and replicas with it,
        which serve on until the next agent adopts them.
        """
        records = Records(self.settings.run / "parts")
        left = records.load()
        for one in left:
            if one.name == "agent":
                kill_alone(one)
        stop([one for one in left if one.name != "agent"], grace=STOP_SECONDS / 2)
        for one in left:
            records.remove(one.name)

    def _gateway(self) -> Callable[[], str]:
        """Give the gateway's address; the agent chooses the port and writes it down."""
        kept = self.settings.run / "port"

        def url() -> str:
            port = kept.read_text().strip() if kept.exists() else "0"
            return f"http://{self.settings.host}:{port}"

        return url

    def add(self, name: str, command: list[str], *, nice: int = 0) -> None:
        """Start a part, and watch over it from now on."""
        process = self._launch(name, command, nice)
        self.parts.append(Part(name=name, command=command, process=process, nice=nice))

    def _launch(self, name: str, command: list[str], nice: int) -> Process:
        log = self.settings.logs / f"{name}.log"
        process = start(name, command, env=self.environment, log=log, cwd=PROJECT, nice=nice)
        Records(self.settings.run / "parts").save(process)
        return process

    def revive(self, part: Part) -> None:
        """Start a part that died anew, once its pause is over."""
        now = time.monotonic()
        if not part.restart_at:
            part.deaths += 1
            part.restart_at = now + min(0.25 * 2**part.deaths, LONGEST_BACKOFF)
        elif now >= part.restart_at:
            part.process, part.restart_at = self._launch(part.name, part.command, part.nice), 0.0

    def _until(self, name: str, ready: Callable[[], bool]) -> bool:
        """Wait for a part; False where this process was told to stop."""
        deadline = time.monotonic() + START_SECONDS
        part = next(one for one in self.parts if one.name == name)
        log = self.settings.logs / f"{name}.log"
        while not ready():
            if self.stopping:
                return False
            if not alive(part.process):
                raise Unavailable(f"{name} ended: {' '.join(tail(log, 3))}", f"see {log}")
            if time.monotonic() > deadline:
                raise Unavailable(f"{name} did not answer in {START_SECONDS:g} s.", f"see {log}")
            time.sleep(0.1)
        return True


def deploy(
    environment: Mapping[str, str],
    command: Sequence[str] | None = None,
    seconds: float = START_SECONDS,
) -> None:
    """Apply `prefect.yaml` to the server that answers.

    Args:
        environment: Prefect's, with the server's address.
        command: does it; Prefect's own where none is given.
        seconds: how long it may take.

    Raises:
        Unavailable: it failed, or took longer.
    """
    try:
        done = subprocess.run(
            command or deploy_command(),
            check=False,
            cwd=PROJECT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(
            f"The flows were not deployed within {seconds:g} s.", "try again when less runs here"
        ) from error
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-500:]
        raise Unavailable(f"The flows could not be deployed: {said}")


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Be the one supervisor of a home, for as long as the body runs.

    Raises:
        Conflict: there is another.
    """
    with file_lock(settings.run / "supervisor.lock", seconds=0):
        yield


def main() -> int:
    """Run as a process of its own until SIGTERM."""
    supervisor = Supervisor(Settings())

    def told(_signal: int, _frame: FrameType | None) -> None:
        supervisor.stopping = True

    signal.signal(signal.SIGTERM, told)
    signal.signal(signal.SIGINT, told)
    os.umask(0o077)
    try:
        with alone(supervisor.settings):
            try:
                supervisor.start()
                supervisor.watch()
            finally:
                supervisor.stop()
    except SlipwayError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
