"""The agent of one host: follows the ledger, keeps gateway and replicas, says what it sees."""

import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from types import FrameType
from typing import Any

from infra.callers.loopback import allow_open
from infra.files import file_lock
from infra.ledger import Ledger
from infra.processes import host_name
from infra.settings import Settings
from infra.sockets import AGENT, heard, sockets_under
from infra.troubles import Troubles, plain
from release.errors import SlipwayError
from release.releases import Desired, GatewayStatus, ReplicaStatus
from release.routes import Route, Routes
from serving.agent.anchoring import Anchoring
from serving.agent.callers import CallersKeeper
from serving.agent.gateways import Gateways
from serving.agent.places import Places
from serving.agent.replicas import Replicas, Wanted
from serving.anchored import NOT_ANCHORED
from serving.gateway.snapshot import Snapshot

BEAT_SECONDS = 0.2
LONGEST_PAUSE = 5.0
BEAT = "could not do all of its work"
OBSERVE_SECONDS = 2.0
"""Even where nothing changed, the ledger hears of us this often."""


class Agent:
    """One host's share of the data plane. It decides nothing: it makes true what is desired."""

    def __init__(self, settings: Settings) -> None:
        self.name = host_name(settings.name)
        self.stopping = False
        self._settings = settings
        self._places = Places.under(settings.run)
        self._ledger: Ledger | None = None
        self._troubles = Troubles()
        """What is amiss; each thing is said once."""

        self._snapshot = Snapshot.load(settings.run) or Snapshot(routes=Routes(number=0, routes={}))
        self._replicas = Replicas(settings, self._places)
        self._gateways = Gateways(settings, self._places, self.name)
        self._anchoring = Anchoring(settings, self.name)
        self._callers = CallersKeeper(settings, self.name)
        self._observed: tuple[object, object] | None = None
        self._observed_at = 0.0

    def run(self) -> None:
        """Beat until told to stop; then let everything finish what is under way.

        Whatever goes wrong in a beat is said and tried again in the next: a full disk or a ledger
        of another version must not stop what serves.
        """
        pause = BEAT_SECONDS
        while not self.stopping:
            started = time.monotonic()
            try:
                self.beat()
                pause = BEAT_SECONDS
                self._troubles.note(BEAT, "")
            except Exception as error:  # nothing at all may end the serving
                pause = min(2 * pause, LONGEST_PAUSE)
                self._troubles.note(BEAT, f"{error!r} (see the agent's log)")
                _say(f"could not do its work, and tries again: {error!r}")
            time.sleep(max(0.01, pause - (time.monotonic() - started)))
        self._gateways.stop()
        self._replicas.stop()
        try:
            self._anchoring.close(self._ledger)
        except SlipwayError as error:
            _say(f"could not anchor the call record's end: {error}")
        self._callers.close()

    def as_json(self) -> dict[str, Any]:
        """Say what is amiss here, and how many anchors wait to be taken elsewhere."""
        return {"troubles": plain(self._troubles.all()), "anchors": self._anchoring.waiting}

    def beat(self) -> None:
        """Look once at what is desired, make it so, and say what is seen."""
        routes = self._desired()
        self._let_in()
        wanted = _wanted(routes)
        self._replicas.keep(wanted, time.monotonic(), asked=self._snapshot.addresses)
        self._publish(routes)
        self._gateways.keep()
        self._observe(routes, wanted)
        self._anchor()

    def _let_in(self) -> None:
        """Tell gateways who may call; whoever they know stays known where that cannot be read."""
        what = "cannot tell gateways anew who may call"
        try:
            self._callers.keep(self._ledger)
            if self._ledger is not None:
                self._callers.tell(self._ledger, self._gateways.used())
        except SlipwayError as error:
            self._note(what, error)
            return
        self._note(what, None)

    def _anchor(self) -> None:
        try:
            self._anchoring.keep(self._ledger)
        except SlipwayError as error:
            self._note(NOT_ANCHORED, error)
            return
        self._note(NOT_ANCHORED, None)

    def _desired(self) -> Mapping[str, Route]:
        """Read the ledger; where it cannot be read, what is on disk stays true."""
        try:
            if self._ledger is None:
                self._ledger = Ledger.open(self._settings.ledger)
            rows = self._ledger.all_desired()
        except SlipwayError as error:
            self._note("serves on without the ledger", error)
            return self._snapshot.routes.routes
        self._note("serves on without the ledger", None)
        found = {one.model: route for one in rows if (route := self._route(one)) is not None}
        # An endpoint is never dropped because the ledger does not know it: it may be a new, empty
        # one in the place of one that was lost.
        return {**self._snapshot.routes.routes, **found}

    def _route(self, desired: Desired) -> Route | None:
        """Translate a row; None where it cannot be read, so that its endpoint stays as it is."""
        serves = f"serves {desired.model} as before"
        try:
            route = desired.route()
        except SlipwayError as error:
            self._note(serves, error)
            return None
        self._note(serves, None)
        return route

    def _note(self, what: str, error: SlipwayError | None) -> None:
        """Say what is amiss, unless that was said already; None: it is well again."""
        said = str(error) if error else ""
        if self._troubles.note(what, said):
            _say(f"{what}: {said}")

    def _publish(self, routes: Mapping[str, Route]) -> None:
        """Hand gateways a new snapshot, if it says anything new."""
        known = self._snapshot
        addresses = self._replicas.addresses()
        if (routes, addresses) == (known.routes.routes, known.replicas):
            return
        numbered = Routes(number=known.routes.number + 1, routes=routes)
        fresh = Snapshot(routes=numbered, replicas=addresses)
        fresh.save(self._places.run, durable=_arms(routes) != _arms(known.routes.routes))
        # Only now: what could not be written is tried again in the next beat.
        self._snapshot = fresh

    def _observe(self, routes: Mapping[str, Route], wanted: Mapping[str, Wanted]) -> None:
        served = {
            digest: [name for name, route in routes.items() if _needs(route, digest)]
            for digest in wanted
        }
        gateways = self._gateways.statuses(routes)
        replicas = self._replicas.statuses(self.name, served)
        seen = ([_timeless(one) for one in gateways], [_timeless(one) for one in replicas])
        now = time.monotonic()
        if seen == self._observed and now - self._observed_at < OBSERVE_SECONDS:
            return
        if self._ledger is None:
            return
        try:
            self._ledger.observe(gateways, replicas, self.name)
        except SlipwayError as error:
            self._note("could not report to the ledger", error)
            return
        self._note("could not report to the ledger", None)
        self._observed, self._observed_at = seen, now


def _wanted(routes: Mapping[str, Route]) -> dict[str, Wanted]:
    """What must run here; a variant of several endpoints as the one that wants most has it."""
    found: dict[str, Wanted] = {}
    for route in routes.values():
        for arm in route.variants:
            known = found.get(arm.digest)
            if known is None or known.serving.replicas < route.serving.replicas:
                found[arm.digest] = Wanted(variant=arm, serving=route.serving)
    return found


def _needs(route: Route, digest: str) -> bool:
    return any(arm.digest == digest for arm in route.variants)


def _arms(routes: Mapping[str, Route]) -> dict[str, int]:
    return {name: route.generation for name, route in routes.items()}


def _timeless(said: GatewayStatus | ReplicaStatus) -> object:
    if isinstance(said, GatewayStatus):
        return replace(said, at=0.0)
    return replace(said, at=0.0, memory_bytes=0)


def _say(what: str) -> None:
    sys.stderr.write(f"agent: {what}\n")
    sys.stderr.flush()


def main() -> int:
    """Run the agent until SIGTERM."""
    settings = Settings()
    try:
        allow_open(settings)
        # An agent before us may still be letting its processes finish.
        with file_lock(settings.run / "agent.lock", seconds=30):
            agent = Agent(settings)

            def told(_signal: int, _frame: FrameType | None) -> None:
                agent.stopping = True

            for one in (signal.SIGTERM, signal.SIGINT):
                signal.signal(one, told)
            with heard(sockets_under(settings.run) / AGENT, agent.as_json, _say):
                agent.run()
    except SlipwayError as error:
        _say(str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
