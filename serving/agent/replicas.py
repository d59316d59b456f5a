"""Keeps a replica process for every variant that is wanted on this host."""

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.files import tail
from infra.processes import Process, Records, alive, ask_to_end, running, start, stop
from infra.settings import Settings, inherited_by_serving
from release.releases import ReplicaStatus
from release.variants import Variant
from serving.agent.places import Places
from serving.client import replica_command
from serving.replica.messages import Ask, Status, frame, read_reply

FIRST_BACKOFF = 0.5
LONGEST_BACKOFF = 30.0
STEADY_SECONDS = 30.0
"""A replica that lived this long has earned a quick restart again."""

LINGER_SECONDS = 2.0
"""How long a replica that is no longer wanted stays: until no gateway asks it any more."""

HUNG_SECONDS = 10.0
"""A replica that has not said how it is for so long is killed and started anew."""

DRAIN_SECONDS = 12.0
"""How long one that was asked to end may take to finish what it has."""

ASK_SECONDS = 0.3


@dataclass(slots=True, kw_only=True)
class _Replica:
    variant: Variant
    name: str
    address: Path
    process: Process | None = None
    status: Status | None = None
    heard: float = 0.0
    started: float = 0.0
    deaths: int = 0
    restart_at: float = 0.0
    message: str = "it is starting"
    served: bool = False
    """Whether it has been ready since it was started."""

    unwanted_since: float | None = None
    asked_to_end: bool = False

    @property
    def ready(self) -> bool:
        return bool(self.status and self.status.ready)


class Replicas:
    """The replicas of one host.

    Args:
        settings: where variants, logs and records lie.
        places: where sockets lie.
    """

    def __init__(self, settings: Settings, places: Places) -> None:
        self._settings = settings
        self._places = places
        self._records = Records(places.records)
        self._known: dict[str, _Replica] = {}
        self._left = running("serving.replica.worker", places.sockets)
        """Replicas of an agent before us, until it is clear which of them are wanted."""

    def keep(self, wanted: Mapping[str, Variant], now: float) -> None:
        """Start what is missing, restart what died, stop what is no longer wanted.

        Args:
            wanted: content digest to variant.
            now: on the monotonic clock.
        """
        for digest, variant in wanted.items():
            if digest not in self._known:
                self._known[digest] = self._adopt(variant, now)
            self._bring_back(self._known[digest])
        self._dismiss_strangers()
        for digest, replica in list(self._known.items()):
            if digest in wanted:
                self._look_after(replica, now)
            else:
                self._retire(digest, replica, now)

    def addresses(self) -> dict[str, str]:
        """Content digest to socket, of every replica that is wanted.

        Ready or not: gateways see for themselves whom they reach, and wait at the address of a
        champion that is being restarted.
        """
        return {
            digest: str(replica.address)
            for digest, replica in self._known.items()
            if replica.unwanted_since is None
        }

    def statuses(self, agent: str, endpoints: Mapping[str, list[str]]) -> list[ReplicaStatus]:
        """What the replicas say of themselves, a line for each endpoint that needs one.

        Args:
            agent: name of this agent.
            endpoints: content digest to the endpoints that it serves.
        """
        now = time.time()
        return [
            ReplicaStatus(
                agent=agent,
                endpoint=endpoint,
                digest=digest,
                ready=replica.ready,
                message="" if replica.ready else replica.message,
                pid=replica.process.pid if replica.process else 0,
                memory_bytes=replica.status.load.memory_bytes if replica.status else 0,
                restarts=replica.deaths,
                at=now,
            )
            for digest, replica in self._known.items()
            for endpoint in endpoints.get(digest, [])
        ]

    def stop(self) -> None:
        """Let every replica finish what is under way, and end."""
        running = [one.process for one in self._known.values() if one.process]
        stop(running, grace=12)
        for replica in self._known.values():
            self._records.remove(replica.name)

    def _adopt(self, variant: Variant, now: float) -> _Replica:
        """Take over the process that an agent before us started, if it still runs."""
        name = f"replica-{variant.digest.removeprefix('sha256:')[:16]}"
        address = self._places.sockets / f"{name}.sock"
        replica = _Replica(variant=variant, name=name, address=address, started=now, heard=now)
        for left in self._left:
            if left.name == name and alive(left):
                replica.process = left
                self._records.save(left)
        return replica

    def _bring_back(self, replica: _Replica) -> None:
        """Want a replica again; one that was asked to end already is started anew."""
        replica.unwanted_since = None
        if replica.asked_to_end and replica.process is not None:
            stop([replica.process], grace=0)
            replica.process, replica.asked_to_end = None, False

    def _dismiss_strangers(self) -> None:
        """End what an agent before us started and nobody wants any more."""
        names = {one.name for one in self._known.values()}
        for record in self._left:
            if record.name not in names:
                ask_to_end(record)
                self._records.remove(record.name)
        self._left = []

    def _look_after(self, replica: _Replica, now: float) -> None:
        if replica.process is None:
            if now >= replica.restart_at:
                self._start(replica, now)
            return
        if not alive(replica.process):
            self._mourn(replica, now)
            return
        status = ask(replica.address)
        if status is not None and status.digest == replica.variant.digest:
            replica.status = status
            # One that was ready and is so no longer is as good as silent.
            if status.ready or not replica.served:
                replica.heard = now
            replica.served = replica.served or status.ready
        if now - replica.heard > HUNG_SECONDS:
            stop([replica.process], grace=0)
            self._mourn(replica, now, f"it did not answer for {HUNG_SECONDS:g} s and was killed")

    def _start(self, replica: _Replica, now: float) -> None:
        digest = replica.variant.digest
        folder = self._settings.store / "sha256" / digest.removeprefix("sha256:")
        command = replica_command(folder, digest, replica.address, self._settings.threads)
        log = self._log(replica)
        replica.process = start(replica.name, command, env=inherited_by_serving(), log=log)
        replica.started = replica.heard = now
        self._records.save(replica.process)

    def _mourn(self, replica: _Replica, now: float, why: str = "") -> None:
        """Note a death, and when to try again: later each time, unless it had lived long."""
        words = " ".join(tail(self._log(replica), 1))
        replica.deaths = 1 if now - replica.started > STEADY_SECONDS else replica.deaths + 1
        pause = min(FIRST_BACKOFF * 2 ** (replica.deaths - 1), LONGEST_BACKOFF)
        replica.message = f"died {replica.deaths} times: {why or words or 'no last words'}"
        replica.process = replica.status = None
        replica.served = False
        replica.restart_at = now + pause

    def _retire(self, digest: str, replica: _Replica, now: float) -> None:
        if replica.unwanted_since is None:
            replica.unwanted_since = now
        if now - replica.unwanted_since < LINGER_SECONDS:
            return
        # Never waited for: a replica that is slow to end must not hold up its neighbours.
        if replica.process is not None and alive(replica.process):
            if not replica.asked_to_end:
                ask_to_end(replica.process)
                replica.asked_to_end = True
            if now - replica.unwanted_since < LINGER_SECONDS + DRAIN_SECONDS:
                return
            stop([replica.process], grace=0)
        self._records.remove(replica.name)
        del self._known[digest]

    def _log(self, replica: _Replica) -> Path:
        return self._settings.logs / f"{replica.name}.log"


def ask(address: Path) -> Status | None:
    """Ask a replica how it is; None where it does not answer soon."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(ASK_SECONDS)
            line.connect(str(address))
            line.sendall(frame(Ask(id=1)))
            length = int.from_bytes(_read(line, 4), "little")
            reply = read_reply(_read(line, length))
    except (OSError, ValueError):
        return None
    return reply if isinstance(reply, Status) else None


def _read(line: socket.socket, count: int) -> bytes:
    parts = b""
    while len(parts) < count:
        part = line.recv(count - len(parts))
        if not part:
            raise OSError("it hung up")
        parts += part
    return parts
