"""The life of one replica process: started, asked how it is, mourned, let go."""

import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from infra.files import tail
from infra.processes import Process, Records, alive, ask_to_end, start, stop
from infra.settings import Settings, inherited_by_serving
from release.routes import Serving
from release.variants import Variant
from serving.agent.places import Places
from serving.agent.silence import Silence
from serving.client import replica_command
from serving.replica.address import Address
from serving.replica.messages import LENGTH, LONGEST_FRAME, Ask, Status, frame, read_reply

FIRST_BACKOFF = 0.5
LONGEST_BACKOFF = 30.0
STEADY_SECONDS = 2.5
"""A replica that was ready for so long has earned a quick restart again."""

LINGER_SECONDS = 2.0
"""How long a replica that is no longer wanted stays: until no gateway asks it any more."""

HUNG_SECONDS = 10.0
"""A replica that has not said how it is for so long is killed and started anew."""

DRAIN_SECONDS = 12.0
"""How long one that was asked to end may take to finish what it has."""

ASK_SECONDS = 0.3
AGAIN_SECONDS = 1.0
"""One that let us wait is asked again only then: it must not hold up the others' turn."""

OVERGROWN = 1.5
"""How often its memory limit a replica may take before it is killed, whoever replaces it."""

_MB = 2**20


@dataclass(slots=True, kw_only=True)
class Replica:
    """One replica and what is known of it."""

    variant: Variant
    number: int
    """Which of its variant's on this host."""

    name: str
    address: str
    serving: Serving = field(default_factory=Serving)
    process: Process | None = None
    status: Status | None = None
    silence: Silence = field(default_factory=Silence)
    ask_at: float = 0.0
    started: float = 0.0
    deaths: int = 0
    restart_at: float = 0.0
    message: str = "it is starting"
    served: bool = False
    """Whether it has been ready since it was started."""

    served_since: float = 0.0
    first_bytes: int = 0
    """Memory that it took when it first was ready, or when it was adopted."""

    adopted: bool = False
    """Whether an agent before us started it; what it took at first is not known then."""

    worn: bool = False
    """Whether it has grown beyond its limit, and stays only until another stands in for it."""

    unwanted_since: float | None = None
    asked_to_end: bool = False

    @property
    def ready(self) -> bool:
        """Whether it answers."""
        return bool(self.status and self.status.ready)

    @property
    def memory_bytes(self) -> int:
        """What it said it takes."""
        return self.status.load.memory_bytes if self.status else 0

    @property
    def grown(self) -> bool:
        """Whether it takes more than its limit, and took less when it began.

        A limit that a fresh replica does not keep either would only have it replaced for ever. One
        that was adopted may have grown already: the fresh one in its place will show.
        """
        limit = self.serving.memory_mb * _MB
        return bool(limit) and self.memory_bytes > max(
            limit, 0 if self.adopted else self.first_bytes
        )

    @property
    def overgrown(self) -> bool:
        """Whether it takes so much more than its limit that it cannot wait for another."""
        limit = self.serving.memory_mb * _MB
        return bool(limit) and self.memory_bytes > OVERGROWN * max(limit, self.first_bytes)

    def begin_anew(self) -> None:
        """Forget its process, and all that is known of that alone."""
        self.process = self.status = None
        self.served = self.worn = self.adopted = self.asked_to_end = False
        self.first_bytes = 0
        self.silence = Silence()


class Care:
    """Looks after single replicas.

    Args:
        settings: where variants and logs lie.
        places: where sockets lie.
        records: of the processes.
    """

    def __init__(self, settings: Settings, places: Places, records: Records) -> None:
        self._settings = settings
        self._places = places
        self._records = records

    def make(self, variant: Variant, number: int, now: float) -> Replica:
        """Lay out a replica; nothing is started."""
        name = f"{family(variant.digest)}{number}"
        return Replica(
            variant=variant,
            number=number,
            name=name,
            address=self.address(name),
            started=now,
        )

    def address(self, name: str) -> str:
        """Say where a replica of that name listens."""
        return str(self._places.sockets / f"{name}.sock")

    def adopt(self, replica: Replica, process: Process) -> None:
        """Take over a process that an agent before us started."""
        replica.process, replica.adopted = process, True
        self._records.save(process)

    def want(self, replica: Replica) -> None:
        """Want a replica again; one that was asked to end already is started anew."""
        replica.unwanted_since = None
        if replica.asked_to_end and replica.process is not None:
            stop([replica.process], grace=0)
            replica.begin_anew()

    def look_after(self, replica: Replica, now: float) -> None:
        """Start it, restart it, or ask how it is."""
        if replica.process is None:
            if now >= replica.restart_at:
                self._start(replica, now)
            return
        if not alive(replica.process):
            self._mourn(replica, now)
            return
        if now >= replica.ask_at:
            self._ask(replica, now)
        if replica.silence.seconds > HUNG_SECONDS:
            self._kill(replica, now, f"it did not answer for {HUNG_SECONDS:g} s and was killed")
        elif replica.overgrown:
            taken, limit = replica.memory_bytes // _MB, replica.serving.memory_mb
            self._kill(replica, now, f"it took {taken} MB, of {limit} at most, and was killed")

    def _ask(self, replica: Replica, now: float) -> None:
        began = time.monotonic()
        status = ask(replica.address)
        late = time.monotonic() - began >= ASK_SECONDS / 2
        replica.ask_at = now + (AGAIN_SECONDS if late and status is None else 0.0)
        if status is None or status.digest != replica.variant.digest:
            replica.silence.asked(now, answered=False)
            return
        replica.status = status
        # One that was ready and is so no longer is as good as silent.
        replica.silence.asked(now, answered=status.ready or not replica.served)
        if status.ready and not replica.served:
            replica.served, replica.served_since = True, now
            replica.first_bytes = status.load.memory_bytes

    def _start(self, replica: Replica, now: float) -> None:
        digest, serving = replica.variant.digest, replica.serving
        folder = self._settings.store / "sha256" / digest.removeprefix("sha256:")
        threads = serving.threads or self._settings.threads
        device = self._settings.device
        command = replica_command(folder, digest, replica.address, threads, device)
        if serving.tune != Serving().tune:
            command += ["--tune", serving.tune]
        log = self._log(replica)
        replica.process = start(replica.name, command, env=inherited_by_serving(), log=log)
        replica.started = now
        self._records.save(replica.process)

    def _kill(self, replica: Replica, now: float, why: str) -> None:
        if replica.process is not None:
            stop([replica.process], grace=0)
        self._mourn(replica, now, why)

    def _mourn(self, replica: Replica, now: float, why: str = "") -> None:
        """Note a death, and when to try again: later each time, unless it had lived long."""
        words = " ".join(tail(self._log(replica), 1))
        steady = replica.served and now - replica.served_since > STEADY_SECONDS
        replica.deaths = 1 if steady else replica.deaths + 1
        pause = min(FIRST_BACKOFF * 2 ** (replica.deaths - 1), LONGEST_BACKOFF)
        replica.message = f"died {replica.deaths} times: {why or words or 'no last words'}"
        replica.begin_anew()
        replica.restart_at = now + pause

    def let_go(self, replica: Replica, now: float) -> bool:
        """End a replica that nobody wants, once no gateway asks it; say whether it is over.

        Never waits: a replica that is slow to end must not hold up its neighbours.
        """
        if replica.unwanted_since is None:
            replica.unwanted_since = now
        if now - replica.unwanted_since < LINGER_SECONDS:
            return False
        if replica.process is not None and alive(replica.process):
            if not replica.asked_to_end:
                ask_to_end(replica.process)
                replica.asked_to_end = True
            if now - replica.unwanted_since < LINGER_SECONDS + DRAIN_SECONDS:
                return False
            stop([replica.process], grace=0)
        self._records.remove(replica.name)
        return True

    def _log(self, replica: Replica) -> Path:
        return self._settings.logs / f"{replica.name}.log"


def family(digest: str) -> str:
    """How the names of a variant's replicas begin; a number follows."""
    return f"replica-{digest.removeprefix('sha256:')[:16]}-"


def ask(address: str | Path) -> Status | None:
    """Ask a replica how it is; None where it does not answer soon."""
    try:
        with Address.parse(str(address)).dial(ASK_SECONDS) as line:
            line.sendall(frame(Ask(id=1)))
            (length,) = LENGTH.unpack(_read(line, LENGTH.size))
            reply = read_reply(_read(line, min(length, LONGEST_FRAME)))
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
