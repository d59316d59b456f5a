"""Processes of our own: started, recorded, recognised again, stopped; nobody else's ever."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from infra.files import write_atomic
from release.variants import NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that we started. A pid alone may have been given to somebody else since."""

    name: str
    pid: int
    created: float
    """Birth in seconds since the system's start: tells it from a later owner of its pid."""


def start(
    name: str,
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    log: Path,
    pass_fds: Sequence[int] = (),
    cwd: Path | None = None,
    nice: int = 0,
) -> Process:
    """Start a process in a session of its own; what it prints is appended to a log.

    Args:
        name: what it is called in records.
        command: program and arguments.
        env: all of its environment.
        log: where its output goes.
        pass_fds: descriptors that it inherits.
        cwd: folder to start in; ours if absent.
        nice: how far behind others it steps when cores are short (0..19); as far as we if 0.

    Raises:
        OSError: the command cannot be run.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    polite = ["nice", "-n", str(nice)] if nice else []
    with log.open("ab") as out:
        child = subprocess.Popen(
            [*polite, *command],
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=tuple(pass_fds),
            cwd=cwd,
        )
    _step_back(child.pid, nice or os.nice(0))
    # From here on the kernel's account counts, not Popen's: the process may be adopted by others.
    child.returncode = 0
    return Process(name=name, pid=child.pid, created=_created(child.pid))


def this(name: str) -> Process:
    """Give a record of the present process."""
    return Process(name=name, pid=os.getpid(), created=_created(os.getpid()))


def hold_back(process: Process, nice: int) -> None:
    """Let a process that we started, and its children, step behind others from now on.

    Args:
        process: as `start` gave it; it leads a group and a session of its own.
        nice: how far, beyond what we do (0..19).
    """
    if alive(process):
        with suppress(ProcessLookupError):
            # Of a group, every thread of every process is meant; of a process, one thread only.
            os.setpriority(os.PRIO_PGRP, process.pid, os.nice(0) + nice)
        _step_back(process.pid, nice)


def step_back(pid: int = 0) -> None:
    """Let this process, or a child, stand as far behind others in its session as we are nice."""
    _step_back(pid or os.getpid(), os.nice(0))


def _step_back(pid: int, nice: int) -> None:
    """Tell Linux's autogroups too: between sessions they alone weigh, and not the nice value."""
    if nice > 0:
        with suppress(OSError):
            Path(f"/proc/{pid}/autogroup").write_text(str(nice), encoding="ascii")


def _created(pid: int) -> float:
    """Give a process's birth in seconds since the system's start, which no set clock moves."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    # The name of the command, in brackets, may hold anything; birth is the 20th field after it.
    return int(stat.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")


def alive(process: Process) -> bool:
    """Whether this very process still runs; a child of ours that died is reaped."""
    try:
        found = psutil.Process(process.pid)
        if _created(process.pid) != process.created:
            return False
        if found.status() != psutil.STATUS_ZOMBIE:
            return True
    except psutil.NoSuchProcess:
        return False
    with suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    return False


def running(module: str, sockets: Path) -> list[Process]:
    """Find processes of ours that run a module and listen in a folder of ours.

    A kill between a start and its record leaves one that only its command line tells of.
    """
    found = []
    for one in psutil.process_iter(["cmdline"]):
        command = one.info["cmdline"] or []
        mine = [part for part in command if part.startswith(f"{sockets}/")]
        if module in command and mine:
            found.append(Process(name=Path(mine[0]).stem, pid=one.pid, created=_created(one.pid)))
    return found


def working_in(module: str, folder: Path) -> bool:
    """Whether a process runs a module and was given a folder, by whatever name."""
    for one in psutil.process_iter(["cmdline"]):
        command = one.info["cmdline"] or []
        if module in command and any(_same(part, folder) for part in command):
            return True
    return False


def _same(part: str, folder: Path) -> bool:
    try:
        return part.startswith("/") and Path(part).samefile(folder)
    except (OSError, ValueError):
        return False


def marked(name: str, value: str) -> list[Process]:
    """Find processes by a variable of their environment, which all that they start inherit.

    The value must be one that nobody else has, such as an id: whoever bears it counts as ours.
    """
    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if one.environ().get(name) == value and one.status() != psutil.STATUS_ZOMBIE:
                found.append(Process(name=value, pid=one.pid, created=_created(one.pid)))
    return found


def ask_to_end(process: Process) -> None:
    """Send SIGTERM, and do not wait; harmless if it is gone."""
    _signal(process, signal.SIGTERM)


def kill_alone(process: Process) -> None:
    """Send SIGKILL to a process, not to the children it had, and wait until it is gone."""
    _signal(process, signal.SIGKILL)
    _wait([process], 5)


BURY_SECONDS = 1.0
"""How long one that was killed is waited for at least: nobody else will bury it."""


def stop(processes: Iterable[Process], *, grace: float = 10.0) -> None:
    """Ask processes to end, wait, then kill those that stay and the children they had.

    Args:
        processes: records; those that are gone already are passed over.
        grace: seconds between asking and killing.
    """
    asked = [one for one in processes if alive(one)]
    family = [child for one in asked for child in _children(one)]
    for one in asked:
        _signal(one, signal.SIGTERM)
    _wait(asked, grace)
    family += [child for one in asked for child in _children(one)]
    left = [one for one in {*asked, *family} if alive(one)]
    for one in left:
        _signal(one, signal.SIGKILL)
    _wait(left, max(grace, BURY_SECONDS))


def _children(process: Process) -> list[Process]:
    try:
        found = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [Process(name=process.name, pid=one.pid, created=_created(one.pid)) for one in found]


def _signal(process: Process, number: signal.Signals) -> None:
    if alive(process):
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _wait(processes: Iterable[Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(alive(one) for one in processes) and time.monotonic() < deadline:
        time.sleep(0.02)


@dataclass(frozen=True, slots=True)
class Records:
    """Records of processes on disk, so that another process can find and stop them."""

    folder: Path

    def save(self, process: Process) -> None:
        """Keep a record, instead of an older one of the same name."""
        write_atomic(self._path(process.name), json.dumps(asdict(process)).encode(), durable=False)

    def load(self) -> list[Process]:
        """Read every record; one that cannot be read counts as absent."""
        found = []
        for path in sorted(self.folder.glob("*.json")):
            with suppress(OSError, ValueError, TypeError):
                found.append(Process(**json.loads(path.read_text())))
        return found

    def remove(self, name: str) -> None:
        """Forget a record; harmless if there is none."""
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name.replace('/', '_')}.json"


def free_port(host: str) -> int:
    """Find a port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def kept_port(path: Path, host: str) -> int:
    """Give the port that was used before if it is still free, else find one and keep it."""
    with suppress(OSError, ValueError), socket.socket() as probe:
        port = int(path.read_text(encoding="ascii"))
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return port
    port = free_port(host)
    write_atomic(path, str(port).encode())
    return port


def host_name(given: str = "") -> str:
    """Name this host as its agent and gateways are: as settings say, else as the machine is."""
    if given:
        return given
    host = socket.gethostname().split(".")[0].lower()
    return host if NAME.fullmatch(host) else "host"
