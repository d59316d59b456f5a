"""`slipway up` and `slipway down`: the parts of the embedded default, and who watches them."""

import json
import signal
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import httpx
from rich.console import Console

from flows.control import Prefect
from infra.callers.house import first_key
from infra.callers.loopback import allow_open
from infra.calls.checkpoints import Signer
from infra.files import tail, write_atomic
from infra.ledger import Ledger
from infra.processes import Process, Records, alive, host_name, start, stop
from infra.settings import Settings, inherited
from release.errors import Conflict, SlipwayError, Unavailable
from release.wording import lasting

START_SECONDS = 180.0
"""How long everything may take to come up, on a slow disk."""

STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the parts of one home listen."""

    gateway: str
    prefect: str

    @classmethod
    def of(cls, settings: Settings) -> "Addresses":
        """Read what the running parts wrote down.

        Raises:
            Unavailable: nothing is up in this home.
        """
        try:
            plain = json.loads((settings.run / "addresses.json").read_text())
            return cls(gateway=plain["gateway"], prefect=plain["prefect"])
        except (OSError, ValueError, KeyError) as error:
            raise Unavailable(f"Nothing is up in {settings.root}.", "slipway up") from error

    def keep(self, settings: Settings) -> None:
        """Write them down for other commands."""
        plain = {"gateway": self.gateway, "prefect": self.prefect}
        write_atomic(settings.run / "addresses.json", json.dumps(plain).encode())


def up(*, detach: bool, unguarded: bool) -> None:
    """Start everything, and watch it until Ctrl-C; or leave that to a process in the background.

    Args:
        detach: whether to leave it to the background.
        unguarded: whether gateways ask nobody who they are.

    Raises:
        Conflict: everything is up already, or another home has this host's name in the ledger.
        Refused: gateways would be open to more than this machine.
        Unavailable: a part did not come up; says which, with its last words.
    """
    settings = Settings(open=True) if unguarded else Settings()
    allow_open(settings)
    settings.run.mkdir(parents=True, exist_ok=True)
    if supervisor := supervisor_of(settings):
        raise Conflict(f"{settings.root} is up already, watched by process {supervisor.pid}.")
    need_name(settings)
    key = "" if settings.open else _first(settings)
    if not detach:
        _foreground(settings, key)
        return
    with Console(stderr=True).status("starting …"):
        addresses = start_detached(settings)
    _greet(addresses, settings, key)


def need_name(settings: Settings) -> None:
    """Take this host's name in a ledger that others may share; one that is away hinders nothing.

    Raises:
        Conflict: another home has it.
    """
    if not settings.ledger_url:
        return
    name = host_name(settings.name)
    try:
        home = Signer(settings.calls_secrets, settings.journal).public.hex()[:16]
        with closing(Ledger.open(settings.ledger)) as ledger:
            heard = ledger.take_name(name, home, time.time())
    except SlipwayError as error:
        said = f"it is not known whether another host is called {name}: {error}"
        sys.stderr.write(f"slipway: {said}\n")
        return
    if heard is not None:
        ago = lasting(time.time() - heard)
        raise Conflict(
            f"Another home of this ledger has the host's name {name!r}; it was heard of {ago} ago.",
            "name this one by SLIPWAY_NAME",
        )


def _first(settings: Settings) -> str:
    """Make a first key, if the ledger can be asked; what serves does not need it."""
    try:
        return first_key(settings)
    except SlipwayError as error:
        sys.stderr.write(f"slipway: no first key could be made: {error}\n")
        return ""


def start_detached(settings: Settings) -> Addresses:
    """Start everything in the background and wait until it is up."""
    (settings.run / "addresses.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "console.supervise"]
    log = settings.logs / "supervisor.log"
    env = inherited(SLIPWAY_HOME=str(settings.root), SLIPWAY_OPEN=str(settings.open).lower())
    supervisor = start("supervisor", command, env=env, log=log)
    Records(settings.run / "supervisor").save(supervisor)
    try:
        return wait_up(settings, supervisor)
    except BaseException:
        stop([supervisor], grace=STOP_SECONDS)
        down(settings, quiet=True)
        raise


def wait_up(settings: Settings, supervisor: Process) -> Addresses:
    """Wait until the supervisor has written down where everything listens."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            return Addresses.of(settings)
        except Unavailable:
            if not alive(supervisor):
                log = settings.logs / "supervisor.log"
                words = " ".join(tail(log, 3))
                raise Unavailable(f"It did not come up: {words}", f"see {log}") from None
            time.sleep(0.1)
    raise Unavailable(f"It did not come up within {START_SECONDS:g} s.", f"see {settings.logs}")


def _foreground(settings: Settings, key: str) -> None:
    from console.supervise import Supervisor, alone

    supervisor = Supervisor(settings)

    def interrupted(_signal: int, _frame: FrameType | None) -> None:
        supervisor.stopping = True

    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, interrupted)
    with alone(settings):
        try:
            with Console(stderr=True).status("starting …"):
                addresses = supervisor.start()
            if addresses is not None:
                _greet(addresses, settings, key)
                sys.stdout.write("Ctrl-C stops it.\n")
            supervisor.watch()
        finally:
            supervisor.stop()


def _greet(addresses: Addresses, settings: Settings, key: str) -> None:
    sys.stdout.write(
        f"serving   {addresses.gateway}/v2\nflows     {addresses.prefect.removesuffix('/api')}\n"
    )
    if settings.open:
        sys.stdout.write("callers   whoever asks: it is open, on this machine alone\n")
    elif key:
        sys.stdout.write(f"key       {key}\n          shown this once; slipway keys makes others\n")


def down(settings: Settings | None = None, *, quiet: bool = False) -> None:
    """Stop everything that `up` started in this home, and nothing else."""
    settings = settings or Settings()
    supervisor = supervisor_of(settings)
    if supervisor is not None:
        stop([supervisor], grace=STOP_SECONDS)
    # A supervisor that was killed left its parts behind, and an agent that was killed its own.
    left = [one for folder in _record_folders(settings.run) for one in Records(folder).load()]
    stop([one for one in left if alive(one)], grace=STOP_SECONDS)
    for folder in _record_folders(settings.run):
        for one in Records(folder).load():
            Records(folder).remove(one.name)
    (settings.run / "addresses.json").unlink(missing_ok=True)
    if not quiet:
        sys.stdout.write("down\n" if supervisor or left else "nothing was up\n")


def _record_folders(run: Path) -> list[Path]:
    return [run / name for name in ("supervisor", "parts", "agent") if (run / name).is_dir()]


def supervisor_of(settings: Settings) -> Process | None:
    """Give the process that watches a home's parts, if one does."""
    records = Records(settings.run / "supervisor").load()
    return next((one for one in records if alive(one)), None)


def gateway_answers(url: str) -> bool:
    """Whether a gateway is live at this address."""
    try:
        return httpx.get(f"{url}/v2/health/live", timeout=2).is_success
    except httpx.HTTPError:
        return False


def prefect_of(settings: Settings) -> Prefect:
    """Give the API of the Prefect server that is up in this home."""
    return Prefect(Addresses.of(settings).prefect)
