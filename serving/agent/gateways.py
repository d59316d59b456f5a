"""Holds the listening socket and keeps gateway processes on it."""

import re
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from infra.calls.checkpoints import Signer
from infra.processes import Process, Records, alive, ask_to_end, running, start, stop
from infra.settings import Settings, inherited_by_serving
from infra.sockets import hear
from release.callers import Recording
from release.errors import SlipwayError
from release.releases import GatewayStatus
from serving.agent.hearing import status_socket
from serving.agent.places import Places
from serving.agent.ports import held
from serving.agent.silence import Silence
from serving.gateway.siblings import PREFIX, SUFFIX
from serving.journal import JournalWriter
from serving.keeping import sum_up

BACKLOG = 2_048
"""Connections that may wait while gateways are restarted."""

DRAIN_SECONDS = 12.0
HUNG_SECONDS = 15.0
"""A gateway that has not said how it is for so long is killed and started anew."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds before a gateway is started in the place of one that ended before it said anything."""


@dataclass(slots=True, kw_only=True)
class _Gateway:
    name: str
    """Such as g1; its journal's too, and a journal has one writer."""

    process: Process | None = None
    draining: bool = False
    """Whether somebody has told it to end: it finishes what it has and takes nothing new."""

    heard: dict[str, GatewayStatus] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)
    """Keys that it has seen, each to when that was last."""

    silence: Silence = field(default_factory=Silence)
    answers: bool = False
    """Whether it said last time how it is."""

    spoke: bool = False
    """Whether its process ever did."""

    failed: int = 0
    """Processes in a row that ended before they did."""

    start_at: float = 0.0
    """When the next may start, as `time.monotonic` tells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leaving:
    """A gateway that finishes what it has."""

    process: Process
    since: float


class Gateways:
    """The gateways of one host, and those that an agent before us left.

    Args:
        settings: how many, address, journal and logs.
        places: where records and sockets lie.
        agent: name of this agent.
    """

    def __init__(self, settings: Settings, places: Places, agent: str) -> None:
        self._settings = settings
        self._places = places
        self._agent = agent
        self._records = Records(places.records)
        self._old = self._found()
        self._leaving: list[_Leaving] = []
        host, shared = settings.host, bool(self._old)
        self._socket = held(host, settings.port, places.port, "SLIPWAY_PORT", shared=shared)
        self._socket.listen(BACKLOG)
        self._grpc = held(
            host, settings.grpc_port, places.grpc_port, "SLIPWAY_GRPC_PORT", shared=shared
        )
        self._mine: list[_Gateway] = []
        for _ in range(settings.gateways):
            self._mine.append(_Gateway(name=self._free_name()))
        self._sum_up()
        kept = {f"{one.name}{SUFFIX}" for one in self._old}
        for left in self._places.sockets.glob(f"{PREFIX}*{SUFFIX}"):
            if left.name not in kept:
                left.unlink(missing_ok=True)

    def keep(self) -> None:
        """Start what does not run; let old ones go once all of ours serve."""
        now = time.monotonic()
        for place, one in enumerate(self._mine):
            if one.draining and one.process is not None and alive(one.process):
                # Another takes its place at once; its name stays with its journal.
                self._leaving.append(_Leaving(process=one.process, since=now))
                self._mine[place] = _Gateway(name=self._free_name())
            self._keep(self._mine[place], place, now)
        if self._old and all(one.answers for one in self._mine):
            for process in self._old:
                ask_to_end(process)
                self._leaving.append(_Leaving(process=process, since=now))
            self._old = []
        self._leaving = [one for one in self._leaving if not self._gone(one, now)]

    def _keep(self, one: _Gateway, place: int, now: float) -> None:
        if one.process is not None and one.silence.seconds > HUNG_SECONDS:
            stop([one.process], grace=0)
        if one.process is not None and alive(one.process):
            return
        if one.process is not None and not one.spoke:
            # The next may fare no better, and its log must not fill the disk.
            one.failed += 1
            one.start_at = now + min(FIRST_PAUSE * 2 ** (one.failed - 1), LONGEST_PAUSE)
            one.process = None
        if now >= one.start_at:
            one.process, one.silence = self._start(one.name, place), Silence()
            one.draining = one.answers = one.spoke = False

    def _gone(self, one: _Leaving, now: float) -> bool:
        if alive(one.process):
            if now - one.since < DRAIN_SECONDS:
                return False
            stop([one.process], grace=0)
        self._forget(one.process)
        return True

    def _forget(self, process: Process) -> None:
        """Keep nothing of a gateway that is gone for good: nobody shall miss it."""
        self._records.remove(process.name)
        (self._places.sockets / f"{process.name}{SUFFIX}").unlink(missing_ok=True)

    def statuses(self, endpoints: Iterable[str]) -> list[GatewayStatus]:
        """What gateways serve of these endpoints; what was heard last where one is silent."""
        named = list(endpoints)
        for one in self._mine:
            asked = time.monotonic()
            said = hear(status_socket(self._places.sockets, one.name))
            one.answers = said is not None
            one.silence.asked(asked, answered=one.answers)
            if said is None:
                continue
            one.spoke, one.failed = True, 0
            now = time.time()
            one.draining = bool(said.get("draining"))
            one.used |= said.get("callers", {}).get("used", {})
            found = {entry["endpoint"]: entry for entry in said["endpoints"]}
            one.heard = {
                endpoint: self._status(one.name, endpoint, found.get(endpoint, {}), now)
                for endpoint in named
            }
        return [status for one in self._mine for status in one.heard.values()]

    def used(self) -> dict[str, float]:
        """Which keys gateways have seen, each to when that was last."""
        found: dict[str, float] = {}
        for one in self._mine:
            for key, at in one.used.items():
                found[key] = max(at, found.get(key, 0.0))
        return found

    def _status(self, name: str, endpoint: str, said: dict[str, Any], now: float) -> GatewayStatus:
        bare = GatewayStatus(
            gateway=f"{self._agent}/{name}", endpoint=endpoint, generation=0, at=now
        )
        if not said:
            return bare
        return replace(
            bare, generation=said["generation"], lapsed=said["lapsed"], tripped=said["tripped"]
        )

    def stop(self) -> None:
        """Let every gateway finish what is under way, and end."""
        everyone = [
            *self._old,
            *(one.process for one in self._leaving),
            *(one.process for one in self._mine if one.process),
        ]
        stop(everyone, grace=DRAIN_SECONDS)
        self._socket.close()
        self._grpc.close()
        for process in everyone:
            self._forget(process)

    def _found(self) -> list[Process]:
        """Find gateways of an agent before us, also one that it did not come to record."""
        recorded = [one for one in self._records.load() if one.name.startswith(PREFIX)]
        listening = running("serving.gateway.main", self._places.sockets)
        return list({one.pid: one for one in (*recorded, *listening) if alive(one)}.values())

    def _free_name(self) -> str:
        """Choose a name that no living gateway has."""
        running = [*self._old, *(one.process for one in self._leaving)]
        taken = {one.name.removeprefix(PREFIX) for one in running}
        taken |= {one.name for one in self._mine}
        return next(name for number in count(1) if (name := f"g{number}") not in taken)

    def _sum_up(self) -> None:
        """Sum up in the journals what gateways that were killed could not, and sign it."""
        signer = self._signer()
        writing = {one.name.removeprefix(PREFIX) for one in self._old}
        writing |= {one.name for one in self._mine}
        for path in self._settings.journal.glob("*/"):
            # Another agent may be called as this one and something more.
            ours = re.fullmatch(rf"{re.escape(self._agent)}_(g\d+)", path.name)
            if ours is not None and (name := ours[1]) not in writing:
                sum_up(JournalWriter(self._settings.journal, f"{self._agent}/{name}"), signer)

    def _signer(self) -> Signer | None:
        """Give who signs; None where its key is lost: gateways say so, no agent stops for it."""
        try:
            return Signer(self._settings.calls_secrets, self._settings.journal)
        except SlipwayError:
            return None

    def _start(self, name: str, place: int) -> Process:
        fd = self._socket.fileno()
        host, port = self._grpc.getsockname()
        status = status_socket(self._places.sockets, name)
        with suppress(OSError):  # A full disk must not keep it from being started.
            # Until it listens there itself: one that never does is told of as down.
            status.with_suffix(SUFFIX).touch()
        command = [
            *(sys.executable, "-m", "serving.gateway.main"),
            *("--fd", str(fd), "--name", f"{self._agent}/{name}"),
            *("--folder", str(self._places.run), "--status", str(status)),
            *("--journal", str(self._settings.journal), "--grpc", f"{host}:{port}"),
            *_recorded(self._settings.recording),
            *("--pepper", str(self._settings.pepper_file), "--place", str(place)),
            *(["--open"] if self._settings.open else []),
        ]
        log = self._settings.logs / f"{PREFIX}{name}.log"
        env = inherited_by_serving()
        process = start(f"{PREFIX}{name}", command, env=env, log=log, pass_fds=[fd])
        self._records.save(process)
        return process


def _recorded(how: Recording) -> list[str]:
    """Say to a gateway what it records."""
    told = ["--capture", how.capture, "--sample", f"{how.sample:g}", "--when-full", how.when_full]
    return [*told, "--strict"] if how.strict else told
