"""What is amiss on this host, as its processes say themselves: one line each.

Every gateway is asked, and the agent and the indexer, each on its local socket: what only one of
them knows is told too, and who says nothing is told of as well.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from console.wording import age, counted, megabytes
from infra.files import tail
from infra.settings import Settings
from infra.sockets import AGENT, INDEXER, hear, listens, sockets_under
from infra.troubles import read
from serving.anchored import NOT_ANCHORED
from serving.gateway.siblings import PREFIX, SUFFIX

MEGABYTE = 1_000_000
ASK_SECONDS = 2.0
"""For how long they are waited for, all at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amiss:
    """One thing that is amiss."""

    who: str
    """Which process says so, or is silent: `g1`, `agent`, `indexer`."""

    what: str
    why: str
    """With what to do about it."""

    since: float | None = None
    """Seconds since the epoch; None where nobody says."""

    def line(self, now: float) -> str:
        """Say it to people."""
        been = f" for {age(now - self.since)}" if self.since is not None else ""
        return f"{self.who}{been}: {self.what}: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """How the processes of this host say they are."""

    amiss: tuple[Amiss, ...]
    indexer: dict[str, Any]
    """What the indexer says; empty where it is silent."""


def hear_all(settings: Settings) -> Host:
    """Ask every process of this host how it is."""
    sockets = sockets_under(settings.run)
    gateways = {
        path.stem for ending in (".sock", SUFFIX) for path in sockets.glob(f"{PREFIX}*{ending}")
    }
    names = [*sorted(gateways), *(Path(one).stem for one in (AGENT, INDEXER))]
    with ThreadPoolExecutor(len(names)) as asking:
        said = list(asking.map(lambda one: hear(sockets / f"{one}.sock", ASK_SECONDS), names))
    found = dict(zip(names, said, strict=True))
    amiss = [one for name, told in found.items() for one in _of(settings, name, told)]
    return Host(amiss=tuple(amiss), indexer=found[Path(INDEXER).stem] or {})


def _of(settings: Settings, name: str, said: dict[str, Any] | None) -> Iterator[Amiss]:
    who = name.removeprefix(PREFIX)
    if said is None or "troubles" not in said:
        yield _silent(settings, who, name)
        return
    for one in read(said["troubles"]):
        waits = said.get("anchors", 0) if one.what == NOT_ANCHORED else 0
        more = f"; {waiting(waits)} in {settings.outbox}" if waits else ""
        yield Amiss(who=who, what=one.what, why=f"{one.why}{more}", since=one.since)


def _silent(settings: Settings, who: str, name: str) -> Amiss:
    """Tell one that hangs from one that is dead, whose log may say why."""
    log = settings.logs / f"{name}.log"
    if listens(sockets_under(settings.run) / f"{name}.sock"):
        why = f"it hangs, or has no time; one that hangs for long is started anew (see {log})"
        return Amiss(who=who, what=f"it has said nothing for {ASK_SECONDS:g} s", why=why)
    words = (
        f"its log ends with: {' '.join(found)}" if (found := tail(log, 1)) else "it says nothing"
    )
    return Amiss(who=who, what="it does not run, or just starts", why=f"{words} (see {log})")


def waiting(anchors: int) -> str:
    """Say how many anchors wait."""
    return f"{counted(anchors, 'anchor')} wait{'s' if anchors == 1 else ''}"


def _size(size: int) -> str:
    return megabytes(size) if size >= MEGABYTE else f"{size / 1e3:.0f} kB"


def calls_line(said: dict[str, Any], now: float) -> str:
    """Say how far calls are folded into which store."""
    if not (store := said.get("store")):
        return "how far they are folded is not known: the indexer does not say"
    if (behind := said.get("behind")) is None:
        return f"how far they are folded into {store} is not known"
    if not behind["calls"]:
        return f"all folded into {store}"
    much = f"{counted(behind['calls'], 'call')} ({_size(behind['bytes'])})"
    return f"{much} to be folded into {store}, the first came {age(now - behind['since'])} ago"
