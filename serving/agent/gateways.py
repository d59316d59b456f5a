"""Holds the listening socket and keeps a gateway process on it."""

import json
import socket
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.files import write_atomic
from infra.processes import Process, Records, alive, start, stop
from infra.settings import Settings, inherited_by_serving
from release.errors import Conflict
from release.releases import GatewayStatus
from serving.agent.places import Places
from serving.journal import JournalWriter

BACKLOG = 2_048
"""Connections that may wait while a gateway is restarted."""

ASK_SECONDS = 0.3
DRAIN_SECONDS = 12.0
HUNG_SECONDS = 15.0
"""A gateway that has not said how it is for so long is killed and started anew."""


class Gateways:
    """The gateway of one host, and those that an agent before us left.

    Args:
        settings: address, journal and logs.
        places: where records and sockets lie.
        agent: name of this agent.
    """

    def __init__(self, settings: Settings, places: Places, agent: str) -> None:
        self._settings = settings
        self._places = places
        self._agent = agent
        self._records = Records(places.records)
        self._old = [
            one for one in self._records.load() if one.name.startswith("gateway-") and alive(one)
        ]
        self._socket = self._listen()
        self._name = self._free_name()
        self._process: Process | None = None
        self._heard: dict[str, GatewayStatus] = {}
        self._heard_at = 0.0
        self.deaths = 0

    def keep(self) -> None:
        """Start the gateway if it does not run; let the old ones go once it serves."""
        now = time.monotonic()
        if self._process is not None and now - self._heard_at > HUNG_SECONDS:
            stop([self._process], grace=0)
        if self._process is None or not alive(self._process):
            self.deaths += self._process is not None
            self._process, self._heard_at = self._start(), now
        elif self._old and self._ask() is not None:
            stop(self._old, grace=DRAIN_SECONDS)
            for one in self._old:
                self._records.remove(one.name)
            self._old = []

    def statuses(self, endpoints: Iterable[str]) -> list[GatewayStatus]:
        """What the gateway serves of these endpoints; what was heard last where it is silent."""
        said = self._ask()
        if said is not None:
            self._heard_at = time.monotonic()
            now = time.time()
            found = {one["endpoint"]: one for one in said["endpoints"]}
            self._heard = {
                endpoint: self._status(endpoint, found.get(endpoint, {}), now)
                for endpoint in endpoints
            }
        return list(self._heard.values())

    def _status(self, endpoint: str, said: dict[str, Any], now: float) -> GatewayStatus:
        bare = GatewayStatus(
            gateway=f"{self._agent}/{self._name}", endpoint=endpoint, generation=0, at=now
        )
        if not said:
            return bare
        return replace(
            bare, generation=said["generation"], lapsed=said["lapsed"], tripped=said["tripped"]
        )

    def stop(self) -> None:
        """Let every gateway finish what is under way, and end."""
        stop([*self._old, *([self._process] if self._process else [])], grace=DRAIN_SECONDS)
        self._socket.close()
        for one in [*self._old, *([self._process] if self._process else [])]:
            self._records.remove(one.name)

    def _listen(self) -> socket.socket:
        """Listen on the port that was asked for, the one kept from before, or a free one."""
        kept = self._places.run / "port"
        before = int(kept.read_text()) if kept.exists() and kept.read_text().isdigit() else 0
        wanted = self._settings.port or before
        if wanted and not self._old and not self._is_free(wanted):
            if self._settings.port:
                raise Conflict(
                    f"Port {wanted} on {self._settings.host} is taken by another process.",
                    "choose another with SLIPWAY_PORT, or none to find a free one",
                )
            wanted = 0
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # An agent that takes over from one that was killed shares the port with the old gateway
        # until the new one serves.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind((self._settings.host, wanted))
        listening.listen(BACKLOG)
        write_atomic(kept, str(listening.getsockname()[1]).encode())
        return listening

    def _is_free(self, port: int) -> bool:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._settings.host, port))
            except OSError:
                return False
        return True

    def _free_name(self) -> str:
        """Choose a name that no living gateway has: a journal has one writer."""
        taken = {one.name.removeprefix("gateway-") for one in self._old}
        number = 1
        while f"g{number}" in taken:
            number += 1
        for path in self._settings.journal.glob(f"{self._agent}_g*"):
            name = path.name.removeprefix(f"{self._agent}_")
            if name not in taken and name != f"g{number}":
                # What a killed gateway could not sum up is summed up now.
                JournalWriter(self._settings.journal, f"{self._agent}/{name}").close()
        return f"g{number}"

    def _start(self) -> Process:
        fd = self._socket.fileno()
        command = [
            *(sys.executable, "-m", "serving.gateway.main"),
            *("--fd", str(fd), "--name", f"{self._agent}/{self._name}"),
            *("--folder", str(self._places.run), "--status", str(self._status_socket())),
            *("--journal", str(self._settings.journal)),
        ]
        log = self._settings.logs / f"gateway-{self._name}.log"
        name = f"gateway-{self._name}"
        process = start(name, command, env=inherited_by_serving(), log=log, pass_fds=[fd])
        self._records.save(process)
        return process

    def _status_socket(self) -> Path:
        return self._places.sockets / f"gateway-{self._name}.sock"

    def _ask(self) -> dict[str, Any] | None:
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(ASK_SECONDS)
                line.connect(str(self._status_socket()))
                parts = b""
                while part := line.recv(65_536):
                    parts += part
            said: dict[str, Any] = json.loads(parts)
        except (OSError, ValueError):
            return None
        return said
